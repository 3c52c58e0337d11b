//! The event: what is known of one reset, schema `rstmon.event/1`.
//!
//! Made by `event::decode`, completed by `annotate` and `diagnose`, then only read. A field that
//! cannot be known is `None` and absent from the output, never zero or a guess.

use super::facts::Facts;
pub use super::vocabulary::{Cause, Confidence, Family, Initiator, Kind, Role, SocketState};
use super::workload::Workload;
use compact_str::CompactString;
use rstmon_common::wire;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Schema of [`Event`] as it is printed.
pub const EVENT_SCHEMA: &str = "rstmon.event/1";

/// An integer as JSON carries it without loss: a number up to 2^53, a string above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exact(pub u64);

impl Exact {
    /// Whether JSON carries it as a number.
    #[must_use]
    pub const fn is_number(self) -> bool {
        self.0 <= 1 << 53
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_number() {
            serializer.serialize_u64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

/// TCP flags of one segment, printed as tcpdump does (`S`, `S.`, `R.`, `FP.`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.letters().collect::<CompactString>())
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TcpFlags {
    /// The letters of tcpdump in its order (FIN SYN RST PSH ACK URG ECE CWR); `none` without flags.
    pub fn letters(self) -> impl Iterator<Item = char> {
        let all = if self.0 == 0 { "none" } else { "FSRP.UEW" };
        let set = if self.0 == 0 { u8::MAX } else { self.0 };
        all.chars()
            .enumerate()
            .filter(move |(bit, _)| set & (1 << bit) != 0)
            .map(|(_, letter)| letter)
    }

    /// The flags of the letters that [`Self::letters`] gives.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (0..=u8::MAX)
            .map(Self)
            .find(|flags| flags.letters().eq(text.chars()))
    }

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: u8) -> bool {
        self.0 & flags == flags
    }
}

/// One segment: the RST itself, or the segment that a sent RST answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Flags.
    pub flags: TcpFlags,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK, meaningful with ACK.
    pub ack: u32,
    /// Payload bytes.
    pub len: u32,
    /// Window field, unscaled.
    pub window: Option<u16>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// Timestamps option: TSval, TSecr.
    pub timestamps: Option<(u32, u32)>,
}

impl Segment {
    /// SEG.ACK, which says something only if the ACK flag is set.
    #[must_use]
    pub fn acknowledged(&self) -> Option<u32> {
        self.flags.has(wire::tcp_flag::ACK).then_some(self.ack)
    }
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name, escaped where it is not printable UTF-8. The kernel's 15 bytes need no allocation.
    pub comm: CompactString,
}

/// How a process ended, as wait(2) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It called exit with this status.
    Exited {
        /// The status.
        status: u8,
    },
    /// A signal ended it.
    Signalled {
        /// Number of the signal.
        signal: u8,
        /// It left a core dump: it crashed.
        dumped_core: bool,
        /// The kernel had chosen it to free memory.
        out_of_memory: bool,
    },
}

/// Who sent a process a signal that can end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killer {
    /// The sender.
    pub process: Process,
    /// Number of the signal.
    pub signal: u8,
}

/// The connection's numbers at the reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Since the connection began, milliseconds.
    pub age_ms: Option<u64>,
    /// Since the last data in either direction, before the segment that led to the reset.
    pub idle_ms: Option<u64>,
    /// Smoothed RTT.
    pub srtt_us: Option<u32>,
    /// Minimum RTT.
    pub min_rtt_us: Option<u32>,
    /// Payload bytes sent.
    pub bytes_sent: Option<u64>,
    /// Payload bytes acknowledged, as TCP_INFO counts them: the SYN of the end that connected and a FIN are
    /// one each.
    pub bytes_acked: Option<u64>,
    /// Payload bytes received, as TCP_INFO counts them: the peer's FIN is one.
    pub bytes_received: Option<u64>,
    /// Received and not read by the application.
    pub unread_bytes: Option<u32>,
    /// Sent and not acknowledged (SYN and FIN not counted).
    pub unacked_bytes: Option<u32>,
    /// Written by the application and not sent.
    pub unsent_bytes: Option<u32>,
    /// Retransmissions over the connection's life.
    pub retransmits: Option<u32>,
}

/// What rules read of the socket beyond what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the kernel's socket"
)]
pub struct SocketFacts {
    /// State at the hook, when it differs from the state before.
    pub state_at_hook: Option<SocketState>,
    /// A timewait socket.
    pub is_timewait: bool,
    /// SO_LINGER is on with zero seconds.
    pub linger_zero: bool,
    /// TCP_LINGER2 is below zero.
    pub linger2_negative: bool,
    /// Orphaned.
    pub dead: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// Receiving side was shut down.
    pub shutdown_receive: bool,
    /// Sending side was shut down.
    pub shutdown_send: bool,
    /// Whether it carries a subflow of an MPTCP connection.
    pub mptcp_subflow: Option<bool>,
    /// Pending error, errno.
    pub error: u32,
    /// Keepalive or window probes out.
    pub probes_out: u8,
    /// Consecutive retransmissions.
    pub retransmits: u8,
    /// TCP_USER_TIMEOUT.
    pub user_timeout_ms: u32,
    /// Waiting connections and their limit, of a listener.
    pub backlog: Option<(u32, u32)>,
    /// RCV.NXT.
    pub rcv_nxt: Option<u32>,
    /// Our receive window's right edge, exclusive.
    pub rcv_window_end: Option<u32>,
    /// SND.NXT.
    pub snd_nxt: Option<u32>,
    /// SND.UNA.
    pub snd_una: Option<u32>,
    /// Since data was last sent, retransmissions included, milliseconds.
    pub since_sent_ms: Option<u64>,
    /// Since data was last received, milliseconds.
    pub since_received_ms: Option<u64>,
    /// Since a segment of the peer last acknowledged something, its FIN included, milliseconds.
    pub since_heard_ms: Option<u64>,
    /// What the stamps above are off by at most: a jiffy, milliseconds.
    pub tick_ms: u64,
    /// Newest TSval that the peer's segments have shown; 0 without timestamps.
    pub ts_recent: u32,
}

/// The connection that had this tuple and was closed here a short while ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentClose {
    /// How long ago it went to CLOSED (or to a timewait socket), milliseconds.
    pub ago_ms: u64,
    /// The state that it left.
    pub state: SocketState,
}

/// What the rules concluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub cause: Cause,
    /// Who began it.
    pub initiator: Initiator,
    /// How sure.
    pub confidence: Confidence,
    /// Each fact used, short.
    pub evidence: Facts,
}

/// Where the reset was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookId(pub u8);

/// One reset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one reset"
)]
pub struct Event {
    /// Number of the event in this run, from 1 up.
    pub seq_no: u64,
    /// Wall clock, nanoseconds since the epoch.
    pub time_ns: i64,
    /// Monotonic clock, nanoseconds since boot (suspend not counted).
    pub mono_ns: u64,
    /// What happened.
    pub kind: Kind,
    /// Which hook saw it, `wire::HOOK_*`.
    pub hook: HookId,
    /// That it was sent is deduced from a dropped segment, not seen.
    pub deduced: bool,
    /// No segment triggered it (sent ones only).
    pub active: bool,
    /// Verdict; `undiagnosed` until the rules ran.
    pub verdict: Verdict,
    /// Name of the kernel's reset reason, where the kernel gave one.
    pub kernel_reason: Option<Arc<str>>,
    /// Name of the kernel's drop reason, for RSTs not obeyed.
    pub drop_reason: Option<Arc<str>>,
    /// State before the reset.
    pub state: Option<SocketState>,
    /// Family.
    pub family: Family,
    /// This host's end; unspecified (RFC 4291, 2.5.2) where [`Event::known_local_addr`] is `None`.
    pub local_addr: IpAddr,
    /// This host's port.
    pub local_port: u16,
    /// The other end; unspecified where [`Event::peer`] is `None`.
    pub remote_addr: IpAddr,
    /// The other end's port; 0 where [`Event::peer`] is `None`.
    pub remote_port: u16,
    /// Which end we are.
    pub role: Option<Role>,
    /// The RST.
    pub rst: Option<Segment>,
    /// The segment that a sent RST answers.
    pub trigger: Option<Segment>,
    /// First bytes that the segment carries, the RST's or else the trigger's; never empty.
    pub payload: Option<Box<[u8]>>,
    /// Reason that an `MP_TCPRST` option of the RST gives (RFC 8684, 3.6).
    pub mptcp_reset_reason: Option<u8>,
    /// The segment that a sent RST answers has the option `MP_JOIN` (RFC 8684, 3.2). Looked for only where
    /// the kernel gives no reason.
    pub asks_for_subflow: bool,
    /// TTL seen in the handshake.
    pub handshake_ttl: Option<u8>,
    /// IP identification seen in the handshake (IPv4).
    pub handshake_ip_id: Option<u16>,
    /// TSval seen in the handshake.
    pub handshake_ts_value: Option<u32>,
    /// Numbers of the connection.
    pub connection: Connection,
    /// What rules read of the socket.
    pub socket: Option<SocketFacts>,
    /// Former connection of this tuple.
    pub recent_close: Option<RecentClose>,
    /// Who owns the socket.
    pub owner: Option<Process>,
    /// The owner is who listens: who accepted the connection is not known. Read by
    /// `annotate` only.
    pub owner_is_listener: bool,
    /// How the owner ended, if it was ending when it closed the socket.
    pub owner_end: Option<ProcessEnd>,
    /// Who last sent the owner a signal that can end a process.
    pub killer: Option<Killer>,
    /// Path of the owner's executable.
    pub exe: Option<Arc<str>>,
    /// uid of the socket.
    pub uid: Option<u32>,
    /// Who acted, where that is somebody else.
    pub actor: Option<Process>,
    /// The task that ran at the hook: evidence for rules only, never printed as owner.
    pub current: Option<Process>,
    /// Id of the socket's cgroup.
    pub cgroup_id: Option<u64>,
    /// Path of the socket's cgroup.
    pub cgroup: Option<Arc<str>>,
    /// Container, pod and unit, of the socket's cgroup; where that does not tell, as on hosts with
    /// version 1 hierarchies, of the owner's.
    pub workload: Option<Arc<Workload>>,
    /// Network namespace.
    pub netns: Option<u32>,
    /// Interface.
    pub ifindex: Option<u32>,
    /// Firewall mark.
    pub mark: Option<u32>,
    /// Socket cookie.
    pub cookie: Option<u64>,
    /// Socket inode.
    pub inode: Option<u64>,
    /// The other end's event, where both ends are on this machine: its `seq_no`.
    pub story: Option<u64>,
}

impl Event {
    /// This host's address. Not known of what a listener at any address answers, where the kernel tells of
    /// the listener only: `tcp_send_reset` read by its format file, classic mode.
    #[must_use]
    pub fn known_local_addr(&self) -> Option<IpAddr> {
        Some(self.local_addr).filter(|address| !address.is_unspecified())
    }

    /// The other end. Not known where the kernel tells of a listener only, which has none. Port 0 alone
    /// says nothing: scanners send from it.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        let peer = SocketAddr::new(self.remote_addr, self.remote_port);
        Some(peer).filter(|peer| !peer.ip().is_unspecified())
    }
}
