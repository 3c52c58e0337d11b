//! This host's TCP gave a connection up by itself: `linger2-abort`, `out-of-memory`,
//! `user-timeout`, `keepalive-timeout`, `fin-wait2-timeout`.
//!
//! From Linux 6.12 a reason names three of them. Without one: an orphan that is CLOSED in the close
//! path was refused for `TCP_LINGER2` below zero (from FIN-WAIT-2) or for memory (`tcp_check_oom`), as
//! is one whose retransmission timer resets it (`tcp_out_of_resources`); a socket with keepalive and
//! unanswered probes timed out (`tcp_keepalive_timer`), by `TCP_USER_TIMEOUT` if that is set, as the
//! timer then counts no probes; an orphan reset in FIN-WAIT-2 was reset by that same timer. An
//! application's own close shows unread data or `SO_LINGER` 0 and is taken by the rules before.

use super::abort::ECONNABORTED;
use super::{Case, Finding, Rule};
use crate::diagnose::evidence::Evidence;
use crate::event::model::{Cause, Confidence, Initiator, SocketState};

pub(super) const LINGER2_ABORT: Rule = Rule {
    cause: Cause::Linger2Abort,
    judge: linger2_abort,
};

pub(super) const OUT_OF_MEMORY: Rule = Rule {
    cause: Cause::OutOfMemory,
    judge: out_of_memory,
};

pub(super) const USER_TIMEOUT: Rule = Rule {
    cause: Cause::UserTimeout,
    judge: user_timeout,
};

pub(super) const KEEPALIVE_TIMEOUT: Rule = Rule {
    cause: Cause::KeepaliveTimeout,
    judge: keepalive_timeout,
};

pub(super) const FIN_WAIT2_TIMEOUT: Rule = Rule {
    cause: Cause::FinWait2Timeout,
    judge: fin_wait2_timeout,
};

/// In the close path, or when the peer acknowledges our FIN after it (`tcp_rcv_state_process`,
/// FIN-WAIT-1), which resets in answer to a segment that carries nothing.
fn linger2_abort<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let negative = case.socket_is(|socket| socket.linger2_negative);
    let orphan = case.socket_is(|socket| socket.dead);
    let in_close = case.is_active()
        && (case.has_reason("TCP_ABORT_ON_LINGER")
            || (case.reason().is_none()
                && negative
                && orphan
                && case.is_closed_at_hook()
                && case.is_state_of(&[SocketState::FinWait2, SocketState::Closed])));
    let carries_nothing = case
        .trigger(0, rstmon_common::wire::tcp_flag::FIN)
        .is_some_and(|trigger| trigger.len == 0);
    let at_ack_of_fin = case.is_passive()
        && negative
        && carries_nothing
        && case.may_have_reason("TCP_ABORT_ON_DATA")
        && case.is_state_of(&[SocketState::FinWait1, SocketState::FinWait2]);
    (in_close || at_ack_of_fin).then(|| {
        let evidence = case
            .evidence()
            .kernel_reason()
            .value("tcp_linger2", negative.then_some("negative"))
            .state()
            .trigger();
        case.finding(Initiator::LocalApp, Confidence::Likely, evidence)
    })
}

/// `ss -K` could reset an orphan only on kernels that say so by their reason.
fn out_of_memory<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let orphan = case.reason().is_none() && case.socket_is(|socket| socket.dead);
    let refused_in_close = case.is_closed_at_hook()
        && case.socket_is(|socket| !socket.linger2_negative && !socket.linger_zero);
    let given_up_by_timer = !case.is_closed_at_hook()
        && case.is_state_of(&[
            SocketState::FinWait1,
            SocketState::Closing,
            SocketState::LastAck,
        ]);
    let by_fields = orphan && (refused_in_close || given_up_by_timer);
    let found = case.is_active() && (case.has_reason("TCP_ABORT_ON_MEMORY") || by_fields);
    found.then(|| {
        let evidence = case
            .evidence()
            .kernel_reason()
            .value("orphan", case.socket().map(|socket| socket.dead))
            .state();
        case.finding(Initiator::LocalKernel, Confidence::Guess, evidence)
    })
}

/// Reset by the keepalive timer, and not by `ss -K` while a probe was out.
fn timed_out(case: &Case<'_>) -> bool {
    let by_fields = case.reason().is_none()
        && !case.is_closed_at_hook()
        && case.socket_is(|socket| {
            socket.keepalive && socket.probes_out > 0 && socket.error != ECONNABORTED
        });
    case.is_active() && (case.has_reason("TCP_KEEPALIVE_TIMEOUT") || by_fields)
}

/// With the option the timer resets once that time is over and one probe is out; the number of
/// probes no longer matters.
fn user_timeout<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let bound_ms = case.socket()?.user_timeout_ms;
    (timed_out(case) && bound_ms > 0).then(|| {
        let evidence = timer_evidence(case).value("user_timeout_ms", Some(bound_ms));
        case.finding(Initiator::LocalKernel, Confidence::Likely, evidence)
    })
}

/// Certain only where the option is known not to be set: the kernel gives both one reason.
fn keepalive_timeout<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    timed_out(case).then(|| {
        let finding = case.finding(
            Initiator::LocalKernel,
            Confidence::Likely,
            timer_evidence(case),
        );
        match case.socket() {
            Some(_) => finding,
            None => Finding {
                confidence: Confidence::Likely,
                ..finding
            },
        }
    })
}

fn timer_evidence<'a>(case: &Case<'a>) -> Evidence<'a> {
    case.evidence()
        .kernel_reason()
        .value("probes_out", case.socket().map(|socket| socket.probes_out))
        .idle()
}

/// `ss -K` can hit an orphan in FIN-WAIT-2 too and gives the same reason, so this is never certain.
fn fin_wait2_timeout<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let found = case.is_active()
        && case.is_state(SocketState::FinWait2)
        && !case.is_closed_at_hook()
        && case.may_have_reason("TCP_STATE")
        && case.socket_is(|socket| socket.dead);
    found.then(|| Finding {
        initiator: Initiator::LocalKernel,
        confidence: Confidence::Likely,
        evidence: case.evidence().kernel_reason().state().fact("orphan=true"),
    })
}
