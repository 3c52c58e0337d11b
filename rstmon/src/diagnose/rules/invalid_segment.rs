//! `mptcp` and `invalid-segment`: the kernel named a reason that has no cause of its own.
//!
//! `mptcp`: a reason `MPTCP_RST_*` (RFC 8684, 3.6), or a fast close: `mptcp_do_fastclose` borrows
//! `TCP_ABORT_ON_CLOSE` and resets a subflow that is not CLOSED; in some releases (6.16) it disconnects
//! the subflow. Without a reason: a subflow that is reset and not CLOSED, once timers and `tcp_abort` are
//! out; and the answer to a segment with `MP_JOIN`. `invalid-segment`: any other reason
//! for a reset that answers a segment; last of its kind, so it takes what the special rules left.
//! Reasons that several causes share tell nothing without the segment, as in classic mode.
//! Without a reason: only a SYN that reached a listener, which is answered with a reset for nothing
//! but an unacceptable sequence number (`tcp_check_req`), or for its `MP_JOIN`.

use super::abort::{ECONNABORTED, is_disconnect_path};
use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, SocketState};

pub(super) const MPTCP: Rule = Rule {
    cause: Cause::Mptcp,
    judge: mptcp,
};

pub(super) const RULE: Rule = Rule {
    cause: Cause::InvalidSegment,
    judge: invalid_segment,
};

fn mptcp<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let Some(reason) = case.reason() else {
        return refused_subflow(case).or_else(|| given_up_subflow(case));
    };
    let is_fast_close = case.is_active()
        && reason == "TCP_ABORT_ON_CLOSE"
        && case.socket().is_some()
        && !case.is_closed_at_hook();
    let (initiator, confidence) = if reason.starts_with("MPTCP_RST_") {
        (Initiator::LocalKernel, Confidence::Certain)
    } else if is_fast_close || is_disconnected_subflow(case) {
        (Initiator::LocalApp, Confidence::Likely)
    } else {
        return None;
    };
    Some(Finding {
        initiator,
        confidence,
        evidence: case
            .evidence()
            .kernel_reason()
            .value("mptcp_subflow", is_subflow(case).then_some(true))
            .state()
            .trigger(),
    })
}

fn is_subflow(case: &Case<'_>) -> bool {
    case.socket_is(|socket| socket.mptcp_subflow == Some(true))
}

/// A fast close of the releases that disconnect the subflow. `__mptcp_close_ssk` sets `SO_LINGER` to 0
/// for that; where both directions are shut down, it is `linger-abort`.
fn is_disconnected_subflow(case: &Case<'_>) -> bool {
    let by_linger = case.is_shut_down() && case.socket_is(|socket| socket.linger_zero);
    is_subflow(case) && is_disconnect_path(case) && !by_linger
}

/// Without a reason, `MP_JOIN` in what a listener or a request socket answers: no token of a connection
/// here, or a wrong authentication (`subflow_check_req`, `subflow_syn_recv_sock`).
fn refused_subflow<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let opening = case.is_state_of(&[SocketState::Listen, SocketState::SynRecv]);
    let found = case.is_passive() && opening && case.event.asks_for_subflow;
    found.then(|| Finding {
        initiator: Initiator::LocalKernel,
        confidence: Confidence::Likely,
        evidence: case.evidence().fact("mp_join=true").state().trigger(),
    })
}

/// Without a reason, a subflow that is reset before it is CLOSED, as timers and `tcp_abort` do, too.
fn given_up_subflow<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let aborted = case.socket_is(|socket| socket.error == ECONNABORTED);
    let by_others = aborted || case.may_be_a_timers();
    let found = case.is_active() && is_subflow(case) && !case.is_closed_at_hook() && !by_others;
    found.then(|| Finding {
        // A fast close comes from close(); else the protocol has refused the subflow.
        initiator: if case.is_by_owner() {
            Initiator::LocalApp
        } else {
            Initiator::LocalKernel
        },
        confidence: Confidence::Likely,
        evidence: case.evidence().fact("mptcp_subflow=true").state(),
    })
}

/// Reasons for which the segment decides which cause it is.
const SHARED: [&str; 3] = ["NO_SOCKET", "TCP_FLAGS", "INVALID_SYN"];

fn invalid_segment<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let is_shared = case.reason().is_some_and(|name| SHARED.contains(&name));
    if !case.is_passive() || (is_shared && case.event.trigger.is_none()) {
        return None;
    }
    let bad_syn = case.is_state(SocketState::Listen) && case.trigger_is_syn();
    (case.reason().is_some() || bad_syn).then(|| {
        let evidence = case.evidence().kernel_reason().state().trigger();
        case.finding(Initiator::Unknown, Confidence::Likely, evidence)
    })
}
