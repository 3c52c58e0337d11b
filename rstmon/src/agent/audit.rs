//! The self-audit: the kernel's own counters of resets against rstmon's.
//!
//! Runs on a thread of its own. OutRsts of every network namespace that can be seen is what the kernel
//! sent; of that, what rstmon has not counted is unaccounted. Never the other way round: a namespace
//! that cannot be seen makes rstmon count more than is found. Resets of netfilter are in no
//! counter of the kernel and are left out on both sides.

mod namespaces;
mod snmp;

use self::namespaces::Namespaces;
use self::snmp::SnmpCounters;
use crate::event::cells::CellCounts;
use crate::event::model::Kind;
use crate::metrics::page::AuditFigures;
use std::collections::BTreeMap;

/// A namespace's counters: when it was first seen, and last.
#[derive(Clone, Debug)]
struct Seen {
    first: SnmpCounters,
    last: SnmpCounters,
}

/// What the audit remembers.
pub struct Audit {
    namespaces: Namespaces,
    seen: BTreeMap<u64, Seen>,
    /// Growth of namespaces that are gone.
    gone: SnmpCounters,
    /// What rstmon had counted before the first look.
    counted_before: u64,
}

impl Audit {
    /// Takes the first look. `counted` is read before, so that no reset between the two is missed.
    #[must_use]
    pub fn begin(mut namespaces: Namespaces, counted: &CellCounts) -> Self {
        let seen = namespaces.read().counters;
        let seen = seen.into_iter().map(|(inode, counters)| {
            let first = counters.clone();
            (
                inode,
                Seen {
                    first,
                    last: counters,
                },
            )
        });
        Self {
            namespaces,
            seen: seen.collect(),
            gone: SnmpCounters::default(),
            counted_before: countable(counted),
        }
    }

    /// Looks again; `counted` is asked after the kernel's counters were read.
    pub fn look<E>(
        &mut self,
        counted: impl FnOnce() -> Result<CellCounts, E>,
    ) -> Result<AuditFigures, E> {
        let found = self.namespaces.read();
        self.take(&found.counters);
        let mut growth = self.gone.clone();
        for seen in self.seen.values() {
            growth.add(&seen.last.since(&seen.first));
        }
        let counted = countable(&counted()?).saturating_sub(self.counted_before);
        let sent = growth.get("OutRsts");
        Ok(AuditFigures {
            sent,
            unaccounted_sent: sent.saturating_sub(counted),
            counters: growth.others("OutRsts"),
            namespaces: found.counters.len() as u64,
            unreadable_namespaces: found.unreadable,
        })
    }

    /// Takes over what was read. A namespace that came since the first look began with zeros.
    fn take(&mut self, found: &BTreeMap<u64, SnmpCounters>) {
        let gone = &mut self.gone;
        self.seen.retain(|inode, seen| {
            // The number of one that is gone may be given to another, whose counters are lower.
            let stays = found
                .get(inode)
                .is_some_and(|now| now.continues(&seen.last));
            if !stays {
                gone.add(&seen.last.since(&seen.first));
            }
            stays
        });
        for (inode, counters) in found {
            let seen = self.seen.entry(*inode).or_insert_with(|| Seen {
                first: SnmpCounters::default(),
                last: counters.clone(),
            });
            seen.last = counters.clone();
        }
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
