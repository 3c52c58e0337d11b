//! `blind-reset`: a RST arrived for a connection and did not hit its sequence number.
//!
//! Evidence: the kernel did not obey it, and either names the sequence or acknowledgment as its
//! reason, or the RST's number is not RCV.NXT. In the window it is answered with a challenge ACK,
//! outside it is dropped (RFC 5961, 3.2; `tcp_validate_incoming`). A drop for another reason
//! (checksum, filter, authentication) is no such reset and stays undiagnosed. Initiator: not known;
//! a late RST of the peer's own looks the same. Likely where the kernel does not name the socket (before
//! 6.11): a listener may have got it.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::Place;
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::BlindReset,
    judge,
};

/// Drop reasons of a RST that reached its connection and was not exact. `INVALID_SEQUENCE` and
/// `TCP_OLD_SEQUENCE` are the names of different releases.
const INEXACT: [&str; 7] = [
    "TCP_RESET",
    "TCP_OLD_SEQUENCE",
    "TCP_INVALID_SEQUENCE",
    "TCP_INVALID_END_SEQUENCE",
    "TCP_INVALID_ACK_SEQUENCE",
    "TCP_OVERWINDOW",
    "INVALID_SEQUENCE",
];

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    // A request socket survives a RST that is not exact; its events are of kind `stray`.
    let by_request = case.is_kind(Kind::Stray) && case.is_state(SocketState::SynRecv);
    if !case.is_kind(Kind::Rejected) && !by_request {
        return None;
    }
    let in_syn_sent = case.is_state(SocketState::SynSent);
    let named = match case.event.drop_reason.as_deref() {
        Some("NOT_SPECIFIED") | None => false,
        Some(name) if INEXACT.contains(&name) => true,
        Some(_) => return None,
    };
    // In SYN-SENT there is no RCV.NXT yet; a RST there must acknowledge our SYN instead.
    let expected = case
        .socket()
        .and_then(|socket| socket.rcv_nxt)
        .filter(|_| !in_syn_sent);
    let is_exact = expected
        .zip(case.event.rst)
        .map(|(expected, rst)| rst.seq == expected);
    // A kernel that does not name the socket (before 6.11) may mean a listener.
    let is_connection = case.event.state.is_some() || is_exact == Some(false);
    let confidence = match (named, is_exact) {
        (true, _) if !is_connection => Confidence::Likely,
        (true, _) | (false, Some(false)) => Confidence::Certain,
        (false, _) if in_syn_sent => Confidence::Certain,
        (false, _) => Confidence::Guess,
    };
    Some(Finding {
        initiator: Initiator::Unknown,
        confidence,
        evidence: case
            .evidence()
            .drop_reason()
            .state()
            .rst()
            .value("rcv_nxt", expected)
            .value("in_window", expected.and_then(|_| in_window(case))),
    })
}

/// Before RCV.NXT the window begins where the last acknowledgment that was sent left off, which only
/// the kernel knows: it names a number in the window by `TCP_RESET`.
fn in_window(case: &Case<'_>) -> Option<bool> {
    match (Place::of(case.event)?, case.event.drop_reason.as_deref()) {
        (Place::Within, _) => Some(true),
        (Place::Beyond, _) => Some(false),
        (Place::Before(_), Some("NOT_SPECIFIED") | None) => None,
        (Place::Before(_), Some(reason)) => Some(reason == "TCP_RESET"),
    }
}
