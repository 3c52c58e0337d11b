//! A storm of refused connections: threads connect to a closed port of loopback. Each connection is
//! one reset that the kernel sends and one that it receives.

use super::Work;
use super::ports::ClosedPort;
use crate::bench::Interrupt;
use crate::bench::statistics::as_number;
use anyhow::{Context, bail, ensure};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that connect.
const THREADS: usize = 2;
/// A thread looks at the clock after so many connections, so that the clock costs nothing.
const CONNECTIONS_BETWEEN_CLOCK_READS: usize = 64;

/// Connects to a closed port until the time is over, as fast as it goes or at `rate` a second.
pub(super) fn run_storm(
    duration: Duration,
    rate: Option<u32>,
    interrupt: &Interrupt,
) -> anyhow::Result<Work> {
    let closed = ClosedPort::take()?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, closed.number));
    let begin = Instant::now();
    let counts: Vec<anyhow::Result<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| refuse_until(target, begin + duration, rate, interrupt)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("a thread of the storm panicked"))
            })
            .collect()
    });
    let elapsed = begin.elapsed();
    interrupt.check()?;
    let refused = counts.into_iter().sum::<anyhow::Result<u64>>()?;
    ensure!(refused > 0, "no connection to {target} was refused");
    Ok(Work::over(refused, elapsed))
}

/// One thread of the storm: connections that were refused.
fn refuse_until(
    target: SocketAddr,
    end: Instant,
    rate: Option<u32>,
    interrupt: &Interrupt,
) -> anyhow::Result<u64> {
    let batch = rate.map(|rate| {
        let threads = as_number(THREADS as u64);
        let connections = as_number(CONNECTIONS_BETWEEN_CLOCK_READS as u64);
        Duration::from_secs_f64(connections * threads / f64::from(rate))
    });
    let mut refused = 0;
    let mut next_batch = Instant::now();
    while Instant::now() < end && !interrupt.is_set() {
        if let Some(batch) = batch {
            thread::sleep(next_batch.saturating_duration_since(Instant::now()));
            next_batch += batch;
        }
        for _ in 0..CONNECTIONS_BETWEEN_CLOCK_READS {
            match TcpStream::connect(target) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                Err(error) => return Err(error).with_context(|| format!("connect to {target}")),
                Ok(_) => bail!("{target} was closed and now accepts connections: run again"),
            }
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{ClosedPort, Interrupt, as_number, run_storm};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn a_storm_is_refused_and_its_rate_is_per_second() {
        let begin = Instant::now();
        let storm = run_storm(Duration::from_millis(50), None, &Interrupt::default()).unwrap();
        let elapsed = begin.elapsed();
        assert!(elapsed >= Duration::from_millis(50));
        assert!(storm.count >= 2);
        let seconds = as_number(storm.count) / storm.rate;
        assert!(
            (0.05..=elapsed.as_secs_f64()).contains(&seconds),
            "{seconds}"
        );
    }

    /// Whoever looks for a port during a storm used to listen on the storm's for a moment.
    #[test]
    fn a_storm_is_not_disturbed_by_others_that_look_for_a_port() {
        let seeking = AtomicBool::new(true);
        thread::scope(|scope| {
            scope.spawn(|| {
                while seeking.load(Ordering::Relaxed) {
                    ClosedPort::take().unwrap();
                }
            });
            let storm = run_storm(Duration::from_millis(200), None, &Interrupt::default());
            seeking.store(false, Ordering::Relaxed);
            storm.unwrap();
        });
    }
}
