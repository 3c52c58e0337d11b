//! A running capture: the planned hooks attached, the ring and the counters at hand.
//!
//! Made by the commands that watch live. What could not be attached is reported, never hidden; only
//! a hook without which nothing works fails the start.

use super::counters::{Counters, KernelCounts, KernelStages};
use super::log::ProgramLog;
use super::misses::read_misses;
use super::programs::{AttachPoint, FrozenFacts, MapSizes, Programs, ProgramsError};
use super::ring::EventRing;
use crate::event::capture::HookReport;
use crate::kernel::degradation::Degradation;
use crate::kernel::hook::{Hook, Variant};
use crate::kernel::probe_plan::{PlannedHook, ProbePlan};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;

/// Looks at a module that has come, before a function is given up that it does not bring.
const MAX_TRIES: u32 = 50;

/// What a capture is made of.
#[derive(Clone, Debug)]
pub struct CaptureRequest<'a> {
    /// Which hooks, in which variants.
    pub plan: &'a ProbePlan,
    /// What the programs are told.
    pub facts: FrozenFacts,
    /// Size of the ring, a power of two of at least a page.
    pub ring_bytes: u32,
}

/// Why a capture could not be started.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// Creating the programs failed.
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    /// A hook without which nothing works could not be attached.
    #[error("cannot attach to {hook}: {reason}; `rstmon check` shows what this kernel offers")]
    Required {
        /// The hook.
        hook: Hook,
        /// What the kernel said, by variant.
        reason: String,
    },
}

/// A running capture. Dropping it takes everything out of the kernel.
pub struct Capture {
    /// The reading end.
    pub ring: EventRing,
    programs: Programs,
    counters: Arc<Counters>,
    log: Option<ProgramLog>,
    hooks: Vec<(PlannedHook, Option<Variant>)>,
    degradations: Vec<Degradation>,
    /// How often attaching failed to hooks whose modules have come, by the load that it failed to.
    tries: BTreeMap<Hook, Tries>,
    /// Attached hooks whose modules were loaded then, and may go: by what tells one load from the next.
    in_modules: BTreeMap<Hook, u64>,
    /// Runs that the kernel left out, of programs that are detached.
    missed: u64,
}

impl Capture {
    /// Creates the programs and attaches the planned hooks.
    pub fn start(request: &CaptureRequest<'_>) -> Result<Self, CaptureError> {
        let ring_bytes = request.ring_bytes;
        let mut programs = Programs::create(&request.facts, MapSizes::ToCapture { ring_bytes })?;
        let ring = EventRing::open(&mut programs)?;
        let counters = Arc::new(Counters::open(&mut programs)?);
        let log = if request.facts.log_level == 0 {
            None
        } else {
            Some(ProgramLog::open(&mut programs)?)
        };
        let mut capture = Self {
            ring,
            programs,
            counters,
            log,
            hooks: Vec::with_capacity(request.plan.hooks.len()),
            degradations: request.plan.degradations.clone(),
            tries: BTreeMap::new(),
            in_modules: BTreeMap::new(),
            missed: 0,
        };
        capture
            .programs
            .load_in_parallel(&first_choices(request.plan));
        for planned in &request.plan.hooks {
            capture.attach_planned(planned)?;
        }
        capture.programs.forget_target_btf();
        Ok(capture)
    }

    fn attach_planned(&mut self, planned: &PlannedHook) -> Result<(), CaptureError> {
        match self.attach_first(planned) {
            Ok(variant) => self.hooks.push((planned.clone(), Some(variant))),
            // Built into the kernel it is there; in a module, it may come yet.
            Err(_) if planned.deferred_until_module && !module_is_loaded(planned.hook) => {
                self.hooks.push((planned.clone(), None));
            }
            Err(reason) if planned.required => {
                return Err(CaptureError::Required {
                    hook: planned.hook,
                    reason,
                });
            }
            Err(reason) => {
                self.hooks.push((planned.clone(), None));
                self.degradations.push(Degradation::HookUnavailable {
                    hook: planned.hook,
                    reason,
                });
            }
        }
        Ok(())
    }

    /// Attaches the first variant that the kernel takes; else what it said to each.
    fn attach_first(&mut self, planned: &PlannedHook) -> Result<Variant, String> {
        let mut reasons = Vec::new();
        // Before: a load that is replaced meanwhile is found gone at the next look.
        let load = module_load(planned.hook);
        for &variant in &planned.variants {
            let name = planned.hook.program_name(variant);
            match self
                .programs
                .attach(&name, attach_point(planned.hook, variant))
            {
                Ok(()) => {
                    if let Some(load) = load {
                        self.in_modules.insert(planned.hook, load);
                    }
                    return Ok(variant);
                }
                Err(error) => reasons.push(format!("{variant}: {error}")),
            }
        }
        Err(reasons.join("; "))
    }

    /// Attaches the hooks whose modules have come since, and notes those whose modules have gone or that
    /// cannot be attached in spite of their module; returns whether there were any.
    pub fn follow_modules(&mut self) -> bool {
        let gone = self.note_departed_modules();
        self.attach_arrived_modules() || gone
    }

    /// The kernel took the probe out together with its module; one that comes back has none.
    fn note_departed_modules(&mut self) -> bool {
        let before = self.in_modules.len();
        self.in_modules.retain(|hook, load| {
            let stays = module_load(*hook) == Some(*load);
            if !stays
                && let Some((planned, state)) = self.hooks.iter_mut().find(|it| it.0.hook == *hook)
            {
                *state = None;
                // Also where it was loaded when the plan was made.
                planned.deferred_until_module = true;
            }
            stays
        });
        self.in_modules.len() != before
    }

    fn attach_arrived_modules(&mut self) -> bool {
        let mut has_changed = false;
        for (planned, load) in self.arrived() {
            match self.attach_first(&planned) {
                Ok(variant) => {
                    self.tries.remove(&planned.hook);
                    let mut states = self.hooks.iter_mut();
                    if let Some((_, state)) = states.find(|it| it.0.hook == planned.hook) {
                        *state = Some(variant);
                        has_changed = true;
                    }
                }
                Err(reason) => has_changed |= self.fail_arrived(planned.hook, load, reason),
            }
        }
        has_changed
    }

    /// Hooks that waited for modules which are there now, and the loads of these.
    fn arrived(&self) -> Vec<(PlannedHook, u64)> {
        let waiting = self.hooks.iter().filter(|hook| is_waiting(hook));
        let arrived = waiting.filter_map(|(planned, _)| {
            let load = module_load(planned.hook)?;
            (!self.has_given_up(planned.hook, load)).then(|| (planned.clone(), load))
        });
        arrived.collect()
    }

    /// The module is there a moment before its symbols are, so the next look tries again; but not
    /// for ever, as a module may come without the function. The next load is another try. Whether this was
    /// the last of this one.
    fn fail_arrived(&mut self, hook: Hook, load: u64, reason: String) -> bool {
        let tries = self.tries.entry(hook).or_default();
        if tries.load != load {
            *tries = Tries { load, count: 0 };
        }
        tries.count += 1;
        if tries.count != MAX_TRIES {
            return false;
        }
        self.degradations
            .push(Degradation::HookUnavailable { hook, reason });
        true
    }

    fn has_given_up(&self, hook: Hook, load: u64) -> bool {
        let tries = self.tries.get(&hook);
        tries.is_some_and(|tries| tries.load == load && tries.count >= MAX_TRIES)
    }

    /// Whether a hook waits for its module, or for what is in it.
    #[must_use]
    pub fn awaits_modules(&self) -> bool {
        // Whether a module is there is looked up for those alone that wait.
        self.hooks
            .iter()
            .filter(|hook| is_waiting(hook))
            .any(|hook| {
                let load = module_load(hook.0.hook).unwrap_or_default();
                !self.has_given_up(hook.0.hook, load)
            })
    }

    /// Every planned hook and how it is attached.
    #[must_use]
    pub fn hook_reports(&self) -> Vec<HookReport> {
        let report = |hook: &(PlannedHook, Option<Variant>)| HookReport {
            hook: hook.0.hook.name().to_owned(),
            variant: hook.1.map(|variant| variant.name().to_owned()),
            attached: hook.1.is_some(),
            awaits_module: is_waiting(hook),
        };
        self.hooks.iter().map(report).collect()
    }

    /// What this capture cannot give, the plan's and what attaching brought up.
    #[must_use]
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    /// Whether the programs log.
    #[must_use]
    pub const fn is_logging(&self) -> bool {
        self.log.is_some()
    }

    /// Writes what the programs logged.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// The counters, to be read by another thread.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The exact counts so far.
    pub fn read_counts(&self) -> Result<KernelCounts, ProgramsError> {
        self.counters.read_counts()
    }

    /// What became of the events so far.
    pub fn read_stages(&self) -> Result<KernelStages, ProgramsError> {
        let stages = self.counters.read_stages()?;
        // After `detach` nothing is loaded any more, and the number of then stands.
        let program_missed = self.missed + read_misses(&self.programs.loaded_reporters());
        Ok(KernelStages {
            program_missed,
            ..stages
        })
    }

    /// Takes the programs out of the kernel, so that the counts stand still, and keeps the maps.
    pub fn detach(&mut self) {
        self.missed = read_misses(&self.programs.loaded_reporters());
        self.programs.unload();
    }
}

/// The programs that are attached if the kernel refuses none.
fn first_choices(plan: &ProbePlan) -> BTreeMap<String, AttachPoint<'static>> {
    plan.hooks
        .iter()
        .filter(|planned| !planned.deferred_until_module || module_is_loaded(planned.hook))
        .filter_map(|planned| {
            let variant = *planned.variants.first()?;
            let point = attach_point(planned.hook, variant);
            Some((planned.hook.program_name(variant), point))
        })
        .collect()
}

/// Where a hook's program hangs on.
pub(super) fn attach_point(hook: Hook, variant: Variant) -> AttachPoint<'static> {
    match variant {
        Variant::BtfTracepoint => AttachPoint::BtfTracepoint(hook),
        Variant::RawTracepoint => AttachPoint::RawTracepoint(hook.name()),
        Variant::ClassicTracepoint => {
            AttachPoint::Tracepoint(hook.tracefs_group().unwrap_or_default(), hook.name())
        }
        Variant::Fentry => AttachPoint::Fentry(hook.name()),
        Variant::Kprobe => AttachPoint::Kprobe(hook.name()),
    }
}

/// Failed tries of one load of a module.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    load: u64,
    count: u32,
}

const fn is_waiting(hook: &(PlannedHook, Option<Variant>)) -> bool {
    hook.0.deferred_until_module && hook.1.is_none()
}

/// Which load of a hook's module there is, if any: the folder of each has a number of its own.
fn module_load(hook: Hook) -> Option<u64> {
    let folder = Path::new("/sys/module").join(hook.module()?);
    Some(std::fs::metadata(folder).ok()?.ino())
}

fn module_is_loaded(hook: Hook) -> bool {
    module_load(hook).is_some()
}
