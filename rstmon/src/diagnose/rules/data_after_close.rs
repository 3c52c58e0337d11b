//! `data-after-close`: data came after the application had closed.
//!
//! Evidence: reason `TCP_ABORT_ON_DATA`; or a timewait socket that stands for FIN-WAIT-2, which
//! answers new data with a reset (`tcp_timewait_state_process`, `TCP_TW_RST`); or, before Linux
//! 6.10, data for a socket whose receiving side is shut down and that had sent its FIN. A SYN for a
//! timewait socket is `time-wait-hit`, an empty ACK with `TCP_LINGER2` below zero `linger2-abort`;
//! both go before. Initiator: the application that closed while the peer was still sending.
//! RFC 1122, 4.2.2.13; kernel: `tcp_rcv_state_process`.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, SocketState};
use rstmon_common::wire::tcp_flag;

pub(super) const RULE: Rule = Rule {
    cause: Cause::DataAfterClose,
    judge,
};

/// States that a socket can be in after `close()` or `shutdown(SHUT_RDWR)`.
const AFTER_CLOSE: &[SocketState] = &[
    SocketState::FinWait1,
    SocketState::FinWait2,
    SocketState::Closing,
    SocketState::LastAck,
    SocketState::CloseWait,
];

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_passive() {
        return None;
    }
    let confidence = match (case.has_reason("TCP_ABORT_ON_DATA"), case.socket()) {
        (true, Some(_)) => Confidence::Certain,
        // In classic mode neither TCP_LINGER2 nor a killed process can be excluded.
        (true, None) => Confidence::Likely,
        (false, _) => by_fields(case)?,
    };
    let evidence = case
        .evidence()
        .kernel_reason()
        .state()
        .value(
            "timewait_socket",
            case.socket()
                .map(|socket| socket.is_timewait)
                .filter(|&it| it),
        )
        .trigger();
    Some(Finding {
        initiator: Initiator::LocalApp,
        confidence,
        evidence,
    })
}

fn by_fields(case: &Case<'_>) -> Option<Confidence> {
    let trigger = case.event.trigger.as_ref();
    let brings = trigger.map(|segment| segment.len > 0 || segment.flags.has(tcp_flag::FIN));
    let is_timewait = case.socket_is(|socket| socket.is_timewait);
    if case.has_reason("TCP_TIMEWAIT_SOCKET") || is_timewait {
        let stands_for_fin_wait2 = case.is_state(SocketState::FinWait2);
        return match (brings, stands_for_fin_wait2) {
            (Some(true), true) => Some(Confidence::Certain),
            (Some(true), false) | (None, true) => Some(Confidence::Likely),
            (None, false) => Some(Confidence::Guess),
            (Some(false), _) => None,
        };
    }
    if case.reason().is_some() {
        return None;
    }
    let after_close = case.is_state_of(AFTER_CLOSE)
        || (case.event.state.is_none() && case.socket_is(|socket| socket.dead));
    let shut = case.socket_is(|socket| socket.shutdown_receive);
    match brings {
        Some(true) if after_close && shut => Some(Confidence::Likely),
        None if after_close && shut => Some(Confidence::Guess),
        _ => None,
    }
}
