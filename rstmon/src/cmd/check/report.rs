//! What `check` found out, as plain data: schema `rstmon.check/1`, and the source of the text.

use super::audit::{AuditGap, audit_gaps};
use super::host::host_lines;
use crate::cmd::exit::Failure;
use crate::cmd::start::Trial;
use crate::event::capture::{DegradationReport, HookReport};
use crate::kernel::capabilities::{Capability, PrivilegeError};
use crate::kernel::degradation::Degradation;
use crate::kernel::facts::{BtfFacts, FieldFact, KernelFacts};
use crate::kernel::mode::ModeRequest;
use crate::kernel::probe_plan::{PlanError, PlanSwitches, PlannedHook, ProbePlan};
use serde::Serialize;

/// Schema of [`CheckReport`] as it is printed. Fields are only ever added.
pub const CHECK_SCHEMA: &str = "rstmon.check/1";

/// Everything that `check` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// [`CHECK_SCHEMA`].
    pub schema: &'static str,
    /// Version of rstmon.
    pub version: &'static str,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub architecture: String,
    /// Whether `rstmon trace` would run.
    pub ok: bool,
    /// Exit code of `check`, and of `trace`.
    pub exit_code: u8,
    /// What `--mode` said.
    pub mode_requested: String,
    /// The mode that is planned; absent if there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// What keeps rstmon from running.
    pub problems: Vec<Problem>,
    /// Capabilities that rstmon asks for.
    pub capabilities: Vec<CapabilityLine>,
    /// What host and kernel offer.
    pub host: Vec<FactLine>,
    /// What is attached, and how.
    pub hooks: Vec<HookLine>,
    /// What the programs are told of the plan.
    pub switches: Vec<SwitchLine>,
    /// Rows of the layout table.
    pub fields: Vec<FieldLine>,
    /// How many reasons the kernel names.
    pub reasons: ReasonCounts,
    /// What is lost.
    pub degradations: Vec<DegradationReport>,
    /// Resets that the agent's audit will find unaccounted for here.
    pub audit_gaps: Vec<AuditGap>,
}

/// One thing that keeps rstmon from running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `privilege`, `kernel`, `btf-file`, `create` (maps), or `attach` where only attaching what was planned failed.
    pub id: &'static str,
    /// What failed, why, and what to do.
    pub message: String,
    /// Missing capabilities, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_capabilities: Vec<&'static str>,
}

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CapabilityLine {
    /// The kernel's name.
    pub name: &'static str,
    /// Whether this process has it in effect.
    pub held: bool,
    /// What rstmon wants it for.
    pub purpose: &'static str,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It could not be found out.
    Unknown,
}

/// One thing that host or kernel offer, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FactLine {
    /// Its name.
    pub name: &'static str,
    /// Whether it is there.
    pub answer: Answer,
    /// Where or how, or why not.
    pub detail: String,
    /// What to do about it, where something can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// One hook of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookLine {
    /// The kernel's name.
    pub hook: &'static str,
    /// The variant that is attached first.
    pub variant: &'static str,
    /// The variants that are tried if that fails.
    pub alternatives: Vec<&'static str>,
    /// What for.
    pub purpose: &'static str,
    /// Whether the plan depends on it.
    pub required: bool,
    /// Whether it could be attached; absent if that was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached: Option<bool>,
    /// The variant that it was attached as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_as: Option<String>,
    /// The module that must come before it can be attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for_module: Option<&'static str>,
}

/// One switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchLine {
    /// Its name.
    pub name: &'static str,
    /// Whether it is on.
    pub on: bool,
}

/// One row of the layout table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldLine {
    /// The row's name.
    pub name: &'static str,
    /// The kernel structure.
    pub structure: &'static str,
    /// Whether rstmon cannot do without.
    pub required: bool,
    /// Spelling of the member path on this kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'static str>,
    /// Bytes from the structure's beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u16>,
    /// Why it is absent, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// How many reasons the kernel names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReasonCounts {
    /// `enum sk_rst_reason`.
    pub rst: usize,
    /// `enum skb_drop_reason`.
    pub drop: usize,
}

impl CheckReport {
    /// Puts together what was found out.
    #[must_use]
    pub fn new(
        facts: &KernelFacts,
        requested: ModeRequest,
        privilege: &Result<(), PrivilegeError>,
        planned: &Result<ProbePlan, PlanError>,
        tried: Option<&Result<Trial, Failure>>,
    ) -> Self {
        let failed = tried.and_then(|tried| tried.as_ref().err());
        let mut problems = problems_of(privilege.as_ref().err(), planned.as_ref().err());
        problems.extend(failed.map(|failure| Problem {
            id: "attach",
            message: failure.to_string(),
            missing_capabilities: Vec::new(),
        }));
        let exit_code = match (privilege, planned) {
            // Without privilege the facts are not whole: what the kernel cannot do is told by the
            // next run.
            (Err(error), _) => error.exit_code(),
            (Ok(()), Err(error)) => error.exit_code(),
            (Ok(()), Ok(_)) => failed.map_or(0, |failure| failure.code as u8),
        };
        let trial = tried.and_then(|tried| tried.as_ref().ok());
        let plan = trial.map(|trial| &trial.plan).or(planned.as_ref().ok());
        let btf = facts.btf_facts();
        let degradations = trial
            .map(|trial| &trial.degradations)
            .or(plan.map(|plan| &plan.degradations))
            .into_iter()
            .flatten();
        Self {
            schema: CHECK_SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            kernel: facts.release.clone(),
            architecture: facts.architecture.clone(),
            ok: problems.is_empty(),
            exit_code,
            mode_requested: requested.to_string(),
            mode: plan.map(|plan| plan.mode.name()),
            problems,
            capabilities: capability_lines(facts),
            host: host_lines(facts),
            hooks: plan.map_or_else(Vec::new, |plan| hook_lines(plan, trial)),
            switches: plan.map_or_else(Vec::new, |plan| switch_lines(plan.switches)),
            fields: btf.map_or_else(Vec::new, |btf| btf.fields.iter().map(field_line).collect()),
            reasons: btf.map_or_else(ReasonCounts::default, reason_counts),
            degradations: degradations.clone().map(Degradation::report).collect(),
            audit_gaps: audit_gaps(degradations),
        }
    }
}

fn problems_of(privilege: Option<&PrivilegeError>, plan: Option<&PlanError>) -> Vec<Problem> {
    let of_privilege = privilege.map(|error| Problem {
        id: "privilege",
        message: error.to_string(),
        missing_capabilities: error.missing().iter().map(|one| one.name()).collect(),
    });
    let of_plan = plan.map(|error| Problem {
        id: match error {
            PlanError::KernelCannot { .. } => "kernel",
            PlanError::NotPermitted { .. } => "privilege",
            PlanError::NotNow { .. } => "create",
            PlanError::BtfFile { .. } => "btf-file",
        },
        message: error.to_string(),
        missing_capabilities: Vec::new(),
    });
    of_privilege.into_iter().chain(of_plan).collect()
}

fn capability_lines(facts: &KernelFacts) -> Vec<CapabilityLine> {
    Capability::ALL
        .iter()
        .map(|&capability| CapabilityLine {
            name: capability.name(),
            held: facts.privilege.has(capability),
            purpose: capability.purpose(),
        })
        .collect()
}

fn hook_lines(plan: &ProbePlan, trial: Option<&Trial>) -> Vec<HookLine> {
    let outcome = |planned: &PlannedHook| {
        let hooks = &trial?.hooks;
        hooks
            .iter()
            .find(|report| report.hook == planned.hook.name())
    };
    plan.hooks
        .iter()
        .map(|planned| hook_line(planned, outcome(planned)))
        .collect()
}

fn hook_line(planned: &PlannedHook, outcome: Option<&HookReport>) -> HookLine {
    let mut variants = planned.variants.iter().map(|variant| variant.name());
    HookLine {
        hook: planned.hook.name(),
        variant: variants.next().unwrap_or_default(),
        alternatives: variants.collect(),
        purpose: planned.purpose,
        required: planned.required,
        attached: outcome.map(|outcome| outcome.attached),
        attached_as: outcome.and_then(|outcome| outcome.variant.clone()),
        waits_for_module: planned
            .deferred_until_module
            .then(|| planned.hook.module())
            .flatten(),
    }
}

fn switch_lines(switches: PlanSwitches) -> Vec<SwitchLine> {
    // Taken apart without `..`, so that a new switch cannot be forgotten here.
    let PlanSwitches {
        send_reset_has_reason,
        send_reset_sees_all,
        passive_by_probe,
        receive_by_probe,
        kfree_has_reason,
        kfree_has_socket,
        embryonic_kill_is_told,
        killed_request_by_probe,
        refused_by_probe,
        deduce_socketless,
        cgroup_is_tagged,
    } = switches;
    [
        ("send_reset_has_reason", send_reset_has_reason),
        ("send_reset_sees_all", send_reset_sees_all),
        ("passive_by_probe", passive_by_probe),
        ("receive_by_probe", receive_by_probe),
        ("kfree_has_reason", kfree_has_reason),
        ("kfree_has_socket", kfree_has_socket),
        ("embryonic_kill_is_told", embryonic_kill_is_told),
        ("killed_request_by_probe", killed_request_by_probe),
        ("refused_by_probe", refused_by_probe),
        ("deduce_socketless", deduce_socketless),
        ("cgroup_is_tagged", cgroup_is_tagged),
    ]
    .map(|(name, on)| SwitchLine { name, on })
    .to_vec()
}

fn field_line(field: &FieldFact) -> FieldLine {
    let place = field.place.as_ref();
    FieldLine {
        name: field.name,
        structure: field.structure,
        required: field.required,
        path: place.ok().map(|place| place.path),
        offset: place.ok().map(|place| place.offset),
        absent: place.err().cloned(),
    }
}

fn reason_counts(btf: &BtfFacts) -> ReasonCounts {
    ReasonCounts {
        rst: btf.reasons.rst.len(),
        drop: btf.reasons.drop.len(),
    }
}
