//! `process-killed`: the process died holding the socket.
//!
//! Evidence: the process that closed the socket was exiting, and because of a signal: a dying
//! process closes its descriptors itself, after `do_exit` has noted why. Takes what the close then
//! leads to: unread data or `SO_LINGER` 0 at once, data or a segment that comes later. An ordinary
//! exit is the application's own close and is left to the rules of those (`process_exit` in their
//! evidence). Certain for the socket itself. Likely for a segment that found no connection
//! ([`found_no_connection`]) but the memory of one, as the tuple can have been used again since; then
//! what the kernel says of a listener's handshake goes first, and a close of long ago counts nothing.
//! A close that the kernel resets for a limit of its own is left to that. Initiator: the kernel where
//! it was out of memory, whoever sent the signal, the application where the signal is of those that
//! its own doing raises; else not known. Kernel: `do_exit`,
//! `exit_files`.

use super::no_socket::found_no_connection;
use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, ProcessEnd, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::ProcessKilled,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let Some(ProcessEnd::Signalled {
        signal,
        dumped_core,
        out_of_memory,
    }) = case.event.owner_end
    else {
        return None;
    };
    let by_limit = LIMITS.iter().any(|limit| case.has_reason(limit));
    let by_close = case.is_active() && case.is_closed_at_hook() && !by_limit;
    let by_memory = found_no_connection(case) && case.recent_close().is_some();
    // A listener is not the socket that the process left, and neither is none.
    let by_socket =
        case.is_passive() && !case.is_state_of(&[SocketState::None, SocketState::Listen]);
    if !by_close && !by_memory && !by_socket {
        return None;
    }
    let killer = case.event.killer.as_ref();
    let initiator = if out_of_memory {
        Initiator::LocalKernel
    } else if killer.is_some() {
        Initiator::LocalAdmin
    } else if OWN_SIGNALS.contains(&signal) {
        Initiator::LocalApp
    } else {
        Initiator::Unknown
    };
    let evidence = case
        .evidence()
        .fact(format!("signal={}", signal_name(signal)))
        .value("core_dumped", dumped_core.then_some("yes"))
        .value("oom_kill", out_of_memory.then_some("yes"))
        .value("signal_from_pid", killer.map(|killer| killer.process.pid))
        .kernel_reason()
        .unread()
        .state()
        .trigger();
    Some(Finding {
        initiator,
        confidence: if by_memory || (by_socket && case.event.state.is_none()) {
            Confidence::Likely
        } else {
            Confidence::Certain
        },
        evidence,
    })
}

/// The kernel's reasons for a close that would have been in order, whoever closed.
const LIMITS: [&str; 2] = ["TCP_ABORT_ON_MEMORY", "TCP_ABORT_ON_LINGER"];

/// The signals that a program's own doing raises, without a sender: ILL, TRAP, ABRT, BUS, FPE, SEGV,
/// PIPE, ALRM, XCPU, XFSZ, SYS.
const OWN_SIGNALS: [u8; 11] = [4, 5, 6, 7, 8, 11, 13, 14, 24, 25, 31];

/// The signals that end a process, from number 1 on; signal(7), as on x86 and arm.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// `SIGKILL`; a real-time signal by its number.
fn signal_name(number: u8) -> String {
    let place = usize::from(number).checked_sub(1);
    let name = place.and_then(|place| SIGNALS.get(place));
    name.map_or_else(|| number.to_string(), ToString::to_string)
}
