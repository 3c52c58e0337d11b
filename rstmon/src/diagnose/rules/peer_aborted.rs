//! `peer-aborted`: a live socket of the peer reset the connection.
//!
//! Evidence: a RST with ACK. Linux sends it from `tcp_send_active_reset`, with the real window and,
//! where negotiated, timestamps; a host without the socket cannot know our sequence number and
//! sends a bare one. Certain where timestamps are there and the TTL is the handshake's, a hop of
//! equal-cost paths aside, and no sign speaks against the peer; likely with a window; else a guess,
//! as middleboxes send RST with ACK, too. A bare RST that is the answer to our challenge of such a
//! RST is likely (RFC 5961, 3.2). Where the RST was not seen, that nothing of ours was outstanding:
//! there was nothing to answer; a guess after a long idle time, when a box may have forgotten the
//! connection. Goes after `idle-timeout`, which leaves a live socket's RST to this rule. Initiator:
//! the peer's application. RFC 9293, 3.10.4 and 3.10.5.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::{Way, answers_probe_or_fin};
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
    let challenged_ms = case.challenged_abort();
    let confidence = match &case.event.rst {
        Some(rst) if rst.flags.has(tcp_flag::ACK) => by_shape(case, rst),
        Some(_) if challenged_ms.is_some() => Confidence::Likely,
        Some(_) => return None,
        None => unseen(case)?,
    };
    let idle_ms = case.event.connection.idle_ms;
    let idle_ms = idle_ms.filter(|_| !answers_probe_or_fin(case.event));
    // Unseen after a quiet time, it may be a box's all the same.
    let of_a_box = idle_ms.filter(|&idle| case.event.rst.is_none() && idle >= QUIET_MS);
    Some(Finding {
        initiator: Initiator::PeerApp,
        confidence,
        evidence: case
            .evidence()
            .state()
            .rst()
            .value("challenged_rst_ago_ms", challenged_ms)
            .unacked()
            .idle()
            .idle_timers(Keeper::Server, idle_ms, case.timer)
            .idle_timers(Keeper::Middlebox, of_a_box, None),
    })
}

fn by_shape(case: &Case<'_>, rst: &Segment) -> Confidence {
    let has_window = rst.window.is_some_and(|window| window > 0);
    let fits = Way::of(case.event) == Some(Way::Same) && case.signs.is_empty();
    match (rst.timestamps.is_some(), has_window) {
        (true, true) if fits => Confidence::Certain,
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
