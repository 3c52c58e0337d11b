//! Keys and values of the maps in which the programs remember sockets.

use crate::wire::COMM_LEN;
use bytemuck::{Pod, Zeroable};

/// A process, as the kernel named it when it acted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Owner {
    /// tgid in the initial pid namespace; 0: not known.
    pub pid: u32,
    /// uid of the task.
    pub uid: u32,
    /// `wire::OWNER_*`.
    pub source: u32,
    /// Zero.
    pub reserved: u32,
    /// Name.
    pub comm: [u8; COMM_LEN],
}

/// What is remembered of a socket, by its address, while it lives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct SocketNote {
    /// Who owns it.
    pub owner: Owner,
    /// When the connection began, monotonic nanoseconds; 0: not known.
    pub born_ns: u64,
    /// TSval of the peer's handshake segment.
    pub handshake_ts_value: u32,
    /// IP identification of the peer's handshake segment.
    pub handshake_ip_id: u16,
    /// TTL or hop limit of the peer's handshake segment.
    pub handshake_ttl: u8,
    /// `NOTE_*`.
    pub flags: u8,
    /// State of the socket, for tracepoints that do not tell it; kept in classic mode only.
    pub state: u32,
    /// With [`NOTE_EXIT`]: how the owner ended, see `RawEvent::exit_code`.
    pub exit_code: u32,
}

/// [`SocketNote::flags`]: this host opened the connection.
pub const NOTE_CLIENT: u8 = 1 << 0;
/// [`SocketNote::flags`]: the peer opened the connection.
pub const NOTE_SERVER: u8 = 1 << 1;
/// [`SocketNote::flags`]: `handshake_ttl` and `handshake_ip_id` were seen.
pub const NOTE_HANDSHAKE: u8 = 1 << 2;
/// [`SocketNote::flags`]: `handshake_ts_value` was seen.
pub const NOTE_TIMESTAMPS: u8 = 1 << 3;

/// [`SocketNote::flags`]: the owner was exiting when it closed the socket.
pub const NOTE_EXIT: u8 = 1 << 4;
/// [`SocketNote::flags`]: and the kernel had chosen it to free memory.
pub const NOTE_OOM_VICTIM: u8 = 1 << 5;

/// Who sent a process a signal that can end it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Killer {
    /// tgid of the sender in the initial pid namespace.
    pub pid: u32,
    /// Number of the signal.
    pub signal: u32,
    /// Name of the sender.
    pub comm: [u8; COMM_LEN],
}

/// A connection's addresses within a network namespace, seen from this end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    /// This end's address.
    pub local_addr: [u8; 16],
    /// The other end's address.
    pub remote_addr: [u8; 16],
    /// Network namespace.
    pub netns: u32,
    /// This end's port.
    pub local_port: u16,
    /// The other end's port.
    pub remote_port: u16,
}

impl FlowKey {
    /// Where among [`CLOSED`] places this connection is remembered: a multiplicative hash, because a
    /// list in the order of use costs the kernel ten times as much for every connection.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self) -> u32 {
        /// 2^64 divided by the golden ratio, odd.
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
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
        let ports = (self.local_port as u64) << 16 | self.remote_port as u64;
        let mut hash = (self.netns as u64) << 32 | ports;
        hash = hash.wrapping_mul(MULTIPLIER);
        hash = (hash ^ word(&self.local_addr, 0)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word(&self.local_addr, 8)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word(&self.remote_addr, 0)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word(&self.remote_addr, 8)).wrapping_mul(MULTIPLIER);
        (hash >> (u64::BITS - CLOSED.trailing_zeros())) as u32
    }
}

/// What is remembered of a connection after its socket went to CLOSED.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ClosedNote {
    /// Which connection; the last one of its place.
    pub key: FlowKey,
    /// What was known of its socket.
    pub note: SocketNote,
    /// When it went to CLOSED, monotonic nanoseconds. 0 while the note is written: whoever reads
    /// it looks before and after.
    pub closed_ns: u64,
    /// State that it left.
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// A listener within a network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ListenKey {
    /// Network namespace.
    pub netns: u32,
    /// Port.
    pub port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
}

/// Sockets remembered at a time; the least recently used goes first.
pub const SOCKETS: u32 = 65_536;
/// Places for closed connections, a power of two.
pub const CLOSED: u32 = 65_536;
const _: () = assert!(CLOSED.is_power_of_two());
/// Signalled processes remembered at a time.
pub const KILLERS: u32 = 1024;
/// Listeners remembered at a time.
pub const LISTENERS: u32 = 16_384;
