//! Classic mode: the tracepoints by the format files of tracefs.

use super::{Hook, PlanRequest, PlanSwitches, PlannedHook, ProbePlan, Variant};
use crate::kernel::degradation::Degradation;
use crate::kernel::facts::KernelFacts;
use crate::kernel::mode::Mode;
use rstmon_common::classic::RecordLayout;
use rstmon_common::layout::ABSENT;

/// What would make classic mode possible.
pub(super) const REMEDY: &str =
    "mount tracefs (`mount -t tracefs tracefs /sys/kernel/tracing`) and run as root";

/// Plans classic mode. `why`: why nothing better. Err: why not even this.
pub(super) fn plan_classic(
    facts: &KernelFacts,
    request: &PlanRequest,
    why: String,
) -> Result<ProbePlan, String> {
    let send_reset = reach_record(facts, request, Hook::TcpSendReset)?;
    reach_record(facts, request, Hook::TcpReceiveReset)?;
    let has_reason = send_reset.reason != ABSENT;
    let mut plan = ProbePlan {
        mode: Mode::Classic,
        hooks: vec![
            classic_tracepoint(Hook::TcpSendReset).required(),
            classic_tracepoint(Hook::TcpReceiveReset).required(),
        ],
        switches: PlanSwitches {
            send_reset_has_reason: has_reason,
            send_reset_sees_all: has_reason,
            ..PlanSwitches::default()
        },
        degradations: vec![Degradation::ClassicMode { reason: why }],
    };
    if !has_reason {
        plan.degradations.push(Degradation::NoKernelReason);
        plan.degradations.push(Degradation::SocketlessResetsUnseen {
            reason: "tcp_send_reset reports resets of full sockets only here; classic mode has \
                     no probes"
                .to_owned(),
        });
    }
    let hook = Hook::InetSockSetState;
    match reach_record(facts, request, hook) {
        Ok(_) => plan.hooks.push(classic_tracepoint(hook)),
        Err(reason) => plan
            .degradations
            .push(Degradation::HookUnavailable { hook, reason }),
    }
    Ok(plan)
}

/// A record that tells at least the connection.
fn reach_record(
    facts: &KernelFacts,
    request: &PlanRequest,
    hook: Hook,
) -> Result<RecordLayout, String> {
    if let Some(reason) = request.refused.get(&hook) {
        return Err(format!("tracepoint {hook}: {reason}"));
    }
    let record = facts
        .tracefs
        .format(hook)
        .map_err(|reason| format!("no tracepoint {hook} in tracefs ({reason})"))?
        .resolve_record();
    let needed = [record.sport, record.dport, record.saddr, record.daddr];
    if needed.contains(&ABSENT) {
        return Err(format!(
            "the record of {hook} has its ports and addresses in a form that is not known"
        ));
    }
    Ok(record)
}

fn classic_tracepoint(hook: Hook) -> PlannedHook {
    PlannedHook::new(hook, vec![Variant::ClassicTracepoint])
}
