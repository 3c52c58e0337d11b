//! Ten thousand open connections reset at once: a process holds both ends of each and closes one end
//! of all of them, with SO_LINGER at zero seconds. On loopback a close returns when the other end has
//! been reset, so all are reset when the last close returns.

use super::Work;
use crate::bench::Interrupt;
use anyhow::{Context, ensure};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections of a wave.
pub(super) const CONNECTIONS: usize = 10_000;
/// Descriptors that the process needs besides both ends of the connections.
const OTHER_DESCRIPTORS: usize = 1_000;

/// Waves until the time is over, one at least. The rate is of the resetting alone: connections are
/// opened outside of the time that is taken.
pub(super) fn run_mass_reset(
    duration: Duration,
    connections: usize,
    interrupt: &Interrupt,
) -> anyhow::Result<Work> {
    let _descriptors = DescriptorLimit::raise(2 * connections + OTHER_DESCRIPTORS)?;
    let begin = Instant::now();
    let (mut count, mut resetting) = (0, Duration::ZERO);
    while count == 0 || begin.elapsed() < duration {
        interrupt.check()?;
        let wave = Wave::open(connections)?;
        resetting += wave.reset()?;
        count += connections as u64;
    }
    Ok(Work::over(count, resetting))
}

/// Open connections, both ends.
struct Wave {
    clients: Vec<TcpStream>,
    servers: Vec<TcpStream>,
}

impl Wave {
    fn open(connections: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let address = listener.local_addr()?;
        let mut wave = Self {
            clients: Vec::with_capacity(connections),
            servers: Vec::with_capacity(connections),
        };
        for opened in 0..connections {
            let what = || format!("connection {opened} of {connections}");
            let client = TcpStream::connect(address).with_context(what)?;
            let (server, _) = listener.accept().with_context(what)?;
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&server, sockopt::Linger, &at_once).context("cannot set SO_LINGER")?;
            wave.clients.push(client);
            wave.servers.push(server);
        }
        Ok(wave)
    }

    /// Closes one end of each, and makes sure that the other end was reset.
    fn reset(self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        drop(self.servers);
        let elapsed = begin.elapsed();
        let alive = self
            .clients
            .iter()
            .filter(|client| {
                let error = client.take_error().ok().flatten();
                error.and_then(|error| error.raw_os_error()) != Some(libc::ECONNRESET)
            })
            .count();
        let all = self.clients.len();
        ensure!(alive == 0, "{alive} of {all} connections were not reset");
        Ok(elapsed)
    }
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

    use super::{Wave, run_mass_reset};
    use crate::bench::Interrupt;
    use crate::bench::snmp::read_out_rsts;
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
        let mut wave = Wave::open(3).unwrap();
        let kept = wave.servers.pop().unwrap();
        assert!(wave.reset().is_err());
        drop(kept);
    }
}
