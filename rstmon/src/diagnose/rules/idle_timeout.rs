//! `idle-timeout`: the peer, or a box on the way, had forgotten a connection that was idle.
//!
//! Evidence: a RST on an established connection, or in answer to our FIN, after an idle time that
//! is that of a timer: learned from the resets of the same service (`idle_timers`), or known, or
//! just long. A peer that was heard since the last data, as by answers to keepalive probes, starts
//! the timer of a box again: then the silence counts, and no timer of idle data applies. Excludes a
//! RST as a live socket sends it, or the answer to our challenge of one (`peer-aborted`), a peer
//! that has sent its FIN (`keepalive-race`, `peer-data-after-close`) and short idle times without a
//! timer (`peer-gone`). Where only a probe or a FIN of ours was out, the pause ended when this host
//! chose to end it, and its length is compared with no timer. Likely with a timer, a guess without;
//! without one, a RST with ACK is left to `peer-aborted`, as not every live socket's has a window.
//! Where the RST was not seen a guess, and only with a learned timer or something of ours that it
//! answers, since a live socket may have sent it. Initiator: the peer's TCP if the TTL is the
//! handshake's and it had something to answer, a box if it came another way, else not known. RFC
//! 5382, 5 for the timers of boxes.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::{Way, answers_probe_or_fin, is_bare, is_of_live_socket};
use crate::diagnose::evidence::render_seconds;
use crate::diagnose::idle_timers::{Keeper, known_timers, tolerance_ms};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::IdleTimeout,
    judge,
};

/// Idle for as long, a connection is likelier forgotten than lost to a restart.
const LONG_IDLE_MS: u64 = 60_000;

/// States without a FIN of the peer.
const WITHOUT_PEER_FIN: &[SocketState] = &[
    SocketState::Established,
    SocketState::FinWait1,
    SocketState::FinWait2,
];

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let is_live = case.event.rst.as_ref().is_some_and(is_of_live_socket);
    let is_abort = is_live || case.challenged_abort().is_some();
    if !case.is_kind(Kind::Received) || !case.is_state_of(WITHOUT_PEER_FIN) || is_abort {
        return None;
    }
    let idle_ms = case.event.connection.idle_ms?;
    let heard_ms = heard_since_data(case, idle_ms);
    let silent_ms = heard_ms.unwrap_or(idle_ms);
    let timer_ms = (!answers_probe_or_fin(case.event)).then_some(silent_ms);
    let learned = case.timer.filter(|_| heard_ms.is_none());
    let avoided_ms = learned.map_or(silent_ms, |timer| timer.idle_ms);
    let evidence = case
        .evidence()
        .state()
        .idle()
        .value("peer_heard_ago_ms", heard_ms)
        .rst()
        .unacked()
        .idle_timers(Keeper::Middlebox, timer_ms, learned);
    Some(Finding {
        initiator: initiator(case),
        confidence: confidence(case, silent_ms, timer_ms, learned.is_some())?,
        evidence: if timer_ms.is_some() {
            evidence.fact(remedy(avoided_ms))
        } else {
            evidence
        },
    })
}

/// How long ago the peer was last heard, if that was well after the last data. What answers that
/// data itself comes within the tolerance of any timer.
fn heard_since_data(case: &Case<'_>, idle_ms: u64) -> Option<u64> {
    let heard_ms = case.socket()?.since_heard_ms?;
    (heard_ms + tolerance_ms(idle_ms) < idle_ms).then_some(heard_ms)
}

/// `timer_ms` is the silence where it may be that of a timer.
fn confidence(
    case: &Case<'_>,
    silent_ms: u64,
    timer_ms: Option<u64>,
    is_learned: bool,
) -> Option<Confidence> {
    let seen = case.event.rst.is_some();
    let is_long = silent_ms >= LONG_IDLE_MS;
    let known = timer_ms.and_then(|ms| known_timers(ms, Keeper::Middlebox).next());
    let is_known = is_long && known.is_some();
    match (seen, is_learned, is_known) {
        (true, true, _) | (true, _, true) => Some(Confidence::Likely),
        (false, true, _) => Some(Confidence::Guess),
        (true, false, false) => (is_long && is_bare(case.event)?).then_some(Confidence::Guess),
        (false, false, _) => (is_long && case.has_something_out()).then_some(Confidence::Guess),
    }
}

fn initiator(case: &Case<'_>) -> Initiator {
    match Way::of(case.event) {
        Some(Way::Other) => Initiator::Middlebox,
        Some(Way::Same) if case.has_something_out() => Initiator::PeerKernel,
        Some(Way::Same | Way::OtherStack) | None => Initiator::Unknown,
    }
}

/// Half of the timer leaves room for a probe that is lost. The settings count in seconds.
fn remedy(timer_ms: u64) -> String {
    match timer_ms / 2_000 {
        0 => format!(
            "avoid=reuse no connection idle for {}",
            render_seconds(timer_ms)
        ),
        seconds => {
            format!("avoid=SO_KEEPALIVE with TCP_KEEPIDLE or net.ipv4.tcp_keepalive_time={seconds}")
        }
    }
}
