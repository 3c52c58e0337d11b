//! What user space adds to an event: the owner of an old socket, the worker that holds a connection
//! of a server, the owner's executable, the cgroup's path, the container, pod and unit.
//!
//! `pipeline` calls [`Annotator::annotate`] for each decoded event, on its own thread and never on
//! the ring's path. Always holds: what the kernel side said is never replaced, only gaps are
//! filled (a listener's owner says only who may have accepted); every memory is bounded; the time a storm can spend reading `/proc` is bounded by
//! [`READS_PER_SECOND`]; time is that of the events, no clock decides here.
//!
//! A recording holds what was filled (an [`Annotation`]), so a replay needs no `/proc` of another host.

pub mod cgroups;
pub mod executable;
mod holders;
mod process;
mod process_tree;
mod socket_table;
pub mod sockets;
pub mod workload;

use crate::event::annotation::Annotation;
use crate::event::model::{Event, Kind, Process, Role, SocketState};
use crate::event::workload::Workload;
use cgroups::Cgroups;
use executable::{Executables, Wanted};
use holders::{Answer, Holder, Holders};
use sockets::{Owner, SocketOwners};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use workload::{READS_OF_NAMES, Workloads};

/// Answers that may be read from the file system in one second of event time; the rest of that
/// second is answered from memory or not at all. A read takes some 20 µs.
pub const READS_PER_SECOND: u32 = 2_000;

/// What was left out to keep the time bounded: answers not looked up because [`READS_PER_SECOND`]
/// was spent, and parts of directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Searches for the process of a server that holds a connection, given up or not begun.
    pub holder: u64,
    /// Executables.
    pub exe: u64,
    /// Cgroup paths.
    pub cgroup: u64,
    /// Names of pods and containers.
    pub names: u64,
    /// Readings of a directory of the kubelet's logs that had more entries than are read.
    pub log_directories: u64,
}

/// Completes events. One for a capture.
#[derive(Debug)]
pub struct Annotator {
    owners: SocketOwners,
    holders: Holders,
    executables: Executables,
    cgroups: Cgroups,
    workloads: Workloads,
    budget: ReadBudget,
    skipped: Skipped,
}

impl Annotator {
    /// Knows nothing yet of sockets that exist already: [`Self::seed`]. `proc_root` is `/proc`;
    /// `host_root`, below which the kubelet and container runtimes keep their files, is `/`, or in a
    /// container where the host's root is mounted.
    #[must_use]
    pub fn new(proc_root: &Path, host_root: &Path) -> Self {
        let cgroups = Cgroups::new(proc_root);
        Self {
            owners: SocketOwners::default(),
            holders: Holders::new(proc_root),
            executables: Executables::new(proc_root, cgroups.has_version_1()),
            cgroups,
            workloads: Workloads::new(host_root),
            budget: ReadBudget::full(),
            skipped: Skipped::default(),
        }
    }

    /// Takes the owners of the sockets that existed before the start
    /// ([`sockets::read_socket_owners`]); they replace an earlier seed.
    pub fn seed(&mut self, owners: SocketOwners) {
        self.owners = owners;
    }

    /// What was left out so far.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        Skipped {
            log_directories: self.workloads.directories_cut_short(),
            ..self.skipped
        }
    }

    /// Fills what the event lacks and can be found out. What it filled is returned too.
    pub fn annotate(&mut self, event: &mut Event) -> Annotation {
        let mut filled = Annotation::default();
        let start_ticks = self.fill_owner(event, &mut filled);
        let owner = self.admitted_owner(event, start_ticks);
        if event.exe.is_none() {
            let executable = owner.and_then(|owner| self.executables.resolve(&owner));
            filled.exe = executable.map(|executable| executable.path.clone());
            event.exe.clone_from(&filled.exe);
        }
        if event.cgroup.is_none() {
            filled.cgroup = self.resolve_cgroup(event);
            event.cgroup.clone_from(&filled.cgroup);
        }
        if event.workload.is_none() {
            filled.workload = self.resolve_workload(event, owner);
            event.workload.clone_from(&filled.workload);
        }
        filled
    }

    /// Fills the owner, where the kernel side knows none, or only who listens. When it started, clock
    /// ticks since boot, where that is known.
    fn fill_owner(&mut self, event: &mut Event, filled: &mut Annotation) -> Option<u64> {
        let mut start_ticks = None;
        if event.owner.is_none()
            && let Some((owner, is_listener)) = self.seeded_owner(event)
        {
            let process = Process {
                pid: owner.pid,
                comm: owner.comm.as_str().into(),
            };
            start_ticks = Some(owner.start_ticks);
            filled.owner = Some(process.clone());
            event.owner = Some(process);
            event.owner_is_listener = is_listener;
        }
        if let Some(holder) = self.resolve_holder(event) {
            start_ticks = Some(holder.start_ticks);
            filled.owner = Some(holder.process.clone());
            event.owner = Some(holder.process);
            event.owner_is_listener = false;
        }
        start_ticks
    }

    /// The owner from the seed: by the inode; else, where the inode is gone, by the addresses; else
    /// the listener's, for a connection that came to it. Whether it is the listener's.
    fn seeded_owner(&self, event: &Event) -> Option<(&Owner, bool)> {
        if let Some(owner) = event.inode.and_then(|inode| self.owners.owner(inode)) {
            return Some((owner, false));
        }
        if !had_socket(event) {
            return None;
        }
        let netns = event.netns?;
        let local = SocketAddr::new(event.local_addr, event.local_port);
        let remote = SocketAddr::new(event.remote_addr, event.remote_port);
        // The age is known of connections that began under our eyes. One of those may have the
        // addresses of another that was there at the scan; its owner is not the other's.
        if event.inode.is_none()
            && event.connection.age_ms.is_none()
            && let Some(inode) = self.owners.by_tuple(netns, local, remote)
        {
            return self.owners.owner(inode).map(|owner| (owner, false));
        }
        let from_listener = event.role == Some(Role::Server)
            || matches!(
                event.state,
                Some(SocketState::Listen | SocketState::SynRecv)
            );
        if from_listener {
            let owner = self.owners.listener_owner(netns, local);
            owner.map(|owner| (owner, true))
        } else {
            None
        }
    }

    /// The process that holds a connection of which only the listener's owner is known.
    fn resolve_holder(&mut self, event: &Event) -> Option<Holder> {
        // The inode of a socket that listens is the listener's own.
        if !event.owner_is_listener || event.state == Some(SocketState::Listen) {
            return None;
        }
        let wanted = holders::Wanted {
            inode: event.inode?,
            listener: event.owner.as_ref()?.pid,
            mono_ns: event.mono_ns,
            latest_start: self.executables.ticks_at(event.mono_ns),
        };
        match self.holders.resolve(&wanted, &mut self.budget) {
            Answer::Held(holder) => Some(holder),
            Answer::NotFound => None,
            Answer::Skipped => {
                self.skipped.holder += 1;
                None
            }
        }
    }

    /// The owner, if something is known of it or may be read now.
    fn admitted_owner(&mut self, event: &Event, start_ticks: Option<u64>) -> Option<Wanted> {
        let wanted = Wanted {
            pid: event.owner.as_ref()?.pid,
            start_ticks,
            mono_ns: event.mono_ns,
        };
        if !self.executables.is_fresh(&wanted) && !self.budget.take(event.mono_ns, 1) {
            self.skipped.exe += 1;
            return None;
        }
        Some(wanted)
    }

    fn resolve_cgroup(&mut self, event: &Event) -> Option<Arc<str>> {
        let id = event.cgroup_id?;
        if !self.cgroups.is_fresh(id, event.mono_ns) && !self.budget.take(event.mono_ns, 1) {
            self.skipped.cgroup += 1;
            return None;
        }
        self.cgroups.resolve(id, event.mono_ns).cloned()
    }

    /// By the socket's cgroup; where that shows no container and the host has version 1 hierarchies,
    /// by the owner's.
    fn resolve_workload(&mut self, event: &Event, owner: Option<Wanted>) -> Option<Arc<Workload>> {
        let now = event.mono_ns;
        let of_socket = event
            .cgroup
            .as_ref()
            .and_then(|path| self.resolve_workload_of(path, now));
        let is_contained = |found: &Option<Arc<Workload>>| {
            found
                .as_ref()
                .is_some_and(|workload| workload.is_contained())
        };
        if is_contained(&of_socket) || !self.cgroups.has_version_1() {
            return of_socket;
        }
        let path = owner.and_then(|owner| self.executables.resolve_cgroup(&owner).cloned());
        let of_owner = path.and_then(|path| self.resolve_workload_of(&path, now));
        if is_contained(&of_owner) {
            of_owner
        } else {
            of_socket.or(of_owner)
        }
    }

    fn resolve_workload_of(&mut self, path: &Arc<str>, now_ns: u64) -> Option<Arc<Workload>> {
        if !self.workloads.is_fresh(path, now_ns) {
            if self.budget.take(now_ns, READS_OF_NAMES) {
                self.workloads.read_names(path, now_ns);
            } else {
                self.skipped.names += 1;
            }
        }
        self.workloads.resolve(path)
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
    const fn full() -> Self {
        Self {
            second: 0,
            left: READS_PER_SECOND,
        }
    }

    /// As [`Self::take`], but leaves half of the second's reads to others.
    fn take_spare(&mut self, mono_ns: u64, reads: u32) -> bool {
        self.take(mono_ns, 0) && self.left >= READS_PER_SECOND / 2 + reads && {
            self.left -= reads;
            true
        }
    }

    /// Takes some reads. False if fewer are left in this second.
    fn take(&mut self, mono_ns: u64, reads: u32) -> bool {
        let second = mono_ns / 1_000_000_000;
        // Events of several CPUs come a little out of order; an older one opens no new second.
        if second > self.second {
            *self = Self {
                second,
                ..Self::full()
            };
        }
        match self.left.checked_sub(reads) {
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
