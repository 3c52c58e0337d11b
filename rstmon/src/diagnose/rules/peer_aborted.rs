//! `peer-aborted`: a live socket of the peer reset the connection.
//!
//! Evidence: a RST with ACK. Linux sends it from `tcp_send_active_reset`, with the real window and,
//! where negotiated, timestamps; a host without the socket cannot know our sequence number and
//! sends a bare one. Certain where timestamps are there and the TTL is the handshake's, a hop of
//! equal-cost paths aside; likely with a window; else a guess, as middleboxes send RST with ACK,
//! too. Where the RST was not seen, that nothing of ours was outstanding: there was nothing to
//! answer; a guess after a long idle time, when a box may have forgotten the connection. Goes after
//! `idle-timeout`, which leaves a live socket's RST to this rule. Initiator: the peer's application.
//! RFC 9293, 3.10.4 and 3.10.5.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::Way;
use crate::diagnose::idle_timers::Keeper;
use crate::event::model::{Cause, Confidence, Initiator, Kind, Segment, SocketState};
use rstmon_common::wire::tcp_flag;

pub(super) const RULE: Rule = Rule {
    cause: Cause::PeerAborted,
    judge,
};

/// Idle for as long, a box on the way may have forgotten the connection.
const QUIET_MS: u64 = 60_000;

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_kind(Kind::Received) {
        return None;
    }
    let confidence = match &case.event.rst {
        Some(rst) if rst.flags.has(tcp_flag::ACK) => by_shape(rst, Way::of(case.event)),
        Some(_) => return None,
        None => unseen(case)?,
    };
    let idle_ms = case.event.connection.idle_ms;
    // Unseen after a quiet time, it may be a box's all the same.
    let of_a_box = idle_ms.filter(|&idle| case.event.rst.is_none() && idle >= QUIET_MS);
    Some(Finding {
        initiator: Initiator::PeerApp,
        confidence,
        evidence: case
            .evidence()
            .state()
            .rst()
            .unacked()
            .idle()
            .idle_timers(Keeper::Server, idle_ms, case.timer)
            .idle_timers(Keeper::Middlebox, of_a_box, None),
    })
}

fn by_shape(rst: &Segment, way: Option<Way>) -> Confidence {
    let has_window = rst.window.is_some_and(|window| window > 0);
    match (rst.timestamps.is_some(), has_window) {
        (true, true) if way == Some(Way::Same) => Confidence::Certain,
        (true, _) | (_, true) => Confidence::Likely,
        (false, false) => Confidence::Guess,
    }
}

/// A probe of ours can be answered like data can, and so can a FIN that waits for its
/// acknowledgment; that one is out for a moment only, so an abort is as good a guess.
fn unseen(case: &Case<'_>) -> Option<Confidence> {
    let connection = &case.event.connection;
    let no_data_out = connection.unacked_bytes == Some(0);
    let nothing_out = no_data_out && !case.has_something_out();
    let is_quiet = connection.idle_ms.is_some_and(|idle| idle >= QUIET_MS);
    match case.event.state? {
        SocketState::Established | SocketState::FinWait2 if nothing_out && is_quiet => {
            Some(Confidence::Guess)
        }
        SocketState::Established | SocketState::FinWait2 if nothing_out => Some(Confidence::Likely),
        SocketState::CloseWait if nothing_out => Some(Confidence::Guess),
        SocketState::FinWait1 if no_data_out => Some(Confidence::Guess),
        _ => None,
    }
}
