//! A storm of refused connections: threads connect to a closed port of loopback. Each connection is
//! one reset that the kernel sends and one that it receives.

use super::Work;
use super::drive::{BATCH, Throttle, on_threads};
use super::ports::ClosedPort;
use crate::bench::Interrupt;
use anyhow::{Context, bail, ensure};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connects to a closed port until the time is over, as fast as it goes or at `rate` a second.
pub(super) fn run_storm(
    duration: Duration,
    rate: Option<u32>,
    interrupt: &Interrupt,
) -> anyhow::Result<Work> {
    let closed = ClosedPort::take()?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, closed.number));
    let begin = Instant::now();
    let refused = on_threads(|_| refuse_until(target, begin + duration, rate, interrupt))?;
    let elapsed = begin.elapsed();
    interrupt.check()?;
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
    let mut refused = 0;
    let mut throttle = Throttle::new(rate, Instant::now());
    while Instant::now() < end && !interrupt.is_set() {
        throttle.wait();
        for _ in 0..BATCH {
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

    use super::{ClosedPort, Interrupt, run_storm};
    use crate::bench::statistics::as_number;
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
