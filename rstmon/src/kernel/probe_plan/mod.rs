//! What to attach on this kernel, and what is lost by it: a pure function over facts.
//!
//! Called by the commands before they load anything, and again by `bpf` with
//! [`PlanRequest::refused`] when a required hook fails to attach in spite of the plan. No decision
//! depends on a version number: BTF, tracefs and the answers of bpf(2) tell.

mod classic;
mod host;
mod raw;
mod reach;

pub use crate::kernel::hook::{Hook, Variant};

use crate::kernel::degradation::Degradation;
use crate::kernel::facts::{BtfState, KernelFacts, Lockdown, Obstacle};
use crate::kernel::mode::{Mode, ModeRequest};
use rstmon_common::config::ProbeConfig;
use std::collections::BTreeMap;
use thiserror::Error;

/// What the caller wants of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanRequest {
    /// The mode.
    pub mode: ModeRequest,
    /// How functions are entered where there is a choice; `None`: by what works best.
    pub probe: Option<Variant>,
    /// Hooks that could not be attached although a former plan had them, and why.
    pub refused: BTreeMap<Hook, String>,
}

/// One hook of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHook {
    /// Where.
    pub hook: Hook,
    /// How, in the order of preference; never empty.
    pub variants: Vec<Variant>,
    /// What for, in words for the user.
    pub purpose: &'static str,
    /// The plan's switches count on it: without it, plan again with the hook in
    /// [`PlanRequest::refused`].
    pub required: bool,
    /// It is in a module that is not loaded: to be attached when that comes.
    pub deferred_until_module: bool,
}

impl PlannedHook {
    fn new(hook: Hook, variants: Vec<Variant>) -> Self {
        Self {
            hook,
            variants,
            purpose: hook.purpose(),
            required: false,
            deferred_until_module: false,
        }
    }

    fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }
}

/// What the programs must know of the plan: the members of `ProbeConfig` of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of the programs"
)]
pub struct PlanSwitches {
    /// `tcp_send_reset` has its third argument, the reason.
    pub send_reset_has_reason: bool,
    /// `tcp_send_reset` reports resets without a full socket too.
    pub send_reset_sees_all: bool,
    /// Passive resets are taken from `tcp_v4/v6_send_reset`.
    pub passive_by_probe: bool,
    /// Received resets are taken from `tcp_reset`, with their segment.
    pub receive_by_probe: bool,
    /// `kfree_skb` has its argument `reason`.
    pub kfree_has_reason: bool,
    /// `kfree_skb` has its argument `rx_sk`.
    pub kfree_has_socket: bool,
    /// A RST that a request socket survives is dropped for a reason of its own, so that one without a
    /// reason is one that killed it.
    pub embryonic_kill_is_told: bool,
    /// `inet_csk_reqsk_queue_drop` tells which request a RST has killed.
    pub killed_request_by_probe: bool,
    /// Resets that a connection refuses are taken from the functions that judge them.
    pub refused_by_probe: bool,
    /// Socketless resets are deduced from `kfree_skb` with the reason `NO_SOCKET`.
    pub deduce_socketless: bool,
    /// A socket's cgroup word is a pointer only if its lowest bit is clear.
    pub cgroup_is_tagged: bool,
}

impl PlanSwitches {
    /// Sets the members of the same names.
    pub fn write_to(self, config: &mut ProbeConfig) {
        config.send_reset_has_reason = self.send_reset_has_reason.into();
        config.passive_by_probe = self.passive_by_probe.into();
        config.receive_by_probe = self.receive_by_probe.into();
        config.kfree_has_reason = self.kfree_has_reason.into();
        config.kfree_has_socket = self.kfree_has_socket.into();
        config.embryonic_kill_is_told = self.embryonic_kill_is_told.into();
        config.killed_request_by_probe = self.killed_request_by_probe.into();
        config.refused_by_probe = self.refused_by_probe.into();
        config.deduce_socketless = self.deduce_socketless.into();
        config.cgroup_is_tagged = self.cgroup_is_tagged.into();
    }
}

/// What to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// The mode that was chosen.
    pub mode: Mode,
    /// The hooks, each once.
    pub hooks: Vec<PlannedHook>,
    /// What the programs must know.
    pub switches: PlanSwitches,
    /// What is lost.
    pub degradations: Vec<Degradation>,
}

impl ProbePlan {
    /// The planned hook of a place, if it is part of the plan.
    #[must_use]
    pub fn hook(&self, hook: Hook) -> Option<&PlannedHook> {
        self.hooks.iter().find(|planned| planned.hook == hook)
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Nothing that was allowed by the request works on this kernel.
    #[error("this kernel cannot support {what}: {reason}; {remedy}")]
    KernelCannot {
        /// What was wanted.
        what: String,
        /// Why not.
        reason: String,
        /// What would help.
        remedy: String,
    },
    /// This process is kept from bpf(2), though it may hold the capabilities.
    #[error(
        "{reason}; with CAP_BPF and CAP_PERFMON in effect, a seccomp filter or a security module \
         forbids bpf(2): allow it, and raise the limit of locked memory (`ulimit -l unlimited`, \
         systemd: `LimitMEMLOCK=infinity`) on kernels before 5.11"
    )]
    NotPermitted {
        /// What the kernel said.
        reason: String,
    },
    /// Maps could not be created now, for example for want of memory.
    #[error("{reason}; free memory, or raise the memory limit of this process's cgroup")]
    NotNow {
        /// What the kernel said.
        reason: String,
    },
    /// The BTF file that the user named is of no use.
    #[error(
        "cannot use {path} as BTF: {reason}; leave `--btf` out to use what the kernel itself has"
    )]
    BtfFile {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl PlanError {
    /// Exit code of the command (contract, section 1).
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::KernelCannot { .. } => 4,
            Self::NotPermitted { .. } => 3,
            Self::NotNow { .. } | Self::BtfFile { .. } => 1,
        }
    }

    fn cannot(what: String, reason: String, remedy: &str) -> Self {
        Self::KernelCannot {
            what,
            reason,
            remedy: remedy.to_owned(),
        }
    }
}

const BTF_REMEDY: &str = "give the BTF of this very kernel with `--btf FILE`, or use a kernel with \
     CONFIG_DEBUG_INFO_BTF=y";

/// Chooses the mode, the hooks and their variants.
pub fn plan(facts: &KernelFacts, request: &PlanRequest) -> Result<ProbePlan, PlanError> {
    if let BtfState::Absent {
        source,
        asked_for: true,
        reason,
    } = &facts.btf
    {
        return Err(PlanError::BtfFile {
            path: source.display().to_string(),
            reason: reason.clone(),
        });
    }
    refuse_locked_host(facts)?;
    let mut plan = match request.mode {
        ModeRequest::Auto => plan_best(facts, request)?,
        ModeRequest::Force(Mode::Classic) => {
            classic::plan_classic(facts, request, "`--mode classic` was given".to_owned())
                .map_err(|reason| forced_error(Mode::Classic, reason, classic::REMEDY))?
        }
        ModeRequest::Force(mode) => plan_forced_raw(facts, request, mode)?,
    };
    host::note_host(facts, &mut plan);
    Ok(plan)
}

/// What no mode can do without.
fn refuse_locked_host(facts: &KernelFacts) -> Result<(), PlanError> {
    let what = || "BPF tracing".to_owned();
    if facts.lockdown == Lockdown::Confidentiality {
        return Err(PlanError::cannot(
            what(),
            "kernel lockdown is in confidentiality mode, which keeps kernel memory from BPF".into(),
            "boot with lockdown=integrity or without `lockdown=`",
        ));
    }
    match &facts.probe_support.obstacle {
        Some(Obstacle::NotPermitted(reason)) => {
            let reason = reason.clone();
            return Err(PlanError::NotPermitted { reason });
        }
        Some(Obstacle::Failed(reason)) => {
            let reason = reason.clone();
            return Err(PlanError::NotNow { reason });
        }
        None => {}
    }
    if let Some(reason) = facts.probe_support.ring_buffer.refusal() {
        return Err(PlanError::cannot(
            what(),
            format!("no BPF ring buffer ({reason})"),
            "use Linux 5.8 or later",
        ));
    }
    Ok(())
}

/// Probe mode, else tracepoint mode, else classic mode.
fn plan_best(facts: &KernelFacts, request: &PlanRequest) -> Result<ProbePlan, PlanError> {
    let no_raw = match raw::RawBasis::of(facts, request) {
        Ok(basis) => {
            return Ok(match basis.probes() {
                Ok(probes) => basis.plan_probe(&probes),
                Err(reason) => basis.plan_tracepoint(&reason),
            });
        }
        Err(reason) => reason,
    };
    classic::plan_classic(facts, request, no_raw.clone()).map_err(|no_classic| {
        PlanError::cannot(
            "any mode".to_owned(),
            format!("{no_raw}; {no_classic}"),
            &format!("{BTF_REMEDY}, or mount tracefs for classic mode"),
        )
    })
}

fn plan_forced_raw(
    facts: &KernelFacts,
    request: &PlanRequest,
    mode: Mode,
) -> Result<ProbePlan, PlanError> {
    let basis = raw::RawBasis::of(facts, request)
        .map_err(|reason| forced_error(mode, reason, BTF_REMEDY))?;
    if mode == Mode::Tracepoint {
        return Ok(basis.plan_tracepoint("`--mode tracepoint` was given"));
    }
    let probes = basis.probes().map_err(|reason| {
        forced_error(
            mode,
            reason,
            "leave `--mode` at auto to fall back to tracepoint mode, or use a kernel that lets \
             root attach probes",
        )
    })?;
    Ok(basis.plan_probe(&probes))
}

fn forced_error(mode: Mode, reason: String, remedy: &str) -> PlanError {
    PlanError::cannot(format!("{mode} mode"), reason, remedy)
}

#[cfg(test)]
pub(crate) mod generations;
#[cfg(test)]
mod tests;
