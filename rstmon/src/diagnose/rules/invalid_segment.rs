//! `mptcp` and `invalid-segment`: the kernel named a reason that has no cause of its own.
//!
//! `mptcp`: a reason `MPTCP_RST_*` (RFC 8684, 3.6), or a fast close: `mptcp_do_fastclose` borrows
//! `TCP_ABORT_ON_CLOSE` and resets a subflow that is not CLOSED. `invalid-segment`: any other reason
//! for a reset that answers a segment; last of its kind, so it takes what the special rules left.
//! Reasons that several causes share tell nothing without the segment, as in classic mode.
//! Without a reason: only a SYN that reached a listener, which is answered with a reset for nothing
//! but an unacceptable sequence number (`tcp_check_req`).

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
    let reason = case.reason()?;
    let is_fast_close = case.is_active()
        && reason == "TCP_ABORT_ON_CLOSE"
        && case.socket().is_some()
        && !case.is_closed_at_hook();
    let (initiator, confidence) = if reason.starts_with("MPTCP_RST_") {
        (Initiator::LocalKernel, Confidence::Certain)
    } else if is_fast_close {
        (Initiator::LocalApp, Confidence::Likely)
    } else {
        return None;
    };
    Some(Finding {
        initiator,
        confidence,
        evidence: case.evidence().kernel_reason().state().trigger(),
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
