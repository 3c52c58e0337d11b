//! Ten thousand open connections reset at once: one thread holds one end of each and closes all of
//! them, with SO_LINGER at zero seconds; another holds the other ends. On loopback a close returns when
//! the other end has been reset, so all are reset when the last close returns.

use super::Work;
use crate::bench::Interrupt;
use anyhow::{Context, bail, ensure};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Connections of a wave.
pub(super) const CONNECTIONS: usize = 10_000;
/// Descriptors that a thread needs besides its ends of the connections.
const OTHER_DESCRIPTORS: usize = 1_000;
/// Connections that may wait to be accepted: less than a listener's queue holds, which would drop the
/// next one for a second.
const WAITING: usize = 64;

/// How long the next connection may take to come.
const ACCEPT_LIMIT: TimeVal = TimeVal::new(10, 0);

/// Waves until the time is over, one at least. The rate is of the resetting alone: connections are
/// opened outside of the time that is taken.
pub(super) fn run_mass_reset(
    duration: Duration,
    connections: usize,
    interrupt: &Interrupt,
) -> anyhow::Result<Work> {
    let _descriptors = DescriptorLimit::raise(connections + OTHER_DESCRIPTORS)?;
    let begin = Instant::now();
    let (mut count, mut resetting) = (0, Duration::ZERO);
    while count == 0 || begin.elapsed() < duration {
        interrupt.check()?;
        resetting += run_wave(connections)?;
        count += connections as u64;
    }
    Ok(Work::over(count, resetting))
}

/// What the thread that accepts tells the one that connects.
enum Word {
    Listens(SocketAddr),
    HasAccepted,
    HasReset(Duration),
}

/// Opens connections, resets all of them, and makes sure that they are. The time that the resetting
/// took.
fn run_wave(connections: usize) -> anyhow::Result<Duration> {
    let (told, words) = channel();
    thread::scope(|scope| {
        let resetting = scope.spawn(move || accept_and_reset(connections, &told));
        let waved = connect_and_look(connections, &words);
        drop(words);
        match resetting.join() {
            // Why the other end is gone says more than that it is.
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) => waved,
            Err(_) => bail!("the thread that accepts panicked"),
        }
    })
}

/// One end: accepts, and closes all at once.
fn accept_and_reset(connections: usize, told: &Sender<Word>) -> anyhow::Result<()> {
    // Descriptors of its own: a process may have too few for both ends.
    unshare(CloneFlags::CLONE_FILES).context("cannot have descriptors of one's own")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    // Where the other end cannot connect, this one must not wait for ever.
    setsockopt(&listener, sockopt::ReceiveTimeout, &ACCEPT_LIMIT).context("cannot set a limit")?;
    let tell = |word| told.send(word).context("the end that connects is gone");
    tell(Word::Listens(listener.local_addr()?))?;
    let mut ends = Vec::with_capacity(connections);
    for accepted in 1..=connections {
        let (end, _) = listener
            .accept()
            .with_context(|| format!("cannot accept connection {accepted} of {connections}"))?;
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&end, sockopt::Linger, &at_once).context("cannot set SO_LINGER")?;
        ends.push(end);
        if accepted % WAITING == 0 || accepted == connections {
            tell(Word::HasAccepted)?;
        }
    }
    let begin = Instant::now();
    drop(ends);
    tell(Word::HasReset(begin.elapsed()))
}

/// The other end: connects, and looks at what became of the connections.
fn connect_and_look(connections: usize, words: &Receiver<Word>) -> anyhow::Result<Duration> {
    let Ok(Word::Listens(address)) = words.recv() else {
        bail!("the end that accepts does not listen");
    };
    let mut ends = Vec::with_capacity(connections);
    for connected in 1..=connections {
        let end = TcpStream::connect(address)
            .with_context(|| format!("cannot open connection {connected} of {connections}"))?;
        ends.push(end);
        if connected % WAITING == 0 || connected == connections {
            words.recv().context("the end that accepts is gone")?;
        }
    }
    let Ok(Word::HasReset(elapsed)) = words.recv() else {
        bail!("the end that accepts did not reset the connections");
    };
    all_reset(&ends)?;
    Ok(elapsed)
}

fn all_reset(ends: &[TcpStream]) -> anyhow::Result<()> {
    let is_alive = |end: &&TcpStream| {
        let error = end.take_error().ok().flatten();
        error.and_then(|error| error.raw_os_error()) != Some(libc::ECONNRESET)
    };
    let (alive, all) = (ends.iter().filter(is_alive).count(), ends.len());
    ensure!(alive == 0, "{alive} of {all} connections were not reset");
    Ok(())
}

/// A higher limit of open descriptors, put back when dropped.
struct DescriptorLimit {
    soft: rlim_t,
    hard: rlim_t,
}

impl DescriptorLimit {
    fn raise(needed: usize) -> anyhow::Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let needed = rlim_t::try_from(needed)?;
        if soft < needed {
            setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed))
                .with_context(|| format!("cannot raise RLIMIT_NOFILE to {needed}"))?;
        }
        Ok(Self { soft, hard })
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        // Lowering a limit is always allowed; a limit that stays high would harm nobody.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{all_reset, run_mass_reset};
    use crate::bench::Interrupt;
    use crate::bench::snmp::read_out_rsts;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn each_connection_of_a_wave_is_reset() {
        let before = read_out_rsts().unwrap();
        let work = run_mass_reset(Duration::ZERO, 200, &Interrupt::default()).unwrap();
        assert_eq!(work.count, 200);
        assert!(work.rate > 0.0);
        assert!(read_out_rsts().unwrap() - before >= 200);
    }

    #[test]
    fn a_connection_that_was_not_reset_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(all_reset(&[]).is_ok());
        assert!(all_reset(&[end]).is_err());
    }
}
