//! Which variants of a function hook can be attached here.

use super::{Hook, PlanRequest, PlannedHook, Variant};
use crate::kernel::facts::{BtfFacts, KernelFacts, Support};

/// Which probes work at all: at least one of them does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probes {
    fentry: Result<(), String>,
    kprobe: Result<(), String>,
}

impl Probes {
    /// Err: neither works, or not the one that is `wanted`, and why.
    pub(super) fn of(facts: &KernelFacts, wanted: Option<Variant>) -> Result<Self, String> {
        let asked = &facts.probe_support;
        // Whether the kernel offers kprobes is known even if nobody tried one.
        let kprobe = match &asked.kprobe {
            Support::NotAsked => &facts.kprobe_events,
            answer => answer,
        };
        let works = |support: &Support| support.refusal().map_or(Ok(()), |why| Err(why.to_owned()));
        let probes = match (works(&asked.fentry), works(kprobe)) {
            (Err(fentry), Err(kprobe)) => {
                return Err(format!("fentry: {fentry}; kprobe: {kprobe}"));
            }
            (fentry, kprobe) => Self { fentry, kprobe },
        };
        if let Some(variant) = wanted {
            let answer = probes.of_variant(variant).as_ref();
            answer.map_err(|why| format!("`--probe {variant}` was given; {variant}: {why}"))?;
        }
        Ok(probes)
    }

    /// Why kprobes do not work, if they do not.
    pub(super) fn kprobe_refusal(&self) -> Option<&str> {
        self.kprobe.as_ref().err().map(String::as_str)
    }

    fn of_variant(&self, variant: Variant) -> &Result<(), String> {
        match variant {
            Variant::Fentry => &self.fentry,
            _ => &self.kprobe,
        }
    }
}

/// Plans a function hook, or says why it cannot be had.
pub(super) fn reach_function(
    facts: &KernelFacts,
    btf: &BtfFacts,
    probes: &Probes,
    request: &PlanRequest,
    hook: Hook,
) -> Result<PlannedHook, String> {
    if let Some(reason) = request.refused.get(&hook) {
        return Err(reason.clone());
    }
    let in_btf = btf.parameters.contains_key(&hook);
    if !facts.symbols.has(hook).unwrap_or(in_btf) {
        return defer_to_module(facts, probes, hook);
    }
    let mut variants = Vec::new();
    let mut refusals = Vec::new();
    for variant in allowed_variants(hook, request.probe) {
        match probes.of_variant(variant) {
            Err(reason) => refusals.push(format!("{variant}: {reason}")),
            Ok(()) if variant == Variant::Fentry && !in_btf => {
                refusals.push(format!("{variant}: the kernel's BTF does not describe it"));
            }
            Ok(()) => variants.push(variant),
        }
    }
    if variants.is_empty() {
        return Err(refusals.join("; "));
    }
    Ok(PlannedHook::new(hook, variants))
}

/// The variants of a hook that the request leaves. Of a hook that has but one, that one.
fn allowed_variants(hook: Hook, wanted: Option<Variant>) -> impl Iterator<Item = Variant> {
    let variants = hook.variants().iter().copied();
    let wanted = wanted.filter(|wanted| hook.variants().contains(wanted));
    variants.filter(move |variant| wanted.is_none_or(|wanted| wanted == *variant))
}

/// A function that is not there now: it comes with its module, or never.
fn defer_to_module(
    facts: &KernelFacts,
    probes: &Probes,
    hook: Hook,
) -> Result<PlannedHook, String> {
    let absent = || "this kernel has no such function that could be probed".to_owned();
    let module = hook.module().ok_or_else(absent)?;
    if facts.symbols.has_any_of_module(module) == Some(true) {
        return Err(absent());
    }
    if let Some(reason) = probes.kprobe_refusal() {
        return Err(format!("kprobe: {reason}"));
    }
    Ok(PlannedHook {
        deferred_until_module: true,
        ..PlannedHook::new(hook, vec![Variant::Kprobe])
    })
}
