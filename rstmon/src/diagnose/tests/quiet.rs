//! Connections that were idle: `keepalive-race`, `idle-timeout`, and their borders.

use super::{Row, check};
use crate::diagnose::testing::Scene;
use crate::diagnose::{Engine, key_facts};
use crate::event::model::{Cause, Confidence::*, Event, Initiator::*};
use rstmon_common::wire::{self, tcp_flag::*, tcp_state::*};

fn bare(state: u8) -> Scene {
    Scene::received(state).rst(RST)
}

#[test]
fn a_request_that_crosses_the_fin_of_an_idle_connection() {
    let race = |scene: Scene| scene.unacked(100).client();
    let rows: Vec<Row> = vec![
        (
            "sent before the FIN was heard",
            race(bare(CLOSE_WAIT)).times(5_030, 30, 10),
            Cause::KeepaliveRace,
            PeerApp,
            Likely,
        ),
        (
            "in the same tick, the RST not seen",
            race(Scene::received(CLOSE_WAIT)).times(5_010, 10, 11),
            Cause::KeepaliveRace,
            PeerApp,
            Guess,
        ),
        (
            "our FIN is out, too",
            race(bare(LAST_ACK)).times(5_030, 30, 10),
            Cause::KeepaliveRace,
            PeerApp,
            Likely,
        ),
        (
            "the RST not seen",
            race(Scene::received(CLOSE_WAIT)).times(5_030, 30, 10),
            Cause::KeepaliveRace,
            PeerApp,
            Likely,
        ),
        (
            "near miss: sent after the FIN",
            race(bare(CLOSE_WAIT)).times(5_030, 10, 30),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
        (
            "near miss: no quiet time before",
            race(bare(CLOSE_WAIT)).times(100, 30, 10),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
        (
            "near miss: a live socket's RST",
            race(Scene::received(CLOSE_WAIT))
                .live_rst()
                .times(5_030, 30, 10),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "near miss: nothing of ours outstanding",
            bare(CLOSE_WAIT).times(5_030, 30, 10),
            Cause::PeerGone,
            PeerKernel,
            Guess,
        ),
        (
            "near miss: a stream that never got an answer has no quiet time",
            race(bare(CLOSE_WAIT))
                .times(3_600_000, 30, 10)
                .with(|raw| (raw.bytes_received, raw.bytes_acked) = (0, 1_000_000)),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "times blurred by a retransmission",
            race(bare(CLOSE_WAIT))
                .times(5_030, 30, 10)
                .with(|raw| raw.retransmits = 1),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "times not known, old kernel",
            race(bare(CLOSE_WAIT)),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
    ];
    check(rows);
}

/// The RST's number is what the segment that it answers acknowledged.
#[test]
fn the_number_of_the_answer_tells_the_order() {
    let request = || bare(CLOSE_WAIT).unacked(100).client();
    let rows: Vec<Row> = vec![
        (
            "in the same tick, and what it answers had not seen the FIN",
            request()
                .times(5_010, 10, 11)
                .with(|raw| raw.segment_seq = raw.rcv_nxt - 1),
            Cause::KeepaliveRace,
            PeerApp,
            Likely,
        ),
        (
            "the number is right where the clock is not",
            request()
                .times(5_030, 10, 30)
                .with(|raw| raw.segment_seq = raw.rcv_nxt - 1),
            Cause::KeepaliveRace,
            PeerApp,
            Likely,
        ),
        (
            "near miss: in the same tick, but what it answers had seen the FIN",
            request().times(5_010, 10, 11),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
    ];
    check(rows);
}

/// Only who opened the connection sends requests on it.
#[test]
fn a_server_has_no_next_request() {
    let response = || bare(CLOSE_WAIT).unacked(100).times(3_030, 30, 10);
    check(vec![
        (
            "a client that leaves while the response is streamed",
            response().server(),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
        (
            "who opened it is not known",
            response(),
            Cause::KeepaliveRace,
            PeerApp,
            Guess,
        ),
    ]);
}

/// TLS says goodbye with data of its own, which hides how long the connection had been quiet.
#[test]
fn a_goodbye_in_data_before_the_fin() {
    let crossed = || bare(CLOSE_WAIT).unacked(100).client().times(10, 20, 10);
    let same_tick = || crossed().times(10, 10, 10);
    check(vec![
        (
            "our request crosses close_notify and FIN",
            crossed(),
            Cause::KeepaliveRace,
            PeerApp,
            Guess,
        ),
        (
            "near miss: the same at a server",
            crossed().with(|raw| raw.flags = raw.flags & !wire::FLAG_CLIENT | wire::FLAG_SERVER),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "near miss: an upload that is answered before its end",
            crossed().with(|raw| raw.write_seq += 50_000),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "near miss: in the same tick, where the order is not known",
            same_tick(),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "near miss: sent after both",
            crossed().times(40, 10, 40),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
    ]);
    let event = crossed().diagnosed_by(&mut Engine::new());
    let facts = event.verdict.evidence;
    assert!(facts.contains("data_received_ago_ms=10"), "{facts:?}");
    for name in ["idle_ms=", "avoid=", "known_timer="] {
        assert!(!facts.iter().any(|it| it.starts_with(name)), "{facts:?}");
    }
}

/// A connection that was half closed for long is forgotten by boxes as any quiet one.
#[test]
fn data_long_after_the_fin_or_answered_by_another_host() {
    let after = |fin_ms: u32| bare(CLOSE_WAIT).unacked(100).times(fin_ms, 10, fin_ms);
    check(vec![
        (
            "a minute after",
            after(60_000),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "near miss: less",
            after(59_000),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
        (
            "answered from elsewhere",
            after(900).ttls(250, 64),
            Cause::PeerDataAfterClose,
            Middlebox,
            Likely,
        ),
    ]);
}

/// When our own timer or our own close ends the pause, its length is no timer of anybody else.
#[test]
fn a_pause_that_this_host_ended_by_itself() {
    let probed = || {
        bare(ESTABLISHED)
            .idle(350_200)
            .with(|raw| raw.probes_out = 1)
    };
    let closed = || bare(FIN_WAIT1).idle(900_000);
    check(vec![
        (
            "a keepalive probe found it gone",
            probed(),
            Cause::IdleTimeout,
            Unknown,
            Guess,
        ),
        (
            "our FIN found it gone",
            closed(),
            Cause::IdleTimeout,
            Unknown,
            Guess,
        ),
        (
            "near miss: a RST with ACK answers nothing",
            probed().rst(RST | ACK),
            Cause::IdleTimeout,
            Unknown,
            Likely,
        ),
        (
            "near miss: data was out with the FIN",
            closed().request_after(900_000),
            Cause::IdleTimeout,
            Unknown,
            Likely,
        ),
    ]);
    let mut engine = Engine::new();
    for connection in 0..4 {
        for scene in [probed(), closed().idle(20_000)] {
            let event = scene
                .client()
                .with(|raw| raw.local_port = 40_000 + connection)
                .after_ms(u64::from(connection) * 2_000)
                .diagnosed_by(&mut engine);
            let facts = event.verdict.evidence;
            let is_timer = |fact: &str| fact.contains("_timer=");
            assert!(!facts.iter().any(is_timer), "{facts:?}");
        }
    }
}

/// Where the peer has sent no data, the quiet time is known only before the first of ours.
#[test]
fn a_peer_that_has_sent_nothing() {
    check(vec![
        (
            "the first request of a connection that was opened long before",
            bare(ESTABLISHED)
                .request_after(3_600_000)
                .with(|raw| (raw.bytes_received, raw.bytes_acked) = (0, 1)),
            Cause::IdleTimeout,
            Unknown,
            Likely,
        ),
        (
            "near miss: a stream that never got an answer, and was never quiet",
            bare(ESTABLISHED)
                .request_after(3_600_000)
                .with(|raw| (raw.bytes_received, raw.bytes_acked) = (0, 1_000_000)),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
    ]);
}

#[test]
fn a_connection_forgotten_while_idle() {
    let rows: Vec<Row> = vec![
        (
            "a request after a known timer",
            bare(ESTABLISHED).ttls(64, 64).request_after(350_500),
            Cause::IdleTimeout,
            PeerKernel,
            Likely,
        ),
        (
            "from a box at a known timer",
            bare(ESTABLISHED).ttls(250, 64).idle(240_200),
            Cause::IdleTimeout,
            Middlebox,
            Likely,
        ),
        (
            "after a long time, no timer",
            bare(ESTABLISHED).request_after(100_000),
            Cause::IdleTimeout,
            Unknown,
            Guess,
        ),
        (
            "the RST not seen, a request out",
            Scene::received(ESTABLISHED).request_after(350_500),
            Cause::IdleTimeout,
            Unknown,
            Guess,
        ),
        (
            "near miss: the RST not seen, nothing out",
            Scene::received(ESTABLISHED).idle(350_500),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "near miss: a live socket's RST",
            Scene::received(ESTABLISHED).live_rst().idle(350_500),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "another stack's answer, from the same distance",
            bare(ESTABLISHED).ttls(255, 64).request_after(350_500),
            Cause::IdleTimeout,
            Unknown,
            Likely,
        ),
        (
            "near miss: with ACK, and no timer",
            Scene::received(ESTABLISHED)
                .rst(RST | ACK)
                .request_after(100_000),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "near miss: idle for a short time",
            bare(ESTABLISHED).request_after(20_000),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "near miss: the peer has sent its FIN",
            bare(LAST_ACK).idle(350_500),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "times not known, old kernel",
            bare(ESTABLISHED).unacked(5),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
    ];
    check(rows);
}

/// Idle as an application sees it, while keepalive probes were answered.
#[test]
fn a_peer_that_was_heard_in_between_has_forgotten_nothing_until_then() {
    let probed = |heard_ms| {
        bare(ESTABLISHED)
            .times(350_500, 350_510, heard_ms)
            .with(|raw| raw.probes_out = 1)
    };
    let rows: Vec<Row> = vec![
        (
            "rebooted between two probes",
            probed(30_000),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "probes too far apart for a timer that is known",
            bare(ESTABLISHED)
                .times(7_000_000, 7_000_010, 350_200)
                .with(|raw| raw.probes_out = 1),
            Cause::IdleTimeout,
            Unknown,
            Guess,
        ),
        (
            "the answer to the last data is no such hearing",
            probed(350_300),
            Cause::IdleTimeout,
            Unknown,
            Guess,
        ),
    ];
    check(rows);
    let long = probed(75_000).diagnosed_by(&mut Engine::new());
    assert_eq!(long.verdict.cause, Cause::IdleTimeout);
    assert_eq!(long.verdict.confidence, Guess);
    let facts = long.verdict.evidence;
    assert!(facts.contains("peer_heard_ago_ms=75000"), "{facts:?}");
    assert!(
        !facts.iter().any(|fact| fact.starts_with("known_timer=")),
        "{facts:?}"
    );
}

/// One reset a new connection of the same service.
fn resets(engine: &mut Engine, idle_ms: &[u32]) -> Event {
    resets_apart(engine, idle_ms, 2_000)
}

/// The last of resets of one service, each so long after the one before.
fn resets_apart(engine: &mut Engine, idle_ms: &[u32], apart_ms: u64) -> Event {
    let mut last = None;
    for (connection, &idle) in (0..).zip(idle_ms) {
        let event = bare(ESTABLISHED)
            .idle(idle)
            .with(|raw| {
                raw.flags |= wire::FLAG_CLIENT;
                (raw.local_port, raw.remote_port) = (40_000 + connection, 443);
            })
            .after_ms(u64::from(connection) * apart_ms)
            .diagnosed_by(engine);
        last = Some(event);
    }
    last.unwrap()
}

fn learned(event: &Event) -> Option<&str> {
    let facts = &event.verdict.evidence;
    facts
        .iter()
        .find_map(|fact| fact.strip_prefix("learned_timer="))
}

#[test]
fn three_resets_after_the_same_idle_time_are_a_timer() {
    for (idle_ms, expected) in [
        (&[307_000, 306_200, 308_500][..], "307s resets=3/3"),
        (&[1_200, 1_230, 1_190], "1.2s resets=3/3"),
        (&[30_500, 5_000, 29_900, 31_000], "30.5s resets=3/4"),
    ] {
        let event = resets(&mut Engine::new(), idle_ms);
        assert_eq!(event.verdict.cause, Cause::IdleTimeout, "{idle_ms:?}");
        assert_eq!(event.verdict.confidence, Likely);
        assert_eq!(learned(&event), Some(expected));
    }
}

#[test]
fn fewer_or_scattered_resets_are_none() {
    for idle_ms in [
        &[30_000, 30_000][..],
        &[20_000, 25_000, 30_000],
        &[30_000, 30_000, 2_000, 4_000, 8_000, 16_000, 30_000],
        &[900, 900, 900, 900],
    ] {
        let event = resets(&mut Engine::new(), idle_ms);
        assert_eq!(event.verdict.cause, Cause::PeerGone, "{idle_ms:?}");
        assert_eq!(learned(&event), None);
    }
}

/// A pool that was used together, and a server that restarts.
#[test]
fn resets_of_one_moment_are_one() {
    let mut engine = Engine::new();
    for _ in 0..2 {
        let event = resets_apart(&mut engine, &[12_000; 20], 10);
        assert_eq!(event.verdict.cause, Cause::PeerGone);
        assert_eq!(learned(&event), None);
    }
}

#[test]
fn a_timer_belongs_to_its_service() {
    let mut engine = Engine::new();
    resets(&mut engine, &[30_000, 30_000, 30_000]);
    let mut elsewhere = |change: fn(&mut wire::RawEvent)| {
        bare(ESTABLISHED)
            .idle(30_000)
            .with(|raw| {
                raw.flags |= wire::FLAG_CLIENT;
                raw.remote_port = 443;
            })
            .with(change)
            .diagnosed_by(&mut engine)
    };
    assert_eq!(
        [
            elsewhere(|raw| raw.remote_port = 444),
            elsewhere(|raw| raw.remote_addr[3] = 9),
            elsewhere(|raw| {
                raw.have |= wire::HAVE_NETNS;
                raw.netns = 7;
            }),
        ]
        .map(|event| event.verdict.cause),
        [Cause::PeerGone; 3]
    );
}

#[test]
fn a_timer_and_its_remedy_are_named() {
    let learned = resets(&mut Engine::new(), &[307_000; 3]);
    assert_eq!(key_facts(&learned), ["idle 307s", "timer 307s resets=3/3"]);
    let facts = learned.verdict.evidence;
    assert!(
        facts.contains("avoid=SO_KEEPALIVE with TCP_KEEPIDLE or net.ipv4.tcp_keepalive_time=153"),
        "{facts:?}"
    );
    let mut engine = Engine::new();
    let known = bare(ESTABLISHED)
        .request_after(350_500)
        .diagnosed_by(&mut engine);
    let facts = known.verdict.evidence;
    assert!(
        facts.contains("known_timer=350s AWS NLB (tcp.idle_timeout.seconds)"),
        "{facts:?}"
    );
    let race = bare(CLOSE_WAIT)
        .unacked(100)
        .client()
        .times(5_030, 30, 10)
        .diagnosed_by(&mut engine);
    let facts = race.verdict.evidence;
    for fact in [
        "idle_ms=5000",
        "data_sent=before-fin",
        "known_timer=5s Node.js http (server.keepAliveTimeout)",
        "avoid=keep idle connections for less than 5s",
    ] {
        assert!(facts.contains(fact), "{fact}: {facts:?}");
    }
}
