//! Resets that this host sends while a connection opens, by listeners, and by others than its TCP.

use super::{Row, check};
use crate::diagnose::testing::Scene;
use crate::event::model::{Cause, Confidence::*, Initiator::*};
use rstmon_common::wire::{tcp_flag::*, tcp_state::*};

#[test]
fn handshakes() {
    let listener = || Scene::passive(LISTEN).segment(ACK, 0);
    let rows: Vec<Row> = vec![
        (
            "LISTEN",
            listener().reason("TCP_FLAGS"),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
        (
            "LISTEN, old kernel",
            listener(),
            Cause::BadHandshakeAck,
            Unknown,
            Likely,
        ),
        (
            "LISTEN, no segment: data for a connection that is gone shows the same",
            Scene::passive(LISTEN).reason("TCP_FLAGS"),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "the same, old kernel",
            Scene::passive(LISTEN),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "LISTEN, no segment: a full queue shows the same as a SYN out of place",
            Scene::passive(LISTEN).reason("INVALID_SYN"),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "SYN-SENT, no segment, old kernel",
            Scene::passive(SYN_SENT),
            Cause::BadHandshakeAck,
            Unknown,
            Guess,
        ),
        (
            "SYN-SENT",
            Scene::passive(SYN_SENT)
                .segment(SYN | ACK, 0)
                .reason("TCP_INVALID_ACK_SEQUENCE"),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
        (
            "SYN-RECEIVED",
            Scene::passive(SYN_RECV)
                .segment(ACK, 0)
                .reason("TCP_ACK_UNSENT_DATA"),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
        (
            "old timestamp",
            Scene::passive(SYN_SENT)
                .segment(SYN | ACK, 0)
                .reason("TCP_RFC7323_PAWS"),
            Cause::Paws,
            Unknown,
            Certain,
        ),
    ];
    check(rows);
}

/// Before Linux 6.10 there is no reason: what an acknowledgment that fits is reset for is the timestamp.
#[test]
fn without_a_reason_the_acknowledgment_of_our_syn_tells() {
    let (una, next) = (u32::MAX, 0);
    let answer = |flags, ack| {
        Scene::passive(SYN_SENT).segment(flags, 0).with(|raw| {
            (raw.snd_una, raw.snd_nxt, raw.segment_ack) = (una, next, ack);
        })
    };
    let bad = (Cause::BadHandshakeAck, Unknown, Likely);
    let of_paws = (Cause::Paws, Unknown, Likely);
    let rows = [
        ("our SYN", answer(SYN | ACK, next), of_paws),
        ("nothing new", answer(SYN | ACK, una), bad),
        ("too much", answer(SYN | ACK, next + 1), bad),
        ("something old", answer(SYN | ACK, una - 1), bad),
        (
            "with a reason",
            answer(SYN | ACK, next).reason("TCP_INVALID_ACK_SEQUENCE"),
            (Cause::BadHandshakeAck, Unknown, Certain),
        ),
    ];
    let in_syn_received = Scene::passive(SYN_RECV).segment(ACK, 0).with(|raw| {
        (raw.snd_una, raw.snd_nxt, raw.segment_ack) = (una, next, next);
    });
    let rows = rows
        .into_iter()
        .chain([("another state", in_syn_received, bad)]);
    check(
        rows.map(|(what, scene, (cause, initiator, confidence))| {
            (what, scene, cause, initiator, confidence)
        })
        .collect(),
    );
}

/// Where somebody listens, a listener is what the segments of a connection that is gone end at.
#[test]
fn listeners_get_what_is_left_of_connections() {
    let listener = |flags, len| {
        Scene::passive(LISTEN)
            .segment(flags, len)
            .reason("TCP_FLAGS")
    };
    let rows: Vec<Row> = vec![
        (
            "an ACK for a connection that was closed here",
            listener(ACK, 0).closed_from(LAST_ACK),
            Cause::SegmentAfterClose,
            LocalApp,
            Likely,
        ),
        (
            "the same, old kernel",
            Scene::passive(LISTEN)
                .segment(ACK, 0)
                .closed_from(FIN_WAIT1),
            Cause::SegmentAfterClose,
            LocalApp,
            Likely,
        ),
        (
            "an ACK that the peer's own RST has overtaken",
            listener(ACK, 0).closed_from(ESTABLISHED),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
        (
            "closed too long ago to be this connection",
            listener(ACK, 0).closed_ago_ms(300_001, LAST_ACK),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
        (
            "data of a connection nothing is known of",
            listener(ACK | PSH, 12),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
        (
            "the FIN of a connection nothing is known of",
            listener(ACK | FIN, 0),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
        (
            "an ACK, and no connection is known",
            listener(ACK, 0),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
        (
            "a SYN-ACK, and no connection is known",
            listener(SYN | ACK, 0),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn listeners_and_others() {
    let listener = || Scene::passive(LISTEN).segment(ACK, 0);
    let full = |scene: Scene| scene.backlog(3, 2);
    let rows: Vec<Row> = vec![
        (
            "overflow",
            full(listener()).reason("INVALID_SYN"),
            Cause::AcceptQueueOverflow,
            LocalApp,
            Certain,
        ),
        (
            "a child that did not come for another reason: the queue has room",
            listener().backlog(2, 2).reason("INVALID_SYN"),
            Cause::AcceptQueueOverflow,
            LocalApp,
            Likely,
        ),
        (
            "the queue not known",
            listener().reason("INVALID_SYN"),
            Cause::AcceptQueueOverflow,
            LocalApp,
            Likely,
        ),
        (
            "overflow, old kernel",
            full(listener()),
            Cause::AcceptQueueOverflow,
            LocalApp,
            Likely,
        ),
        (
            "a full queue and a cookie that is wrong",
            full(listener()).reason("TCP_FLAGS"),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
        (
            "second SYN",
            Scene::passive(LISTEN).segment(SYN, 0).reason("INVALID_SYN"),
            Cause::InvalidSegment,
            Unknown,
            Certain,
        ),
        (
            "second SYN, old kernel",
            Scene::passive(LISTEN).segment(SYN, 0),
            Cause::InvalidSegment,
            Unknown,
            Likely,
        ),
        (
            "MPTCP join",
            Scene::passive(LISTEN)
                .segment(SYN, 0)
                .reason("MPTCP_RST_EMPTCP"),
            Cause::Mptcp,
            LocalKernel,
            Certain,
        ),
        (
            "no reason, no rule",
            Scene::passive(ESTABLISHED).segment(ACK, 0),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "netfilter",
            Scene::netfilter(),
            Cause::FirewallReject,
            LocalFirewall,
            Certain,
        ),
    ];
    check(rows);
}
