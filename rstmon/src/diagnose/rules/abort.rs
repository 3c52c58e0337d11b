//! The aborts that the kernel calls `TCP_STATE`, or nothing at all before Linux 6.12:
//! `linger-abort`, `listener-closed`, `disconnect`, `socket-destroyed`.
//!
//! | cause | state at the hook | both directions shut down | has a file | kernel |
//! |---|---|---|---|---|
//! | `linger-abort` | CLOSED | yes, and `SO_LINGER` is 0 | yes | `__tcp_close`, `tcp_disconnect` |
//! | `listener-closed` | CLOSED | no | no | `inet_child_forget` |
//! | `disconnect` | CLOSED | no, or `SO_LINGER` is not 0 | yes | `tcp_disconnect` |
//! | `socket-destroyed` | as before | no matter | no matter | `tcp_abort` |
//!
//! `__tcp_close` shuts both directions down before all else and `tcp_disconnect` sets the state
//! before it resets; `tcp_abort` resets first. `close-unread-data` goes before them, and so do the
//! timers, which reset sockets in their state, too.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, SocketState};

pub(super) const LINGER_ABORT: Rule = Rule {
    cause: Cause::LingerAbort,
    judge: linger_abort,
};

pub(super) const LISTENER_CLOSED: Rule = Rule {
    cause: Cause::ListenerClosed,
    judge: listener_closed,
};

pub(super) const DISCONNECT: Rule = Rule {
    cause: Cause::Disconnect,
    judge: disconnect,
};

pub(super) const SOCKET_DESTROYED: Rule = Rule {
    cause: Cause::SocketDestroyed,
    judge: socket_destroyed,
};

/// `ECONNABORTED`, which `tcp_abort` puts on the socket (before it resets, up to Linux 6.9).
pub(super) const ECONNABORTED: u32 = 103;

/// An active reset from `tcp_disconnect`, as far as reason and state tell.
pub(super) fn is_disconnect_path(case: &Case<'_>) -> bool {
    case.is_active()
        && case.is_closed_at_hook()
        && (case.may_have_reason("TCP_STATE") || case.has_reason("TCP_DISCONNECT_WITH_DATA"))
}

fn linger_abort<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let found = is_disconnect_path(case)
        && case.is_shut_down()
        && case.socket_is(|socket| socket.linger_zero);
    found.then(|| {
        let evidence = case.evidence().kernel_reason().fact("so_linger=0s").state();
        case.finding(
            Initiator::LocalApp,
            Confidence::Likely,
            evidence.unacked().exit(),
        )
    })
}

fn listener_closed<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let never_accepted = case.event.inode.is_none() && case.socket_is(|socket| !socket.dead);
    let found = is_disconnect_path(case) && !case.is_shut_down() && never_accepted;
    found.then(|| {
        let evidence = case.evidence().kernel_reason().fact("accepted=no").state();
        case.finding(Initiator::LocalApp, Confidence::Likely, evidence)
    })
}

/// A socket that was shut down can be disconnected, too. `close()` would not come here then, but for
/// `SO_LINGER` 0; without a reason only the states after our FIN show that a shutdown came before.
fn disconnect<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let after_fin = case.is_state_of(&[
        SocketState::FinWait1,
        SocketState::FinWait2,
        SocketState::Closing,
        SocketState::LastAck,
    ]);
    let shut_before =
        case.socket_is(|socket| !socket.linger_zero) && (case.reason().is_some() || after_fin);
    let not_closed = !case.is_shut_down() || shut_before;
    let found = is_disconnect_path(case) && not_closed && case.event.inode.is_some();
    found.then(|| {
        let evidence = case.evidence().kernel_reason().fact("closed=no").state();
        case.finding(Initiator::LocalApp, Confidence::Likely, evidence)
    })
}

/// Without a reason, one of these must say so: the error that `tcp_abort` has set; that nothing else is
/// left, as all others that reset a socket in its state are timers of orphans, keepalive after probes, and
/// MPTCP; a task that is not the owner, though timers run in any task.
fn socket_destroyed<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_active() || case.socket().is_none() || case.is_closed_at_hook() {
        return None;
    }
    let aborted = case.socket_is(|socket| socket.error == ECONNABORTED);
    let no_other = case.reason().is_none() && nothing_else_resets_it(case);
    let foreign = case.foreign_task();
    let without_reason = if aborted || no_other || case.has_reason("TCP_STATE") {
        Confidence::Likely
    } else if foreign.is_some() {
        Confidence::Guess
    } else {
        return None;
    };
    case.may_have_reason("TCP_STATE").then(|| {
        let mut evidence = case
            .evidence()
            .kernel_reason()
            .state()
            .value("sk_err", aborted.then_some("ECONNABORTED"));
        if no_other {
            evidence = evidence
                .fact("orphan=false")
                .fact("probes_out=0")
                .fact("retransmits=0");
        }
        let evidence = evidence.value("current", foreign.map(|task| task.comm));
        case.finding(Initiator::LocalAdmin, without_reason, evidence)
    })
}

/// Whether nothing that is known to reset a socket that is not CLOSED, timers and MPTCP, can have been it.
fn nothing_else_resets_it(case: &Case<'_>) -> bool {
    case.socket_is(|socket| socket.mptcp_subflow == Some(false)) && !case.may_be_a_timers()
}
