//! Builds events for the tests of the rules, through the wire record and the decoder, so that a
//! rule is tested on what it gets in life.

#![allow(clippy::expect_used, reason = "a failed test panics")]

use super::Engine;
use crate::event::capture::CaptureFacts;
use crate::event::decode::{CheckedRecord, decode};
use crate::event::model::{Cause, Confidence, Event, Initiator};
use bytemuck::Zeroable;
use rstmon_common::wire::{self, RawEvent, sock_flag, tcp_flag, tcp_state};

const AF_INET: u16 = 2;

/// Number under which a scene's reason is filed.
const REASON: u32 = 7;

/// An event in the making.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) raw: RawEvent,
    facts: CaptureFacts,
}

impl Scene {
    fn new(kind: u8, hook: u8) -> Self {
        let raw = RawEvent {
            abi: wire::ABI,
            kind,
            hook,
            have: wire::HAVE_TUPLE,
            family: AF_INET,
            mono_ns: 1_000_000_000_000,
            local_addr: [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            remote_addr: [10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            local_port: 8080,
            remote_port: 50_000,
            ..RawEvent::zeroed()
        };
        Self {
            raw,
            facts: CaptureFacts::default(),
        }
    }

    /// A reset of this host's own accord by a socket that was in `state` and is in `at_hook`.
    pub(super) fn active(state: u8, at_hook: u8) -> Self {
        let mut scene = Self::new(wire::KIND_SENT, wire::HOOK_TCP_SEND_RESET);
        scene.raw.flags = wire::FLAG_ACTIVE;
        scene.socket(state).with(|raw| raw.state_at_hook = at_hook)
    }

    /// A reset by `close()`.
    pub(super) fn closing(state: u8) -> Self {
        Self::active(state, tcp_state::CLOSE).with(|raw| {
            raw.shutdown = 3;
            raw.inode = 4711;
        })
    }

    /// A reset in answer to a segment, by a full socket in `state`.
    pub(super) fn passive(state: u8) -> Self {
        Self::new(wire::KIND_SENT, wire::HOOK_TCP_SEND_RESET).socket(state)
    }

    /// A reset in answer to a segment that found no socket.
    pub(super) fn socketless() -> Self {
        Self::new(wire::KIND_SENT, wire::HOOK_TCP_V4_SEND_RESET).with(|raw| {
            raw.have |= wire::HAVE_STATE;
        })
    }

    /// A reset by a timewait socket.
    pub(super) fn timewait(substate: u8) -> Self {
        Self::new(wire::KIND_SENT, wire::HOOK_TCP_V4_SEND_RESET).timewait_socket(substate)
    }

    /// A netfilter reject.
    pub(super) fn netfilter() -> Self {
        Self::new(wire::KIND_SENT, wire::HOOK_NF_SEND_RESET).segment(tcp_flag::SYN, 0)
    }

    /// A RST that was obeyed in `state`; the segment was not seen.
    pub(super) fn received(state: u8) -> Self {
        Self::new(wire::KIND_RECEIVED, wire::HOOK_TCP_RESET).socket(state)
    }

    /// A RST that a full socket in `state` refused.
    pub(super) fn rejected(state: u8) -> Self {
        Self::new(wire::KIND_REJECTED, wire::HOOK_KFREE_SKB)
            .socket(state)
            .rst(tcp_flag::RST)
    }

    /// A RST for nobody, as far as is known.
    pub(super) fn stray() -> Self {
        Self::new(wire::KIND_STRAY, wire::HOOK_KFREE_SKB).rst(tcp_flag::RST)
    }

    /// Any other field.
    pub(super) fn with(mut self, change: impl FnOnce(&mut RawEvent)) -> Self {
        change(&mut self.raw);
        self
    }

    fn socket(self, state: u8) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_STATE | wire::HAVE_SOCK | wire::HAVE_TCP | wire::HAVE_MPTCP;
            raw.state = state;
            raw.state_at_hook = state;
            raw.socket_kind = wire::SOCKET_FULL;
            (raw.rcv_nxt, raw.copied_seq) = (5_000, 5_000);
            (raw.rcv_wup, raw.rcv_wnd) = (5_000, 1_000);
            (raw.snd_una, raw.snd_nxt, raw.write_seq) = (9_000, 9_000, 9_000);
        })
    }

    pub(super) fn timewait_socket(self, substate: u8) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_TIMEWAIT | wire::HAVE_STATE;
            raw.socket_kind = wire::SOCKET_TIMEWAIT;
            raw.state = tcp_state::TIME_WAIT;
            raw.timewait_substate = substate;
            raw.rcv_nxt = 5_000;
        })
    }

    pub(super) fn request_socket(self) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_STATE;
            raw.socket_kind = wire::SOCKET_REQUEST;
            raw.state = tcp_state::NEW_SYN_RECV;
        })
    }

    /// The segment that a sent reset answers.
    pub(super) fn segment(self, flags: u8, len: u32) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_SEGMENT;
            raw.segment_flags = flags;
            raw.segment_len = len;
            raw.segment_seq = 100;
            raw.segment_ack = 200;
        })
    }

    /// The segment asks for a further subflow.
    pub(super) fn join(self) -> Self {
        self.with(|raw| raw.have |= wire::HAVE_MPTCP_JOIN)
    }

    /// The socket carries a subflow of an MPTCP connection.
    pub(super) fn subflow(self) -> Self {
        self.with(|raw| raw.flags |= wire::FLAG_MPTCP_SUBFLOW)
    }

    /// The RST that arrived, at RCV.NXT.
    pub(super) fn rst(self, flags: u8) -> Self {
        self.segment(flags, 0).with(|raw| {
            raw.flags |= wire::FLAG_SEGMENT_IS_RST;
            raw.segment_seq = 5_000;
        })
    }

    /// The RST that a live Linux socket sends.
    pub(super) fn live_rst(self) -> Self {
        self.rst(tcp_flag::RST | tcp_flag::ACK)
            .ttls(64, 64)
            .timestamps(2_100, 2_000)
            .with(|raw| raw.segment_window = 500)
    }

    /// TTLs of the RST and of the handshake; IP IDs are zero.
    pub(super) fn ttls(self, rst: u8, handshake: u8) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_SEGMENT_IP | wire::HAVE_HANDSHAKE;
            (raw.segment_ttl, raw.handshake_ttl) = (rst, handshake);
        })
    }

    /// IP IDs of the RST and of the handshake, on a connection of one second.
    pub(super) fn ip_ids(self, rst: u16, handshake: u16) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_SEGMENT_IP | wire::HAVE_HANDSHAKE | wire::HAVE_BORN;
            raw.born_ns = raw.mono_ns - 1_000_000_000;
            (raw.segment_ip_id, raw.handshake_ip_id) = (rst, handshake);
        })
    }

    /// TSvals of the RST and of the newest segment before it, on a connection that has them.
    pub(super) fn timestamps(self, rst: u32, recent: u32) -> Self {
        self.with_timestamps(recent).with(|raw| {
            raw.have |= wire::HAVE_SEGMENT_TIMESTAMPS;
            raw.segment_ts_value = rst;
        })
    }

    /// A connection with timestamps.
    pub(super) fn with_timestamps(self, recent: u32) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_HANDSHAKE_TIMESTAMPS;
            raw.handshake_ts_value = 1_000;
            raw.ts_recent = recent;
        })
    }

    /// When data was last received (there was some), data last sent, and the peer last heard, in
    /// milliseconds before the event, on a kernel with ticks of a millisecond.
    pub(super) fn times(mut self, received: u32, sent: u32, heard: u32) -> Self {
        const NOW: u32 = 100_000_000;
        self.facts.hz = Some(1_000);
        self.with(|raw| {
            raw.jiffies = NOW.into();
            raw.last_received = NOW - received;
            raw.last_sent = NOW - sent;
            raw.last_heard = NOW - heard;
            raw.bytes_received = 2_000;
        })
    }

    /// Nothing sent or received for so long.
    pub(super) fn idle(self, ms: u32) -> Self {
        self.times(ms, ms + 10, ms)
    }

    /// Data after so long without any, answered at once.
    pub(super) fn request_after(self, ms: u32) -> Self {
        self.unacked(100).times(ms + 2, 2, ms + 2)
    }

    /// Bytes that the segment carries.
    pub(super) fn payload(self, bytes: &[u8]) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_PAYLOAD;
            raw.segment_len = bytes.len() as u32;
            let kept = bytes.len().min(wire::PAYLOAD_LEN);
            raw.payload[..kept].copy_from_slice(&bytes[..kept]);
            raw.payload_len = kept as u8;
        })
    }

    /// The kernel's reset reason.
    pub(super) fn reason(mut self, name: &str) -> Self {
        self.raw.have |= wire::HAVE_RST_REASON;
        self.raw.reason = REASON;
        self.facts.reasons.rst.insert(REASON, name.into());
        self
    }

    /// The kernel's drop reason.
    pub(super) fn dropped(mut self, name: &str) -> Self {
        self.raw.have |= wire::HAVE_DROP_REASON;
        self.raw.reason = REASON;
        self.facts.reasons.drop.insert(REASON, name.into());
        self
    }

    pub(super) fn unread(self, bytes: u32) -> Self {
        self.with(|raw| raw.copied_seq = raw.rcv_nxt.wrapping_sub(bytes))
    }

    pub(super) fn unacked(self, bytes: u32) -> Self {
        self.with(|raw| {
            raw.snd_una = raw.snd_nxt.wrapping_sub(bytes);
            raw.snd_wnd = 65_535;
        })
    }

    pub(super) fn linger_zero(self) -> Self {
        self.with(|raw| raw.sock_flags |= sock_flag::LINGER)
    }

    pub(super) fn orphan(self) -> Self {
        self.with(|raw| {
            raw.sock_flags |= sock_flag::DEAD;
            raw.inode = 0;
        })
    }

    /// The tuple's former connection, a second ago.
    pub(super) fn closed_from(self, state: u8) -> Self {
        self.closed_ago_ms(1_000, state)
    }

    /// The tuple's former connection, so long ago.
    pub(super) fn closed_ago_ms(self, ago_ms: u64, state: u8) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_CLOSED;
            raw.closed_state = state;
            raw.closed_ns = raw.mono_ns - ago_ms * 1_000_000;
        })
    }

    /// Connections that wait in a listener's queue, and their limit.
    pub(super) fn backlog(self, waiting: u32, limit: u32) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_BACKLOG;
            (raw.ack_backlog, raw.max_ack_backlog) = (waiting, limit);
        })
    }

    pub(super) fn owner_and_current(self, owner: u32, current: u32) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_OWNER | wire::HAVE_CURRENT;
            raw.owner_pid = owner;
            raw.current_pid = current;
        })
    }

    /// A connection that this host opened.
    pub(super) fn client(self) -> Self {
        self.with(|raw| raw.flags |= wire::FLAG_CLIENT)
    }

    /// A connection that the peer opened.
    pub(super) fn server(self) -> Self {
        self.with(|raw| raw.flags |= wire::FLAG_SERVER)
    }

    /// The owner was exiting with what wait(2) tells.
    pub(super) fn exiting(self, code: u32) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_EXIT;
            raw.exit_code = code;
        })
    }

    /// Process 99 had sent the owner this signal.
    pub(super) fn signalled(self, signal: u8) -> Self {
        self.with(|raw| {
            raw.have |= wire::HAVE_KILLER;
            raw.killer_pid = 99;
            raw.killer_signal = signal;
        })
    }

    pub(super) fn after_ms(self, ms: u64) -> Self {
        self.with(|raw| raw.mono_ns += ms * 1_000_000)
    }

    /// The same connection seen from its other end.
    pub(super) fn mirrored(self) -> Self {
        self.with(|raw| {
            std::mem::swap(&mut raw.local_addr, &mut raw.remote_addr);
            std::mem::swap(&mut raw.local_port, &mut raw.remote_port);
        })
    }

    pub(super) fn event(&self) -> Event {
        let record = CheckedRecord::new(&self.raw).expect("a valid record");
        decode(record, 1, &self.facts)
    }

    /// The event as `engine` leaves it.
    pub(super) fn diagnosed_by(&self, engine: &mut Engine) -> Event {
        let mut event = self.event();
        engine.diagnose(&mut event);
        event
    }

    /// The verdict of an engine without a past.
    pub(super) fn verdict(&self) -> (Cause, Initiator, Confidence) {
        let verdict = self.diagnosed_by(&mut Engine::new()).verdict;
        (verdict.cause, verdict.initiator, verdict.confidence)
    }
}
