//! How many resets of each kind and cause the last minutes had, for the page that people look at.
//! Prometheus makes its own from the counters.
//!
//! Part of `metrics::tally`. Bounded: a ring of stretches of time, however much comes.

use crate::event::model::{Cause, Kind};

/// A stretch of time, nanoseconds.
const STRETCH_NS: u64 = 10_000_000_000;
/// Stretches in a minute.
const A_MINUTE: u64 = 6;
/// The longest time that can be asked for, minutes.
pub const MAX_MINUTES: u64 = 15;
/// Stretches that are kept.
const KEPT: u64 = MAX_MINUTES * A_MINUTE;
const CELLS: usize = Kind::ALL.len() * Cause::ALL.len();

/// Counts by stretch of time, kind and cause.
#[derive(Clone, Debug)]
pub struct Recent {
    stretches: Vec<[u32; CELLS]>,
    /// The stretch that was written last.
    newest: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            stretches: vec![[0; CELLS]; KEPT as usize],
            newest: 0,
        }
    }
}

const fn cell(kind: Kind, cause: Cause) -> usize {
    kind as usize * Cause::ALL.len() + cause as usize
}

const fn slot(stretch: u64) -> usize {
    (stretch % KEPT) as usize
}

impl Recent {
    /// Counts one at `mono_ns`, monotonic. One that is older than all that is kept is not.
    pub fn record(&mut self, kind: Kind, cause: Cause, mono_ns: u64) {
        let stretch = mono_ns / STRETCH_NS;
        if stretch > self.newest {
            let first = (self.newest + 1).max((stretch + 1).saturating_sub(KEPT));
            for gone in first..=stretch {
                if let Some(counts) = self.stretches.get_mut(slot(gone)) {
                    *counts = [0; CELLS];
                }
            }
            self.newest = stretch;
        }
        let counts = self.stretches.get_mut(slot(stretch));
        if stretch + KEPT > self.newest
            && let Some(count) = counts.and_then(|counts| counts.get_mut(cell(kind, cause)))
        {
            *count = count.saturating_add(1);
        }
    }

    /// How many there were in the `minutes` before `now_ns`, at most [`MAX_MINUTES`]; up to ten
    /// seconds less.
    #[must_use]
    pub fn last(&self, minutes: u64, kind: Kind, cause: Cause, now_ns: u64) -> u64 {
        let now = now_ns / STRETCH_NS;
        let wanted = minutes.min(MAX_MINUTES) * A_MINUTE;
        let first = (now + 1).saturating_sub(wanted);
        let kept = (self.newest + 1).saturating_sub(KEPT)..=self.newest;
        (first..=now)
            .filter(|stretch| kept.contains(stretch))
            .filter_map(|stretch| self.stretches.get(slot(stretch))?.get(cell(kind, cause)))
            .map(|&count| u64::from(count))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const KIND: Kind = Kind::Sent;
    const CAUSE: Cause = Cause::PortClosed;

    #[test]
    fn the_last_minutes_are_told_and_what_is_older_is_forgotten() {
        let mut recent = Recent::default();
        for second in 0..600 {
            recent.record(KIND, CAUSE, second * SECOND);
        }
        let last =
            |recent: &Recent, minutes, second| recent.last(minutes, KIND, CAUSE, second * SECOND);
        assert_eq!(last(&recent, 1, 599), 60);
        assert_eq!(last(&recent, 5, 599), 300);
        assert_eq!(last(&recent, 15, 599), 600);
        assert_eq!(last(&recent, u64::MAX, 599), 600);
        assert_eq!(recent.last(15, Kind::Received, CAUSE, 599 * SECOND), 0);
        // Nothing more comes: time passes all the same.
        assert_eq!(last(&recent, 1, 700), 0);
        assert_eq!(last(&recent, 15, 1_300), 190);
        assert_eq!(last(&recent, 15, 100_000), 0);
        // After a long pause nothing of before is left, and what comes too late is not counted.
        recent.record(KIND, CAUSE, 100_000 * SECOND);
        recent.record(KIND, CAUSE, 10 * SECOND);
        assert_eq!(last(&recent, 15, 100_000), 1);
    }
}
