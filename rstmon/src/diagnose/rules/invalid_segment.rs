//! `mptcp` and `invalid-segment`: the kernel named a reason that has no cause of its own.
//!
//! `mptcp`: a reason `MPTCP_RST_*` (RFC 8684, 3.6), or a fast close: `mptcp_do_fastclose` borrows
//! `TCP_ABORT_ON_CLOSE` and resets a subflow that is not CLOSED. `invalid-segment`: any other reason
//! for a reset that answers a segment; last of its kind, so it takes what the special rules left.
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

fn invalid_segment<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_passive() {
        return None;
    }
    let bad_syn = case.is_state(SocketState::Listen) && case.trigger_is_syn();
    (case.reason().is_some() || bad_syn).then(|| {
        let evidence = case.evidence().kernel_reason().state().trigger();
        case.finding(Initiator::Unknown, Confidence::Likely, evidence)
    })
}
