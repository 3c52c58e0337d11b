//! Whether this machine does something else, which a bench would measure as a cost of whatever it
//! looks at. Asked once, by `prepare`, before anything is started.
//!
//! The load average would not do: it remembers the build that comes right before a bench.

use super::progress;
use anyhow::{Context, bail};
use std::fs;
use std::thread;
use std::time::Duration;

/// How long the processors are watched.
const SAMPLE: Duration = Duration::from_secs(3);
/// Most of their time that others may take, beyond which ratios of a few per cent mean nothing.
const MOST_BUSY: f64 = 0.05;

/// Refuses a busy machine, unless the caller wants it nevertheless.
pub(super) fn require_idle(force: bool) -> anyhow::Result<()> {
    let before = Times::read()?;
    thread::sleep(SAMPLE);
    let busy = Times::read()?
        .busy_since(before)
        .context("/proc/stat does not tell the processors' time")?;
    match refusal(busy) {
        Some(why) if force => progress(&format!("{why}; measuring nevertheless")),
        Some(why) => bail!("{why}: wait until nothing else runs, or give --force"),
        None => {}
    }
    Ok(())
}

/// Why a machine is too busy, if it is.
fn refusal(busy: f64) -> Option<String> {
    (busy > MOST_BUSY).then(|| {
        format!(
            "others took {:.0} % of the processors' time in the last {} s, where at most {:.0} % \
             leave a measurement what it is",
            busy * 100.0,
            SAMPLE.as_secs(),
            MOST_BUSY * 100.0
        )
    })
}

/// What the processors did since the machine started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    idle: u64,
    all: u64,
}

impl Times {
    fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&text).context("/proc/stat does not begin with the processors' time")
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal, and guests, who are in
    /// user already. What a hypervisor gave to others, steal, is lost to a measurement like the rest.
    fn parse(stat: &str) -> Option<Self> {
        let times: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .take(8)
            .map(|ticks| ticks.parse().ok())
            .collect::<Option<_>>()?;
        Some(Self {
            idle: times.get(3)? + times.get(4)?,
            all: times.iter().sum(),
        })
    }

    /// The part of the time since then that was not idle.
    fn busy_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        // Of processors that sleep the kernel may take some idle time back.
        let idle = self.idle.saturating_sub(before.idle).min(all);
        Some(1.0 - super::statistics::as_number(idle) / super::statistics::as_number(all))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn all_but_idle_time_is_busy_and_guests_count_once() {
        let before = Times::parse("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1\n").unwrap();
        let expected = Times {
            idle: 850,
            all: 1000,
        };
        assert_eq!(before, expected);
        let after = Times::parse("cpu  110 5 60 950 60 5 5 5 107 0\n").unwrap();
        let busy = after.busy_since(before).unwrap();
        assert!((busy - 0.2).abs() < 1e-9, "{busy}");
        assert_eq!(before.busy_since(before), None);
        for wrong in ["", "cpu  1 2 3\n", "cpu  a b c d e f g h\n", "intr 5\n"] {
            assert_eq!(Times::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_busy_machine_is_refused_with_its_figure() {
        assert_eq!(refusal(0.01), None);
        assert!(refusal(0.5).is_some_and(|why| why.starts_with("others took 50 % of")));
    }

    #[test]
    fn this_machine_tells_its_time() {
        assert!(Times::read().unwrap().all > 0);
    }
}
