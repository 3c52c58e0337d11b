//! The peer as its handshake showed it, beside what a RST shows: way, timestamps, order of events.
//!
//! Called by the rules and by `forgery`. Each answer is `None` where one of the two was not seen.

use crate::event::model::{Event, Segment, SocketFacts, SocketState};
use rstmon_common::wire::tcp_flag;
use std::cmp::Ordering;

/// A difference that paths of equal cost make.
const ECMP_HOPS: u8 = 1;

/// How the TTLs of two segments relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As many hops, from the same initial value, a hop of equal-cost paths aside.
    Same,
    /// As many hops, from another initial value: another stack in the same place.
    OtherStack,
    /// Another number of hops.
    Other,
}

impl Way {
    /// Compares two TTLs or hop limits.
    pub(super) const fn between(rst_ttl: u8, handshake_ttl: u8) -> Self {
        let (rst, handshake) = (initial_ttl(rst_ttl), initial_ttl(handshake_ttl));
        if rst_ttl.abs_diff(handshake_ttl) <= ECMP_HOPS {
            Self::Same
        } else if (rst - rst_ttl).abs_diff(handshake - handshake_ttl) <= ECMP_HOPS {
            Self::OtherStack
        } else {
            Self::Other
        }
    }

    /// That of the event's RST.
    pub(super) fn of(event: &Event) -> Option<Self> {
        Some(Self::between(event.rst?.ttl?, event.handshake_ttl?))
    }
}

/// The initial value that a TTL most likely started from: stacks use 64, 128 or 255.
const fn initial_ttl(ttl: u8) -> u8 {
    match ttl {
        0..=64 => 64,
        65..=128 => 128,
        129.. => 255,
    }
}

/// Hops that a segment with this TTL has come.
pub(super) const fn hops(ttl: u8) -> u8 {
    initial_ttl(ttl) - ttl
}

/// Whether the connection uses timestamps (RFC 7323).
pub(super) fn has_timestamps(event: &Event) -> Option<bool> {
    let shown = event.handshake_ts_value.is_some()
        || event.socket.is_some_and(|socket| socket.ts_recent != 0);
    let handshake_seen = event.handshake_ttl.is_some();
    (shown || handshake_seen).then_some(shown)
}

/// Whether the RST is bare: the answer to a segment with ACK (RFC 9293, 3.5.2).
pub(super) fn is_bare(event: &Event) -> Option<bool> {
    event.rst.map(|rst| !rst.flags.has(tcp_flag::ACK))
}

/// Where the number of a RST lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// So far before RCV.NXT.
    Before(u32),
    /// In the receive window, RCV.NXT and the right edge included, as `tcp_sequence` takes it.
    Within,
    /// Beyond it.
    Beyond,
}

impl Place {
    /// That of the event's RST, for a connection whose numbers are known.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let socket = event.socket.as_ref()?;
        let (next, end) = (socket.rcv_nxt?, socket.rcv_window_end?);
        Some(Self::between(event.rst?.seq, next, end))
    }

    /// A window that the peer has overrun is empty (`tcp_receive_window`).
    pub(super) const fn between(seq: u32, next: u32, window_end: u32) -> Self {
        let ahead = seq.wrapping_sub(next).cast_signed();
        let window = window_end.wrapping_sub(next).cast_signed();
        if ahead < 0 {
            Self::Before(ahead.unsigned_abs())
        } else if ahead == 0 || ahead <= window {
            Self::Within
        } else {
            Self::Beyond
        }
    }
}

/// Whether the RST looks like one that a live socket sends (`tcp_send_active_reset`): with ACK, and
/// with its window or its timestamps.
pub(super) fn is_of_live_socket(rst: &Segment) -> bool {
    let has_window = rst.window.is_some_and(|window| window > 0);
    rst.flags.has(tcp_flag::ACK) && (has_window || rst.timestamps.is_some())
}

/// Whether something of ours waits for an answer: data, a probe, a FIN.
pub(super) fn has_something_out(event: &Event) -> bool {
    let awaits_ack_of_fin = matches!(
        event.state,
        Some(SocketState::FinWait1 | SocketState::Closing | SocketState::LastAck)
    );
    awaits_ack_of_fin
        || event.connection.unacked_bytes.is_some_and(|it| it > 0)
        || event.socket.is_some_and(|socket| socket.probes_out > 0)
}

/// Whether a received RST answers, as far as is known, a probe or a FIN of ours and no data. When
/// that went out was up to this host, so the idle time before it is no timer of anybody else.
pub(super) fn answers_probe_or_fin(event: &Event) -> bool {
    event.connection.unacked_bytes == Some(0)
        && has_something_out(event)
        && is_bare(event) != Some(false)
}

/// How the time of the last data received lies to that of our last data: `Less` if it is nearer.
/// A peer that says goodbye with data, as TLS does, sends that just before its FIN, and how long the
/// connection had been quiet before our data is then not known.
pub(super) fn received_against_sent(socket: &SocketFacts) -> Option<Ordering> {
    Some(socket.since_received_ms?.cmp(&socket.since_sent_ms?))
}

/// When our last data went out, against when the peer's FIN was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendOrder {
    /// Before the FIN: it was on its way when the peer closed.
    BeforeFin,
    /// Within the clock tick of the FIN.
    SameTick,
    /// After it.
    AfterFin,
}

impl SendOrder {
    /// For a socket that has received a FIN and has data out.
    ///
    /// The number of a bare RST is what the segment that it answers acknowledged (RFC 9293, 3.5.2):
    /// one short of RCV.NXT, that segment had not seen the FIN; at RCV.NXT it had, though the data
    /// may have gone out before and been lost, or have been followed by an acknowledgment of the FIN;
    /// so it only decides within a tick, if no data of the peer may have come with the FIN. Where that
    /// does not tell, the clock does.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let socket = event.socket.as_ref()?;
        let by_clock = Self::by_clock(socket);
        let answered = event.rst.filter(|_| is_bare(event) == Some(true));
        match answered.zip(socket.rcv_nxt) {
            Some((rst, next)) if rst.seq == next.wrapping_sub(1) => Some(Self::BeforeFin),
            Some((rst, next))
                if rst.seq == next
                    && by_clock == Some(Self::SameTick)
                    && received_against_sent(socket) == Some(Ordering::Greater) =>
            {
                Some(Self::AfterFin)
            }
            _ => by_clock,
        }
    }

    /// With retransmissions the time of the first sending is not known.
    fn by_clock(socket: &SocketFacts) -> Option<Self> {
        if socket.retransmits != 0 {
            return None;
        }
        let (sent, heard) = (socket.since_sent_ms?, socket.since_heard_ms?);
        Some(if sent.abs_diff(heard) <= socket.tick_ms {
            Self::SameTick
        } else if sent > heard {
            Self::BeforeFin
        } else {
            Self::AfterFin
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_compared_by_hops() {
        for (rst, handshake, way) in [
            (64, 64, Way::Same),
            (57, 58, Way::Same),
            (64, 65, Way::Same),
            (255, 64, Way::OtherStack),
            (119, 55, Way::OtherStack),
            (57, 59, Way::Other),
            (250, 64, Way::Other),
            (0, 255, Way::Other),
        ] {
            assert_eq!(Way::between(rst, handshake), way, "{rst} {handshake}");
            assert_eq!(Way::between(handshake, rst), way, "{handshake} {rst}");
        }
        assert_eq!([64, 60, 128, 250, 0].map(hops), [0, 4, 0, 5, 64]);
    }

    #[test]
    fn a_number_lies_before_within_or_beyond_the_window() {
        for (seq, next, end, place) in [
            (99, 100, 150, Place::Before(1)),
            (100, 100, 150, Place::Within),
            (149, 100, 150, Place::Within),
            (150, 100, 150, Place::Within),
            (151, 100, 150, Place::Beyond),
            (100, 100, 100, Place::Within),
            (101, 100, 100, Place::Beyond),
            // More has come than the window allowed: it is empty, not most of all numbers.
            (100, 100, 90, Place::Within),
            (5_000, 100, 90, Place::Beyond),
            (5, u32::MAX - 4, 10, Place::Within),
            (u32::MAX - 4, 5, 10, Place::Before(10)),
        ] {
            assert_eq!(Place::between(seq, next, end), place, "{seq} {next} {end}");
        }
    }

    #[test]
    fn sending_is_ordered_within_a_tick() {
        let order = |sent, heard, retransmits| {
            SendOrder::by_clock(&SocketFacts {
                since_sent_ms: sent,
                since_heard_ms: heard,
                tick_ms: 4,
                retransmits,
                ..SocketFacts::default()
            })
        };
        assert_eq!(order(Some(30), Some(20), 0), Some(SendOrder::BeforeFin));
        assert_eq!(order(Some(24), Some(20), 0), Some(SendOrder::SameTick));
        assert_eq!(order(Some(16), Some(20), 0), Some(SendOrder::SameTick));
        assert_eq!(order(Some(15), Some(20), 0), Some(SendOrder::AfterFin));
        assert_eq!(order(Some(30), Some(20), 1), None);
        assert_eq!(order(None, Some(20), 0), None);
    }
}
