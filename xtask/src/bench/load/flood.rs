//! A SYN flood onto a closed port of loopback, from raw sockets: each SYN comes from another address
//! and port of 127.0.0.0/8, so each is a flow of its own. The kernel answers each with a reset, and
//! the reset finds no connection either. What is counted are those answers, by the kernel's OutRsts.

use super::Work;
use super::drive::{BATCH, THREADS, Throttle, on_threads};
use super::ports::ClosedPort;
use crate::bench::Interrupt;
use crate::bench::snmp::read_out_rsts;
use crate::bench::statistics::as_number;
use anyhow::{Context, ensure};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const PROTOCOL_TCP: u8 = 6;
const FLAG_SYN: u8 = 2;
/// Sources are `FIRST_ADDRESS` and the addresses after it, each with the ports from `FIRST_PORT` up.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 16, 0, 1]);
const FIRST_PORT: u32 = 1024;
const PORTS: u32 = 60_000;
/// Part of the SYNs that must have been answered: the loopback queue may overflow, no more.
const LEAST_ANSWERED: f64 = 0.9;

/// Where a flood ends: whichever comes first. Every flood has both.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Limits {
    /// Time.
    pub(in crate::bench) duration: Duration,
    /// SYNs, of all threads together.
    pub(in crate::bench) syns: u32,
    /// SYNs a second; none: as many as go.
    pub(in crate::bench) rate: Option<u32>,
}

/// Floods, and counts the resets with which the kernel answered.
pub(in crate::bench) fn run_flood(limits: Limits, interrupt: &Interrupt) -> anyhow::Result<Work> {
    let closed = ClosedPort::take()?;
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, closed.number);
    let before = read_out_rsts()?;
    let begin = Instant::now();
    let sent = on_threads(|thread| send_until(target, thread, begin, limits, interrupt))?;
    let elapsed = begin.elapsed();
    interrupt.check()?;
    let answered = read_out_rsts()?.saturating_sub(before);
    ensure!(
        sent > 0 && as_number(answered) >= as_number(sent) * LEAST_ANSWERED,
        "of {sent} SYNs to {target} only {answered} were answered with a reset"
    );
    Ok(Work::over(answered, elapsed))
}

/// One thread of the flood: SYNs that it sent. Flows are dealt out to the threads in turn.
fn send_until(
    target: SocketAddrV4,
    thread: u32,
    begin: Instant,
    limits: Limits,
    interrupt: &Interrupt,
) -> anyhow::Result<u64> {
    let socket = open_raw_socket()?;
    let to = SockaddrIn::from(target);
    let mut flows = (thread..limits.syns).step_by(THREADS as usize);
    let mut throttle = Throttle::new(limits.rate, begin);
    let mut sent = 0;
    while begin.elapsed() < limits.duration && !interrupt.is_set() {
        throttle.wait();
        for _ in 0..BATCH {
            let Some(flow) = flows.next() else {
                return Ok(sent);
            };
            let segment = syn(source_of(flow), target);
            socket::sendto(socket.as_raw_fd(), &segment, &to, MsgFlags::empty())
                .with_context(|| format!("cannot send a SYN to {target}"))?;
            sent += 1;
        }
    }
    Ok(sent)
}

/// A socket that sends whole IP packets. Of this protocol none are received: a socket of TCP's
/// would get a copy of every reset.
fn open_raw_socket() -> anyhow::Result<OwnedFd> {
    socket::socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Raw,
    )
    .context("cannot open a raw socket")
}

fn source_of(flow: u32) -> SocketAddrV4 {
    let address = Ipv4Addr::from(FIRST_ADDRESS + flow / PORTS);
    let port = u16::try_from(FIRST_PORT + flow % PORTS).unwrap_or(u16::MAX);
    SocketAddrV4::new(address, port)
}

/// A SYN as a whole IP packet; the kernel fills in length, identification and the IP checksum.
fn syn(source: SocketAddrV4, target: SocketAddrV4) -> [u8; IP_HEADER + TCP_HEADER] {
    let mut packet = [0; IP_HEADER + TCP_HEADER];
    let (ip, tcp) = packet.split_at_mut(IP_HEADER);
    ip[0] = 0x45; // version 4, header of five words
    ip[8] = 64; // time to live
    ip[9] = PROTOCOL_TCP;
    ip[12..16].copy_from_slice(&source.ip().octets());
    ip[16..20].copy_from_slice(&target.ip().octets());
    tcp[0..2].copy_from_slice(&source.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&target.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&1u32.to_be_bytes()); // sequence number
    tcp[12] = 0x50; // header of five words
    tcp[13] = FLAG_SYN;
    tcp[14..16].copy_from_slice(&64_240u16.to_be_bytes()); // window
    let sum = checksum(&ip[12..20], tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// TCP's checksum over both addresses and the segment (RFC 9293, 3.1).
fn checksum(addresses: &[u8], segment: &[u8]) -> u16 {
    let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    let words = addresses.chunks_exact(2).chain(segment.chunks_exact(2));
    let mut sum = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum::<u32>()
        + u32::from(PROTOCOL_TCP)
        + length;
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{Limits, checksum, run_flood, source_of, syn};
    use crate::bench::Interrupt;
    use crate::bench::testing::can_run;
    use std::collections::BTreeSet;
    use std::net::SocketAddrV4;
    use std::time::{Duration, Instant};

    #[test]
    fn a_million_flows_are_a_million_ends_of_loopback() {
        let sources: BTreeSet<SocketAddrV4> = (0..1_000_000).map(source_of).collect();
        assert_eq!(sources.len(), 1_000_000);
        assert!(sources.iter().all(|source| source.ip().is_loopback()));
        assert!(sources.iter().all(|source| source.port() >= 1024));
    }

    /// A receiver sums everything, the checksum included, to all ones, which is checksum 0.
    #[test]
    fn a_receiver_finds_the_checksum_right() {
        for flow in [0, 7, 59_999, 60_000, 999_999] {
            let packet = syn(source_of(flow), "127.0.0.1:9".parse().unwrap());
            assert_eq!(checksum(&packet[12..20], &packet[20..]), 0, "{flow}");
        }
    }

    #[test]
    fn a_flood_is_answered_and_ends_at_its_count_and_at_its_time() {
        if !can_run(&[]) {
            return;
        }
        let limits = Limits {
            duration: Duration::from_secs(20),
            syns: 1000,
            rate: None,
        };
        let flood = run_flood(limits, &Interrupt::default()).unwrap();
        // Others on this machine may be answered with a reset meanwhile.
        assert!(flood.count >= 900, "{flood:?}");
        let begin = Instant::now();
        let limits = Limits {
            duration: Duration::from_millis(200),
            syns: 1_000_000,
            rate: Some(10_000),
        };
        let flood = run_flood(limits, &Interrupt::default()).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert!((900..500_000).contains(&flood.count), "{flood:?}");
    }
}
