//! The self-audit: the kernel's own counters of resets against rstmon's.
//!
//! Runs on a thread of its own. OutRsts of every network namespace that can be seen is what the kernel
//! sent; of that, what rstmon has not counted is unaccounted. A namespace that cannot be seen makes rstmon
//! count more than is found; one that comes to sight late, as nothing tells its age, shows once as
//! unaccounted what it sent before the start. Resets of netfilter are in no
//! counter of the kernel and are left out on both sides.

mod namespaces;
mod snmp;

use self::namespaces::{Found, Namespaces};
use self::snmp::SnmpCounters;
use crate::event::cells::CellCounts;
use crate::event::model::Kind;
use crate::metrics::page::AuditFigures;
use std::collections::{BTreeMap, BTreeSet};

/// A namespace's counters: when it was first seen, and last.
#[derive(Clone, Debug)]
struct Seen {
    first: SnmpCounters,
    last: SnmpCounters,
}

/// Namespaces that are gone from sight and may come back, as one does that cannot be read for a while.
/// More than any host has at a time.
const MAX_DEPARTED: usize = 4_096;

/// What the audit remembers.
pub struct Audit {
    namespaces: Namespaces,
    seen: BTreeMap<u64, Seen>,
    /// Those that are gone from sight. Their growth stays counted.
    departed: BTreeMap<u64, Seen>,
    /// Growth of those whose numbers were given to others, or that are gone for good.
    gone: SnmpCounters,
    /// Those whose counters say nothing of the time since the first look when they are read at last. A
    /// number that is given to another stays here: of that one too little is counted, which raises no
    /// alarm.
    unread: BTreeSet<u64>,
    /// What rstmon had counted before the first look.
    counted_before: u64,
}

impl Audit {
    /// Takes the first look. `counted` is read before, so that no reset between the two is missed.
    #[must_use]
    pub fn begin(mut namespaces: Namespaces, counted: &CellCounts) -> Self {
        let found = namespaces.read();
        let seen = found.counters.into_iter();
        Self {
            namespaces,
            seen: seen
                .map(|(inode, now)| (inode, Seen::from_now(now)))
                .collect(),
            departed: BTreeMap::new(),
            gone: SnmpCounters::default(),
            unread: found.unreadable,
            counted_before: countable(counted),
        }
    }

    /// Looks again; `counted` is asked after the kernel's counters were read.
    pub fn look<E>(
        &mut self,
        counted: impl FnOnce() -> Result<CellCounts, E>,
    ) -> Result<AuditFigures, E> {
        let found = self.namespaces.read();
        self.take(&found);
        let growth = self.growth();
        let counted = countable(&counted()?).saturating_sub(self.counted_before);
        let sent = growth.get("OutRsts");
        Ok(AuditFigures {
            sent,
            unaccounted_sent: sent.saturating_sub(counted),
            counters: growth.others("OutRsts"),
            namespaces: found.counters.len() as u64,
            unreadable_namespaces: found.unreadable.len() as u64,
        })
    }

    /// Takes over what was read.
    fn take(&mut self, found: &Found) {
        for (inode, seen) in std::mem::take(&mut self.seen) {
            self.departed.insert(inode, seen);
        }
        for (inode, now) in &found.counters {
            let before = self.departed.remove(inode);
            let seen = self.now_seen(*inode, before, now);
            self.seen.insert(*inode, seen);
        }
        self.unread.extend(&found.unreadable);
        while self.departed.len() > MAX_DEPARTED
            && let Some((inode, seen)) = self.departed.pop_first()
        {
            self.gone.add(&seen.growth());
            // Should it come back, what it had sent before is counted already.
            self.unread.insert(inode);
        }
    }

    /// A namespace that was found, and how it was seen before.
    fn now_seen(&mut self, inode: u64, before: Option<Seen>, now: &SnmpCounters) -> Seen {
        let was_unread = self.unread.remove(&inode);
        let last = now.clone();
        match before {
            Some(Seen { first, last: then }) if now.continues(&then) => Seen { first, last },
            // The number of one that is gone was given to another, whose counters are lower.
            Some(before) => {
                self.gone.add(&before.growth());
                Seen::from_zero(last)
            }
            // What it has sent before is not known to have been since the first look.
            None if was_unread => Seen::from_now(last),
            None => Seen::from_zero(last),
        }
    }

    /// How much the counters of all have grown since the first look.
    fn growth(&self) -> SnmpCounters {
        let mut growth = self.gone.clone();
        for seen in self.seen.values().chain(self.departed.values()) {
            growth.add(&seen.growth());
        }
        growth
    }
}

impl Seen {
    /// One that was there before the first look.
    fn from_now(now: SnmpCounters) -> Self {
        Self {
            first: now.clone(),
            last: now,
        }
    }

    /// One that came since: it began with zeros.
    fn from_zero(last: SnmpCounters) -> Self {
        Self {
            first: SnmpCounters::default(),
            last,
        }
    }

    fn growth(&self) -> SnmpCounters {
        self.last.since(&self.first)
    }
}

/// What OutRsts counts, too.
fn countable(counted: &CellCounts) -> u64 {
    counted
        .of_kind(Kind::Sent)
        .saturating_sub(counted.sent_by_firewall())
}

#[cfg(test)]
mod tests;

pub use namespaces::Namespaces as NetworkNamespaces;
