//! Which process of a server holds a connection.
//!
//! Until somebody closes a connection that was accepted, the kernel side knows only who listens. A
//! server of several processes accepts with others than that: the workers of a master. Asked by
//! [`super::Annotator`] for such events. A process that holds the inode of the connection is its
//! owner, so no pid that was used again can lead to a wrong one; of several holders it is the one
//! that started last, as everywhere (`ARCHITECTURE.md`, "Owners, in one place").
//!
//! A worker mostly closes the connection before it can be looked for. So all connections that a
//! search comes by are remembered: after the first reset of a server, the holders of those that
//! live at that time are known. A descriptor costs 2 to 4 µs, from the budget of the annotator: at
//! most some 30 ms in a second. An answer from memory costs 20 ns.

use super::ReadBudget;
use super::process::ProcessDir;
use super::process_tree::ProcessTree;
use crate::event::model::Process;
use crate::event::printable::printable;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Connections remembered; the least recently used goes first.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);
/// Listening processes remembered; the least recently used goes first.
const LISTENERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// Processes of a server that are looked through, the newest first.
const RELATIVES: usize = 256;
/// How long a server is not searched again, nanoseconds; answers come from memory.
const SEARCHED_NS: u64 = 100_000_000;
/// How long a holder is remembered after the connection was last seen with it, nanoseconds.
/// The kernel gives out an inode number again after 2^32 others at the soonest.
const REMEMBERED_NS: u64 = 600_000_000_000;
/// Descriptors that are looked at for one read of the budget.
const DESCRIPTORS_A_READ: u32 = 8;
/// Processes whose relations are looked at for one read of the budget.
const RELATIONS_A_READ: usize = 256;

/// A connection whose holder is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Inode of its socket.
    pub(super) inode: u64,
    /// Process that listens.
    pub(super) listener: u32,
    /// When the event happened, monotonic nanoseconds.
    pub(super) mono_ns: u64,
    /// The same time as `mono_ns` in clock ticks since boot: who started later had no part.
    pub(super) latest_start: u64,
}

/// A process that holds a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// The process.
    pub(super) process: Process,
    /// When it started, clock ticks since boot.
    pub(super) start_ticks: u64,
}

/// What is known of the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This process holds it, or did when it was last seen.
    Held(Holder),
    /// No process of the server holds it.
    NotFound,
    /// It was not looked for, or not everywhere, to keep the time bounded.
    Skipped,
}

#[derive(Debug)]
struct Seen {
    holder: Holder,
    /// Time of the search, by the event that asked.
    seen_ns: u64,
}

/// Bounded memory of who holds which connection.
#[derive(Debug)]
pub(super) struct Holders {
    proc_root: PathBuf,
    tree: ProcessTree,
    seen: LruCache<u64, Seen>,
    /// When the server of a listening process was last searched.
    searched: LruCache<u32, u64>,
}

impl Holders {
    /// Nothing known yet. `proc_root` is `/proc`.
    pub(super) fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            tree: ProcessTree::new(proc_root),
            seen: LruCache::new(CONNECTIONS),
            searched: LruCache::new(LISTENERS),
        }
    }

    /// The holder: by looking, else from memory.
    pub(super) fn resolve(&mut self, wanted: &Wanted, budget: &mut ReadBudget) -> Answer {
        let now = wanted.mono_ns;
        let is_recent = |searched: &u64| now.saturating_sub(*searched) < SEARCHED_NS;
        let answer = if self.searched.get(&wanted.listener).is_some_and(is_recent) {
            Answer::Skipped
        } else {
            self.searched.put(wanted.listener, now);
            self.search(wanted, budget)
        };
        match answer {
            Answer::Held(_) => answer,
            Answer::NotFound | Answer::Skipped => {
                self.remembered(wanted).map_or(answer, Answer::Held)
            }
        }
    }

    /// The holder from memory.
    fn remembered(&mut self, wanted: &Wanted) -> Option<Holder> {
        let seen = self.seen.get(&wanted.inode)?;
        let is_recent = wanted.mono_ns.saturating_sub(seen.seen_ns) < REMEMBERED_NS;
        is_recent.then(|| seen.holder.clone())
    }

    /// Looks through the processes of the server, the newest first.
    fn search(&mut self, wanted: &Wanted, budget: &mut ReadBudget) -> Answer {
        let now = wanted.mono_ns;
        self.tree.refresh(now, budget);
        let relations = u32::try_from(self.tree.len() / RELATIONS_A_READ).unwrap_or(u32::MAX);
        if !budget.take_spare(now, relations.saturating_add(1)) {
            return Answer::Skipped;
        }
        let relatives = self.tree.relatives(wanted.listener);
        if let [(only, _)] = relatives.as_slice()
            && *only == wanted.listener
        {
            // Nobody else can hold it.
            return Answer::NotFound;
        }
        let mut answer = if relatives.len() <= RELATIVES {
            Answer::NotFound
        } else {
            Answer::Skipped
        };
        // On to the end also if it is found: the connections of the others answer later events.
        for (pid, start_ticks) in relatives.into_iter().take(RELATIVES) {
            if start_ticks > wanted.latest_start {
                continue;
            }
            match self.search_process(pid, start_ticks, wanted, budget) {
                Answer::Held(holder) if !matches!(answer, Answer::Held(_)) => {
                    answer = Answer::Held(holder);
                }
                Answer::Skipped if !matches!(answer, Answer::Held(_)) => return Answer::Skipped,
                Answer::Skipped => break,
                Answer::Held(_) | Answer::NotFound => {}
            }
        }
        answer
    }

    /// Notes the connections of one process; whether the wanted one is among them.
    fn search_process(
        &mut self,
        pid: u32,
        start_ticks: u64,
        wanted: &Wanted,
        budget: &mut ReadBudget,
    ) -> Answer {
        let now = wanted.mono_ns;
        if !budget.take_spare(now, 1) {
            return Answer::Skipped;
        }
        let opened =
            ProcessDir::open(&self.proc_root, pid).and_then(|dir| Ok((dir.read_stat()?, dir)));
        let Ok((stat, dir)) = opened else {
            // It is gone, and with it its descriptors.
            return Answer::NotFound;
        };
        if stat.start_ticks != start_ticks {
            self.tree.forget(pid);
        }
        let holder = Holder {
            process: Process {
                pid,
                comm: printable(&stat.comm).into(),
            },
            start_ticks: stat.start_ticks,
        };
        let mut looked_at = 0_u32;
        let mut answer = Answer::NotFound;
        let walked = dir.walk_descriptors(|inode| {
            looked_at += 1;
            if looked_at.is_multiple_of(DESCRIPTORS_A_READ) && !budget.take_spare(now, 1) {
                if answer == Answer::NotFound {
                    answer = Answer::Skipped;
                }
                return Ok(ControlFlow::Break(()));
            }
            if let Some(inode) = inode {
                if inode == wanted.inode {
                    answer = Answer::Held(holder.clone());
                }
                self.note(inode, &holder, now);
            }
            Ok(ControlFlow::Continue(()))
        });
        match walked {
            // It died meanwhile, or may not be read.
            Err(_) if answer == Answer::NotFound => Answer::NotFound,
            _ => answer,
        }
    }

    /// Remembers a holder; in one search the newest process came first.
    fn note(&mut self, inode: u64, holder: &Holder, now_ns: u64) {
        if let Some(seen) = self.seen.peek(&inode)
            && seen.seen_ns == now_ns
        {
            return;
        }
        let seen = Seen {
            holder: holder.clone(),
            seen_ns: now_ns,
        };
        self.seen.put(inode, seen);
    }
}

#[cfg(test)]
mod tests;
