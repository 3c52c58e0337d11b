//! Who holds the sockets that existed before rstmon started.
//!
//! The hooks note an owner at connect, listen and accept; of older sockets the kernel side knows
//! nothing. [`read_socket_owners`] is called once, in a thread of its own, after the hooks are
//! attached, and its result handed to [`super::Annotator::seed`]. It looks at every process of
//! `/proc` and at the TCP table of every network namespace that a process lives in.
//!
//! It never fails because of one process: what vanishes is skipped, what may not be read is
//! counted in the [`ScanReport`].

use super::process::{ProcessDir, parse_pid};
use super::socket_table::{TableRow, read_table};
use crate::event::printable::printable;
use nix::errno::Errno;
use rstmon_common::wire::tcp_state;
use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Sockets remembered at most; what is beyond is counted in [`ScanReport::left_out`].
const SOCKETS: usize = 131_072;
/// Connections and listeners remembered at most by their addresses, each.
const ADDRESSES: usize = 65_536;
/// Bytes read from a TCP table at once. The kernel walks its hash table anew for each read.
const TABLE_BUFFER: usize = 256 * 1024;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id (tgid) in the pid namespace of the `/proc` that was read: the initial one.
    pub pid: u32,
    /// Name, printable.
    pub comm: String,
    /// Effective uid, where it could be read.
    pub uid: Option<u32>,
    /// When it started, clock ticks since boot: tells it from a later process of the same pid.
    pub start_ticks: u64,
}

/// What a scan saw, and what it could not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Processes that were there.
    pub processes: u64,
    /// Sockets of any family that have a holder.
    pub sockets: u64,
    /// Network namespaces whose TCP tables were read.
    pub namespaces: u64,
    /// Processes and TCP tables that could not be read, or not fully (EPERM, hidepid).
    pub unreadable: u64,
    /// Lines of TCP tables that made no sense.
    pub broken_rows: u64,
    /// Sockets beyond the bounds of what is remembered.
    pub left_out: u64,
}

/// The holders of one socket, as places in [`SocketOwners::processes`].
#[derive(Clone, Copy, Debug)]
struct Holders {
    oldest: u32,
    newest: u32,
}

/// A connection within a network namespace; IPv4 addresses v4-mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ConnectionKey {
    netns: u32,
    local_port: u16,
    remote_port: u16,
    local: [u8; 16],
    remote: [u8; 16],
}

impl ConnectionKey {
    fn new(netns: u32, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            netns,
            local_port: local.port(),
            remote_port: remote.port(),
            local: mapped(local.ip()),
            remote: mapped(remote.ip()),
        }
    }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The owners found. Lookups are by hash, no I/O.
///
/// Of several processes that hold one socket the owner is, for a listener, the one that started
/// first (the master of a prefork server); for any other socket the one that started last (the
/// child that serves it, while a forking parent still has it open). The pid decides between two
/// that started in the same clock tick: the lower is the older.
#[derive(Debug, Default)]
pub struct SocketOwners {
    processes: Vec<Owner>,
    holders: HashMap<u64, Holders>,
    listening: HashSet<u64>,
    connections: HashMap<ConnectionKey, u64>,
    listeners: HashMap<(u32, u16), Vec<(IpAddr, u64)>>,
}

impl SocketOwners {
    /// The owner of the socket with this inode.
    #[must_use]
    pub fn owner(&self, inode: u64) -> Option<&Owner> {
        let holders = self.holders.get(&inode)?;
        let place = if self.listening.contains(&inode) {
            holders.oldest
        } else {
            holders.newest
        };
        self.processes.get(place as usize)
    }

    /// The inode of the connection that had these ends at the scan: a socket that is being torn
    /// down has lost its own.
    #[must_use]
    pub fn by_tuple(&self, netns: u32, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
        self.connections
            .get(&ConnectionKey::new(netns, local, remote))
            .copied()
    }

    /// The owner of the listener that connections to `local` come to. None also if several
    /// processes listen there (`SO_REUSEPORT`): the connection may be of any of them.
    #[must_use]
    pub fn listener_owner(&self, netns: u32, local: SocketAddr) -> Option<&Owner> {
        let listeners = self.listeners.get(&(netns, local.port()))?;
        let wanted = local.ip().to_canonical();
        // As the kernel scores them (inet_lookup_listener): the address itself, then any address.
        let any_of_family = match wanted {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        [wanted, any_of_family, IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
            .into_iter()
            .map(|address| self.owners_at(listeners, address))
            .find(|owners| !owners.is_empty())
            .and_then(|owners| match owners.as_slice() {
                [first, rest @ ..] if rest.iter().all(|other| other.pid == first.pid) => {
                    Some(*first)
                }
                _ => None,
            })
    }

    fn owners_at(&self, listeners: &[(IpAddr, u64)], address: IpAddr) -> Vec<&Owner> {
        listeners
            .iter()
            .filter(|(bound, _)| *bound == address)
            .filter_map(|(_, inode)| self.owner(*inode))
            .collect()
    }

    /// Notes that the process at `place` holds `inode`. False if there is no room.
    fn hold(&mut self, inode: u64, place: u32) -> bool {
        let Some(holders) = self.holders.get(&inode).copied() else {
            if self.holders.len() >= SOCKETS {
                return false;
            }
            self.holders.insert(
                inode,
                Holders {
                    oldest: place,
                    newest: place,
                },
            );
            return true;
        };
        let age = |place: u32| {
            self.processes
                .get(place as usize)
                .map(|owner| (owner.start_ticks, owner.pid))
        };
        let oldest = if age(place) < age(holders.oldest) {
            place
        } else {
            holders.oldest
        };
        let newest = if age(place) > age(holders.newest) {
            place
        } else {
            holders.newest
        };
        self.holders.insert(inode, Holders { oldest, newest });
        true
    }

    /// Remembers a row of a TCP table. False if there is no room.
    fn take_row(&mut self, netns: u32, row: TableRow) -> bool {
        // Nobody holds it: in TIME-WAIT, an orphan, or not yet accepted.
        if row.inode == 0 || row.state == tcp_state::TIME_WAIT {
            return true;
        }
        if row.state == tcp_state::LISTEN {
            if self.listening.len() >= ADDRESSES {
                return false;
            }
            self.listening.insert(row.inode);
            let listeners = self.listeners.entry((netns, row.local.port())).or_default();
            listeners.push((row.local.ip(), row.inode));
            return true;
        }
        if self.connections.len() >= ADDRESSES {
            return false;
        }
        let key = ConnectionKey::new(netns, row.local, row.remote);
        self.connections.insert(key, row.inode);
        true
    }
}

/// Reads who holds which socket, from the `/proc` at `proc_root`. Takes some 5 µs a descriptor.
///
/// Network namespaces in which no process lives (held by a mount or a descriptor only) are not
/// seen by address, their sockets are seen by inode.
///
/// # Errors
/// Only if `proc_root` itself cannot be listed.
pub fn read_socket_owners(proc_root: &Path) -> io::Result<(SocketOwners, ScanReport)> {
    let mut scan = Scan::default();
    for entry in std::fs::read_dir(proc_root)? {
        if let Some(pid) = parse_pid(entry?.file_name().as_bytes()) {
            scan.read_process(proc_root, pid);
        }
    }
    scan.report.sockets = scan.owners.holders.len() as u64;
    Ok((scan.owners, scan.report))
}

/// One pass over `/proc`.
#[derive(Default)]
struct Scan {
    owners: SocketOwners,
    report: ScanReport,
    seen_netns: HashSet<u32>,
}

impl Scan {
    fn read_process(&mut self, proc_root: &Path, pid: u32) {
        let process = match ProcessDir::open(proc_root, pid) {
            Ok(process) => process,
            Err(error) => return self.count_failure(&error),
        };
        self.report.processes += 1;
        // One process counts as unreadable once, whatever of it cannot be read.
        let sockets = self.read_sockets(&process, pid);
        let table = self.read_tables(&process);
        if let Err(error) = sockets.and(table) {
            self.count_failure(&error);
        }
    }

    /// Notes the sockets among the descriptors of a process.
    fn read_sockets(&mut self, process: &ProcessDir, pid: u32) -> io::Result<()> {
        let mut place = None;
        process.walk_descriptors(|inode| {
            let Some(inode) = inode else {
                return Ok(ControlFlow::Continue(()));
            };
            let place = match place {
                Some(place) => place,
                None => *place.insert(self.add_process(process, pid)?),
            };
            if !self.owners.hold(inode, place) {
                self.report.left_out += 1;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Adds a process that holds a socket; returns its place.
    fn add_process(&mut self, process: &ProcessDir, pid: u32) -> io::Result<u32> {
        let stat = process.read_stat()?;
        let place = u32::try_from(self.owners.processes.len()).map_err(io::Error::other)?;
        self.owners.processes.push(Owner {
            pid,
            comm: printable(&stat.comm).into_owned(),
            uid: process.read_uid().ok(),
            start_ticks: stat.start_ticks,
        });
        Ok(place)
    }

    /// Reads the TCP tables of the process's network namespace, if it is the first one seen there.
    fn read_tables(&mut self, process: &ProcessDir) -> io::Result<()> {
        let netns = process.read_netns()?;
        if !self.seen_netns.insert(netns) {
            return Ok(());
        }
        let result = ["net/tcp", "net/tcp6"]
            .into_iter()
            .try_for_each(|name| self.read_table_file(process, netns, name));
        match result {
            Ok(()) => self.report.namespaces += 1,
            // Another process of this namespace may serve.
            Err(_) => {
                self.seen_netns.remove(&netns);
            }
        }
        result
    }

    fn read_table_file(&mut self, process: &ProcessDir, netns: u32, name: &str) -> io::Result<()> {
        let file = match process.open_file(name) {
            Ok(file) => file,
            // A kernel without IPv6 has no tcp6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let Self { owners, report, .. } = self;
        let table = BufReader::with_capacity(TABLE_BUFFER, file);
        report.broken_rows += read_table(table, |row| {
            report.left_out += u64::from(!owners.take_row(netns, row));
        })?;
        Ok(())
    }

    /// A process that vanished is no failure.
    fn count_failure(&mut self, error: &io::Error) {
        let vanished = error.kind() == io::ErrorKind::NotFound
            || error.raw_os_error() == Some(Errno::ESRCH as i32);
        self.report.unreadable += u64::from(!vanished);
    }
}

#[cfg(test)]
mod tests;
