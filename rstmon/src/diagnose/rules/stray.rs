//! `stray-reset`: a RST for no connection of ours.
//!
//! Evidence: drop reason `NO_SOCKET`, or no socket in the record, or a listener, which ignores
//! resets (RFC 9293, 3.10.7.2), or a socket that was CLOSED already, as the first RST of several leaves
//! it (drop reason `TCP_CLOSE`). A request socket's is `handshake-aborted`, a timewait socket's
//! `time-wait-assassination`; both go before, and leave here what missed a timewait socket. Likely for a listener with the reason `TCP_FLAGS`,
//! which a request socket that lives can hide behind. Kernels that name no drop reason (before 5.17)
//! leave these three apart only by guess; one that names another reason has found a socket or never
//! looked (a bad checksum), and the event stays undiagnosed.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::StrayReset,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let drop_reason = case.event.drop_reason.as_deref();
    let of_closed = drop_reason == Some("TCP_CLOSE");
    let arrived = case.is_kind(Kind::Stray)
        || (case.is_kind(Kind::Rejected) && (of_closed || case.is_state(SocketState::Listen)));
    if !arrived {
        return None;
    }
    let confidence = match (case.event.state, drop_reason) {
        (Some(SocketState::Listen), Some("TCP_FLAGS")) => Confidence::Likely,
        (Some(SocketState::None), None | Some("NO_SOCKET" | "NOT_SPECIFIED"))
        | (Some(SocketState::Listen | SocketState::TimeWait | SocketState::FinWait2), _)
        | (None, Some("NO_SOCKET"))
        | (_, Some("TCP_CLOSE")) => Confidence::Certain,
        (None, None) => Confidence::Guess,
        _ => return None,
    };
    Some(Finding {
        initiator: Initiator::Unknown,
        confidence,
        evidence: case.evidence().drop_reason().state().rst(),
    })
}
