//! The RST and the segment that led to it: seen by a hook, or computed as the kernel does.
//!
//! Called by `event::decode` only.

use super::{has, known};
use crate::event::model::{Segment, TcpFlags};
use rstmon_common::wire::{self, RawEvent, tcp_flag};

/// The segment of the record, whichever it is.
pub(super) fn seen_segment(raw: &RawEvent) -> Option<Segment> {
    known(raw, wire::HAVE_SEGMENT, ())?;
    Some(Segment {
        flags: TcpFlags(raw.segment_flags),
        seq: raw.segment_seq,
        ack: raw.segment_ack,
        len: raw.segment_len,
        window: Some(raw.segment_window),
        ttl: known(raw, wire::HAVE_SEGMENT_IP, raw.segment_ttl),
        ip_id: known(raw, wire::HAVE_SEGMENT_IP, raw.segment_ip_id)
            .filter(|_| raw.family == wire::AF_INET),
        timestamps: known(
            raw,
            wire::HAVE_SEGMENT_TIMESTAMPS,
            (raw.segment_ts_value, raw.segment_ts_echo),
        ),
    })
}

/// What the segment carries, as far as it was copied.
pub(super) fn payload(raw: &RawEvent) -> Option<Box<[u8]>> {
    known(raw, wire::HAVE_PAYLOAD, ())?;
    let bytes = raw.payload.get(..usize::from(raw.payload_len))?;
    (!bytes.is_empty()).then(|| bytes.into())
}

/// The RST: seen, or what the kernel sends in this place.
pub(super) fn rst_segment(
    raw: &RawEvent,
    seen: Option<Segment>,
    trigger: Option<Segment>,
) -> Option<Segment> {
    if raw.flags & wire::FLAG_SEGMENT_IS_RST != 0 {
        return seen;
    }
    if raw.kind != wire::KIND_SENT {
        return None;
    }
    if raw.flags & wire::FLAG_ACTIVE != 0 {
        return active_rst(raw);
    }
    trigger.map(passive_rst)
}

/// RFC 9293, 3.5.2, as `tcp_v4_send_reset` and `nf_reject_ip_tcphdr_put` do it.
fn passive_rst(trigger: Segment) -> Segment {
    let counted = |flag| u32::from(trigger.flags.has(flag));
    let (flags, seq, ack) = if trigger.flags.has(tcp_flag::ACK) {
        (tcp_flag::RST, trigger.ack, 0)
    } else {
        let occupied = counted(tcp_flag::SYN) + counted(tcp_flag::FIN);
        let next = trigger.seq.wrapping_add(trigger.len).wrapping_add(occupied);
        (tcp_flag::RST | tcp_flag::ACK, 0, next)
    };
    Segment {
        flags: TcpFlags(flags),
        seq,
        ack,
        len: 0,
        window: Some(0),
        ttl: None,
        ip_id: None,
        timestamps: None,
    }
}

/// What `tcp_send_active_reset` puts on the wire.
///
/// Its sequence number is SND.NXT unless the peer shrank its window below that
/// (`tcp_acceptable_seq`); which number it is then depends on a window scale that is not recorded,
/// so nothing is said.
fn active_rst(raw: &RawEvent) -> Option<Segment> {
    if !has(raw, wire::HAVE_TCP) {
        return None;
    }
    let in_flight = raw.snd_nxt.wrapping_sub(raw.snd_una);
    if in_flight > raw.snd_wnd {
        return None;
    }
    Some(Segment {
        flags: TcpFlags(tcp_flag::RST | tcp_flag::ACK),
        seq: raw.snd_nxt,
        ack: raw.rcv_nxt,
        len: 0,
        window: None,
        ttl: None,
        ip_id: None,
        timestamps: None,
    })
}
