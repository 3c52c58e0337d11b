//! A private network namespace for the calling thread, and what the kernel counts there.
//!
//! Nothing is named or mounted: the namespace lives as long as its thread, its sockets and the
//! handle do, so also a `kill -9` leaves nothing behind.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::fstat;

use crate::error::{Doing, LabError};

const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
const OWN_SNMP: &str = "/proc/thread-self/net/snmp";

/// Keeps a network namespace, and with it its number, alive.
#[derive(Debug)]
pub(crate) struct Namespace {
    _handle: OwnedFd,
    inode: u32,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
impl Namespace {
    /// For tests of what only carries one around.
    pub(crate) fn stand_in() -> Self {
        Self {
            _handle: File::open("/dev/null").unwrap().into(),
            inode: 0,
        }
    }
}

impl Namespace {
    /// Moves the calling thread, for good, into a new network namespace. Only call it on a thread
    /// that ends with its work.
    pub(crate) fn enter_new() -> Result<Self, LabError> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| LabError::NotPermitted {
            source: errno.into(),
        })?;
        let handle = File::open(OWN_NAMESPACE).doing(format!("open {OWN_NAMESPACE}"))?;
        let stat = fstat(handle.as_fd()).doing(format!("stat {OWN_NAMESPACE}"))?;
        let inode = u32::try_from(stat.st_ino)
            .map_err(io::Error::other)
            .doing(format!("take the number of {OWN_NAMESPACE}"))?;
        Ok(Self {
            _handle: handle.into(),
            inode,
        })
    }

    /// The number that `lsns` and the `netns` field of events show.
    pub(crate) const fn inode(&self) -> u32 {
        self.inode
    }
}

/// Sets a sysctl of the calling thread's namespace; `name` is the path below `/proc/sys/net`.
pub(crate) fn write_sysctl(name: &str, value: &str) -> Result<(), LabError> {
    fs::write(format!("/proc/sys/net/{name}"), value).doing(format!("write {value} to net/{name}"))
}

/// Reads `Tcp: OutRsts` of the calling thread's namespace: the RSTs that its TCP sent, those of
/// netfilter not included.
pub(crate) fn read_out_rsts() -> Result<u64, LabError> {
    let text = fs::read_to_string(OWN_SNMP).doing(format!("read {OWN_SNMP}"))?;
    parse_out_rsts(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Tcp: OutRsts"))
        .doing(format!("parse {OWN_SNMP}"))
}

fn parse_out_rsts(snmp: &str) -> Option<u64> {
    let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let column = tcp
        .next()?
        .split_whitespace()
        .position(|name| name == "OutRsts")?;
    tcp.next()?.split_whitespace().nth(column)?.parse().ok()
}

/// State numbers of `/proc/net/tcp` that scenarios wait for (`include/net/tcp_states.h`). A timewait
/// socket that stands for FIN-WAIT-2 shows as FIN-WAIT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelState {
    Established = 1,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    CloseWait = 8,
    LastAck = 9,
}

/// Whether the calling thread's namespace has a TCP socket with these ports in `state`. Ports are
/// enough: scenarios use each pair once.
pub(crate) fn has_socket_in(
    local_port: u16,
    remote_port: u16,
    state: KernelState,
) -> Result<bool, LabError> {
    let found = read_socket_state(local_port, remote_port)?;
    Ok(found == Some(state as u8))
}

/// Whether the calling thread's namespace has any TCP socket with these ports.
pub(crate) fn has_socket(local_port: u16, remote_port: u16) -> Result<bool, LabError> {
    Ok(read_socket_state(local_port, remote_port)?.is_some())
}

fn read_socket_state(local_port: u16, remote_port: u16) -> Result<Option<u8>, LabError> {
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{table}");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.doing(format!("read {path}"))?,
        };
        let state = text
            .lines()
            .find_map(|line| parse_socket_state(line, local_port, remote_port));
        if state.is_some() {
            return Ok(state);
        }
    }
    Ok(None)
}

fn parse_socket_state(line: &str, local_port: u16, remote_port: u16) -> Option<u8> {
    let mut columns = line.split_whitespace().skip(1);
    let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
    let is_end = |column: &str, port: u16| column.ends_with(&format!(":{port:04X}"));
    (is_end(local, local_port) && is_end(remote, remote_port))
        .then(|| u8::from_str_radix(state, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_rsts_is_found_by_its_name() {
        let snmp = "Ip: A\nIp: 1\nTcp: X OutRsts Y\nTcp: -1 42 7\nUdp: OutRsts\nUdp: 9\n";
        assert_eq!(parse_out_rsts(snmp), Some(42));
        assert_eq!(parse_out_rsts("Tcp: X\nTcp: 1\n"), None);
        assert_eq!(parse_out_rsts(""), None);
    }

    #[test]
    fn a_socket_is_found_by_both_ports() {
        let line = "   0: 0100007F:1F90 0100007F:C001 05 00000000:00000000 00:00000000";
        assert_eq!(parse_socket_state(line, 0x1f90, 0xc001), Some(5));
        assert_eq!(parse_socket_state(line, 0x1f90, 0xc002), None);
        assert_eq!(parse_socket_state("sl local rem st", 1, 2), None);
    }
}
