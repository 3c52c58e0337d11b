//! The two modes on raw tracepoints, with probes and without.

use super::reach::{Probes, reach_function};
use super::{Hook, PlanRequest, PlanSwitches, PlannedHook, ProbePlan, Variant};
use crate::kernel::degradation::Degradation;
use crate::kernel::facts::{BtfFacts, BtfState, KernelFacts};
use crate::kernel::mode::Mode;

const NETFILTER: [Hook; 4] = [
    Hook::NfSendReset,
    Hook::NfSendReset6,
    Hook::NfRejectSkbV4,
    Hook::NfRejectSkbV6,
];
/// Where RSTs that a socket refuses pass by on kernels that do not trace such drops.
const JUDGES: [Hook; 2] = [Hook::TcpValidateIncoming, Hook::TcpRcvStateProcess];

/// A kernel on which raw tracepoints can be used.
pub(super) struct RawBasis<'a> {
    facts: &'a KernelFacts,
    request: &'a PlanRequest,
    btf: &'a BtfFacts,
    /// Arguments of `tcp_send_reset`: 2, or 3 with the reason.
    send_reset_parameters: usize,
    /// Arguments of `kfree_skb`: 2, 3 with the reason, 4 with the socket; `None`: not to be had.
    kfree_parameters: Option<usize>,
}

impl<'a> RawBasis<'a> {
    /// Err: raw tracepoints cannot be used, and why.
    pub(super) fn of(facts: &'a KernelFacts, request: &'a PlanRequest) -> Result<Self, String> {
        let btf = match &facts.btf {
            BtfState::Present(btf) => btf.as_ref(),
            BtfState::Absent { source, reason, .. } => {
                return Err(format!("no BTF ({}: {reason})", source.display()));
            }
        };
        let missing = btf.missing_required();
        if !missing.is_empty() {
            return Err(format!(
                "the BTF of {} lacks what no event can do without: {}",
                btf.source.display(),
                missing.join(", ")
            ));
        }
        if let Some(reason) = facts.probe_support.raw_tracepoint.refusal() {
            return Err(format!("raw tracepoints are refused: {reason}"));
        }
        for hook in [Hook::TcpSendReset, Hook::TcpReceiveReset] {
            if let Some(reason) = request.refused.get(&hook) {
                return Err(format!("raw tracepoint {hook}: {reason}"));
            }
        }
        require_tracepoint(facts, btf, Hook::TcpReceiveReset)?;
        Ok(Self {
            send_reset_parameters: require_tracepoint(facts, btf, Hook::TcpSendReset)?,
            kfree_parameters: tracepoint_parameters(facts, btf, Hook::KfreeSkb),
            facts,
            request,
            btf,
        })
    }

    /// Which probes work; Err: none does.
    pub(super) fn probes(&self) -> Result<Probes, String> {
        Probes::of(self.facts, self.request.probe)
    }

    /// Tracepoint mode. `why`: why there are no probes.
    pub(super) fn plan_tracepoint(&self, why: &str) -> ProbePlan {
        let mut plan = self.begin(Mode::Tracepoint);
        let reason = || why.to_owned();
        plan.hooks
            .push(self.raw_tracepoint(Hook::TcpReceiveReset).required());
        plan.degradations.extend([
            Degradation::ReceivedSegmentUnseen { reason: reason() },
            Degradation::HandshakeUnseen { reason: reason() },
            Degradation::FirewallRejectsUnseen { reason: reason() },
        ]);
        if !plan.switches.send_reset_sees_all {
            self.deduce_socketless(&mut plan, why);
        }
        if !self.drops_in_tcp_are_named() {
            plan.degradations
                .push(Degradation::RejectedResetsPartly { reason: reason() });
        }
        plan
    }

    /// Probe mode.
    pub(super) fn plan_probe(&self, probes: &Probes) -> ProbePlan {
        let mut plan = self.begin(Mode::Probe);
        if !plan.switches.send_reset_sees_all {
            self.add_passive(&mut plan, probes);
        }
        self.add_received(&mut plan, probes);
        if !self.drops_in_tcp_are_named() {
            self.add_refused(&mut plan, probes);
        }
        if plan.hook(Hook::KfreeSkb).is_some() && !plan.switches.kfree_has_socket {
            self.add_killed_requests(&mut plan, probes);
        }
        self.add_handshake(&mut plan, probes);
        self.add_netfilter(&mut plan, probes);
        plan
    }

    /// What both modes have.
    fn begin(&self, mode: Mode) -> ProbePlan {
        let has_reason = self.send_reset_parameters >= 3;
        let mut plan = ProbePlan {
            mode,
            hooks: vec![self.raw_tracepoint(Hook::TcpSendReset).required()],
            switches: PlanSwitches {
                send_reset_has_reason: has_reason,
                // The argument came with the change that reports every reset (6.10).
                send_reset_sees_all: has_reason,
                kfree_has_reason: self.kfree_parameters.is_some_and(|count| count >= 3),
                kfree_has_socket: self.kfree_parameters.is_some_and(|count| count >= 4),
                embryonic_kill_is_told: self.btf.check_req_has_reason,
                cgroup_is_tagged: self.btf.cgroup_is_tagged,
                ..PlanSwitches::default()
            },
            degradations: Vec::new(),
        };
        if !has_reason {
            plan.degradations.push(Degradation::NoKernelReason);
        }
        for hook in [Hook::KfreeSkb, Hook::InetSockSetState, Hook::SignalGenerate] {
            match self.optional_tracepoint(hook) {
                Ok(planned) => plan.hooks.push(planned),
                Err(reason) => plan
                    .degradations
                    .push(Degradation::HookUnavailable { hook, reason }),
            }
        }
        if plan.hook(Hook::KfreeSkb).is_none() {
            plan.switches.kfree_has_reason = false;
            plan.switches.kfree_has_socket = false;
        }
        plan
    }

    fn optional_tracepoint(&self, hook: Hook) -> Result<PlannedHook, String> {
        if let Some(reason) = self.request.refused.get(&hook) {
            return Err(reason.clone());
        }
        require_tracepoint(self.facts, self.btf, hook)?;
        Ok(self.raw_tracepoint(hook))
    }

    /// The tracepoint with its arguments: by its BTF where the kernel's own names it.
    fn raw_tracepoint(&self, hook: Hook) -> PlannedHook {
        let is_named = self.btf.tracepoint_ids.contains_key(&hook);
        let variants = hook.variants().iter().copied();
        let variants = variants.filter(|variant| match variant {
            Variant::BtfTracepoint => is_named,
            variant => *variant == Variant::RawTracepoint,
        });
        PlannedHook::new(hook, variants.collect())
    }

    /// Resets without a full socket, where the tracepoint does not report them and no probe can.
    fn deduce_socketless(&self, plan: &mut ProbePlan, why: &str) {
        let reason = format!("tcp_send_reset reports resets of full sockets only here; {why}");
        let can_deduce =
            plan.switches.kfree_has_reason && self.btf.reasons.drop_number("NO_SOCKET").is_some();
        plan.switches.deduce_socketless = can_deduce;
        plan.degradations.push(if can_deduce {
            Degradation::SocketlessResetsDeduced { reason }
        } else {
            Degradation::SocketlessResetsUnseen { reason }
        });
    }

    fn add_passive(&self, plan: &mut ProbePlan, probes: &Probes) {
        match self.reach_all(probes, &[Hook::TcpV4SendReset, Hook::TcpV6SendReset]) {
            Ok(hooks) => {
                plan.switches.passive_by_probe = true;
                plan.hooks
                    .extend(hooks.into_iter().map(PlannedHook::required));
            }
            Err(reason) => self.deduce_socketless(plan, &reason),
        }
    }

    /// `tcp_reset` with its segment, else the tracepoint without.
    fn add_received(&self, plan: &mut ProbePlan, probes: &Probes) {
        let with_segment: &[Hook] = match self.btf.parameters.get(&Hook::TcpReset) {
            Some(0) | None => &[],
            // Only the socket (5.10 and before): the segment is kept by the functions before it.
            Some(1) => &[
                Hook::TcpReset,
                Hook::TcpValidateIncoming,
                Hook::TcpRcvStateProcess,
            ],
            Some(_) => &[Hook::TcpReset],
        };
        let reached = if with_segment.is_empty() {
            Err("the kernel's BTF does not describe tcp_reset".to_owned())
        } else {
            self.reach_all(probes, with_segment)
        };
        match reached {
            Ok(hooks) => {
                plan.switches.receive_by_probe = true;
                plan.hooks
                    .extend(hooks.into_iter().map(PlannedHook::required));
            }
            Err(reason) => {
                plan.hooks
                    .push(self.raw_tracepoint(Hook::TcpReceiveReset).required());
                plan.degradations
                    .push(Degradation::ReceivedSegmentUnseen { reason });
            }
        }
    }

    fn add_refused(&self, plan: &mut ProbePlan, probes: &Probes) {
        match self.reach_all(probes, &JUDGES) {
            Ok(hooks) => {
                plan.switches.refused_by_probe = true;
                for planned in hooks {
                    if plan.hook(planned.hook).is_none() {
                        plan.hooks.push(planned);
                    }
                }
            }
            Err(reason) => plan
                .degradations
                .push(Degradation::RejectedResetsPartly { reason }),
        }
    }

    /// Which RSTs end a handshake, where the kernel does not name the socket of what it drops.
    fn add_killed_requests(&self, plan: &mut ProbePlan, probes: &Probes) {
        let hook = Hook::InetCskReqskQueueDrop;
        match self.reach(probes, hook) {
            Ok(planned) => {
                plan.switches.killed_request_by_probe = true;
                plan.hooks.push(planned);
            }
            Err(reason) => plan
                .degradations
                .push(Degradation::HookUnavailable { hook, reason }),
        }
    }

    fn add_handshake(&self, plan: &mut ProbePlan, probes: &Probes) {
        let hook = Hook::TcpInitTransfer;
        let reached = match self.btf.parameters.get(&hook) {
            Some(3) => self.reach(probes, hook),
            Some(_) => Err("tcp_init_transfer of this kernel does not get the segment".to_owned()),
            None => Err("the kernel's BTF does not describe tcp_init_transfer".to_owned()),
        };
        match reached {
            Ok(planned) => plan.hooks.push(planned),
            Err(reason) => plan
                .degradations
                .push(Degradation::HandshakeUnseen { reason }),
        }
    }

    fn add_netfilter(&self, plan: &mut ProbePlan, probes: &Probes) {
        if let Some(reason) = probes.kprobe_refusal() {
            let reason = format!("kprobe: {reason}");
            plan.degradations
                .push(Degradation::FirewallRejectsUnseen { reason });
            return;
        }
        for hook in NETFILTER {
            match self.reach(probes, hook) {
                Ok(planned) => plan.hooks.push(planned),
                Err(reason) => plan
                    .degradations
                    .push(Degradation::HookUnavailable { hook, reason }),
            }
        }
    }

    fn reach(&self, probes: &Probes, hook: Hook) -> Result<PlannedHook, String> {
        reach_function(self.facts, self.btf, probes, self.request, hook)
    }

    /// All of them, or why one is not to be had.
    fn reach_all(&self, probes: &Probes, hooks: &[Hook]) -> Result<Vec<PlannedHook>, String> {
        hooks
            .iter()
            .map(|&hook| {
                self.reach(probes, hook)
                    .map_err(|reason| format!("{hook}: {reason}"))
            })
            .collect()
    }

    /// Whether `kfree_skb` is called, with its reason, for segments that TCP's state machine drops.
    /// The reason `TCP_RESET` came with the change that made it so (5.18).
    fn drops_in_tcp_are_named(&self) -> bool {
        let refused = self.request.refused.contains_key(&Hook::KfreeSkb);
        !refused
            && self.kfree_parameters.is_some_and(|count| count >= 3)
            && self.btf.reasons.drop_number("TCP_RESET").is_some()
    }
}

fn require_tracepoint(facts: &KernelFacts, btf: &BtfFacts, hook: Hook) -> Result<usize, String> {
    tracepoint_parameters(facts, btf, hook).ok_or_else(|| {
        let tracefs = facts.tracefs.format(hook).err().unwrap_or_default();
        format!("neither BTF nor tracefs ({tracefs}) describes the tracepoint {hook}")
    })
}

/// Number of arguments of a raw tracepoint: by BTF, or (BTF of 5.4 does not describe tracepoints)
/// by the record that tracefs shows.
fn tracepoint_parameters(facts: &KernelFacts, btf: &BtfFacts, hook: Hook) -> Option<usize> {
    if let Some(&count) = btf.parameters.get(&hook) {
        return Some(count);
    }
    let format = facts.tracefs.format(hook).ok()?;
    let has = |name| usize::from(format.member(name).is_some());
    match hook {
        Hook::TcpSendReset => Some(2 + has("reason")),
        Hook::TcpReceiveReset => Some(1),
        Hook::KfreeSkb => Some(2 + has("reason") + has("rx_sk")),
        Hook::InetSockSetState => Some(3),
        Hook::SignalGenerate => Some(5),
        _ => None,
    }
}
