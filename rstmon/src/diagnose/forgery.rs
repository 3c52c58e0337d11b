//! Signs that a RST is not the peer's own, each with its weight, and what they amount to together.
//!
//! Called by the engine once an event that arrived; the rule `forged-suspect` and `flows` use it.
//! A sign alone proves nothing unless it is decisive: [`amounts_to_forgery`] asks for a strong one
//! and another of a different nature. Genuine resets that look strange, each kept from counting:
//!
//! * Paths of equal cost differ by a hop (`baseline`).
//! * A host, or a balancer in front of it, that has forgotten a quiet connection answers with a bare
//!   RST from another place, and a box whose timer ends sends one with ACK and without a window or
//!   timestamps: then the TTL weighs little.
//! * A reset needs no timestamps (RFC 7323, 3.2), and some stacks' never have any: their absence is
//!   weak, and no sign in a bare RST.
//! * Linux sends bare RSTs and SYN-ACKs with IP ID 0; zeros are never a discontinuity.
//! * A RST ahead of lost data is answered with a challenge ACK and comes again, exact (RFC 5961,
//!   3.2): only attempts outside the window count.
//! * A RST of the peer's own can come late, after what it sent next: a number of what has been received
//!   is no attempt.
//!
//! What remains: a proxy that answers the handshake itself and then lets the real server speak looks
//! like a forger, as only the handshake and the RST are seen. Hence likely, never certain.
//!
//! Left out: a refusal sooner than any answer could be, as nothing is remembered of connections that
//! end in order, whose round trips it would be compared with; one clock shared by several peers, which
//! tells of a transparent proxy and not of a reset; a RST that the other host never sent, which takes
//! that host's events, too (`rstmon explain both-ends`).
//!
//! Sources: Weaver, Sommer, Paxson, "Detecting Forged TCP Reset Packets" (NDSS 2009) for the signs
//! that two segments of a flow make; RFC 9293, 3.5.2, RFC 7323 and RFC 6864 for the others.

use super::baseline::{self, Place, Way, hops};
use super::flows::{ArrivedReset, FlowPast, ObeyedReset};
use crate::event::model::{Event, Kind, Segment, SocketState};
use rstmon_common::wire::tcp_flag;

/// How much a sign says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Genuine resets show it now and then.
    Weak,
    /// Genuine resets hardly ever show it.
    Strong,
    /// Enough by itself.
    Decisive,
}

/// What a sign is taken from; two of one nature may have one innocent reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Hops.
    Way,
    /// IP identification.
    IpId,
    /// TCP timestamps.
    Timestamps,
    /// What came before and after.
    Causality,
    /// Sequence numbers of several RSTs.
    Sequence,
    /// Other fields of the RST.
    Shape,
}

/// One sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// What it is taken from.
    pub(super) nature: Nature,
    /// How much it says.
    pub(super) weight: Weight,
    /// The fact, for the evidence: `sign=…`.
    pub(super) fact: String,
}

impl Sign {
    fn new(nature: Nature, weight: Weight, fact: &str) -> Self {
        Self {
            nature,
            weight,
            fact: format!("sign={fact}"),
        }
    }
}

/// Whether the signs are enough to say that somebody else than the peer sent the RST.
pub(super) fn amounts_to_forgery(signs: &[Sign]) -> bool {
    let has = |weight| signs.iter().filter(move |sign| sign.weight == weight);
    has(Weight::Decisive).next().is_some()
        || has(Weight::Strong).any(|strong| signs.iter().any(|it| it.nature != strong.nature))
}

/// Idle for longer, a connection may be forgotten on the way.
const QUIET_MS: u64 = 10_000;

/// Idle for longer, the timer of a box may end; who forges a RST does so when something passes.
const FORGOTTEN_MS: u64 = 60_000;

/// A RST so soon after data, with nothing to answer, is no timer's.
const BUSY_MS: u64 = 1_000;

/// Two RSTs for one connection belong together within this time.
const SECOND_RST_MS: u64 = 2_000;

/// As many attempts outside the window are no chance.
const MANY_ATTEMPTS: u32 = 3;

/// All signs that an arrived RST shows.
pub(super) fn read_signs(event: &Event, past: &FlowPast) -> Vec<Sign> {
    match event.kind {
        Kind::Sent => Vec::new(),
        Kind::Received | Kind::Rejected => {
            let Some(rst) = &event.rst else {
                return attempts(past).into_iter().collect();
            };
            let signs = [
                way(event),
                ip_id(event, rst),
                timestamps(event, rst),
                impossible_ack(event, rst),
                unprovoked(event),
                window_of_bare(rst),
                attempts(past),
                counted_windows(rst, past),
                other_ack_field(rst, past),
            ];
            signs.into_iter().flatten().collect()
        }
        Kind::Stray => stray_signs(event, past),
    }
}

/// What a RST shows that found no connection: another one a moment ago may have ended it.
fn stray_signs(event: &Event, past: &FlowPast) -> Vec<Sign> {
    // One that found a socket belongs to another connection, unless that only listens; and after a
    // RST of ours the peer has much to answer.
    let found_none = matches!(
        event.state,
        None | Some(SocketState::None | SocketState::Listen)
    );
    let Some(rst) = event
        .rst
        .as_ref()
        .filter(|_| found_none && past.reset_sent.is_none())
    else {
        return Vec::new();
    };
    let mut signs: Vec<Sign> = [counted_windows(rst, past), other_ack_field(rst, past)]
        .into_iter()
        .flatten()
        .collect();
    if let Some(first) = past.reset_received {
        let strange = !signs.is_empty();
        signs.extend(second_rst(rst, first, past, strange));
    }
    signs
}

/// The RST before this one and how long ago it came, if the two belong together.
pub(super) fn just_before(past: &FlowPast) -> Option<(u64, &ArrivedReset)> {
    let (ago_ms, before) = past.last_rst.as_ref()?;
    (*ago_ms <= SECOND_RST_MS).then_some((*ago_ms, before))
}

/// RSTs with one number and windows n, n+1, n+2: seen of an injector in 2025, of no stack.
fn counted_windows(rst: &Segment, past: &FlowPast) -> Option<Sign> {
    let (_, before) = just_before(past).filter(|(_, before)| before.counts_up_to(rst))?;
    let weight = match before.counted_up {
        0 => Weight::Strong,
        _ => Weight::Decisive,
    };
    let rsts = before.counted_up.saturating_add(2);
    let fact = format!("burst with windows counted up rsts={rsts}");
    Some(Sign::new(Nature::Shape, weight, &fact))
}

/// Two bare RSTs, one with a number in its acknowledgment field, one without. What a stack leaves in
/// a field that means nothing without ACK (RFC 9293, 3.1), it leaves there always.
fn other_ack_field(rst: &Segment, past: &FlowPast) -> Option<Sign> {
    let before = &just_before(past)?.1.rst;
    let bare = [before, rst].iter().all(|it| !it.flags.has(tcp_flag::ACK));
    (bare && (before.ack == 0) != (rst.ack == 0)).then(|| {
        let fact = "second-rst ack-field filled in one of two bare RSTs";
        Sign::new(Nature::Shape, Weight::Strong, fact)
    })
}

/// The TTL against the handshake's.
fn way(event: &Event) -> Option<Sign> {
    let sign = way_between(event.rst?.ttl?, event.handshake_ttl?)?;
    Some(if may_be_forgotten(event) {
        Sign {
            weight: Weight::Weak,
            ..sign
        }
    } else {
        sign
    })
}

/// Whether the RST may be of who has forgotten a quiet connection: the answer to a segment, or what a
/// box sends of its own when its timer ends, which has ACK and nothing else of a live socket's.
fn may_be_forgotten(event: &Event) -> bool {
    let idle_ms = event.connection.idle_ms;
    let of_its_own = event
        .rst
        .as_ref()
        .is_some_and(|rst| !baseline::is_of_live_socket(rst));
    match baseline::is_bare(event) {
        Some(true) => idle_ms.is_none_or(|idle| idle >= QUIET_MS),
        Some(false) => of_its_own && idle_ms.is_some_and(|idle| idle >= FORGOTTEN_MS),
        None => false,
    }
}

fn way_between(rst_ttl: u8, handshake_ttl: u8) -> Option<Sign> {
    let weight = match Way::between(rst_ttl, handshake_ttl) {
        Way::Same => return None,
        Way::OtherStack => Weight::Weak,
        Way::Other => Weight::Strong,
    };
    let fact = format!(
        "ttl rst_hops={} handshake_hops={}",
        hops(rst_ttl),
        hops(handshake_ttl)
    );
    Some(Sign::new(Nature::Way, weight, &fact))
}

/// The IP ID against the handshake's: one counter goes up by one a packet, no further than the
/// packets since. Stacks that draw random numbers show the same, so it is weak.
fn ip_id(event: &Event, rst: &Segment) -> Option<Sign> {
    const MAX_AGE_MS: u64 = 60_000;
    const OTHER_PACKETS: u64 = 1_000;
    const MIN_SEGMENT: u64 = 500;
    let (seen, handshake) = (rst.ip_id?, event.handshake_ip_id?);
    let connection = &event.connection;
    let packets = OTHER_PACKETS + connection.bytes_received? / MIN_SEGMENT;
    let is_young = connection.age_ms.is_some_and(|age| age <= MAX_AGE_MS);
    let ahead = u64::from(seen.wrapping_sub(handshake));
    (seen != 0 && handshake != 0 && is_young && ahead > packets).then(|| {
        let fact = format!("ip-id rst={seen} handshake={handshake}");
        Sign::new(Nature::IpId, Weight::Weak, &fact)
    })
}

/// The TSval against the newest that the peer has shown.
fn timestamps(event: &Event, rst: &Segment) -> Option<Sign> {
    let weak = |fact| Some(Sign::new(Nature::Timestamps, Weight::Weak, fact));
    let value = match (baseline::has_timestamps(event)?, rst.timestamps) {
        (true, Some((value, _))) => value,
        (true, None) if rst.flags.has(tcp_flag::ACK) => return weak("timestamps missing"),
        (false, Some(_)) => return weak("timestamps never negotiated"),
        (_, None) => return None,
    };
    let socket = event.socket.as_ref();
    let recent = socket.map_or(0, |socket| socket.ts_recent);
    let newest = Some(recent)
        .filter(|&value| value != 0)
        .or(event.handshake_ts_value)?;
    let quiet_ms = socket.and_then(|socket| {
        let stamps = [socket.since_heard_ms, socket.since_received_ms];
        stamps.into_iter().flatten().min()
    });
    is_off_clock(value, newest, quiet_ms).then(|| {
        let fact = format!("timestamps rst={value} newest={newest}");
        Sign::new(Nature::Timestamps, Weight::Strong, &fact)
    })
}

/// Whether `value` is not of the clock that showed `newest` up to `quiet_ms` ago. Clocks tick once
/// a second to once a microsecond (RFC 7323, 5.4; Linux since 6.7); segments may overtake.
fn is_off_clock(value: u32, newest: u32, quiet_ms: Option<u64>) -> bool {
    const OVERTAKEN: i64 = 10_000;
    const SLACK_MS: u64 = 10_000;
    const MAX_TICKS_A_MS: u64 = 1_000;
    let ahead = i64::from(value.wrapping_sub(newest).cast_signed());
    let limit = quiet_ms.map(|ms| ms.saturating_add(SLACK_MS).saturating_mul(MAX_TICKS_A_MS));
    ahead < -OVERTAKEN
        || limit
            .and_then(|limit| i64::try_from(limit).ok())
            .is_some_and(|limit| ahead > limit)
}

/// An acknowledgment of data that was sent less than the minimum RTT ago: nobody at the other end
/// can have sent it.
///
/// The minimum must stand on more than the handshake, which can take longer than the way (address
/// resolution), and half of it is allowed for. With retransmissions the data is older than its last
/// sending.
fn impossible_ack(event: &Event, rst: &Segment) -> Option<Sign> {
    let (socket, connection) = (event.socket.as_ref()?, &event.connection);
    let new_data = connection.unacked_bytes? > 0
        && rst.flags.has(tcp_flag::ACK)
        && Some(rst.ack) == socket.snd_nxt;
    let measured = connection.bytes_acked? > 1 && connection.retransmits? == 0;
    let min_rtt_us = u64::from(connection.min_rtt_us?);
    let sent_ago_us = (socket.since_sent_ms? + socket.tick_ms) * 1_000;
    let too_soon = socket.tick_ms != 0 && sent_ago_us * 2 < min_rtt_us;
    (new_data && measured && too_soon).then(|| {
        let fact = format!("impossible-ack sent_ago_us<{sent_ago_us} min_rtt_us={min_rtt_us}");
        Sign::new(Nature::Causality, Weight::Decisive, &fact)
    })
}

/// A bare RST answers a segment (RFC 9293, 3.5.2), and nothing of ours waits for an answer. It may
/// have been an ACK of ours that says nothing of data, so it is weak; and no sign where data came so
/// short a while ago that our acknowledgment of it is still on its way or being answered.
fn unprovoked(event: &Event) -> Option<Sign> {
    /// More than an acknowledgment is put off for, however slow the clock of a host.
    const DELAYED_ACK_MS: u64 = 200;
    let round_trips_ms = (2 * u64::from(event.connection.srtt_us?)).div_ceil(1_000);
    let received_ms = event.socket?.since_received_ms?;
    let acknowledged = received_ms <= round_trips_ms + DELAYED_ACK_MS;
    let busy = event.connection.idle_ms.is_some_and(|idle| idle < BUSY_MS);
    let nothing_out = event.connection.unacked_bytes == Some(0)
        && event.socket.is_some_and(|socket| socket.probes_out == 0)
        && matches!(
            event.state?,
            SocketState::Established | SocketState::FinWait2 | SocketState::CloseWait
        );
    let obeyed = event.kind == Kind::Received;
    (obeyed && baseline::is_bare(event)? && busy && nothing_out && !acknowledged).then(|| {
        Sign::new(
            Nature::Causality,
            Weight::Weak,
            "unprovoked unacked_bytes=0",
        )
    })
}

/// A host without the socket has no window to offer.
fn window_of_bare(rst: &Segment) -> Option<Sign> {
    let window = rst.window.filter(|&window| window != 0)?;
    (!rst.flags.has(tcp_flag::ACK)).then(|| {
        let fact = format!("bare-with-window window={window}");
        Sign::new(Nature::Shape, Weight::Weak, &fact)
    })
}

/// RSTs outside the window that went before.
fn attempts(past: &FlowPast) -> Option<Sign> {
    let weight = match past.attempts {
        0 => return None,
        1..MANY_ATTEMPTS => Weight::Weak,
        _ => Weight::Strong,
    };
    let fact = format!("out-of-window-attempts count={}", past.attempts);
    Some(Sign::new(Nature::Sequence, weight, &fact))
}

/// What a RST that comes after an obeyed one says of both. The peer, which has no socket any more,
/// can only answer what we sent before: with numbers that we have acknowledged, none beyond.
/// Its way counts only beside something else that is `strange`.
fn second_rst(
    rst: &Segment,
    (ago_ms, first): (u64, ObeyedReset),
    past: &FlowPast,
    strange: bool,
) -> Vec<Sign> {
    let went_on = past.peer_went_on.map(|_| {
        Sign::new(
            Nature::Causality,
            Weight::Decisive,
            "peer-went-on after its RST",
        )
    });
    if ago_ms > SECOND_RST_MS {
        return went_on.into_iter().collect();
    }
    let ahead = first.seq.map(|seq| rst.seq.wrapping_sub(seq).cast_signed());
    let other_seq = ahead.filter(|&ahead| ahead > 2).map(|ahead| {
        let fact = format!("second-rst seq_ahead={ahead} after_ms={ago_ms}");
        Sign::new(Nature::Sequence, Weight::Strong, &fact)
    });
    // A socket aborts once; without one, the peer's answers acknowledge nothing (RFC 9293, 3.10.7.1).
    let both_acknowledge = rst.acknowledged().zip(first.ack);
    let other_ack = both_acknowledge
        .filter(|(second, first)| ahead == Some(0) && second != first)
        .map(|(second, first)| {
            let ahead = second.wrapping_sub(first).cast_signed();
            let fact = format!("second-rst ack_ahead={ahead} after_ms={ago_ms}");
            Sign::new(Nature::Sequence, Weight::Strong, &fact)
        });
    let way = rst
        .ttl
        .zip(first.handshake_ttl)
        .and_then(|(rst, handshake)| way_between(rst, handshake))
        .filter(|_| other_seq.is_some() || other_ack.is_some() || strange);
    [went_on, other_seq, other_ack, way]
        .into_iter()
        .flatten()
        .collect()
}

/// Whether this RST hit neither RCV.NXT nor the window: not the peer's own. With a number of what
/// has been received it may be, and late: the answer to what we had sent before that came.
pub(super) fn is_out_of_window(event: &Event) -> bool {
    let missed = match Place::of(event) {
        Some(Place::Before(back)) => {
            let received = event.connection.bytes_received;
            received.is_some_and(|received| u64::from(back) > received)
        }
        Some(Place::Beyond) => true,
        Some(Place::Within) | None => false,
    };
    let synchronized = !matches!(event.state, None | Some(SocketState::SynSent));
    event.kind == Kind::Rejected && synchronized && missed
}

/// How long after a RST that tore the connection down its peer went on sending, in milliseconds:
/// whoever sent that RST, the peer does not know of it.
///
/// What was on its way arrives within a round trip; twice that is waited for.
pub(super) fn peer_went_on(event: &Event, past: &FlowPast) -> Option<u64> {
    const MIN_WAIT_MS: u64 = 20;
    const UNKNOWN_RTT_MS: u64 = 1_000;
    const MAX_AHEAD: u32 = 1 << 20;
    let (ago_ms, first) = past.reset_received?;
    let trigger = event.trigger.filter(|_| event.kind == Kind::Sent)?;
    let rtt_ms = first
        .srtt_us
        .map_or(UNKNOWN_RTT_MS, |us| u64::from(us).div_ceil(1_000));
    let ahead = trigger.seq.wrapping_sub(first.seq?).cast_signed();
    let goes_on = !trigger.flags.has(tcp_flag::SYN)
        && !trigger.flags.has(tcp_flag::RST)
        && matches!(
            event.state,
            // Where somebody listens on the port, the listener gets what no connection takes.
            Some(SocketState::None | SocketState::Listen)
        )
        && ahead.unsigned_abs() < MAX_AHEAD;
    (goes_on && ago_ms >= (2 * rtt_ms).max(MIN_WAIT_MS)).then_some(ago_ms)
}
