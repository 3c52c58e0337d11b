//! The record that the ring buffer carries: one fixed-size [`RawEvent`] a reset.
//!
//! Written by `rstmon-ebpf::emit`, read by `rstmon::event::decode` and nobody else. Integers are in
//! host order unless their comment says otherwise. A group of fields is meaningful only if its bit
//! in [`RawEvent::have`] is set; the rest is zero.

use bytemuck::{Pod, Zeroable};

/// Version of every type in this crate. Raise it with any change of size, order or meaning; a
/// recording made with another number is refused.
pub const ABI: u16 = 2;

/// Length of `task_struct.comm`.
pub const COMM_LEN: usize = 16;

/// Address family of IPv4.
pub const AF_INET: u16 = 2;
/// Address family of IPv6.
pub const AF_INET6: u16 = 10;

/// [`RawEvent::kind`]: this host sent the RST.
pub const KIND_SENT: u8 = 1;
/// [`RawEvent::kind`]: a RST tore a socket here down.
pub const KIND_RECEIVED: u8 = 2;
/// [`RawEvent::kind`]: a RST arrived for a socket and was not obeyed.
pub const KIND_REJECTED: u8 = 3;
/// [`RawEvent::kind`]: a RST arrived for no socket, a request socket that survived, or TIME-WAIT.
pub const KIND_STRAY: u8 = 4;

/// [`RawEvent::hook`]: raw tracepoint `tcp_send_reset`.
pub const HOOK_TCP_SEND_RESET: u8 = 1;
/// [`RawEvent::hook`]: raw tracepoint `tcp_receive_reset`.
pub const HOOK_TCP_RECEIVE_RESET: u8 = 2;
/// [`RawEvent::hook`]: raw tracepoint `kfree_skb`.
pub const HOOK_KFREE_SKB: u8 = 3;
/// [`RawEvent::hook`]: function `tcp_v4_send_reset`.
pub const HOOK_TCP_V4_SEND_RESET: u8 = 4;
/// [`RawEvent::hook`]: function `tcp_v6_send_reset`.
pub const HOOK_TCP_V6_SEND_RESET: u8 = 5;
/// [`RawEvent::hook`]: function `tcp_reset`.
pub const HOOK_TCP_RESET: u8 = 6;
/// [`RawEvent::hook`]: function `tcp_validate_incoming`.
pub const HOOK_TCP_VALIDATE_INCOMING: u8 = 7;
/// [`RawEvent::hook`]: function `tcp_rcv_state_process`.
pub const HOOK_TCP_RCV_STATE_PROCESS: u8 = 8;
/// [`RawEvent::hook`]: function `nf_send_reset`.
pub const HOOK_NF_SEND_RESET: u8 = 9;
/// [`RawEvent::hook`]: function `nf_send_reset6`.
pub const HOOK_NF_SEND_RESET6: u8 = 10;
/// [`RawEvent::hook`]: function `nf_reject_skb_v4_tcp_reset`.
pub const HOOK_NF_REJECT_SKB_V4: u8 = 11;
/// [`RawEvent::hook`]: function `nf_reject_skb_v6_tcp_reset`.
pub const HOOK_NF_REJECT_SKB_V6: u8 = 12;

/// [`RawEvent::have`]: `reason` is a number of `enum sk_rst_reason`.
pub const HAVE_RST_REASON: u32 = 1 << 0;
/// [`RawEvent::have`]: `reason` is a number of `enum skb_drop_reason`.
pub const HAVE_DROP_REASON: u32 = 1 << 1;
/// [`RawEvent::have`]: addresses, ports, `family`.
pub const HAVE_TUPLE: u32 = 1 << 2;
/// [`RawEvent::have`]: the fields of `struct sock` (`sock_flags` to `uid`).
pub const HAVE_SOCK: u32 = 1 << 3;
/// [`RawEvent::have`]: the fields of `struct tcp_sock` (`rcv_nxt` to `bytes_received`).
pub const HAVE_TCP: u32 = 1 << 4;
/// [`RawEvent::have`]: the fields `segment_*` but those that have a bit of their own.
pub const HAVE_SEGMENT: u32 = 1 << 5;
/// [`RawEvent::have`]: `segment_ttl`, and `segment_ip_id` for IPv4.
pub const HAVE_SEGMENT_IP: u32 = 1 << 6;
/// [`RawEvent::have`]: `segment_ts_value`, `segment_ts_echo`.
pub const HAVE_SEGMENT_TIMESTAMPS: u32 = 1 << 7;
/// [`RawEvent::have`]: `handshake_ttl`, and `handshake_ip_id` for IPv4.
pub const HAVE_HANDSHAKE: u32 = 1 << 8;
/// [`RawEvent::have`]: `handshake_ts_value`.
pub const HAVE_HANDSHAKE_TIMESTAMPS: u32 = 1 << 9;
/// [`RawEvent::have`]: `owner_*`.
pub const HAVE_OWNER: u32 = 1 << 10;
/// [`RawEvent::have`]: `current_*`: the task that ran, which proves nothing unless a rule says so.
pub const HAVE_CURRENT: u32 = 1 << 11;
/// [`RawEvent::have`]: `born_ns`.
pub const HAVE_BORN: u32 = 1 << 12;
/// [`RawEvent::have`]: `closed_*`: the connection that had this tuple and was closed here.
pub const HAVE_CLOSED: u32 = 1 << 13;
/// [`RawEvent::have`]: `netns`.
pub const HAVE_NETNS: u32 = 1 << 14;
/// [`RawEvent::have`]: `cgroup_id`.
pub const HAVE_CGROUP: u32 = 1 << 15;
/// [`RawEvent::have`]: `state` is the state before the reset (else it is not known).
pub const HAVE_STATE: u32 = 1 << 16;
/// [`RawEvent::have`]: `timewait_substate`, `rcv_nxt` of a timewait socket.
pub const HAVE_TIMEWAIT: u32 = 1 << 17;
/// [`RawEvent::have`]: `ack_backlog`, `max_ack_backlog` of a listener.
pub const HAVE_BACKLOG: u32 = 1 << 18;

/// [`RawEvent::have`]: `payload`, `payload_len`: the first bytes that the segment carries. Of a RST
/// up to [`PAYLOAD_LEN`]; of a segment that a RST answers one, which tells a TLS alert.
pub const HAVE_PAYLOAD: u32 = 1 << 19;
/// [`RawEvent::have`]: `mptcp_reset_reason`: the segment carried `MP_TCPRST` (RFC 8684, 3.6).
pub const HAVE_MPTCP_RESET: u32 = 1 << 20;
/// [`RawEvent::have`]: `exit_code`: the owner was exiting when it closed the socket.
pub const HAVE_EXIT: u32 = 1 << 21;
/// [`RawEvent::have`]: `killer_*`: who last sent the owner a signal that can end a process.
pub const HAVE_KILLER: u32 = 1 << 22;
/// [`RawEvent::have`]: the segment carried `MP_JOIN` (RFC 8684, 3.2). In what a sent RST answers it is
/// looked for only where the kernel gives no reason.
pub const HAVE_MPTCP_JOIN: u32 = 1 << 23;
/// [`RawEvent::have`]: [`FLAG_MPTCP_SUBFLOW`] tells; of a kernel without MPTCP, too.
pub const HAVE_MPTCP: u32 = 1 << 24;

/// [`RawEvent::flags`]: the segment fields are of the RST itself (else of the segment that
/// triggered it).
pub const FLAG_SEGMENT_IS_RST: u16 = 1 << 0;
/// [`RawEvent::flags`]: no segment triggered it: the host reset of its own accord.
pub const FLAG_ACTIVE: u16 = 1 << 1;
/// [`RawEvent::flags`]: the kernel's `tcp_reset()` ran and no RST may have arrived; an event of
/// the same `socket_id` with [`FLAG_RETRACTS`] within [`TENTATIVE_NS`] says that none did.
pub const FLAG_TENTATIVE: u16 = 1 << 2;
/// [`RawEvent::flags`]: the tentative event of this `socket_id` was no RST.
pub const FLAG_RETRACTS: u16 = 1 << 3;
/// [`RawEvent::flags`]: that a RST was sent is deduced from a drop, not seen.
pub const FLAG_DEDUCED: u16 = 1 << 4;
/// [`RawEvent::flags`]: this host opened the connection.
pub const FLAG_CLIENT: u16 = 1 << 5;
/// [`RawEvent::flags`]: the peer opened the connection.
pub const FLAG_SERVER: u16 = 1 << 6;

/// [`RawEvent::flags`]: the kernel had chosen the exiting owner to free memory.
pub const FLAG_OOM_VICTIM: u16 = 1 << 7;
/// [`RawEvent::flags`]: the socket carries a subflow of an MPTCP connection (`tcp_sock.is_mptcp`). Without
/// [`HAVE_MPTCP`] nobody looked.
pub const FLAG_MPTCP_SUBFLOW: u16 = 1 << 8;

/// Bytes of a RST's payload that the record has room for. The longest that a middlebox is known to
/// send is 101.
pub const PAYLOAD_LEN: usize = 104;

/// Longest time between a tentative event and the one that retracts it. Both happen in one call of
/// `tcp_rcv_state_process` and its caller; what lies between is an interrupt at worst, or a
/// hypervisor that ran something else: an emulated machine was seen to take more than 5 ms.
pub const TENTATIVE_NS: u64 = 25_000_000;

/// [`RawEvent::socket_kind`]: no socket.
pub const SOCKET_NONE: u8 = 0;
/// [`RawEvent::socket_kind`]: a full `struct sock`.
pub const SOCKET_FULL: u8 = 1;
/// [`RawEvent::socket_kind`]: a `request_sock`.
pub const SOCKET_REQUEST: u8 = 2;
/// [`RawEvent::socket_kind`]: a `inet_timewait_sock`.
pub const SOCKET_TIMEWAIT: u8 = 3;

/// [`RawEvent::owner_source`]: the task that called connect().
pub const OWNER_CONNECT: u8 = 1;
/// [`RawEvent::owner_source`]: the task that called accept().
pub const OWNER_ACCEPT: u8 = 2;
/// [`RawEvent::owner_source`]: the task that called listen() on the listener of the connection.
pub const OWNER_LISTEN: u8 = 3;
/// [`RawEvent::owner_source`]: the task that called close() or shutdown().
pub const OWNER_CLOSE: u8 = 4;
/// [`RawEvent::owner_source`]: the task that held the socket when rstmon started.
pub const OWNER_SEED: u8 = 5;

/// `include/net/tcp_states.h`.
pub mod tcp_state {
    #![allow(missing_docs, reason = "the names are the kernel's and RFC 9293's")]
    pub const NONE: u8 = 0;
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
    pub const NEW_SYN_RECV: u8 = 12;
}

/// Flags of the TCP header, as in its 14th octet (RFC 9293, 3.1).
pub mod tcp_flag {
    #![allow(missing_docs, reason = "the names are those of RFC 9293")]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// Bits of `enum sock_flags` that rules read; equal in every kernel from 5.4 to 7.3.
pub mod sock_flag {
    #![allow(missing_docs, reason = "the names are the kernel's")]
    pub const DEAD: u32 = 1 << 0;
    pub const DONE: u32 = 1 << 1;
    pub const KEEPOPEN: u32 = 1 << 3;
    pub const LINGER: u32 = 1 << 4;
}

/// One reset, as a hook saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RawEvent {
    /// [`ABI`].
    pub abi: u16,
    /// `FLAG_*`.
    pub flags: u16,
    /// `HAVE_*`.
    pub have: u32,
    /// `CLOCK_MONOTONIC` nanoseconds (`bpf_ktime_get_ns`).
    pub mono_ns: u64,
    /// `jiffies_64`, to subtract the kernel's jiffy stamps from.
    pub jiffies: u64,
    /// The socket's identity: its address behind a keyed permutation. 0: no socket.
    pub socket_id: u64,
    /// Socket cookie; 0: none was made yet.
    pub cookie: u64,
    /// Inode of the socket; 0: orphaned or never accepted.
    pub inode: u64,
    /// Id of the socket's cgroup.
    pub cgroup_id: u64,
    /// When the connection began (SYN sent, or established for a server), monotonic nanoseconds.
    pub born_ns: u64,
    /// When the tuple's former connection was closed here, monotonic nanoseconds.
    pub closed_ns: u64,
    /// Payload bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Payload bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// This host's address; IPv4 in the first four bytes. Network order. Zeros: not known.
    pub local_addr: [u8; 16],
    /// The peer's address; IPv4 in the first four bytes. Network order. Zeros: not known.
    pub remote_addr: [u8; 16],
    /// Name of the owner.
    pub owner_comm: [u8; COMM_LEN],
    /// Name of the task that ran.
    pub current_comm: [u8; COMM_LEN],
    /// Name of who sent the owner a signal.
    pub killer_comm: [u8; COMM_LEN],
    /// First bytes that the segment carries.
    pub payload: [u8; PAYLOAD_LEN],
    /// `sk_rst_reason` or `skb_drop_reason`, by `have`.
    pub reason: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Interface that the segment came by, or that the socket is bound to; 0: neither.
    pub ifindex: u32,
    /// Firewall mark of the socket.
    pub mark: u32,
    /// Low bits of `sk_flags`.
    pub sock_flags: u32,
    /// `sk_err`.
    pub sock_err: u32,
    /// SO_LINGER time, jiffies, saturated.
    pub linger_jiffies: u32,
    /// uid of the socket.
    pub uid: u32,
    /// RCV.NXT.
    pub rcv_nxt: u32,
    /// First byte not read by the application.
    pub copied_seq: u32,
    /// SND.NXT.
    pub snd_nxt: u32,
    /// SND.UNA.
    pub snd_una: u32,
    /// One past the last byte written by the application.
    pub write_seq: u32,
    /// The peer's window.
    pub snd_wnd: u32,
    /// Our window.
    pub rcv_wnd: u32,
    /// RCV.NXT when `rcv_wnd` was offered.
    pub rcv_wup: u32,
    /// Smoothed RTT, microseconds times eight.
    pub srtt_us_8: u32,
    /// Minimum RTT, microseconds.
    pub min_rtt_us: u32,
    /// Low 32 bits of the jiffies at the last data sent.
    pub last_sent: u32,
    /// Low 32 bits of the jiffies at the last data received.
    pub last_received: u32,
    /// Low 32 bits of the jiffies at the last segment that the peer acknowledged something with
    /// (`rcv_tstamp`), a FIN included.
    pub last_heard: u32,
    /// Newest TSval that the peer's segments have shown.
    pub ts_recent: u32,
    /// Retransmissions over the connection's life.
    pub total_retrans: u32,
    /// TCP_USER_TIMEOUT, milliseconds.
    pub user_timeout_ms: u32,
    /// TCP_LINGER2, jiffies.
    pub linger2: i32,
    /// Waiting connections of a listener.
    pub ack_backlog: u32,
    /// Limit of waiting connections of a listener.
    pub max_ack_backlog: u32,
    /// SEG.SEQ.
    pub segment_seq: u32,
    /// SEG.ACK.
    pub segment_ack: u32,
    /// Payload length, without SYN and FIN.
    pub segment_len: u32,
    /// TSval of the segment.
    pub segment_ts_value: u32,
    /// TSecr of the segment.
    pub segment_ts_echo: u32,
    /// TSval of the peer's handshake segment.
    pub handshake_ts_value: u32,
    /// Owner's process id (tgid, initial pid namespace).
    pub owner_pid: u32,
    /// Owner's uid.
    pub owner_uid: u32,
    /// Process id of the task that ran; 0 in the idle task.
    pub current_pid: u32,
    /// How the owner ended, as wait(2) tells it: the signal in bits 0 to 6, bit 7: core dumped, the
    /// exit status in bits 8 to 15.
    pub exit_code: u32,
    /// Process id of who sent the owner a signal.
    pub killer_pid: u32,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// [`AF_INET`] or [`AF_INET6`].
    pub family: u16,
    /// CPU number.
    pub cpu: u16,
    /// Window field of the segment, unscaled.
    pub segment_window: u16,
    /// IP identification of the segment.
    pub segment_ip_id: u16,
    /// IP identification of the peer's handshake segment.
    pub handshake_ip_id: u16,
    /// `HOOK_*`.
    pub hook: u8,
    /// `KIND_*`.
    pub kind: u8,
    /// State before the reset, `tcp_state`.
    pub state: u8,
    /// State at the hook, `tcp_state`.
    pub state_at_hook: u8,
    /// `SOCKET_*`.
    pub socket_kind: u8,
    /// `tw_substate`.
    pub timewait_substate: u8,
    /// State that the tuple's former connection was in when it went to CLOSED.
    pub closed_state: u8,
    /// `sk_shutdown`.
    pub shutdown: u8,
    /// Consecutive retransmissions.
    pub retransmits: u8,
    /// Probes out.
    pub probes_out: u8,
    /// Flags of the segment, `tcp_flag`.
    pub segment_flags: u8,
    /// TTL or hop limit of the segment.
    pub segment_ttl: u8,
    /// TTL or hop limit of the peer's handshake segment.
    pub handshake_ttl: u8,
    /// `OWNER_*`.
    pub owner_source: u8,
    /// How many of `payload` were copied.
    pub payload_len: u8,
    /// Reason of `MP_TCPRST`.
    pub mptcp_reset_reason: u8,
    /// Number of the signal that `killer_pid` sent.
    pub killer_signal: u8,
    /// Zero; a multiple of eight is the size.
    pub reserved: [u8; 1],
}

/// Size of [`RawEvent`], bytes. Fixed by [`ABI`].
pub const RAW_EVENT_SIZE: usize = size_of::<RawEvent>();
const _: () = assert!(RAW_EVENT_SIZE == 464);

/// A name cut at its first NUL.
#[must_use]
pub fn comm_bytes(comm: &[u8; COMM_LEN]) -> &[u8] {
    let end = comm.iter().position(|&byte| byte == 0).unwrap_or(COMM_LEN);
    comm.get(..end).unwrap_or_default()
}
