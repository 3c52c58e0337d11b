//! Numbers and flags of the connection, from the fields of `struct sock` and `struct tcp_sock`.
//!
//! Called by `event::decode` only. Sequence numbers and jiffy stamps are 32-bit and wrap; a
//! difference of more than half their range is a field that was never set, and stays unknown.

use super::{has, known};
use crate::event::model::{Connection, SocketFacts, SocketState};
use rstmon_common::wire::{self, RawEvent, sock_flag, tcp_flag};

/// `RCV_SHUTDOWN` of `include/net/sock.h`.
const RCV_SHUTDOWN: u8 = 1;
/// `SEND_SHUTDOWN` of `include/net/sock.h`.
const SEND_SHUTDOWN: u8 = 2;
/// Half the range of a sequence number.
const HALF: u32 = 1 << 31;

/// The printed numbers.
pub(super) fn connection_numbers(
    raw: &RawEvent,
    state: Option<SocketState>,
    hz: Option<u32>,
) -> Connection {
    let age_ns = raw.mono_ns.saturating_sub(raw.born_ns);
    let mut numbers = Connection {
        age_ms: known(raw, wire::HAVE_BORN, age_ns / 1_000_000),
        ..Connection::default()
    };
    // A listener's and a fresh socket's numbers belong to no connection.
    let is_connection = !matches!(state, Some(SocketState::Listen | SocketState::None));
    if !has(raw, wire::HAVE_TCP) || !is_connection {
        return numbers;
    }
    numbers.idle_ms = idle_ms(raw, state, hz);
    numbers.srtt_us = Some(raw.srtt_us_8 >> 3).filter(|&srtt| srtt != 0);
    // The kernel's minimum filter starts at all ones.
    numbers.min_rtt_us = Some(raw.min_rtt_us).filter(|&rtt| rtt != 0 && rtt != u32::MAX);
    numbers.bytes_sent = Some(raw.bytes_sent);
    numbers.bytes_acked = Some(raw.bytes_acked);
    numbers.bytes_received = Some(raw.bytes_received);
    numbers.unread_bytes = unread_bytes(raw, state);
    numbers.unacked_bytes = unacked_bytes(raw, state);
    numbers.unsent_bytes = unsent_bytes(raw, state);
    numbers.retransmits = Some(raw.total_retrans);
    numbers
}

/// Jiffies since `stamp`; `None` if it was never set.
fn jiffies_since(raw: &RawEvent, stamp: u32) -> Option<u32> {
    let now = raw.jiffies as u32;
    Some(now.wrapping_sub(stamp))
        .filter(|&jiffies| raw.jiffies != 0 && stamp != 0 && jiffies < HALF)
}

fn to_ms(jiffies: u32, hz: Option<u32>) -> Option<u64> {
    let hz = hz.filter(|&hz| hz != 0)?;
    Some(u64::from(jiffies) * 1000 / u64::from(hz))
}

/// Time since the last data in either direction, before the segment that led to the reset.
///
/// Neither a RST nor a segment that the kernel answers with one moves the stamps
/// (`tcp_event_data_recv` comes after the checks that reset), so what they hold is from before.
/// Only where our own data led to it, the quiet time is the one before that data: from the last
/// data received on. With retransmissions under way that data's first time is not known. Where
/// we sent to a peer that has sent no data, nothing is known: the stamp is then from the handshake, and
/// a stream of ours would be idle for all its life. Nor is it where the peer was heard as we sent: it
/// acknowledges a stream that it does not answer.
fn idle_ms(raw: &RawEvent, state: Option<SocketState>, hz: Option<u32>) -> Option<u64> {
    let sent = jiffies_since(raw, raw.last_sent);
    let received = jiffies_since(raw, raw.last_received);
    if answers_our_data(raw, state)
        && let (Some(sent), Some(received)) = (sent, received)
        && received >= sent
    {
        let told = has_received_data(raw) || is_first_data(raw);
        let quiet = received - sent;
        return if raw.retransmits == 0 && told && !is_acknowledged_stream(raw, state, quiet, hz?) {
            to_ms(quiet, hz)
        } else {
            None
        };
    }
    let jiffies = match (sent, received) {
        (Some(sent), Some(received)) => sent.min(received),
        (sent, received) => sent.or(received)?,
    };
    to_ms(jiffies, hz)
}

/// Whether the peer was heard within a second of our last data, and its last data is older than that.
/// A FIN is heard as well, and after one that tells nothing.
fn is_acknowledged_stream(
    raw: &RawEvent,
    state: Option<SocketState>,
    quiet: u32,
    second: u32,
) -> bool {
    let after_fin = has_fin(raw)
        || matches!(
            state,
            Some(SocketState::CloseWait | SocketState::LastAck | SocketState::Closing)
        );
    let sent = jiffies_since(raw, raw.last_sent);
    let heard = jiffies_since(raw, raw.last_heard);
    let is_heard = sent
        .zip(heard)
        .is_some_and(|(sent, heard)| heard <= sent.saturating_add(second));
    !after_fin && quiet > second && is_heard
}

/// Whether nothing that we sent was acknowledged before, but for the SYN, which the kernel counts: the
/// connection had carried nothing.
const fn is_first_data(raw: &RawEvent) -> bool {
    raw.bytes_acked <= 1
}

/// Whether the peer has sent data. The kernel counts its FIN among the bytes (`tcp_rcv_nxt_update`).
fn has_received_data(raw: &RawEvent) -> bool {
    raw.bytes_received > u64::from(has_fin(raw))
}

/// Whether the peer's FIN has arrived: `SOCK_DONE` tells of it.
fn has_fin(raw: &RawEvent) -> bool {
    raw.sock_flags & sock_flag::DONE != 0 && has(raw, wire::HAVE_SOCK)
}

/// Whether a received RST answers data of ours: some is not acknowledged, and the RST is bare (RFC
/// 9293, 3.5.2) or was not seen.
fn answers_our_data(raw: &RawEvent, state: Option<SocketState>) -> bool {
    let rst_seen = raw.flags & wire::FLAG_SEGMENT_IS_RST != 0 && has(raw, wire::HAVE_SEGMENT);
    let is_bare = !rst_seen || raw.segment_flags & tcp_flag::ACK == 0;
    raw.kind == wire::KIND_RECEIVED
        && is_bare
        && unacked_bytes(raw, state).is_some_and(|bytes| bytes > 0)
}

/// Received and not read; the peer's FIN takes a number and is no byte.
fn unread_bytes(raw: &RawEvent, state: Option<SocketState>) -> Option<u32> {
    if state == Some(SocketState::SynSent) {
        return Some(0);
    }
    let unread = distance(raw.copied_seq, raw.rcv_nxt)?;
    Some(unread.saturating_sub(u32::from(has_fin(raw))))
}

/// Sent and not acknowledged. A SYN counts in SYN-SENT and SYN-RECEIVED, a FIN once all that was
/// written is sent and until it is acknowledged; which of these holds needs the state.
fn unacked_bytes(raw: &RawEvent, state: Option<SocketState>) -> Option<u32> {
    let unacked = distance(raw.snd_una, raw.snd_nxt)?;
    let control = match state? {
        SocketState::SynSent | SocketState::SynRecv => 1,
        state if awaits_ack_of_fin(state) => u32::from(raw.snd_nxt == raw.write_seq),
        _ => 0,
    };
    Some(unacked.saturating_sub(control))
}

/// Written and not sent; a FIN that waits behind the data is no byte.
fn unsent_bytes(raw: &RawEvent, state: Option<SocketState>) -> Option<u32> {
    let unsent = distance(raw.snd_nxt, raw.write_seq)?;
    let fin = u32::from(awaits_ack_of_fin(state?));
    Some(unsent.saturating_sub(fin))
}

const fn awaits_ack_of_fin(state: SocketState) -> bool {
    matches!(
        state,
        SocketState::FinWait1 | SocketState::Closing | SocketState::LastAck
    )
}

/// `to - from` in sequence space; `None` if `to` lies before `from`.
fn distance(from: u32, to: u32) -> Option<u32> {
    Some(to.wrapping_sub(from)).filter(|&bytes| bytes < HALF)
}

/// What rules read; `None` without a socket that could be read.
pub(super) fn socket_facts(
    raw: &RawEvent,
    state: Option<SocketState>,
    hz: Option<u32>,
) -> Option<SocketFacts> {
    let readable = wire::HAVE_SOCK | wire::HAVE_TCP | wire::HAVE_TIMEWAIT;
    if raw.have & readable == 0 && raw.socket_kind != wire::SOCKET_TIMEWAIT {
        return None;
    }
    let mut facts = SocketFacts {
        is_timewait: raw.socket_kind == wire::SOCKET_TIMEWAIT,
        rcv_nxt: (raw.have & (wire::HAVE_TCP | wire::HAVE_TIMEWAIT) != 0).then_some(raw.rcv_nxt),
        backlog: known(
            raw,
            wire::HAVE_BACKLOG,
            (raw.ack_backlog, raw.max_ack_backlog),
        ),
        ..SocketFacts::default()
    };
    if has(raw, wire::HAVE_SOCK) {
        let flag = |bit| raw.sock_flags & bit != 0;
        facts.state_at_hook = SocketState::from_wire(raw.state_at_hook)
            .filter(|&at_hook| at_hook != SocketState::None && Some(at_hook) != state);
        facts.linger_zero = flag(sock_flag::LINGER) && raw.linger_jiffies == 0;
        facts.dead = flag(sock_flag::DEAD);
        facts.keepalive = flag(sock_flag::KEEPOPEN);
        facts.shutdown_receive = raw.shutdown & RCV_SHUTDOWN != 0;
        facts.shutdown_send = raw.shutdown & SEND_SHUTDOWN != 0;
        facts.error = raw.sock_err;
    }
    if has(raw, wire::HAVE_TCP) {
        let is_subflow = raw.flags & wire::FLAG_MPTCP_SUBFLOW != 0;
        facts.mptcp_subflow = known(raw, wire::HAVE_MPTCP, is_subflow);
        facts.linger2_negative = raw.linger2 < 0;
        facts.probes_out = raw.probes_out;
        facts.retransmits = raw.retransmits;
        facts.user_timeout_ms = raw.user_timeout_ms;
        facts.rcv_window_end = Some(raw.rcv_wup.wrapping_add(raw.rcv_wnd));
        facts.snd_nxt = Some(raw.snd_nxt);
        facts.snd_una = Some(raw.snd_una);
        facts.ts_recent = raw.ts_recent;
        let since = |stamp| to_ms(jiffies_since(raw, stamp)?, hz);
        facts.since_sent_ms = since(raw.last_sent);
        facts.since_received_ms = since(raw.last_received);
        facts.since_heard_ms = since(raw.last_heard);
        facts.tick_ms = hz
            .filter(|&hz| hz != 0)
            .map_or(0, |hz| 1000_u64.div_ceil(hz.into()));
    }
    Some(facts)
}
