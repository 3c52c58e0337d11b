//! RSTs that do not fit the peer: `forged-suspect`, and what keeps genuine ones out of it.

use super::{Row, check};
use crate::diagnose::flows::FLOWS;
use crate::diagnose::forgery::{Nature, Sign, Weight, amounts_to_forgery};
use crate::diagnose::testing::Scene;
use crate::diagnose::{Engine, key_facts};
use crate::event::model::{Cause, Confidence::*, Event, Initiator::*, Kind};
use proptest::prelude::*;
use rstmon_common::wire::{self, tcp_flag::*, tcp_state::*};

fn live() -> Scene {
    Scene::received(ESTABLISHED).live_rst()
}

/// A RST with ACK of a balancer that keeps no window and no timestamps, after so long without data.
fn box_without_timestamps(idle_ms: u32) -> Scene {
    Scene::received(ESTABLISHED)
        .rst(RST | ACK)
        .ttls(250, 64)
        .with_timestamps(5_000)
        .idle(idle_ms)
        .with(|raw| raw.segment_window = 0)
}

/// A bare RST with nothing of ours to answer, so long after the last data received, on a way of so
/// many milliseconds.
fn bare_from_elsewhere(received_ms: u32, srtt_ms: u32) -> Scene {
    Scene::received(ESTABLISHED)
        .rst(RST)
        .ttls(52, 64)
        .idle(received_ms)
        .with(|raw| raw.srtt_us_8 = (srtt_ms * 1_000) << 3)
}

/// What we have just received, we have just acknowledged, and that can be answered.
#[test]
fn an_acknowledgment_of_ours_provokes_a_bare_reset() {
    let gone = (Cause::PeerGone, Middlebox, Guess);
    for (received_ms, srtt_ms, verdict) in [
        (20, 5, gone),
        (400, 100, gone),
        (401, 100, (Cause::ForgedSuspect, Middlebox, Likely)),
        (900, 500, gone),
        (900, 0, gone),
    ] {
        let scene = bare_from_elsewhere(received_ms, srtt_ms);
        assert_eq!(scene.verdict(), verdict, "{received_ms} {srtt_ms}");
    }
}

fn without_timestamps(scene: Scene) -> Scene {
    scene.with(|raw| raw.have &= !wire::HAVE_SEGMENT_TIMESTAMPS)
}

/// A connection of 100 ms whose last data went out 20 ms ago.
fn acknowledging_too_soon() -> Scene {
    live().unacked(100).times(500, 20, 500).with(|raw| {
        raw.segment_ack = raw.snd_nxt;
        (raw.min_rtt_us, raw.bytes_acked) = (100_000, 5_000);
    })
}

#[test]
fn two_signs_of_different_nature() {
    let rows: Vec<Row> = vec![
        (
            "another way and no timestamps",
            without_timestamps(live().ttls(250, 64)),
            Cause::ForgedSuspect,
            Middlebox,
            Likely,
        ),
        (
            "another way and another clock",
            live().ttls(52, 64).timestamps(5, 3_000_000),
            Cause::ForgedSuspect,
            Middlebox,
            Likely,
        ),
        (
            "another way and unprovoked",
            bare_from_elsewhere(500, 100),
            Cause::ForgedSuspect,
            Middlebox,
            Likely,
        ),
        (
            "near miss: another way alone",
            live().ttls(250, 64),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "near miss: a hop of equal-cost paths",
            without_timestamps(live().ttls(63, 64)),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "near miss: weak signs only",
            without_timestamps(live().ttls(255, 64).ip_ids(40_000, 7)),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "near miss: a balancer that forgot the connection",
            Scene::received(ESTABLISHED)
                .rst(RST)
                .ttls(52, 64)
                .ip_ids(40_000, 7)
                .request_after(30_000),
            Cause::PeerGone,
            Middlebox,
            Likely,
        ),
        (
            "near miss: a box whose timer has ended",
            box_without_timestamps(300_000),
            Cause::IdleTimeout,
            Middlebox,
            Likely,
        ),
        (
            "the same RST while data was under way",
            box_without_timestamps(20),
            Cause::ForgedSuspect,
            Middlebox,
            Likely,
        ),
        (
            "the handshake not seen, old kernel",
            without_timestamps(live()).with(|raw| {
                raw.have &= !(wire::HAVE_HANDSHAKE | wire::HAVE_HANDSHAKE_TIMESTAMPS);
                raw.ts_recent = 0;
            }),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn an_impossible_acknowledgment_is_decisive() {
    let rows: Vec<Row> = vec![
        (
            "plain",
            acknowledging_too_soon(),
            Cause::ForgedSuspect,
            Middlebox,
            Likely,
        ),
        (
            "near miss: a round trip ago",
            acknowledging_too_soon().times(500, 60, 500),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "near miss: the old data only",
            acknowledging_too_soon().with(|raw| raw.segment_ack = raw.snd_una),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "near miss: sent again, not first",
            acknowledging_too_soon().with(|raw| raw.total_retrans = 1),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "near miss: only the handshake was timed",
            acknowledging_too_soon().with(|raw| raw.bytes_acked = 1),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "no times, old kernel",
            acknowledging_too_soon().with(|raw| raw.jiffies = 0),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
    ];
    check(rows);
}

/// A RST that is obeyed at 5000, and what the engine says of a RST after it.
fn second(first: &Scene, second_seq: u32, change: impl FnOnce(Scene) -> Scene) -> Event {
    let mut engine = Engine::new();
    first.diagnosed_by(&mut engine);
    let second = Scene::stray()
        .dropped("NO_SOCKET")
        .with(|raw| raw.segment_seq = second_seq)
        .after_ms(3);
    change(second).diagnosed_by(&mut engine)
}

fn signs(event: &Event) -> Vec<&str> {
    let facts = event.verdict.evidence.iter();
    facts.filter_map(|it| it.strip_prefix("sign=")).collect()
}

#[test]
fn a_second_reset_ahead_of_the_first_is_suspect_with_another_sign() {
    let from_elsewhere = |scene: Scene| {
        scene.with(|raw| {
            raw.have |= wire::HAVE_SEGMENT_IP;
            raw.segment_ttl = 52;
        })
    };
    let event = second(&live(), 6_460, from_elsewhere);
    assert_eq!(event.verdict.cause, Cause::ForgedSuspect);
    assert_eq!(
        signs(&event),
        [
            "second-rst seq_ahead=1460 after_ms=3",
            "ttl rst_hops=12 handshake_hops=0"
        ]
    );
    assert_eq!(
        key_facts(&event),
        [
            "second-rst seq_ahead=1460 after_ms=3",
            "ttl rst_hops=12 handshake_hops=0"
        ]
    );
    // A server's listener gets it where there is one.
    let at_listener = second(&live(), 6_460, |scene| {
        from_elsewhere(scene).with(|raw| {
            raw.have |= wire::HAVE_STATE;
            raw.state = LISTEN;
        })
    });
    assert_eq!(at_listener.verdict.cause, Cause::ForgedSuspect);
    let alone = second(&live(), 6_460, |scene| scene);
    assert_eq!(alone.verdict.cause, Cause::StrayReset);
    assert_eq!(signs(&alone), ["second-rst seq_ahead=1460 after_ms=3"]);
    // The first not seen: its number is known all the same, nothing else is.
    let unseen = second(&Scene::received(ESTABLISHED), 6_460, from_elsewhere);
    assert_eq!(unseen.verdict.cause, Cause::StrayReset);
    assert_eq!(signs(&unseen).len(), 1);
}

#[test]
fn a_second_reset_that_the_peer_can_have_sent_is_none() {
    for seq in [5_000, 5_001, 4_000] {
        let event = second(&live(), seq, |scene| {
            scene.with(|raw| {
                raw.have |= wire::HAVE_SEGMENT_IP;
                raw.segment_ttl = 52;
            })
        });
        assert_eq!(event.verdict.cause, Cause::StrayReset, "{seq}");
        assert!(signs(&event).is_empty(), "{seq}");
    }
    let new_connection = second(&live(), 6_460, |scene| {
        let scene = scene.timewait_socket(TIME_WAIT);
        scene.with(|raw| raw.rcv_nxt = 6_460)
    });
    assert_eq!(new_connection.verdict.cause, Cause::TimeWaitAssassination);
    assert!(signs(&new_connection).is_empty());
    let late = second(&live(), 6_460, |scene| scene.after_ms(3_000));
    assert!(signs(&late).is_empty());
}

#[test]
fn two_resets_that_acknowledge_different_things_are_suspect_with_another_sign() {
    let ack_and_way = |second_flags, second_ack, ttl| {
        let first = live().with(|raw| {
            raw.segment_flags = RST | ACK;
            raw.segment_ack = 900;
        });
        second(&first, 5_000, |scene| {
            scene.with(|raw| {
                raw.segment_flags = second_flags;
                raw.segment_ack = second_ack;
                raw.have |= wire::HAVE_SEGMENT_IP;
                raw.segment_ttl = ttl;
            })
        })
    };
    let forged = ack_and_way(RST | ACK, 2_360, 52);
    assert_eq!(forged.verdict.cause, Cause::ForgedSuspect);
    assert_eq!(
        signs(&forged),
        [
            "second-rst ack_ahead=1460 after_ms=3",
            "ttl rst_hops=12 handshake_hops=0"
        ]
    );
    // The same twice, and the answer of a stack that has no socket any more.
    for (flags, ack) in [(RST | ACK, 900), (RST, 0), (RST, 2_360)] {
        let event = ack_and_way(flags, ack, 52);
        assert_eq!(event.verdict.cause, Cause::StrayReset, "{flags} {ack}");
        assert!(signs(&event).is_empty(), "{flags} {ack}");
    }
}

/// RSTs of one tuple, a millisecond apart, of which the first is as given.
fn burst(first: &Scene, others: &[Scene]) -> Vec<Event> {
    let mut engine = Engine::new();
    let mut events = vec![first.diagnosed_by(&mut engine)];
    for (after_ms, scene) in (1..).zip(others) {
        let scene = scene.clone().after_ms(after_ms);
        events.push(scene.diagnosed_by(&mut engine));
    }
    events
}

fn stray_with(flags: u8, window: u16, ack: u32) -> Scene {
    Scene::stray().dropped("NO_SOCKET").with(move |raw| {
        raw.segment_flags = flags;
        raw.segment_seq = 5_000;
        (raw.segment_window, raw.segment_ack) = (window, ack);
    })
}

#[test]
fn three_resets_with_windows_counted_up_are_decisive() {
    let refused = Scene::received(SYN_SENT)
        .rst(RST | ACK)
        .with(|raw| raw.segment_window = 1_980);
    let half_open = Scene::stray().request_socket().with(|raw| {
        raw.segment_flags = RST | ACK;
        raw.segment_seq = 5_000;
        raw.segment_window = 1_980;
    });
    for first in [refused, half_open] {
        let others = [1_981, 1_982].map(|window| stray_with(RST | ACK, window, 200));
        let events = burst(&first, &others);
        assert_eq!(events[1].verdict.cause, Cause::StrayReset);
        assert_eq!(
            signs(&events[1]),
            ["burst with windows counted up rsts=2"],
            "{:?}",
            first.event().state
        );
        assert_eq!(events[2].verdict.cause, Cause::ForgedSuspect);
        assert_eq!(signs(&events[2]), ["burst with windows counted up rsts=3"]);
    }
}

/// As many flows as the memory holds at least come between a flow's RSTs: each of these keeps the
/// flow for as many again.
#[test]
fn a_stray_of_a_known_flow_keeps_it_known() {
    let mut engine = Engine::new();
    let half_open = Scene::stray().request_socket().with(|raw| {
        raw.segment_flags = RST | ACK;
        raw.segment_seq = 5_000;
        raw.segment_window = 1_980;
    });
    half_open.diagnosed_by(&mut engine);
    let other = Scene::closing(ESTABLISHED).linger_zero().event();
    let mut others = (0..).map(|number: u32| {
        let mut event = other.clone();
        event.remote_addr = std::net::Ipv4Addr::from(number).into();
        event
    });
    for (window, rsts) in [(1_981, 2), (1_982, 3), (1_983, 4)] {
        for mut event in others.by_ref().take(FLOWS - 1) {
            engine.diagnose(&mut event);
        }
        let stray = stray_with(RST | ACK, window, 200).diagnosed_by(&mut engine);
        let sign = format!("burst with windows counted up rsts={rsts}");
        assert_eq!(signs(&stray), [sign.as_str()]);
    }
}

#[test]
fn two_with_windows_counted_up_are_suspect_with_another_sign() {
    let counted = second(&live(), 5_000, |scene| {
        scene.with(|raw| {
            raw.segment_flags = RST | ACK;
            raw.segment_ack = 200;
            raw.segment_window = 501;
            raw.have |= wire::HAVE_SEGMENT_IP;
            raw.segment_ttl = 52;
        })
    });
    assert_eq!(counted.verdict.cause, Cause::ForgedSuspect);
    // In tracepoint mode the first is not seen: the two that are do not prove it.
    let unseen = Scene::received(ESTABLISHED);
    let others = [501, 502].map(|window| stray_with(RST | ACK, window, 200));
    let events = burst(&unseen, &others);
    assert_eq!(events[2].verdict.cause, Cause::StrayReset);
    assert_eq!(signs(&events[2]), ["burst with windows counted up rsts=2"]);
}

#[test]
fn resets_that_a_stack_sends_count_nothing_up() {
    let first = live().with(|raw| raw.segment_window = 0);
    for others in [
        [stray_with(RST, 0, 0), stray_with(RST, 0, 0)],
        [stray_with(RST, 1, 0), stray_with(RST | ACK, 2, 200)],
        [stray_with(RST, 7, 0), stray_with(RST, 9, 0)],
    ] {
        for event in &burst(&first, &others)[1..] {
            assert_eq!(event.verdict.cause, Cause::StrayReset);
            assert!(signs(event).is_empty(), "{:?}", signs(event));
        }
    }
    let late = burst(&live(), &[stray_with(RST | ACK, 501, 200).after_ms(3_000)]);
    assert!(signs(&late[1]).is_empty());
}

#[test]
fn a_number_in_the_ack_field_of_one_bare_reset_only_is_strong() {
    let first = Scene::received(ESTABLISHED).rst(RST).unacked(500);
    let fact = "second-rst ack-field filled in one of two bare RSTs";
    let alone = burst(&first, &[stray_with(RST, 0, 0)]);
    assert_eq!(alone[1].verdict.cause, Cause::StrayReset);
    assert_eq!(signs(&alone[1]), [fact]);
    let and_elsewhere = burst(
        &first.clone().ttls(64, 64),
        &[stray_with(RST, 0, 0).with(|raw| {
            raw.have |= wire::HAVE_SEGMENT_IP;
            raw.segment_ttl = 52;
        })],
    );
    assert_eq!(and_elsewhere[1].verdict.cause, Cause::ForgedSuspect);
    // A live socket's abort, and then what the stack says without the socket: both are the peer's.
    let genuine = burst(&live(), &[stray_with(RST, 0, 0)]);
    assert!(signs(&genuine[1]).is_empty());
}

#[test]
fn a_peer_that_goes_on_shows_that_its_reset_was_not_its_own() {
    let found_none = Scene::socketless();
    let found_listener = Scene::passive(LISTEN).reason("TCP_FLAGS");
    let went_on = |found: &Scene, after_ms, seq| {
        let mut engine = Engine::new();
        live().diagnosed_by(&mut engine);
        let later = found
            .clone()
            .segment(PSH | ACK, 5)
            .with(|raw| raw.segment_seq = seq)
            .after_ms(after_ms)
            .diagnosed_by(&mut engine);
        let said = later.verdict.evidence.iter();
        let told = said.filter(|fact| fact.starts_with("peer_went_on")).count() > 0;
        let third = Scene::stray()
            .dropped("NO_SOCKET")
            .after_ms(after_ms + 10)
            .diagnosed_by(&mut engine);
        (later.verdict.cause, told, third.verdict.cause)
    };
    for found in [&found_none, &found_listener] {
        // The RTT is not known: a second is waited for twice.
        assert_eq!(
            went_on(found, 2_500, 5_000),
            (Cause::StaleSegment, true, Cause::ForgedSuspect)
        );
        assert_eq!(
            went_on(found, 5, 5_000),
            (Cause::StaleSegment, false, Cause::StrayReset)
        );
        assert_eq!(
            went_on(found, 2_500, 50_000_000),
            (Cause::StaleSegment, false, Cause::StrayReset)
        );
    }
}

#[test]
fn attempts_outside_the_window_raise_the_suspicion() {
    // Of 2000 bytes received, the last at 4999.
    let after_attempts = |count: u32, ahead: u32| {
        let mut engine = Engine::new();
        for attempt in 0..count {
            Scene::rejected(ESTABLISHED)
                .dropped("TCP_INVALID_SEQUENCE")
                .with(|raw| {
                    raw.bytes_received = 2_000;
                    raw.segment_seq = (raw.rcv_nxt + attempt).wrapping_add(ahead);
                })
                .diagnosed_by(&mut engine);
        }
        without_timestamps(live())
            .after_ms(10)
            .diagnosed_by(&mut engine)
    };
    let hit = after_attempts(3, 5_000);
    assert_eq!(hit.verdict.cause, Cause::ForgedSuspect);
    assert_eq!(
        signs(&hit),
        ["timestamps missing", "out-of-window-attempts count=3"]
    );
    let beyond_what_was_received = after_attempts(3, 2_010_u32.wrapping_neg());
    assert_eq!(beyond_what_was_received.verdict.cause, Cause::ForgedSuspect);
    // Too few, in the window, and late ones of the peer's own.
    let late = 2_000_u32.wrapping_neg();
    for (count, ahead) in [(2, 5_000), (3, 10), (3, late)] {
        let event = after_attempts(count, ahead);
        assert_eq!(event.verdict.cause, Cause::PeerAborted, "{count} {ahead}");
    }
}

fn any_sign() -> impl Strategy<Value = Sign> {
    let natures = prop::sample::select(vec![
        Nature::Way,
        Nature::IpId,
        Nature::Timestamps,
        Nature::Causality,
        Nature::Sequence,
        Nature::Shape,
    ]);
    let weights = prop::sample::select(vec![Weight::Weak, Weight::Strong, Weight::Decisive]);
    (natures, weights).prop_map(|(nature, weight)| Sign {
        nature,
        weight,
        fact: String::new(),
    })
}

proptest! {
    #[test]
    fn one_sign_is_enough_only_if_decisive(signs in prop::collection::vec(any_sign(), 0..6)) {
        let decisive = signs.iter().any(|sign| sign.weight == Weight::Decisive);
        let strong = signs.iter().any(|sign| sign.weight == Weight::Strong);
        let natures: std::collections::HashSet<_> =
            signs.iter().map(|sign| sign.nature as u8).collect();
        let enough = decisive || (strong && natures.len() > 1);
        prop_assert_eq!(amounts_to_forgery(&signs), enough);
    }

    /// A peer that differs from its handshake in one field only, whichever and however.
    #[test]
    fn no_single_difference_is_suspect(
        field in 0..5_u8, value in any::<u32>(), flags in prop::sample::select(vec![RST, RST | ACK]),
        idle_ms in 0..100_000_u32,
    ) {
        let genuine = live().ip_ids(107, 100).idle(idle_ms).unacked(0).with(|raw| {
            raw.segment_flags = flags;
            if flags == RST {
                raw.have &= !wire::HAVE_SEGMENT_TIMESTAMPS;
                raw.segment_window = 0;
                raw.snd_una = raw.snd_una.wrapping_sub(100);
            }
        });
        let event = genuine.with(|raw| match field {
            0 => raw.segment_ttl = value as u8,
            1 => raw.segment_ip_id = value as u16,
            2 => raw.segment_ts_value = value,
            3 => raw.have &= !wire::HAVE_SEGMENT_TIMESTAMPS,
            _ => raw.segment_window = value as u16,
        }).diagnosed_by(&mut Engine::new());
        prop_assert_eq!(event.kind, Kind::Received);
        prop_assert_ne!(event.verdict.cause, Cause::ForgedSuspect, "{:?}", event.verdict.evidence);
    }
}
