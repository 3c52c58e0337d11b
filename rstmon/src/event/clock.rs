//! From the kernel's clocks to wall-clock time: monotonic nanoseconds and jiffies.
//!
//! Called by `event::decode` and by the sinks. Pure: the offset and the number of jiffies in a
//! second are facts of the capture, so a replay prints the times of the recording.

use jiff::Timestamp;

/// Values of `CONFIG_HZ` that the architectures rstmon runs on offer (`kernel/Kconfig.hz`).
const HZ_CHOICES: [u32; 6] = [100, 200, 250, 300, 500, 1000];

/// `INITIAL_JIFFIES` makes the 32-bit counter wrap this many seconds after boot
/// (`include/linux/jiffies.h`).
const WRAP_AFTER_SECONDS: f64 = 300.0;

/// Ticks may start this much later than the monotonic clock, seconds.
const START_TOLERANCE_SECONDS: f64 = 5.0;

/// A best candidate counts only if the next one is this many times worse.
const DISTINCT_FACTOR: f64 = 3.0;

/// Translates monotonic to wall-clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMap {
    realtime_offset_ns: i64,
}

impl ClockMap {
    /// A map for a capture whose wall clock minus monotonic clock is `realtime_offset_ns`.
    #[must_use]
    pub const fn new(realtime_offset_ns: i64) -> Self {
        Self { realtime_offset_ns }
    }

    /// Nanoseconds since the epoch of a monotonic stamp; clamped at the ends of `i64`.
    #[must_use]
    pub fn wall_ns(self, mono_ns: u64) -> i64 {
        i64::try_from(mono_ns)
            .unwrap_or(i64::MAX)
            .saturating_add(self.realtime_offset_ns)
    }
}

/// Jiffies in a second, from `jiffies_64` and the monotonic clock read at the same moment.
///
/// A 64-bit kernel starts the counter at `(unsigned int)(-300 * HZ)`, so that counter and uptime
/// fit together for one `CONFIG_HZ` only. `None` where no candidate fits, or several do (about 300
/// seconds after boot they cannot be told apart).
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    reason = "the tolerance is far above what an f64 loses of a tick count"
)]
pub fn infer_hz(jiffies64: u64, uptime_ns: u64) -> Option<u32> {
    let ticks_past_wrap = (jiffies64 as f64) - f64::from(u32::MAX) - 1.0;
    let seconds_past_wrap = uptime_ns as f64 / 1e9 - WRAP_AFTER_SECONDS;
    // Slewing may run a clock 500 ppm off.
    let tolerance = START_TOLERANCE_SECONDS + uptime_ns as f64 / 1e9 / 1000.0;
    let mut errors = HZ_CHOICES.map(|hz| {
        let error = (ticks_past_wrap / f64::from(hz) - seconds_past_wrap).abs();
        (error, hz)
    });
    errors.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [(best, hz), (next, _), ..] = errors;
    let fits = best <= tolerance && next > 0.0 && best * DISTINCT_FACTOR < next;
    fits.then_some(hz)
}

/// A wall-clock time as RFC 3339 in UTC with nine digits of fraction.
///
/// Any `i64` of nanoseconds is within the years that jiff can print.
#[must_use]
pub fn rfc3339_ns(time_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.9}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn jiffies_at(hz: u64, uptime_s: u64) -> u64 {
        (1 << 32) - 300 * hz + hz * uptime_s
    }

    #[test]
    fn hz_is_found_soon_after_boot_and_after_a_year() {
        for hz in [100, 250, 300, 1000] {
            for uptime_s in [5, 60, 250, 400, 86_400, 31_536_000] {
                let found = infer_hz(jiffies_at(hz, uptime_s) + 3, uptime_s * SECOND);
                assert_eq!(found, Some(hz as u32), "HZ {hz} after {uptime_s} s");
            }
        }
    }

    #[test]
    fn hz_is_unknown_where_the_candidates_agree_or_none_fits() {
        assert_eq!(infer_hz(jiffies_at(250, 300), 300 * SECOND), None);
        assert_eq!(infer_hz(0, 3600 * SECOND), None);
        assert_eq!(infer_hz(u64::MAX, 3600 * SECOND), None);
        assert_eq!(infer_hz(jiffies_at(700, 86_400), 86_400 * SECOND), None);
    }

    #[test]
    fn wall_clock_is_monotonic_plus_offset() {
        let map = ClockMap::new(1_700_000_000_000_000_000);
        assert_eq!(map.wall_ns(1), 1_700_000_000_000_000_001);
        assert_eq!(map.wall_ns(u64::MAX), i64::MAX);
    }

    #[test]
    fn time_has_nine_digits() {
        assert_eq!(
            rfc3339_ns(1_700_000_000_000_000_001),
            "2023-11-14T22:13:20.000000001Z"
        );
        assert_eq!(rfc3339_ns(0), "1970-01-01T00:00:00.000000000Z");
        assert!(rfc3339_ns(i64::MAX).starts_with("2262-04-11T"));
        assert!(rfc3339_ns(i64::MIN).starts_with("1677-"));
    }
}
