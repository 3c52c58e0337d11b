//! A capped table: how many under each key, how many of late, and of which cause most.

use super::SHOWN_ROWS;
use super::alike::Alike;
use super::snapshot::TableRow;
use crate::event::model::Cause;
use crate::metrics::hinted::HintedMap;
use hashbrown::Equivalent;
use std::hash::Hash;

/// Seconds of one slot.
const SLOT_SECONDS: u64 = 5;
/// Slots: a minute.
const SLOTS: usize = 12;
/// Name of the row of what does not fit.
const OTHER: &str = "~other";

/// One row.
#[derive(Clone, Debug)]
struct Row {
    total: u64,
    causes: Vec<(Cause, u64)>,
    slots: [u32; SLOTS],
    newest_slot: u64,
    last_ns: u64,
}

/// Rows by key.
#[derive(Clone, Debug)]
pub(super) struct Table<K> {
    rows: HintedMap<K, Row>,
    other: Option<Row>,
    limit: usize,
}

const fn slot_of(mono_ns: u64) -> u64 {
    mono_ns / (SLOT_SECONDS * 1_000_000_000)
}

impl<K: Eq + Hash> Table<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            rows: HintedMap::default(),
            other: None,
            limit,
        }
    }

    /// Counts events under a key, which `owned` makes where it is new.
    pub(super) fn record<Q>(&mut self, key: &Q, owned: impl FnOnce() -> K, alike: &Alike)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(row) = self.rows.get_mut(alike.kind, key) {
            row.count(alike);
        } else if self.rows.len() >= self.limit {
            self.other.get_or_insert_with(Row::new).count(alike);
        } else {
            let mut row = Row::new();
            row.count(alike);
            self.rows.insert(alike.kind, owned(), row);
        }
    }

    /// Counts events under the key under which their kind was last counted.
    pub(super) fn record_again(&mut self, alike: &Alike) {
        match self.rows.get_last_mut(alike.kind) {
            Some(row) => row.count(alike),
            None => self.other.get_or_insert_with(Row::new).count(alike),
        }
    }

    /// Keys and totals, without what does not fit.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.rows.iter().map(|(key, row)| (key, row.total))
    }

    /// All rows, the largest first.
    pub(super) fn rows(&self, now_ns: u64, name: impl Fn(&K) -> String) -> Vec<TableRow> {
        let rows = self
            .rows
            .iter()
            .map(|(key, row)| row.shown(name(key), now_ns));
        let mut rows: Vec<TableRow> = rows.collect();
        rows.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
        let mut other = self
            .other
            .as_ref()
            .map(|other| other.shown(OTHER.to_owned(), now_ns));
        for row in rows.drain(rows.len().min(SHOWN_ROWS)..) {
            match &mut other {
                Some(other) => other.take_in(&row),
                None => {
                    other = Some(TableRow {
                        name: OTHER.to_owned(),
                        ..row
                    });
                }
            }
        }
        rows.extend(other);
        rows
    }
}

impl Row {
    const fn new() -> Self {
        Self {
            total: 0,
            causes: Vec::new(),
            slots: [0; SLOTS],
            newest_slot: 0,
            last_ns: 0,
        }
    }

    fn count(&mut self, alike: &Alike) {
        let Alike { cause, count, .. } = *alike;
        self.total += u64::from(count);
        self.last_ns = self.last_ns.max(alike.newest_ns);
        match self.causes.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, of_cause)) => *of_cause += u64::from(count),
            None => self.causes.push((cause, count.into())),
        }
        let slot = slot_of(alike.newest_ns);
        if slot > self.newest_slot {
            let gap = (slot - self.newest_slot).min(SLOTS as u64);
            for old in 0..gap {
                if let Some(count) = self.slots.get_mut(((slot - old) % SLOTS as u64) as usize) {
                    *count = 0;
                }
            }
            self.newest_slot = slot;
        }
        if slot + SLOTS as u64 > self.newest_slot
            && let Some(of_slot) = self.slots.get_mut((slot % SLOTS as u64) as usize)
        {
            *of_slot = of_slot.saturating_add(count);
        }
    }

    fn shown(&self, name: String, now_ns: u64) -> TableRow {
        let now = slot_of(now_ns);
        let first = now.saturating_sub(SLOTS as u64 - 1);
        let kept = (first..=now)
            .filter(|slot| *slot <= self.newest_slot && slot + SLOTS as u64 > self.newest_slot);
        let counts = kept.filter_map(|slot| self.slots.get((slot % SLOTS as u64) as usize));
        let last_1m = counts.map(|count| u64::from(*count)).sum();
        let most = self.causes.iter().max_by_key(|(_, count)| *count);
        let (cause, of_cause) = most.copied().unwrap_or((Cause::Undiagnosed, 0));
        TableRow {
            name,
            total: self.total,
            last_1m,
            cause,
            of_cause,
            last_ns: self.last_ns,
        }
    }
}
