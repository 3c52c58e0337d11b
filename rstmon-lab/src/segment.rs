//! One TCP segment as the fake peer reads and writes it.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};

/// TCP header flags (RFC 9293, 3.1).
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
}

/// What Linux and most others start with, so that the fake peer looks like a neighbour.
pub(crate) const TTL: u8 = 64;

/// Kind and length of the timestamps option (RFC 7323, 3.2), aligned by two NOPs.
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];

/// A segment with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// TCP options, padded to a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// The same from another distance.
    pub(crate) fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The same with these options, padded already.
    pub(crate) fn with_options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// The same with the timestamps option.
    pub(crate) fn with_timestamps(self, value: u32, echo: u32) -> Self {
        let (value, echo) = (value.to_be_bytes(), echo.to_be_bytes());
        self.with_options(&[&TIMESTAMPS[..], &value, &echo].concat())
    }

    /// TSval, if the segment has timestamps and the kernel laid them out as it does outside a SYN.
    /// Within a SYN, the option may stand anywhere.
    pub(crate) fn ts_value(&self) -> Option<u32> {
        let kind_and_length = &TIMESTAMPS[2..];
        let at = self
            .options
            .windows(kind_and_length.len())
            .position(|window| window == kind_and_length)?;
        let value = self.options.get(at + 2..at + 6)?;
        Some(u32::from_be_bytes(value.try_into().ok()?))
    }

    /// All of `flags` are set.
    pub(crate) const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The sequence number after this segment: SYN and FIN take one each.
    pub(crate) fn end_seq(&self) -> u32 {
        let controls = u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN));
        self.seq
            .wrapping_add(self.payload.len() as u32)
            .wrapping_add(controls)
    }

    /// Flags as tcpdump and the event's `rst_flags` write them.
    pub(crate) fn flags_text(&self) -> String {
        "FSRP.UEW"
            .chars()
            .enumerate()
            .filter(|(bit, _)| self.flags & (1 << bit) != 0)
            .map(|(_, letter)| letter)
            .collect()
    }

    /// The IP packet, checksums filled in. `None` if the addresses are of two families, or options
    /// or payload beyond what TCP and IP carry.
    pub(crate) fn to_packet(&self) -> Option<Vec<u8>> {
        let ip = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), self.ttl)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), self.ttl)
            }
            _ => return None,
        };
        let mut header = TcpHeader::new(self.from.port(), self.to.port(), self.seq, self.window);
        header.acknowledgment_number = self.ack;
        header.fin = self.has(flag::FIN);
        header.syn = self.has(flag::SYN);
        header.rst = self.has(flag::RST);
        header.psh = self.has(flag::PSH);
        header.ack = self.has(flag::ACK);
        header.set_options_raw(&self.options).ok()?;
        let mut packet = Vec::new();
        ip.tcp_header(header)
            .write(&mut packet, &self.payload)
            .ok()?;
        Some(packet)
    }

    /// The TCP segment in an IP packet; `None` for anything else (neighbour discovery, say).
    pub(crate) fn parse_packet(packet: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let (from, to, ttl): (IpAddr, IpAddr, u8) = match sliced.net? {
            NetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
                ip.header().ttl(),
            ),
            NetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
                ip.header().hop_limit(),
            ),
            NetSlice::Arp(_) => return None,
        };
        let TransportSlice::Tcp(tcp) = sliced.transport? else {
            return None;
        };
        let flags = [
            (tcp.fin(), flag::FIN),
            (tcp.syn(), flag::SYN),
            (tcp.rst(), flag::RST),
            (tcp.psh(), flag::PSH),
            (tcp.ack(), flag::ACK),
        ];
        Some(Self {
            from: SocketAddr::new(from, tcp.source_port()),
            to: SocketAddr::new(to, tcp.destination_port()),
            flags: flags
                .into_iter()
                .filter(|(set, _)| *set)
                .fold(0, |all, (_, bit)| all | bit),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            ttl,
            options: tcp.options().to_vec(),
            payload: tcp.payload().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    fn segment(from: &str, to: &str) -> Segment {
        Segment {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            flags: flag::PSH | flag::ACK,
            seq: u32::MAX - 1,
            ack: 7,
            window: 501,
            ttl: 250,
            options: Vec::new(),
            payload: b"late".to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (from, to) in [
            ("10.77.0.99:80", "10.77.0.1:4000"),
            ("[fd77::99]:80", "[fd77::1]:4000"),
        ] {
            let segment = segment(from, to);
            let packet = segment.to_packet().unwrap();
            assert_eq!(Segment::parse_packet(&packet), Some(segment));
        }
    }

    #[test]
    fn timestamps_are_found_again() {
        let plain = segment("10.0.0.1:1", "10.0.0.2:2");
        assert_eq!(plain.ts_value(), None);
        let stamped = plain.with_timestamps(0x0102_0304, 9);
        let packet = stamped.to_packet().unwrap();
        let read = Segment::parse_packet(&packet).unwrap();
        assert_eq!(read.ts_value(), Some(0x0102_0304));
        assert_eq!(read, stamped);
        // As in a SYN of Linux: MSS, SACK permitted, timestamps.
        let syn = stamped.with_options(b"\x02\x04\x05\xb4\x04\x02\x08\x0a\0\0\0\x07\0\0\0\0");
        assert_eq!(syn.ts_value(), Some(7));
    }

    #[test]
    fn families_do_not_mix() {
        assert_eq!(segment("10.77.0.99:80", "[fd77::1]:4000").to_packet(), None);
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(segment("10.0.0.1:1", "10.0.0.2:2").end_seq(), 2);
    }

    #[test]
    fn broken_packets_are_nothing() {
        let packet = segment("10.0.0.1:1", "10.0.0.2:2").to_packet().unwrap();
        for length in 0..40 {
            assert_eq!(Segment::parse_packet(&packet[..length]), None, "{length}");
        }
        assert_eq!(Segment::parse_packet(&[0xff; 64]), None);
    }
}
