//! What user space adds to an event: the owner of an old socket, its executable, its cgroup's path.
//!
//! `pipeline` calls [`Annotator::annotate`] for each decoded event, on its own thread and never on
//! the ring's path. Always holds: what the kernel side said is never replaced, only gaps are
//! filled; every memory is bounded; the time a storm can spend reading `/proc` is bounded by
//! [`READS_PER_SECOND`]; time is that of the events, no clock decides here.
//!
//! A recording holds what was filled (an [`Annotation`]), so a replay needs no `/proc` of another host.

pub mod cgroups;
pub mod executable;
mod process;
mod socket_table;
pub mod sockets;
pub mod workload;

use crate::event::annotation::Annotation;
use crate::event::model::{Event, Kind, Process, Role, SocketState};
use cgroups::Cgroups;
use executable::{Executables, Wanted};
use sockets::{Owner, SocketOwners};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Answers that may be read from the file system in one second of event time; the rest of that
/// second is answered from memory or not at all. A read takes some 20 µs.
pub const READS_PER_SECOND: u32 = 2_000;

/// How many answers were not looked up because [`READS_PER_SECOND`] was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Executables.
    pub exe: u64,
    /// Cgroup paths.
    pub cgroup: u64,
}

/// Completes events. One for a capture.
#[derive(Debug)]
pub struct Annotator {
    owners: SocketOwners,
    executables: Executables,
    cgroups: Cgroups,
    budget: ReadBudget,
    skipped: Skipped,
}

impl Annotator {
    /// Knows nothing yet of sockets that exist already: [`Self::seed`]. `proc_root` is `/proc`.
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        Self {
            owners: SocketOwners::default(),
            executables: Executables::new(proc_root),
            cgroups: Cgroups::new(proc_root),
            budget: ReadBudget {
                second: 0,
                left: READS_PER_SECOND,
            },
            skipped: Skipped::default(),
        }
    }

    /// Takes the owners of the sockets that existed before the start
    /// ([`sockets::read_socket_owners`]); they replace an earlier seed.
    pub fn seed(&mut self, owners: SocketOwners) {
        self.owners = owners;
    }

    /// What was left out so far for want of budget.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Fills what the event lacks and can be found out. What it filled is returned too.
    pub fn annotate(&mut self, event: &mut Event) -> Annotation {
        let mut filled = Annotation::default();
        let mut start_ticks = None;
        if event.owner.is_none()
            && let Some(owner) = self.seeded_owner(event)
        {
            let process = Process {
                pid: owner.pid,
                comm: owner.comm.as_str().into(),
            };
            start_ticks = Some(owner.start_ticks);
            filled.owner = Some(process.clone());
            event.owner = Some(process);
        }
        if event.exe.is_none() {
            filled.exe = self.resolve_exe(event, start_ticks);
            event.exe.clone_from(&filled.exe);
        }
        if event.cgroup.is_none() {
            filled.cgroup = self.resolve_cgroup(event);
            event.cgroup.clone_from(&filled.cgroup);
        }
        filled
    }

    /// The owner from the seed: by the inode; else, where the inode is gone, by the addresses; else
    /// the listener's, for a connection that no process had accepted.
    fn seeded_owner(&self, event: &Event) -> Option<&Owner> {
        if let Some(inode) = event.inode {
            return self.owners.owner(inode);
        }
        if !had_socket(event) {
            return None;
        }
        let netns = event.netns?;
        let local = SocketAddr::new(event.local_addr, event.local_port);
        let remote = SocketAddr::new(event.remote_addr, event.remote_port);
        // The age is known of connections that began under our eyes. One of those may have the
        // addresses of another that was there at the scan; its owner is not the other's.
        if event.connection.age_ms.is_none()
            && let Some(inode) = self.owners.by_tuple(netns, local, remote)
        {
            return self.owners.owner(inode);
        }
        let from_listener = event.role == Some(Role::Server)
            || matches!(
                event.state,
                Some(SocketState::Listen | SocketState::SynRecv)
            );
        if from_listener {
            self.owners.listener_owner(netns, local)
        } else {
            None
        }
    }

    fn resolve_exe(&mut self, event: &Event, start_ticks: Option<u64>) -> Option<Arc<str>> {
        let pid = event.owner.as_ref()?.pid;
        let wanted = Wanted {
            pid,
            start_ticks,
            mono_ns: event.mono_ns,
        };
        if !self.executables.is_fresh(&wanted) && !self.budget.take(event.mono_ns) {
            self.skipped.exe += 1;
            return None;
        }
        self.executables
            .resolve(&wanted)
            .map(|executable| executable.path.clone())
    }

    fn resolve_cgroup(&mut self, event: &Event) -> Option<Arc<str>> {
        let id = event.cgroup_id?;
        if !self.cgroups.is_fresh(id, event.mono_ns) && !self.budget.take(event.mono_ns) {
            self.skipped.cgroup += 1;
            return None;
        }
        self.cgroups.resolve(id, event.mono_ns).cloned()
    }
}

/// Whether a socket of this host was concerned: without one there is no owner, whoever had the
/// addresses before.
fn had_socket(event: &Event) -> bool {
    event.kind != Kind::Stray
        && event.socket.is_some()
        && !matches!(event.state, Some(SocketState::None | SocketState::TimeWait))
}

/// Reads left in the current second of event time.
#[derive(Debug)]
struct ReadBudget {
    second: u64,
    left: u32,
}

impl ReadBudget {
    /// Takes one read. False if the second's are spent.
    fn take(&mut self, mono_ns: u64) -> bool {
        let second = mono_ns / 1_000_000_000;
        // Events of several CPUs come a little out of order; an older one opens no new second.
        if second > self.second {
            *self = Self {
                second,
                left: READS_PER_SECOND,
            };
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
