//! A TCP segment as a `struct sk_buff` holds it.

use crate::globals::offset;
use crate::read::{KernelAddr, Members, Object, Window, clear};
use crate::scratch::SKB_WINDOW_LEN;
use bytemuck::Zeroable;
use rstmon_common::wire::{AF_INET, AF_INET6, tcp_flag};

/// `htons(ETH_P_IP)` as `skb->protocol` holds it.
const PROTOCOL_IPV4: u16 = 0x0800_u16.to_be();
/// `htons(ETH_P_IPV6)`.
const PROTOCOL_IPV6: u16 = 0x86dd_u16.to_be();
/// `IPPROTO_TCP`.
const NEXT_HEADER_TCP: u8 = 6;
/// `skb->transport_header` that nobody set.
const HEADER_UNSET: u16 = u16::MAX;
/// `PACKET_HOST`: the segment was addressed to this host.
const PACKET_HOST: u8 = 0;
/// Octet of the TCP header that holds the flags.
const FLAGS_AT: u64 = 13;
/// Length of a TCP header without options.
const TCP_HEADER_LEN: u32 = 20;
/// Option kinds (RFC 9293, 3.2; RFC 7323, 3.2).
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_TIMESTAMPS: u8 = 8;
/// Option kind of Multipath TCP, and its subtypes that ask for a further subflow and that give the reason
/// of a RST (RFC 8684, 3.2 and 3.6).
const OPTION_MPTCP: u8 = 30;
const MP_JOIN: u8 = 1;
const MP_TCPRST: u8 = 8;
/// More options than fit into 40 bytes, NOPs included in pairs, do not occur in practice.
const OPTIONS_READ: usize = 14;

/// One segment. Addresses are in network order, IPv4 in the first four bytes; all else is in host
/// order.
#[repr(C, align(8))]
#[derive(Zeroable)]
pub(crate) struct Segment {
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
    pub(crate) family: u16,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) window: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// Payload bytes.
    pub(crate) len: u32,
    /// TSval, with `has_timestamps`.
    pub(crate) ts_value: u32,
    /// TSecr, with `has_timestamps`.
    pub(crate) ts_echo: u32,
    /// 1: the timestamps option was there. No `Option`, see `emit::Reason`.
    pub(crate) has_timestamps: u32,
    /// Where the payload begins.
    pub(crate) payload: KernelAddr,
    /// How much of the payload lies there; the rest is in fragments.
    pub(crate) payload_len: u32,
    /// From 256 on: 256 and the reason of `MP_TCPRST`; below: no such option.
    pub(crate) mptcp_reset: u16,
    pub(crate) ip_id: u16,
    pub(crate) flags: u8,
    pub(crate) ttl: u8,
    /// 1: the option `MP_JOIN` was there.
    pub(crate) mptcp_join: u8,
}

impl Segment {
    /// Whether all of `flags` are set.
    #[inline(always)]
    pub(crate) const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it is a reset.
    #[inline(always)]
    pub(crate) const fn is_rst(&self) -> bool {
        self.has(tcp_flag::RST)
    }

    /// One past its last sequence number: SYN and FIN count (RFC 9293, 3.4).
    #[inline(always)]
    pub(crate) const fn end_seq(&self) -> u32 {
        let syn = self.has(tcp_flag::SYN) as u32;
        let fin = self.has(tcp_flag::FIN) as u32;
        self.seq
            .wrapping_add(self.len)
            .wrapping_add(syn)
            .wrapping_add(fin)
    }
}

/// The fixed part of a TCP header.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct TcpHeader {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    seq: [u8; 4],
    ack: [u8; 4],
    offset: u8,
    flags: u8,
    window: [u8; 2],
    checksum: [u8; 2],
    urgent: [u8; 2],
}

/// The fixed part of an IPv4 header.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Ipv4Header {
    version_and_length: u8,
    service: u8,
    total_length: [u8; 2],
    id: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
}

/// The fixed IPv6 header.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Ipv6Header {
    version: [u8; 4],
    payload_length: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

/// A `struct sk_buff`.
pub(crate) type Skb<'a> = Window<'a, SKB_WINDOW_LEN>;

/// Copies the whole `struct sk_buff`.
#[inline(always)]
pub(crate) fn read_skb(skb: KernelAddr, room: &mut [u8; SKB_WINDOW_LEN]) -> Option<Skb<'_>> {
    Skb::copy(skb, 0, room)
}

impl Skb<'_> {
    /// Interface that it came in by; 0: it did not come in.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        self.field(offset!(skb_iif)).unwrap_or(0)
    }

    /// Its device; full sockets' segments have lost it by then.
    #[inline(always)]
    pub(crate) fn device(&self) -> KernelAddr {
        self.pointer(offset!(skb_dev))
    }
}

/// Reads the segment in `skb` into `segment`; `None` if it holds no TCP segment that can be read. With
/// `options`, room for them, those that tell something are read too.
#[inline(always)]
pub(crate) fn read_segment<'s>(
    skb: &Skb<'_>,
    options: Option<&mut [u8; 64]>,
    segment: &'s mut Segment,
) -> Option<&'s Segment> {
    let protocol: u16 = skb.field(offset!(skb_protocol))?;
    if protocol != PROTOCOL_IPV4 && protocol != PROTOCOL_IPV6 {
        return None;
    }
    let head = skb.pointer(offset!(skb_head));
    let network: u16 = skb.field(offset!(skb_network_header))?;
    let ip = head.plus(u64::from(network));
    clear(segment);
    segment.family = AF_INET;
    let tcp_offset = if protocol == PROTOCOL_IPV4 {
        let header: Ipv4Header = ip.read()?;
        if header.protocol != NEXT_HEADER_TCP {
            return None;
        }
        segment.source[..4].copy_from_slice(&header.source);
        segment.destination[..4].copy_from_slice(&header.destination);
        segment.ttl = header.ttl;
        segment.ip_id = u16::from_be_bytes(header.id);
        // Not from `transport_header`, which netfilter's ingress hook has not set yet.
        u64::from(network) + u64::from(header.version_and_length & 0x0f) * 4
    } else {
        let transport: u16 = skb.field(offset!(skb_transport_header))?;
        let header: Ipv6Header = ip.read()?;
        segment.family = AF_INET6;
        segment.source = header.source;
        segment.destination = header.destination;
        segment.ttl = header.hop_limit;
        if header.next_header == NEXT_HEADER_TCP {
            u64::from(network) + 40
        } else if transport == HEADER_UNSET || transport <= network {
            return None;
        } else {
            // Extension headers were walked by the time TCP has it.
            u64::from(transport)
        }
    };
    read_tcp(skb, head.plus(tcp_offset), options, segment)?;
    Some(segment)
}

/// Fills in what the TCP header at `tcp` says.
#[inline(always)]
fn read_tcp(
    skb: &Skb<'_>,
    tcp: KernelAddr,
    options: Option<&mut [u8; 64]>,
    segment: &mut Segment,
) -> Option<()> {
    let header: TcpHeader = tcp.read()?;
    segment.source_port = u16::from_be_bytes(header.source_port);
    segment.destination_port = u16::from_be_bytes(header.destination_port);
    segment.seq = u32::from_be_bytes(header.seq);
    segment.ack = u32::from_be_bytes(header.ack);
    segment.window = u16::from_be_bytes(header.window);
    segment.flags = header.flags;
    let header_len = u32::from(header.offset >> 4) * 4;
    // `skb->len` counts from `skb->data`, which is the TCP header within TCP and the IP header
    // within netfilter.
    let data: u64 = skb.field(offset!(skb_data))?;
    let len: u32 = skb.field(offset!(skb_len))?;
    let before_tcp = tcp.value().wrapping_sub(data) as u32;
    segment.len = without(len, before_tcp + header_len);
    let in_fragments: u32 = skb.field(offset!(skb_data_len)).unwrap_or(len);
    segment.payload = tcp.plus(u64::from(header_len));
    segment.payload_len = without(segment.len, in_fragments);
    if let Some(room) = options
        && header_len > TCP_HEADER_LEN
    {
        read_options(tcp.plus(20), header_len - TCP_HEADER_LEN, room, segment);
    }
    Some(())
}

/// `all - part`, 0 if that is below 0: without a branch, after each half of which the verifier would
/// walk the rest of the program.
#[inline(always)]
fn without(all: u32, part: u32) -> u32 {
    let difference = i64::from(all) - i64::from(part);
    let mut sign = difference >> 63;
    // SAFETY: one operation on a register that leaves it as it is; it hides from the compiler what it
    // would make a branch of.
    unsafe { core::arch::asm!("{sign} += 0", sign = inout(reg) sign) };
    (difference & !sign).cast_unsigned() as u32
}

/// Finds the timestamps (RFC 7323, 3.2), the reason of an MPTCP reset and the wish for a further subflow
/// among `len` bytes of options.
#[inline(always)]
fn read_options(options: KernelAddr, len: u32, room: &mut [u8; 64], segment: &mut Segment) {
    let Some(read) = options.read::<[u8; 40]>() else {
        return;
    };
    room[..40].copy_from_slice(&read);
    for place in [
        CURSOR,
        TIMESTAMPS_FOUND,
        TIMESTAMPS_AT,
        MPTCP_FOUND,
        MPTCP_AT,
        JOIN_FOUND,
    ] {
        keep(room, place, 0);
    }
    for _ in 0..OPTIONS_READ {
        let at = kept(room, CURSOR);
        if u32::from(at) >= len || at >= 38 {
            break;
        }
        // The mask repeats the bound for the verifier.
        let at_index = usize::from(at);
        let step = match room[at_index & 0x3f] {
            OPTION_END => break,
            OPTION_NOP => 1,
            kind => {
                if kind == OPTION_TIMESTAMPS {
                    keep(room, TIMESTAMPS_FOUND, 1);
                    keep(room, TIMESTAMPS_AT, at);
                } else if kind == OPTION_MPTCP {
                    match room[(at_index + 2) & 0x3f] >> 4 {
                        MP_JOIN => keep(room, JOIN_FOUND, 1),
                        MP_TCPRST => {
                            keep(room, MPTCP_FOUND, 1);
                            keep(room, MPTCP_AT, at);
                        }
                        _ => {}
                    }
                }
                room[(at_index + 1) & 0x3f].max(2)
            }
        };
        keep(room, CURSOR, at.saturating_add(step));
    }
    let timestamps = usize::from(kept(room, TIMESTAMPS_AT));
    segment.has_timestamps = u32::from(kept(room, TIMESTAMPS_FOUND));
    segment.ts_value = big_endian_at(room, timestamps + 2);
    segment.ts_echo = big_endian_at(room, timestamps + 6);
    let mptcp = usize::from(kept(room, MPTCP_AT));
    let reason = u16::from(room[(mptcp + 3) & 0x3f]);
    segment.mptcp_reset = u16::from(kept(room, MPTCP_FOUND)) << 8 | reason;
    segment.mptcp_join = kept(room, JOIN_FOUND) & 1;
}

/// Places behind the options where the walk keeps what it knows. The verifier takes what it reads
/// from there for any value; from a register it would know each way that led to it, and would walk
/// the rest of the program once for every order of options.
const CURSOR: usize = 48;
const TIMESTAMPS_FOUND: usize = 49;
const TIMESTAMPS_AT: usize = 50;
const MPTCP_FOUND: usize = 51;
const MPTCP_AT: usize = 52;
const JOIN_FOUND: usize = 53;

#[inline(always)]
fn keep(room: &mut [u8; 64], place: usize, value: u8) {
    // SAFETY: a member of a live array.
    unsafe { core::ptr::write_volatile(&raw mut room[place], value) };
}

#[inline(always)]
fn kept(room: &[u8; 64], place: usize) -> u8 {
    // SAFETY: a member of a live array.
    unsafe { core::ptr::read_volatile(&raw const room[place]) }
}

#[inline(always)]
fn big_endian_at(bytes: &[u8; 64], at: usize) -> u32 {
    u32::from_be_bytes([
        bytes[at & 0x3f],
        bytes[(at + 1) & 0x3f],
        bytes[(at + 2) & 0x3f],
        bytes[(at + 3) & 0x3f],
    ])
}

/// Whether a freed segment had come up to this host's TCP: addressed to the host, received by an
/// interface, and with its IP header already pulled. Clones for packet taps, forwarded and outgoing
/// segments fail one of these.
#[inline(always)]
pub(crate) fn reached_tcp(skb: &Skb<'_>) -> bool {
    let transport: u16 = skb
        .field(offset!(skb_transport_header))
        .unwrap_or(HEADER_UNSET);
    if transport == HEADER_UNSET {
        return false;
    }
    let data = skb.pointer(offset!(skb_data));
    if skb.pointer(offset!(skb_head)).plus(u64::from(transport)) != data {
        return false;
    }
    if let Some(bits) = skb.field::<u8>(offset!(skb_pkt_type))
        && bits & 0x7 != PACKET_HOST
    {
        return false;
    }
    match skb.field::<u32>(offset!(skb_iif)) {
        Some(interface) => interface != 0,
        None => true,
    }
}

/// Address family of a segment of which nothing is copied.
#[inline(always)]
pub(crate) fn family(skb: KernelAddr) -> u16 {
    match skb.field::<u16>(offset!(skb_protocol)) {
        Some(PROTOCOL_IPV6) => AF_INET6,
        _ => AF_INET,
    }
}

/// Whether the segment whose TCP header is at `skb->data` is a reset: for a `struct sk_buff` of which
/// nothing is copied yet.
#[inline(always)]
pub(crate) fn is_rst_at_data(skb: impl Object) -> bool {
    // Not followed as a pointer: the bytes of a packet have no type.
    let Some(data) = skb.field(offset!(skb_data)) else {
        return false;
    };
    match KernelAddr::new(data).plus(FLAGS_AT).read::<u8>() {
        Some(flags) => flags & tcp_flag::RST != 0,
        None => false,
    }
}

/// Flags of the TCP header at `skb->data`, for a segment that [`reached_tcp`].
#[inline(always)]
pub(crate) fn flags_at_data(skb: &Skb<'_>) -> Option<u8> {
    skb.pointer(offset!(skb_data)).plus(FLAGS_AT).read()
}
