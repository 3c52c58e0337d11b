//! Segments that found no connection: `port-closed`, `segment-after-close`, `stale-segment`.
//!
//! Evidence: the kernel looked a socket up and found none (reason `NO_SOCKET`, or the hook's null
//! socket on kernels without reasons). A SYN then is `port-closed`. Anything else came for a
//! connection that is not there: `segment-after-close` if this host closed or reset it and so told
//! the peer (initiator: who did; not known of a connect that was given up), `stale-segment` if not,
//! or if it vanished without a word (`TCP_REPAIR`, retransmissions used up, a RST from the peer's
//! side). RFC 9293, 3.10.7.1; kernel: `tcp_v4_rcv`, `no_tcp_socket`.
//!
//! Where somebody listens on the port, such a segment finds the listener instead, which refuses its
//! ACK (reason `TCP_FLAGS`). It belongs to a connection that is gone if one is remembered, or if it
//! carries data or a FIN; a bare ACK of which nothing is known is left to `bad-handshake-ack`. Never
//! certain: a new handshake of the same ports can fail as well.
//!
//! Without the segment, as in classic mode, nothing tells the three apart.
//!
//! A close is evidence for as long as the tuple is unlikely to have been used again
//! ([`Case::recent_close`]); one of longer ago stays a fact, and keeps `stale-segment` likely.

use super::{Case, Finding, Rule};
use crate::diagnose::evidence::Evidence;
use crate::diagnose::forgery::peer_went_on;
use crate::event::model::{Cause, Confidence, Initiator, RecentClose, SocketState};
use rstmon_common::wire::tcp_flag;

pub(super) const PORT_CLOSED: Rule = Rule {
    cause: Cause::PortClosed,
    judge: port_closed,
};

pub(super) const SEGMENT_AFTER_CLOSE: Rule = Rule {
    cause: Cause::SegmentAfterClose,
    judge: segment_after_close,
};

pub(super) const STALE_SEGMENT: Rule = Rule {
    cause: Cause::StaleSegment,
    judge: stale_segment,
};

fn found_no_socket(case: &Case<'_>) -> bool {
    case.is_passive()
        && (case.has_reason("NO_SOCKET")
            || (case.reason().is_none() && case.is_state(SocketState::None)))
}

/// A listener got what is of another connection, as far as is known.
fn found_only_listener(case: &Case<'_>) -> bool {
    let refused_ack = case.is_passive()
        && case.is_state(SocketState::Listen)
        && case.may_have_reason("TCP_FLAGS")
        && case.trigger(tcp_flag::ACK, 0).is_some();
    let carries_more = case
        .trigger(tcp_flag::ACK, tcp_flag::SYN)
        .is_some_and(|segment| segment.len > 0 || segment.flags.has(tcp_flag::FIN));
    let was_connected = case.recent_close().is_some() || case.past.reset_sent.is_some();
    refused_ack && (carries_more || was_connected)
}

pub(super) fn found_no_connection(case: &Case<'_>) -> bool {
    found_no_socket(case) || found_only_listener(case)
}

/// That a reset was sent is not in doubt where it was seen; a deduced one may have been suppressed.
fn confidence(case: &Case<'_>) -> Confidence {
    if case.event.deduced || case.is_state(SocketState::Listen) {
        Confidence::Likely
    } else {
        Confidence::Certain
    }
}

fn port_closed<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    (found_no_socket(case) && case.trigger_is_syn()).then(|| Finding {
        initiator: Initiator::LocalKernel,
        confidence: confidence(case),
        evidence: evidence(case),
    })
}

/// Whether the peer was told of the end: by the FIN that these states have sent, or because there
/// was no connection yet to tell of.
const fn told_peer(close: &RecentClose) -> bool {
    !matches!(
        close.state,
        SocketState::Established | SocketState::CloseWait | SocketState::SynRecv
    )
}

/// A reset closes its connection at once; the two are noted one after the other.
const SAME_END_MS: u64 = 1_000;

/// Of a reset whoever began that. A connect that is given up was closed or has timed out, which the
/// memory of it does not tell apart; any other close is the application's.
fn who_ended_it(case: &Case<'_>) -> Initiator {
    match (case.past.reset_sent, case.recent_close()) {
        // Not of a connection that had the tuple before the one that was closed last.
        (Some((ago_ms, initiator)), close)
            if close.is_none_or(|close| ago_ms <= close.ago_ms + SAME_END_MS) =>
        {
            initiator
        }
        (_, Some(close)) if close.state == SocketState::SynSent => Initiator::Unknown,
        _ => Initiator::LocalApp,
    }
}

fn segment_after_close<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let told = case.recent_close().is_some_and(told_peer);
    let by_us = told || case.past.reset_sent.is_some();
    (found_no_connection(case) && case.event.trigger.is_some() && by_us).then(|| Finding {
        initiator: who_ended_it(case),
        confidence: confidence(case),
        evidence: evidence(case),
    })
}

/// Never certain: that nothing is known of a close does not say that there was none, as it may have
/// been before rstmon began or its event lost.
fn stale_segment<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    (found_no_connection(case) && case.event.trigger.is_some()).then(|| Finding {
        initiator: Initiator::Unknown,
        confidence: Confidence::Likely,
        evidence: evidence(case),
    })
}

fn evidence<'a>(case: &Case<'a>) -> Evidence<'a> {
    let close = case.event.recent_close;
    let sent = case.past.reset_sent.map(|(ago_ms, _)| ago_ms);
    let received = case.past.reset_received.map(|(ago_ms, _)| ago_ms);
    // Whoever sent that RST, it was not the peer.
    let went_on = peer_went_on(case.event, case.past);
    case.evidence()
        .kernel_reason()
        .drop_reason()
        .state()
        .trigger()
        .value("closed_ago_ms", close.map(|close| close.ago_ms))
        .value("closed_from", close.map(|close| close.state))
        .value("reset_sent_ago_ms", sent)
        .value("reset_received_ago_ms", received)
        .value("peer_went_on_after_its_rst_ms", went_on)
}
