//! Resets of a handshake: `accept-queue-overflow`, `paws`, `bad-handshake-ack` sent,
//! `handshake-aborted` received.
//!
//! A listener (LISTEN, also for its request sockets, as `tcp_check_req` hands the listener on)
//! answers several things with a reset: an ACK that fits no handshake (reason `TCP_FLAGS`, cookies
//! included; [`super::no_socket`] takes those of old connections out), the last ACK of a good
//! handshake when the accept queue is full and `tcp_abort_on_overflow` is on (reason `INVALID_SYN`,
//! which the kernel borrows: it says no more than that no child came, so only a backlog that is full
//! makes it certain), a SYN out of place (`invalid-segment`), and an MPTCP join (`mptcp`). Before Linux
//! 6.10 only the backlog tells the first two apart. RFC 9293, 3.10.7.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, Segment, SocketState};
use rstmon_common::wire::tcp_flag;

pub(super) const ACCEPT_QUEUE_OVERFLOW: Rule = Rule {
    cause: Cause::AcceptQueueOverflow,
    judge: accept_queue_overflow,
};

pub(super) const PAWS: Rule = Rule {
    cause: Cause::Paws,
    judge: paws,
};

pub(super) const BAD_HANDSHAKE_ACK: Rule = Rule {
    cause: Cause::BadHandshakeAck,
    judge: bad_handshake_ack,
};

pub(super) const HANDSHAKE_ABORTED: Rule = Rule {
    cause: Cause::HandshakeAborted,
    judge: handshake_aborted,
};

/// Reasons that name an unacceptable acknowledgment.
const BAD_ACK_REASONS: [&str; 4] = [
    "TCP_INVALID_ACK_SEQUENCE",
    "TCP_ACK_UNSENT_DATA",
    "TCP_TOO_OLD_ACK",
    "TCP_OLD_ACK",
];

fn accept_queue_overflow<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let (waiting, limit) = case.socket().and_then(|socket| socket.backlog).unzip();
    // sk_acceptq_is_full
    let full = waiting > limit;
    let ack = case.trigger(tcp_flag::ACK, tcp_flag::SYN).is_some();
    let named = case.has_reason("INVALID_SYN") && (ack || (full && case.event.trigger.is_none()));
    let by_fields = case.reason().is_none() && full && ack;
    let found = case.is_passive() && case.is_state(SocketState::Listen) && (named || by_fields);
    found.then(|| Finding {
        initiator: Initiator::LocalApp,
        confidence: if named && full {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        evidence: case
            .evidence()
            .kernel_reason()
            .value("backlog", waiting)
            .value("backlog_limit", limit)
            .trigger(),
    })
}

/// Where the kernel gives no reason: in SYN-SENT it resets for an acknowledgment that does not fit and
/// then for timestamps, and for nothing else (`tcp_rcv_synsent_state_process`). The timestamps themselves
/// prove nothing, as the kernel compares with one that it has since replaced.
fn paws<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let fits = case.reason().is_none() && case.is_state(SocketState::SynSent) && ack_fits(case);
    let found = case.is_passive() && (case.has_reason("TCP_RFC7323_PAWS") || fits);
    found.then(|| {
        let mut evidence = case.evidence().kernel_reason().state().trigger();
        if fits {
            evidence = evidence.fact("ack_fits=true");
        }
        case.finding(Initiator::Unknown, Confidence::Likely, evidence)
    })
}

/// Whether the segment acknowledges something that was sent and was not acknowledged before:
/// SND.UNA < SEG.ACK =< SND.NXT (RFC 9293, 3.10.7.3).
fn ack_fits(case: &Case<'_>) -> bool {
    let acknowledged = case.event.trigger.as_ref().and_then(Segment::acknowledged);
    let fits = |ack: u32| {
        let socket = case.socket()?;
        let (una, next) = (socket.snd_una?, socket.snd_nxt?);
        let ahead = ack.wrapping_sub(una);
        Some(ahead != 0 && ahead <= next.wrapping_sub(una))
    };
    acknowledged.and_then(fits) == Some(true)
}

fn bad_handshake_ack<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let opening = case.is_state_of(&[
        SocketState::Listen,
        SocketState::SynSent,
        SocketState::SynRecv,
    ]);
    let bad_ack = case
        .reason()
        .is_some_and(|reason| BAD_ACK_REASONS.contains(&reason));
    let at_listener = opening && case.has_reason("TCP_FLAGS");
    let without_reason = match &case.event.trigger {
        Some(trigger) if trigger.flags.has(tcp_flag::ACK) => Confidence::Likely,
        Some(_) => return None,
        // What a listener answers tells which of several things it is; a classic record shows none of it.
        None if case.is_state(SocketState::Listen) && !bad_ack => return None,
        None => Confidence::Guess,
    };
    let by_fields = opening && case.reason().is_none();
    let found = case.is_passive() && (bad_ack || at_listener || by_fields);
    found.then(|| {
        let evidence = case.evidence().kernel_reason().state().trigger();
        case.finding(Initiator::Unknown, without_reason, evidence)
    })
}

/// Obeyed by a full socket in SYN-RECEIVED or by a request socket. Of the latter old kernels tell
/// only that something which is no full socket swallowed the RST; a timewait socket would be
/// remembered as closed. A RST with ACK is a client that closed; a bare one is the answer of a host
/// that knows nothing of our SYN-ACK.
fn handshake_aborted<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let opening = case.is_state(SocketState::SynRecv);
    let unspecified = case.event.drop_reason.as_deref() == Some("NOT_SPECIFIED");
    let unnamed = case.event.drop_reason.is_none() || unspecified;
    let swallowed = case.event.state.is_none() && unspecified && case.recent_close().is_none();
    let confidence = match case.event.kind {
        Kind::Received if opening => Confidence::Certain,
        Kind::Stray if opening && unnamed => Confidence::Likely,
        Kind::Stray if swallowed => Confidence::Guess,
        _ => return None,
    };
    Some(Finding {
        initiator: case.by_shape_of_rst(),
        confidence,
        evidence: case.evidence().drop_reason().state().rst(),
    })
}
