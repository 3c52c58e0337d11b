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
    /// How often attaching failed to hooks whose modules have come.
    tries: BTreeMap<Hook, u32>,
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
        for &variant in &planned.variants {
            let name = planned.hook.program_name(variant);
            match self
                .programs
                .attach(&name, attach_point(planned.hook, variant))
            {
                Ok(()) => {
                    if let Some(load) = module_load(planned.hook) {
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
        for planned in self.arrived() {
            match self.attach_first(&planned) {
                Ok(variant) => {
                    self.tries.remove(&planned.hook);
                    if let Some((_, state)) = self.state_of(planned.hook) {
                        *state = Some(variant);
                        has_changed = true;
                    }
                }
                Err(reason) => has_changed |= self.fail_arrived(planned.hook, reason),
            }
        }
        has_changed
    }

    /// Hooks that waited for modules which are there now.
    fn arrived(&self) -> Vec<PlannedHook> {
        let waiting = self.hooks.iter().filter(|(planned, attached)| {
            attached.is_none() && planned.deferred_until_module && module_is_loaded(planned.hook)
        });
        waiting.map(|(planned, _)| planned.clone()).collect()
    }

    fn state_of(&mut self, hook: Hook) -> Option<&mut (PlannedHook, Option<Variant>)> {
        self.hooks
            .iter_mut()
            .find(|(planned, _)| planned.hook == hook)
    }

    /// The module is there a moment before its symbols are, so the next look tries again; but not
    /// for ever, as a module may come without the function. Then the hook is none of the plan any more,
    /// as if that had been known when it was made. Whether this was the last try.
    fn fail_arrived(&mut self, hook: Hook, reason: String) -> bool {
        let tries = self.tries.entry(hook).or_default();
        *tries += 1;
        if *tries < MAX_TRIES {
            return false;
        }
        self.hooks.retain(|(planned, _)| planned.hook != hook);
        self.degradations
            .push(Degradation::HookUnavailable { hook, reason });
        true
    }

    /// Whether a hook waits for its module.
    #[must_use]
    pub fn awaits_modules(&self) -> bool {
        self.hooks
            .iter()
            .any(|(planned, attached)| planned.deferred_until_module && attached.is_none())
    }

    /// Every planned hook and how it is attached.
    #[must_use]
    pub fn hook_reports(&self) -> Vec<HookReport> {
        self.hooks
            .iter()
            .map(|(planned, variant)| HookReport {
                hook: planned.hook.name().to_owned(),
                variant: variant.map(|variant| variant.name().to_owned()),
                attached: variant.is_some(),
                awaits_module: planned.deferred_until_module && variant.is_none(),
            })
            .collect()
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

/// Which load of a hook's module there is, if any: the folder of each has a number of its own.
fn module_load(hook: Hook) -> Option<u64> {
    let folder = Path::new("/sys/module").join(hook.module()?);
    Some(std::fs::metadata(folder).ok()?.ino())
}

fn module_is_loaded(hook: Hook) -> bool {
    module_load(hook).is_some()
}
