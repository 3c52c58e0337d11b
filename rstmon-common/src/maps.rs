//! Keys and values of the maps in which the programs remember sockets.

use crate::wire::COMM_LEN;
use bytemuck::{Pod, Zeroable};

/// A process's name as the programs keep it. Words: an array of bytes they would copy and clear in a
/// loop, byte by byte.
pub type Comm = [u64; COMM_LEN / 8];

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
    pub comm: Comm,
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
    /// When, monotonic nanoseconds.
    pub at_ns: u64,
    /// tgid of the sender in the initial pid namespace.
    pub pid: u32,
    /// Number of the signal.
    pub signal: u32,
    /// Name of the sender.
    pub comm: Comm,
}

/// Places of a [`SocketBucket`].
pub const WAYS: usize = 4;

/// The places that a socket's address may have. The addresses lie together: looking one up touches
/// one line of the processor's cache, and what is remembered of it another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct SocketBucket {
    /// Whose each place is; 0: it is free. In no order.
    pub socks: [u64; WAYS],
    /// What is remembered, in the same places.
    pub notes: [SocketNote; WAYS],
}
const _: () = assert!(size_of::<SocketBucket>() == 256);

/// What is remembered of a connection after its socket went to CLOSED.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ClosedNote {
    /// Which connection.
    pub tag: u64,
    /// When it went to CLOSED, monotonic nanoseconds. 0 while the note is written: whoever reads
    /// it looks before and after.
    pub closed_ns: u64,
    /// See [`SocketNote::born_ns`].
    pub born_ns: u64,
    /// See [`Owner::comm`].
    pub owner_comm: Comm,
    /// See [`Owner::pid`].
    pub owner_pid: u32,
    /// See [`Owner::uid`].
    pub owner_uid: u32,
    /// See [`SocketNote::exit_code`].
    pub exit_code: u32,
    /// See [`SocketNote::handshake_ts_value`].
    pub handshake_ts_value: u32,
    /// See [`SocketNote::handshake_ip_id`].
    pub handshake_ip_id: u16,
    /// See [`SocketNote::handshake_ttl`].
    pub handshake_ttl: u8,
    /// `NOTE_*`.
    pub flags: u8,
    /// See [`Owner::source`].
    pub owner_source: u8,
    /// State that it left.
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 2],
}
/// A line of the processor's cache: a connection that ends touches no more than that.
const _: () = assert!(size_of::<ClosedNote>() == 64);

/// Where in the log of closed connections each is. The log is written from front to back, page by page,
/// however the tags fall: a connection that ends would otherwise touch a page of its own, and wait for
/// the walk of the page tables.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct ClosedIndex {
    /// Notes of the log that the CPUs have drawn so far, by [`CLOSED_PORTION`]; wraps around the log.
    pub drawn: u64,
    /// Where the last connection is whose tag begins with these bits. The note tells whether it is the
    /// one that is looked for.
    pub places: [u16; CLOSED_PLACES],
}

/// Notes of the log that a CPU draws at once: a page of memory.
pub const CLOSED_PORTION: u64 = 64;
const _: () = assert!((CLOSED as u64).is_multiple_of(CLOSED_PORTION));

/// Who listens at an address, or did so last.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Listener {
    /// Whose; pid 0 where several processes listen there (`SO_REUSEPORT`).
    pub owner: Owner,
    /// Since when, monotonic nanoseconds.
    pub since_ns: u64,
    /// 1 until it is closed. It is remembered beyond that, for the connections that came of it.
    pub is_open: u64,
}

/// A listener within a network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ListenKey {
    /// Address that it is bound to, as in `RawEvent::local_addr`; zeros: any.
    pub addr: [u8; 16],
    /// Network namespace.
    pub netns: u32,
    /// Port.
    pub port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
}

/// Buckets for live sockets, a power of two: 65,536 sockets where they spread evenly.
pub const SOCKET_BUCKETS: u32 = 16_384;
const _: () = assert!(SOCKET_BUCKETS.is_power_of_two());
/// Closed connections remembered at a time: as many as two bytes tell apart.
pub const CLOSED: u32 = 1 << u16::BITS;
/// Places of their index, as many.
const CLOSED_PLACES: usize = CLOSED as usize;
/// Signalled processes remembered at a time.
pub const KILLERS: u32 = 1024;
/// Listeners remembered at a time.
pub const LISTENERS: u32 = 16_384;
