//! `time-wait-hit` sent and `time-wait-assassination` arrived: segments for a timewait socket.
//!
//! A timewait socket answers with a reset where `tcp_timewait_state_process` says `TCP_TW_RST`: a
//! SYN in the window of a connection in FIN-WAIT-2. New data there is `data-after-close`. A RST
//! kills it: in FIN-WAIT-2 where it is in the window, in TIME-WAIT where it has the very number that comes
//! next, unless `net.ipv4.tcp_rfc1337` forbids (RFC 1337); one that missed is a `stray-reset`. The
//! kernel drops that segment in any case, so the event is `stray` and does not tell whether it
//! survived. Who sent it shows in its shape: a peer that aborts in place of closing acknowledges, a
//! host that knows nothing of the connection answers with a bare one.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};
use rstmon_common::wire::tcp_flag;

pub(super) const TIME_WAIT_HIT: Rule = Rule {
    cause: Cause::TimeWaitHit,
    judge: time_wait_hit,
};

pub(super) const TIME_WAIT_ASSASSINATION: Rule = Rule {
    cause: Cause::TimeWaitAssassination,
    judge: time_wait_assassination,
};

fn is_timewait(case: &Case<'_>) -> bool {
    case.is_state(SocketState::TimeWait) || case.socket_is(|socket| socket.is_timewait)
}

fn time_wait_hit<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let here = case.has_reason("TCP_TIMEWAIT_SOCKET") || is_timewait(case);
    let has_syn = case.trigger(tcp_flag::SYN, 0).is_some();
    let not_data = has_syn || case.is_state(SocketState::TimeWait);
    (case.is_passive() && here && not_data).then(|| {
        let evidence = case.evidence().kernel_reason().state().trigger();
        case.finding(Initiator::Unknown, Confidence::Likely, evidence)
    })
}

/// Whether the tuple's former connection can be in TIME-WAIT: it left a state after which that comes
/// (RFC 9293, 3.3.2), and no reset had ended it.
fn left_for_time_wait(case: &Case<'_>) -> bool {
    let after_fin = case.recent_close().is_some_and(|close| {
        matches!(
            close.state,
            SocketState::FinWait1
                | SocketState::FinWait2
                | SocketState::Closing
                | SocketState::TimeWait
        )
    });
    after_fin && case.past.reset_sent.is_none() && case.past.reset_received.is_none()
}

/// How far the RST's number is ahead of the one that comes next, if both are known.
fn ahead_of_next(case: &Case<'_>) -> Option<i32> {
    let next = case.socket().and_then(|socket| socket.rcv_nxt)?;
    Some(case.event.rst?.seq.wrapping_sub(next).cast_signed())
}

/// Whether the timewait socket cannot have obeyed the RST for its number: TIME-WAIT obeys one number, and
/// the window of FIN-WAIT-2 begins with it.
fn missed(case: &Case<'_>) -> bool {
    ahead_of_next(case).is_some_and(|ahead| {
        if case.is_state(SocketState::TimeWait) {
            ahead != 0
        } else {
            is_timewait(case) && ahead < 0
        }
    })
}

/// Kernels before 6.11 do not tell whose the dropped segment was; a connection of this tuple that
/// ended here a short while ago then makes it the likeliest reading.
fn time_wait_assassination<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_kind(Kind::Stray) || missed(case) {
        return None;
    }
    // Another reason is of a RST for which none was found, or that was not looked up: a bad checksum.
    let unnamed = matches!(
        case.event.drop_reason.as_deref(),
        None | Some("NOT_SPECIFIED")
    );
    let remembered = case.event.state.is_none() && unnamed && left_for_time_wait(case);
    let confidence = match (is_timewait(case), remembered) {
        // How far the window of FIN-WAIT-2 goes is not known.
        (true, _) if ahead_of_next(case).is_some_and(|ahead| ahead > 0) => Confidence::Likely,
        (true, _) => Confidence::Certain,
        (false, true) => Confidence::Guess,
        (false, false) => return None,
    };
    let closed = case.event.recent_close.map(|close| close.ago_ms);
    Some(Finding {
        initiator: case.by_shape_of_rst(),
        confidence,
        evidence: case
            .evidence()
            .state()
            .value("closed_ago_ms", closed)
            .drop_reason()
            .rst(),
    })
}
