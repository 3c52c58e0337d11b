//! Counters of a family whose label values come from the traffic: capped, and forgotten when idle.
//!
//! First come, first kept, until the cap; what does not fit is counted under `~other`, so the sum over
//! the family stays right. A series that has not changed for the time to live is dropped and not
//! folded into `~other`, which would look like a burst.

use super::hinted::HintedMap;
use crate::event::model::{Cause, Kind};
use hashbrown::Equivalent;
use std::hash::Hash;

/// Label value of what does not fit.
pub const OTHER: &str = "~other";

/// Count of one kind and cause under a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Kind.
    pub kind: Kind,
    /// Cause.
    pub cause: Cause,
    /// How many.
    pub count: u64,
    /// When it last changed, monotonic nanoseconds.
    changed_ns: u64,
}

/// The counters of one family.
#[derive(Clone, Debug)]
pub struct CappedCounters<L> {
    by_label: HintedMap<L, Vec<Series>>,
    other: Vec<Series>,
    series: usize,
    limit: usize,
    overflow: u64,
}

impl<L: Eq + Hash> CappedCounters<L> {
    /// Counters of at most so many series.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            by_label: HintedMap::default(),
            other: Vec::new(),
            series: 0,
            limit,
            overflow: 0,
        }
    }

    /// Counts one reset under a label value, which `owned` makes where it is new.
    pub fn count<Q>(
        &mut self,
        label: &Q,
        owned: impl FnOnce() -> L,
        kind: Kind,
        cause: Cause,
        now_ns: u64,
    ) where
        Q: Hash + Equivalent<L> + ?Sized,
    {
        if let Some(known) = self.by_label.get_mut(kind, label) {
            if let Some(series) = find(known, kind, cause) {
                series.touch(now_ns);
                return;
            }
            if self.series < self.limit {
                known.push(Series::first(kind, cause, now_ns));
                self.series += 1;
                return;
            }
        } else if self.series < self.limit {
            let first = vec![Series::first(kind, cause, now_ns)];
            self.by_label.insert(kind, owned(), first);
            self.series += 1;
            return;
        }
        self.count_other(kind, cause, now_ns);
    }

    /// Counts one reset under the label value under which this kind was last counted. Only where
    /// that was of this cause, too, and nothing expired since and no cap was changed.
    pub(super) fn count_again(&mut self, kind: Kind, cause: Cause, now_ns: u64) {
        let known = self.by_label.get_last_mut(kind);
        match known.and_then(|known| find(known, kind, cause)) {
            Some(series) => series.touch(now_ns),
            None => self.count_other(kind, cause, now_ns),
        }
    }

    fn count_other(&mut self, kind: Kind, cause: Cause, now_ns: u64) {
        self.overflow += 1;
        match find(&mut self.other, kind, cause) {
            Some(series) => series.touch(now_ns),
            None => self.other.push(Series::first(kind, cause, now_ns)),
        }
    }

    /// Drops the series that have not changed since then. `~other` stays.
    pub fn expire(&mut self, before_ns: u64) {
        self.by_label.retain(|_, series| {
            series.retain(|one| one.changed_ns >= before_ns);
            !series.is_empty()
        });
        self.series = self.by_label.iter().map(|(_, series)| series.len()).sum();
    }

    /// Sets the cap. What is there already stays.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The series by label value, without `~other`.
    pub fn iter(&self) -> impl Iterator<Item = (&L, &Series)> {
        self.by_label
            .iter()
            .flat_map(|(label, series)| series.iter().map(move |one| (label, one)))
    }

    /// What did not fit.
    #[must_use]
    pub fn other(&self) -> &[Series] {
        &self.other
    }

    /// How many series there are, `~other` not counted: it is bounded by the kinds and causes.
    #[must_use]
    pub const fn series(&self) -> usize {
        self.series
    }

    /// The cap.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Resets counted under `~other`.
    #[must_use]
    pub const fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl Series {
    const fn first(kind: Kind, cause: Cause, now_ns: u64) -> Self {
        Self {
            kind,
            cause,
            count: 1,
            changed_ns: now_ns,
        }
    }

    fn touch(&mut self, now_ns: u64) {
        self.count += 1;
        self.changed_ns = self.changed_ns.max(now_ns);
    }
}

fn find(series: &mut [Series], kind: Kind, cause: Cause) -> Option<&mut Series> {
    series
        .iter_mut()
        .find(|one| one.kind == kind && one.cause == cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(counters: &mut CappedCounters<String>, label: &str, cause: Cause, now_ns: u64) {
        counters.count(label, || label.to_owned(), Kind::Sent, cause, now_ns);
    }

    fn sum(counters: &CappedCounters<String>) -> u64 {
        let kept: u64 = counters.iter().map(|(_, one)| one.count).sum();
        kept + counters.other().iter().map(|one| one.count).sum::<u64>()
    }

    #[test]
    fn beyond_the_cap_is_other_and_the_sum_stays_right() {
        let mut counters = CappedCounters::new(2);
        for (label, cause) in [
            ("a", Cause::PortClosed),
            ("b", Cause::PortClosed),
            ("c", Cause::PortClosed),
            ("a", Cause::LingerAbort),
            ("a", Cause::PortClosed),
        ] {
            count(&mut counters, label, cause, 1);
        }
        assert_eq!(counters.series(), 2);
        assert_eq!(counters.overflow(), 2);
        assert_eq!(counters.other().len(), 2);
        assert_eq!(sum(&counters), 5);
    }

    #[test]
    fn an_idle_series_makes_room_and_other_stays() {
        let mut counters = CappedCounters::new(1);
        count(&mut counters, "old", Cause::PortClosed, 1);
        count(&mut counters, "new", Cause::PortClosed, 5);
        counters.expire(5);
        assert_eq!((counters.series(), counters.other().len()), (0, 1));
        count(&mut counters, "new", Cause::PortClosed, 6);
        assert_eq!(
            counters
                .iter()
                .map(|(label, _)| label.as_str())
                .collect::<Vec<_>>(),
            ["new"]
        );
    }
}
