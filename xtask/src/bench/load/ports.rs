//! Ports of loopback that are closed and stay so, for the loads that want to be refused and for
//! servers that look for a port of their own.

use anyhow::Context;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsRawFd, OwnedFd};

/// A port of loopback that is closed and stays so while this lives: a socket is bound to it and
/// does not listen. Whoever else looks for a port, the test beside this one too, gets another.
#[derive(Debug)]
pub(in crate::bench) struct ClosedPort {
    /// Its number.
    pub(in crate::bench) number: u16,
    _holder: OwnedFd,
}

impl ClosedPort {
    /// Takes a port that nobody uses, below the range from which the kernel takes source ports:
    /// within it a connection to a closed port can get that port as its own source and connect to
    /// itself.
    pub(in crate::bench) fn take() -> anyhow::Result<Self> {
        let path = "/proc/sys/net/ipv4/ip_local_port_range";
        let range = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let lowest: u16 = range
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("{path} does not begin with a port: {range:?}"))?;
        let sockets = fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
        // Binding succeeds beside sockets in TIME-WAIT, which answer a SYN in other ways than a
        // closed port does; those of an earlier nginx are there by the thousand.
        let used = parse_used_ports(&sockets);
        // From anywhere, so that whoever gives a port back for a server to take will hardly lose it to
        // the next one who looks for a port.
        let count = u64::from(lowest.saturating_sub(1024));
        let start = RandomState::new().hash_one(lowest) >> 1;
        (0..count)
            .map(|step| 1024 + ((start + step) % count) as u16)
            .filter(|port| !used.contains(port))
            .find_map(|port| bind_without_listening(port).ok().map(|held| (port, held)))
            .map(|(number, holder)| Self {
                number,
                _holder: holder,
            })
            .with_context(|| format!("no port from 1024 to {lowest} of 127.0.0.1 is free"))
    }
}

/// A socket bound to a port of 127.0.0.1: the port is taken, and a SYN to it is refused.
fn bind_without_listening(port: u16) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    socket::bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
    Ok(socket)
}

/// Ports, local and remote, of the sockets in /proc/net/tcp: `ADDRESS:PORT` in hexadecimal in the
/// second and third column.
fn parse_used_ports(sockets: &str) -> BTreeSet<u16> {
    sockets
        .lines()
        .skip(1)
        .flat_map(|line| line.split_whitespace().skip(1).take(2))
        .filter_map(|endpoint| endpoint.split_once(':'))
        .filter_map(|(_, port)| u16::from_str_radix(port, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{ClosedPort, parse_used_ports};
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn ports_of_sockets_in_time_wait_are_used() {
        let sockets = "  sl  local_address rem_address   st tx_queue rx_queue tr\n   \
                       0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000\n   \
                       1: 0100007F:7FFF 0100007F:A000 06 00000000:00000000 03:00001000\n";
        let used = parse_used_ports(sockets);
        assert_eq!(
            used.into_iter().collect::<Vec<_>>(),
            [0, 0x1F90, 0x7FFF, 0xA000]
        );
    }

    #[test]
    fn a_closed_port_is_taken_once_and_refuses() {
        let (one, other) = (ClosedPort::take().unwrap(), ClosedPort::take().unwrap());
        assert!(one.number >= 1024);
        assert_ne!(one.number, other.number);
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, one.number)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
