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
}

/// [`SocketNote::flags`]: this host opened the connection.
pub const NOTE_CLIENT: u8 = 1 << 0;
/// [`SocketNote::flags`]: the peer opened the connection.
pub const NOTE_SERVER: u8 = 1 << 1;
/// [`SocketNote::flags`]: `handshake_ttl` and `handshake_ip_id` were seen.
pub const NOTE_HANDSHAKE: u8 = 1 << 2;
/// [`SocketNote::flags`]: `handshake_ts_value` was seen.
pub const NOTE_TIMESTAMPS: u8 = 1 << 3;

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

/// What is remembered of a connection after its socket went to CLOSED.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ClosedNote {
    /// What was known of its socket.
    pub note: SocketNote,
    /// When it went to CLOSED, monotonic nanoseconds.
    pub closed_ns: u64,
    /// Identity of the socket, `RawEvent::socket_id`.
    pub socket_id: u64,
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
/// Closed connections remembered at a time.
pub const CLOSED: u32 = 65_536;
/// Listeners remembered at a time.
pub const LISTENERS: u32 = 16_384;
