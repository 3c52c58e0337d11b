//! The signals that ask a command to end, for those that have something to finish. `top` on a screen and the
//! agent, which reloads on SIGHUP, have lists of their own.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Their numbers. A terminal that is closed asks for the end (SIGHUP) as a user does, unless whoever
/// started this command had it ignored, as nohup(1) does: then the command is to outlive the terminal.
///
/// Asked before one of them is taken over, or an ignored one cannot be told any more.
pub(super) fn end_signals() -> io::Result<Vec<i32>> {
    let mut signals = vec![libc::SIGINT, libc::SIGTERM];
    if !is_ignored(libc::SIGHUP)? {
        signals.push(libc::SIGHUP);
    }
    Ok(signals)
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    // SAFETY: all members of `sigaction` are plain data.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action nothing changes; the old one is written to a whole `sigaction`.
    let status = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    if status == 0 {
        Ok(action.sa_sigaction == libc::SIG_IGN)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// They, for an event loop.
pub(super) struct EndSignals(Vec<Signal>);

impl EndSignals {
    /// Takes them over. Needs a tokio runtime with I/O.
    pub(super) fn watch() -> io::Result<Self> {
        let signals = end_signals()?.into_iter();
        let watched = signals.map(|number| signal(SignalKind::from_raw(number)));
        Ok(Self(watched.collect::<Result<_, _>>()?))
    }

    /// Returns when one of them has come.
    pub(super) async fn come(&mut self) {
        poll_fn(|context| {
            let mut signals = self.0.iter_mut();
            if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
