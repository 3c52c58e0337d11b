//! How many of each cause, second by second, over a quarter of an hour.

use super::alike::{Alike, second_of};
use super::snapshot::{CauseRow, SPARK_SECONDS};
use crate::event::model::Cause;

/// Seconds that are told apart.
const SECONDS: usize = 900;
const CAUSES: usize = Cause::ALL.len();

/// Counts by second and cause, in a ring.
#[derive(Clone, Debug)]
pub(super) struct CauseWindows {
    seconds: Vec<[u32; CAUSES]>,
    totals: [u64; CAUSES],
    /// The second that was written last.
    newest: u64,
}

impl Default for CauseWindows {
    fn default() -> Self {
        Self {
            seconds: vec![[0; CAUSES]; SECONDS],
            totals: [0; CAUSES],
            newest: 0,
        }
    }
}

impl CauseWindows {
    /// Counts events of one cause and second.
    pub(super) fn record(&mut self, alike: &Alike) {
        let (cause, second) = (alike.cause, second_of(alike.newest_ns));
        self.forget_until(second);
        if let Some(total) = self.totals.get_mut(cause as usize) {
            *total += u64::from(alike.count);
        }
        // CPUs' clocks differ by less than a quarter of an hour, but a recording may be anything.
        let is_kept = second + SECONDS as u64 > self.newest;
        let slot = self.seconds.get_mut((second % SECONDS as u64) as usize);
        if is_kept && let Some(count) = slot.and_then(|causes| causes.get_mut(cause as usize)) {
            *count = count.saturating_add(alike.count);
        }
    }

    /// Empties the slots between the newest second and this one.
    fn forget_until(&mut self, second: u64) {
        if second <= self.newest {
            return;
        }
        let first = (self.newest + 1).max(second.saturating_sub(SECONDS as u64 - 1));
        for old in first..=second {
            if let Some(slot) = self.seconds.get_mut((old % SECONDS as u64) as usize) {
                *slot = [0; CAUSES];
            }
        }
        self.newest = second;
    }

    /// A cause that was seen, without its owner.
    pub(super) fn of(&self, cause: Cause, now_ns: u64) -> Option<CauseRow> {
        let total = self.totals.get(cause as usize).copied()?;
        if total == 0 {
            return None;
        }
        let now = second_of(now_ns);
        let sum = |seconds: u64| {
            let first = now.saturating_sub(seconds - 1);
            (first..=now).map(|second| self.at(cause, second)).sum()
        };
        let first = now.saturating_sub(SPARK_SECONDS as u64 - 1);
        Some(CauseRow {
            cause,
            total,
            per_second: self.at(cause, now.saturating_sub(1)),
            last_1m: sum(60),
            last_5m: sum(300),
            last_15m: sum(SECONDS as u64),
            spark: (first..=now).map(|second| self.at(cause, second)).collect(),
            owner: None,
        })
    }

    fn at(&self, cause: Cause, second: u64) -> u64 {
        if second > self.newest || second + SECONDS as u64 <= self.newest {
            return 0;
        }
        let slot = self.seconds.get((second % SECONDS as u64) as usize);
        let count = slot.and_then(|causes| causes.get(cause as usize));
        count.copied().map_or(0, u64::from)
    }
}
