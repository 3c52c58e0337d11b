//! Standard output that cannot hold up the end of the command.
//!
//! A pipe that nobody reads, or a terminal that is halted, blocks a write for ever. [`Stdout`] writes
//! only what is taken at once, and waits in between. Once the command shall end, it gives up on a
//! reader that takes nothing for [`GRACE`]; without that, it waits as long as the reader likes.

use super::end_signals::end_signals;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long a reader may take nothing once the command shall end.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// How often a write that waits looks whether the command shall end, milliseconds.
const LOOK_INTERVAL_MS: u8 = 100;
/// A pipe that is writable takes as much without blocking (`pipe(7)`, `PIPE_BUF`).
const TAKEN_AT_ONCE: usize = 4096;

/// When the command shall end.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    asked: Arc<AtomicBool>,
    at: Option<Instant>,
}

impl End {
    /// On a signal that asks for it, or `after` some time.
    pub(super) fn on_signal_or(after: Option<Duration>) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in end_signals()? {
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        let at = after.and_then(|after| Instant::now().checked_add(after));
        Ok(Self { asked, at })
    }

    /// Whether it shall.
    pub(super) fn has_come(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || self.at.is_some_and(|at| at <= Instant::now())
    }
}

/// Standard output, or another descriptor in tests.
pub(super) struct Stdout<W> {
    inner: W,
    end: End,
}

impl<W: Write + AsFd> Stdout<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner,
            end: End::default(),
        }
    }

    pub(super) fn end_with(&mut self, end: End) {
        self.end = end;
    }

    /// Writes all, unless the command shall end and the reader takes nothing: `TimedOut`.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(TAKEN_AT_ONCE) {
            self.wait()?;
            self.inner.write_all(part)?;
        }
        self.inner.flush()
    }

    /// Waits until a write does not block.
    fn wait(&self) -> io::Result<()> {
        let mut since_end = None;
        while !self.is_writable()? {
            if self.end.has_come() {
                let since = *since_end.get_or_insert_with(Instant::now);
                if since.elapsed() >= GRACE {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
        Ok(())
    }

    fn is_writable(&self) -> io::Result<bool> {
        let mut watched = [PollFd::new(self.inner.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut watched, PollTimeout::from(LOOK_INTERVAL_MS)) {
            Ok(ready) => Ok(ready > 0),
            // A signal: perhaps the one that asks for the end.
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Standard output, if it is something whose reader can leave.
pub(super) fn watched_stdout() -> Option<AsyncFd<OwnedFd>> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok()?;
    // A regular file cannot be watched, and need not be.
    watched(stdout, Interest::ERROR).ok()
}

/// Puts a descriptor under the event loop's watch.
pub(super) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open file for as long as the watch owns it.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}

/// Returns when the reader of standard output has left.
pub(super) async fn reader_left(stdout: Option<&AsyncFd<OwnedFd>>) {
    match stdout {
        // An error of the watch is found again by the next write.
        Some(stdout) => drop(stdout.ready(Interest::ERROR).await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;
    use std::io::Read;

    fn ended() -> End {
        End {
            asked: Arc::new(AtomicBool::new(true)),
            at: None,
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_is_given_up_once_the_end_has_come() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut stdout = Stdout::new(writer);
        stdout.end_with(ended());
        let begun = Instant::now();
        let error = stdout.write_all(&vec![b'x'; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= GRACE);
    }

    #[test]
    fn a_slow_reader_gets_all() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut stdout = Stdout::new(writer);
        stdout.end_with(ended());
        let slow = std::thread::spawn(move || {
            let mut taken = 0;
            let mut part = vec![0; 1 << 16];
            loop {
                std::thread::sleep(Duration::from_millis(20));
                match reader.read(&mut part).unwrap() {
                    0 => return taken,
                    read => taken += read,
                }
            }
        });
        stdout.write_all(&vec![b'x'; 1 << 20]).unwrap();
        drop(stdout);
        assert_eq!(slow.join().unwrap(), 1 << 20);
    }

    #[test]
    fn a_time_ends_it_too_and_no_end_waits() {
        let end = End {
            at: Some(Instant::now()),
            ..End::default()
        };
        assert!(end.has_come());
        assert!(!End::default().has_come());
    }
}
