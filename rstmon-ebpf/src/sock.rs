//! A socket as the kernel keeps it: full, request or timewait.

use crate::globals::{config, offset};
use crate::read::{KernelAddr, Members, Object, Window};
use crate::scratch::COMMON_WINDOW_LEN;
use bytemuck::Zeroable;
use rstmon_common::layout::ABSENT;
use rstmon_common::wire::{self, AF_INET, AF_INET6, tcp_state};

/// `IPPROTO_TCP`.
const IPPROTO_TCP: u16 = 6;
/// `RCV_SHUTDOWN` of include/net/sock.h.
pub(crate) const RCV_SHUTDOWN: u8 = 1;

/// Both ends of a connection, seen from this host. Network order addresses, host order ports; a
/// v4-mapped IPv6 address is IPv4, so that a socket and a segment of one connection agree.
#[repr(C, align(8))]
#[derive(Clone, Copy, Zeroable)]
pub(crate) struct Ends {
    pub(crate) local_addr: [u8; 16],
    pub(crate) remote_addr: [u8; 16],
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) family: u16,
}

impl Ends {
    /// No addresses.
    pub(crate) const NONE: Self = Self {
        local_addr: [0; 16],
        remote_addr: [0; 16],
        local_port: 0,
        remote_port: 0,
        family: 0,
    };

    /// Whether these are v4-mapped IPv6 addresses.
    #[inline(always)]
    pub(crate) fn is_mapped(&self) -> bool {
        is_mapped(&self.remote_addr)
    }

    /// Tells this connection from others: a multiplicative hash under a random start, folded between
    /// the words so that no bit of an address can undo another's.
    #[inline(always)]
    pub(crate) fn tag(&self, netns: u32) -> u64 {
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        let mut hash = config!(socket_key);
        hash = mixed(hash, u64::from(netns) << 32 | ports);
        hash = mixed(hash, word(&self.local_addr, 0));
        hash = mixed(hash, word(&self.local_addr, 8));
        hash = mixed(hash, word(&self.remote_addr, 0));
        mixed(hash, word(&self.remote_addr, 8))
    }
}

#[inline(always)]
const fn mixed(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 32)
}

/// 2^64 divided by the golden ratio, odd.
pub(crate) const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn word(bytes: &[u8; 16], at: usize) -> u64 {
    u64::from_ne_bytes([
        bytes[at],
        bytes[at + 1],
        bytes[at + 2],
        bytes[at + 3],
        bytes[at + 4],
        bytes[at + 5],
        bytes[at + 6],
        bytes[at + 7],
    ])
}

/// `struct sock_common`, which every kind of socket begins with.
pub(crate) type Common<'a> = Window<'a, COMMON_WINDOW_LEN>;

/// Copies what all kinds of sockets have in common.
#[inline(always)]
pub(crate) fn read_common(
    sock: KernelAddr,
    room: &mut [u8; COMMON_WINDOW_LEN],
) -> Option<Common<'_>> {
    if sock.is_null() {
        return None;
    }
    Common::copy(sock, 0, room)
}

/// State of a socket, `tcp_state::NONE` without one.
#[inline(always)]
pub(crate) fn state(common: Option<&Common<'_>>) -> u8 {
    match common {
        Some(common) => common.field(offset!(sock_state)).unwrap_or(tcp_state::NONE),
        None => tcp_state::NONE,
    }
}

/// State of a socket of which nothing else is wanted yet.
#[inline(always)]
pub(crate) fn state_alone(sock: impl Object) -> u8 {
    sock.field(offset!(sock_state)).unwrap_or(tcp_state::NONE)
}

/// What kind of socket has this state (`sk_fullsock()` of include/net/sock.h).
#[inline(always)]
pub(crate) const fn kind_of(sock: KernelAddr, state: u8) -> u8 {
    if sock.is_null() {
        return wire::SOCKET_NONE;
    }
    match state {
        tcp_state::TIME_WAIT => wire::SOCKET_TIMEWAIT,
        tcp_state::NEW_SYN_RECV => wire::SOCKET_REQUEST,
        _ => wire::SOCKET_FULL,
    }
}

/// Whether a full socket speaks TCP; a kernel that does not say is believed.
#[inline(always)]
pub(crate) fn is_tcp(sock: impl Object) -> bool {
    match sock.field::<u16>(offset!(sock_protocol)) {
        Some(protocol) => protocol == IPPROTO_TCP,
        None => true,
    }
}

/// Network namespace of a socket; 0 where it is not known.
#[inline(always)]
pub(crate) fn netns(common: impl Members) -> u32 {
    inum(common.pointer(offset!(sock_net)))
}

/// Network namespace of the device of a segment; 0 where it is not known.
#[inline(always)]
pub(crate) fn netns_of_device(device: KernelAddr) -> u32 {
    inum(device.pointer(offset!(dev_net)))
}

/// Inode number of a `struct net`; 0 where it is not known.
#[inline(always)]
pub(crate) fn inum(net: impl Object) -> u32 {
    if net.is_null() {
        return 0;
    }
    net.field(offset!(net_inum)).unwrap_or(0)
}

/// Reads both ends of a full socket (a timewait socket keeps its local port elsewhere).
#[inline(always)]
pub(crate) fn read_ends(common: impl Members, sock: KernelAddr, ends: &mut Ends) {
    // Not `skc_num`, which is 0 once the port was given back.
    ends.local_port = u16::from_be(sock.field(offset!(inet_sport)).unwrap_or(0));
    read_all_but_local_port(common, ends);
}

/// Reads both ends of a request socket, which is no `inet_sock`.
#[inline(always)]
pub(crate) fn read_request_ends(common: impl Members, ends: &mut Ends) {
    ends.local_port = common.field(offset!(sock_num)).unwrap_or(0);
    read_all_but_local_port(common, ends);
}

#[inline(always)]
fn read_all_but_local_port(common: impl Members, ends: &mut Ends) {
    ends.family = common.field(offset!(sock_family)).unwrap_or(0);
    ends.remote_port = u16::from_be(common.field(offset!(sock_dport)).unwrap_or(0));
    if ends.family == AF_INET6 {
        if let Some(addr) = common.field::<[u32; 4]>(offset!(sock_v6_daddr)) {
            ends.remote_addr = bytemuck::cast(addr);
        }
        if let Some(addr) = common.field::<[u32; 4]>(offset!(sock_v6_rcv_saddr)) {
            ends.local_addr = bytemuck::cast(addr);
        }
        unmap(ends);
    } else {
        if let Some(addr) = common.field::<[u8; 4]>(offset!(sock_daddr)) {
            ends.remote_addr[..4].copy_from_slice(&addr);
        }
        if let Some(addr) = common.field::<[u8; 4]>(offset!(sock_rcv_saddr)) {
            ends.local_addr[..4].copy_from_slice(&addr);
        }
    }
}

/// Turns v4-mapped addresses into IPv4.
#[inline(always)]
fn unmap(ends: &mut Ends) {
    if ends.is_mapped() {
        make_ipv4(ends);
    }
}

/// The same of a listener, which has no peer: connections to it are looked up by IPv4 addresses.
#[inline(always)]
pub(crate) fn unmap_listener(ends: &mut Ends) {
    if ends.family == AF_INET6 && is_mapped(&ends.local_addr) {
        make_ipv4(ends);
    }
}

/// Whether this is a v4-mapped IPv6 address (RFC 4291, 2.5.5.2).
#[inline(always)]
fn is_mapped(addr: &[u8; 16]) -> bool {
    addr[..10] == [0; 10] && addr[10..12] == [0xff; 2]
}

#[inline(always)]
const fn make_ipv4(ends: &mut Ends) {
    ends.family = AF_INET;
    ends.remote_addr = four(&ends.remote_addr);
    ends.local_addr = four(&ends.local_addr);
}

#[inline(always)]
const fn four(mapped: &[u8; 16]) -> [u8; 16] {
    let mut addr = [0; 16];
    addr[0] = mapped[12];
    addr[1] = mapped[13];
    addr[2] = mapped[14];
    addr[3] = mapped[15];
    addr
}

/// Id of the cgroup that `word`, the socket's `sk_cgrp_data`, refers to; 0 where it is not known.
#[inline(always)]
pub(crate) fn cgroup_id(word: KernelAddr) -> u64 {
    // Before 5.15 the word is a pointer only while bit 0 is clear (else it is a classid).
    if word.is_null() || (config!(cgroup_is_tagged) != 0 && word.value() & 1 != 0) {
        return 0;
    }
    let node = word.pointer(offset!(cgroup_kn));
    if node.is_null() {
        return 0;
    }
    node.field(offset!(kernfs_id)).unwrap_or(0)
}

/// Inode of the `struct socket`, before 6.17; 0 if there is none: orphaned, or never accepted.
#[inline(always)]
pub(crate) fn inode(socket: KernelAddr) -> u64 {
    let inode_at = offset!(socket_inode);
    if socket.is_null() || inode_at == ABSENT {
        return 0;
    }
    socket
        .plus(u64::from(inode_at))
        .field(offset!(inode_ino))
        .unwrap_or(0)
}
