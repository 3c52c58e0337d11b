//! Tests of the judge: what matches, what differs, what a mode cannot see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::netns::Namespace;
use crate::truth::{Family, Given, Kind, Needs, Owner, Rst, WireReset};
use crate::witness::tests::sent_at;

mod told_less;

const SEES_ALL: Sights = Sights {
    mode: Mode::Probe,
    sees_socketless_sent: true,
    sees_segment_of_received: true,
    sees_firewall: true,
    sees_frame_firewall: true,
    sees_dropped: true,
    has_drop_reason: true,
    names_receiver_of_dropped: true,
    tells_ended_handshakes: true,
    sees_refusals: false,
    has_kernel_reason: true,
    sees_owner: true,
};

const SEES_LITTLE: Sights = Sights {
    mode: Mode::Tracepoint,
    sees_socketless_sent: false,
    sees_segment_of_received: false,
    sees_firewall: false,
    sees_frame_firewall: false,
    sees_dropped: false,
    has_drop_reason: false,
    names_receiver_of_dropped: false,
    tells_ended_handshakes: false,
    sees_refusals: false,
    has_kernel_reason: false,
    sees_owner: false,
};

/// Classic mode of a kernel that gives reasons.
const CLASSIC: Sights = Sights {
    mode: Mode::Classic,
    has_kernel_reason: true,
    sees_socketless_sent: true,
    sees_owner: true,
    ..SEES_LITTLE
};

/// When the run of the tests began.
const STARTED_NS: u64 = 1_000;

/// And when it ended.
const ENDED_NS: u64 = 9_000;

fn ends() -> (SocketAddr, SocketAddr) {
    (
        "10.77.0.1:7080".parse().unwrap(),
        "10.77.0.99:45001".parse().unwrap(),
    )
}

fn observation(expectations: Vec<Expectation>) -> Observation {
    let wire_resets: Vec<WireReset> = expectations
        .iter()
        .filter(|e| e.is_on_wire())
        .filter_map(|e| {
            Some(WireReset {
                local: e.local,
                remote: e.remote,
                rst: e.rst.clone()?,
            })
        })
        .collect();
    Observation {
        scenario: "test",
        family: Family::Ipv4,
        netns: 4_026_532_000,
        started_mono_ns: STARTED_NS,
        ended_mono_ns: ENDED_NS,
        owner: Owner {
            pid: 77,
            comms: vec!["rstmon".to_owned()],
        },
        out_rsts_delta: expectations.iter().filter(|e| e.is_counted()).count() as u64,
        expectations,
        wire_resets,
        _namespace: Arc::new(Namespace::stand_in()),
    }
}

fn aborted() -> Expectation {
    let (local, remote) = ends();
    Expectation::new(Kind::Sent, "close-unread-data", local, remote)
        .state(&["established"])
        .owned("server")
        .rst_aborting(100, 200)
        .unread(5)
        .certain_given(&[Given::Reason])
}

fn aborted_event() -> Value {
    json!({
        "mono_ns": 2_000, "netns": 4_026_532_000_u64, "kind": "sent",
        "cause": "close-unread-data", "family": "ipv4", "state": "established",
        "local_addr": "10.77.0.1", "local_port": 7080,
        "remote_addr": "10.77.0.99", "remote_port": 45_001,
        "role": "server", "pid": 77, "comm": "rstmon",
        "rst_seq": 100, "rst_ack": 200, "rst_flags": "R.", "unread_bytes": 5,
        "confidence": "certain", "kernel_reason": "TCP_ABORT_ON_CLOSE",
    })
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}

fn without(mut event: Value, name: &str) -> Value {
    event.as_object_mut().unwrap().remove(name);
    event
}

#[test]
fn the_expected_event_matches() {
    let observation = observation(vec![aborted()]);
    let events = [aborted_event()];
    assert!(observation.is_complete(&events, &SEES_ALL));
    assert_eq!(
        judge(&observation, &events, &SEES_ALL, &[]),
        Judgement::Matched
    );
}

#[test]
fn every_wrong_field_is_named() {
    let observation = observation(vec![aborted()]);
    for (name, wrong) in [
        ("cause", json!("linger-abort")),
        ("cause", json!("undiagnosed")),
        ("family", json!("ipv6")),
        ("state", json!("closed")),
        ("role", json!("client")),
        ("pid", json!(78)),
        ("comm", json!("swapper/0")),
        ("rst_seq", json!(101)),
        ("rst_ack", json!(0)),
        ("rst_flags", json!("R")),
        ("unread_bytes", json!(6)),
        ("confidence", json!("likely")),
        ("confidence", json!("guess")),
    ] {
        let events = [with(aborted_event(), name, wrong)];
        let Judgement::Differs(details) = judge(&observation, &events, &SEES_ALL, &[]) else {
            panic!("a wrong {name} passed");
        };
        assert!(
            details.len() == 1 && details[0].contains(&format!("{name} is")),
            "{details:?}"
        );
    }
}

#[test]
fn every_missing_field_is_named() {
    let observation = observation(vec![aborted()]);
    for name in [
        "cause",
        "family",
        "state",
        "pid",
        "comm",
        "rst_seq",
        "rst_ack",
        "rst_flags",
        "unread_bytes",
        "confidence",
        "kernel_reason",
        "role",
    ] {
        let events = [without(aborted_event(), name)];
        let judgement = judge(&observation, &events, &SEES_ALL, &[]);
        assert!(judgement.is_failure(), "an absent {name} passed");
    }
}

#[test]
fn what_is_missing_differs_unless_it_cannot_be_seen() {
    let (local, remote) = ends();
    for (needs, is_visible_to_little) in [
        (Needs::Nothing, true),
        (Needs::Socketless, false),
        (Needs::Timewait, false),
        (Needs::Firewall, false),
        (Needs::FrameFirewall, false),
        (Needs::Dropped, false),
    ] {
        let expected = Expectation::new(Kind::Sent, "port-closed", local, remote)
            .rst_aborting(1, 2)
            .needs(needs);
        let observation = observation(vec![expected]);
        assert!(
            judge(&observation, &[], &SEES_ALL, &[]).is_failure(),
            "{needs:?}"
        );
        assert!(!observation.is_complete(&[], &SEES_ALL));
        let judgement = judge(&observation, &[], &SEES_LITTLE, &[]);
        assert_eq!(judgement.is_failure(), is_visible_to_little, "{needs:?}");
        if !is_visible_to_little {
            assert!(
                matches!(judgement, Judgement::NotVisible(_)),
                "{judgement:?}"
            );
            assert!(observation.is_complete(&[], &SEES_LITTLE));
        }
    }
}

#[test]
fn timewait_needs_a_probe_or_a_reason() {
    let deduces = Sights {
        sees_socketless_sent: true,
        ..SEES_LITTLE
    };
    assert!(deduces.blind_to(Needs::Socketless).is_none());
    assert!(deduces.blind_to(Needs::Timewait).is_some());
    let probes = Sights {
        mode: Mode::Probe,
        ..deduces
    };
    assert!(probes.blind_to(Needs::Timewait).is_none());
    let reasons = Sights {
        has_kernel_reason: true,
        ..deduces
    };
    assert!(reasons.blind_to(Needs::Timewait).is_none());
}

#[test]
fn what_nobody_expects_differs() {
    let events = [
        aborted_event(),
        with(aborted_event(), "kind", json!("received")),
    ];
    let judgement = judge(&observation(vec![aborted()]), &events, &SEES_ALL, &[]);
    assert!(judgement.details()[0].starts_with("not expected: received"));
    let twice = [aborted_event(), aborted_event()];
    assert!(judge(&observation(vec![aborted()]), &twice, &SEES_ALL, &[]).is_failure());
    let silent = observation(Vec::new());
    assert_eq!(judge(&silent, &[], &SEES_ALL, &[]), Judgement::Matched);
    assert!(judge(&silent, &events, &SEES_ALL, &[]).is_failure());
}

#[test]
fn events_of_others_are_passed_over() {
    let silent = observation(Vec::new());
    let events = [
        with(aborted_event(), "netns", json!(4_026_531_840_u64)),
        with(aborted_event(), "mono_ns", json!(999)),
        without(aborted_event(), "netns"),
    ];
    assert_eq!(judge(&silent, &events, &SEES_ALL, &[]), Judgement::Matched);
    let busy = observation(vec![aborted()]);
    assert_eq!(
        judge(&busy, &events[2..], &SEES_ALL, &[]),
        Judgement::Matched
    );
}

#[test]
fn two_events_of_one_connection_find_their_own_expectation() {
    let (local, remote) = ends();
    let late = Expectation::new(Kind::Sent, "segment-after-close", local, remote)
        .state(&["none"])
        .needs(Needs::Socketless);
    let mut late_event = aborted_event();
    for name in ["role", "pid", "comm", "unread_bytes", "rst_ack"] {
        late_event = without(late_event, name);
    }
    let late_event = with(late_event, "cause", json!("segment-after-close"));
    let late_event = with(late_event, "state", json!("none"));
    let mut observation = observation(vec![aborted(), late]);
    observation.wire_resets.push(WireReset {
        local,
        remote,
        rst: Rst {
            flags: "R".to_owned(),
            seq: 1,
            ack: None,
        },
    });
    let events = [late_event, aborted_event()];
    assert_eq!(
        judge(&observation, &events, &SEES_ALL, &[]),
        Judgement::Matched
    );
}

#[test]
fn a_cause_that_needs_the_segment_is_not_asked_of_those_without() {
    let (local, remote) = ends();
    let expected = Expectation::new(Kind::Received, "peer-gone", local, remote)
        .or_without_segment("peer-aborted");
    let observation = observation(vec![expected]);
    let event = with(aborted_event(), "kind", json!("received"));
    let event = with(event, "confidence", json!("likely"));
    let events = [with(event, "cause", json!("peer-aborted"))];
    assert!(judge(&observation, &events, &SEES_ALL, &[]).is_failure());
    let judgement = judge(&observation, &events, &SEES_LITTLE, &[]);
    assert!(matches!(judgement, Judgement::NotVisible(_)));
    assert!(
        judgement.details()[0]
            .ends_with("told as peer-aborted: this capture does not see the segment of the RST")
    );
}

#[test]
fn what_is_undiagnosed_differs() {
    let events = [with(aborted_event(), "cause", json!("undiagnosed"))];
    assert!(judge(&observation(vec![aborted()]), &events, &SEES_ALL, &[]).is_failure());
}

#[test]
fn holder_actor_initiator_and_evidence_are_compared() {
    let process = |pid, comm: &str| Owner {
        pid,
        comms: vec![comm.to_owned()],
    };
    let expected = aborted()
        .held_by(process(88, "sh"))
        .actor(process(77, "rstmon"))
        .initiator("local-admin")
        .evidence("signal=SIGKILL");
    let observation = observation(vec![expected]);
    let mut event = aborted_event();
    for (name, value) in [
        ("pid", json!(88)),
        ("comm", json!("sh")),
        ("actor_pid", json!(77)),
        ("actor_comm", json!("rstmon")),
        ("initiator", json!("local-admin")),
        ("evidence", json!(["signal=SIGKILL", "unread_bytes=5"])),
    ] {
        event = with(event, name, value);
    }
    let verdict = |event: Value| judge(&observation, &[event], &SEES_ALL, &[]);
    assert_eq!(verdict(event.clone()), Judgement::Matched);
    for (name, wrong) in [
        ("pid", json!(77)),
        ("comm", json!("rstmon")),
        ("actor_pid", json!(1)),
        ("actor_comm", json!("init")),
        ("initiator", json!("local-app")),
        ("evidence", json!([])),
    ] {
        assert_eq!(
            verdict(with(event.clone(), name, wrong)).details().len(),
            1,
            "{name}"
        );
        assert!(verdict(without(event.clone(), name)).is_failure(), "{name}");
    }
}

#[test]
fn the_kernel_itself_is_judged() {
    let mut uncounted = observation(vec![aborted()]);
    uncounted.out_rsts_delta = 2;
    assert!(judge(&uncounted, &[aborted_event()], &SEES_ALL, &[]).is_failure());
    let mut unseen = observation(vec![aborted()]);
    unseen.wire_resets.clear();
    assert!(judge(&unseen, &[aborted_event()], &SEES_ALL, &[]).is_failure());
    let mut other = observation(vec![aborted()]);
    other.wire_resets[0].rst.seq = 7;
    assert_eq!(other.ground_differences().len(), 2);
}

#[test]
fn hostile_events_are_no_panic() {
    let observation = observation(vec![aborted()]);
    for event in [
        json!(null),
        json!([]),
        json!({"netns": -1, "mono_ns": "x", "kind": 5}),
        json!({"netns": 4_026_532_000_u64}),
        with(aborted_event(), "local_port", json!(70_000)),
        with(aborted_event(), "local_addr", json!("nowhere")),
    ] {
        assert!(judge(&observation, &[event], &SEES_ALL, &[]).is_failure());
    }
}

#[test]
fn a_call_that_was_passed_over_stands_for_one_missing_event() {
    let expected = aborted();
    let call = sent_at(STARTED_NS, expected.local, expected.remote);
    let other = sent_at(STARTED_NS, expected.remote, expected.local);
    let early = sent_at(STARTED_NS - 1, expected.local, expected.remote);
    let verdict = |expectations: Vec<Expectation>, calls: &[PassedOver]| {
        judge(&observation(expectations), &[], &SEES_ALL, calls)
    };
    for calls in [&[][..], &[other], &[early]] {
        assert!(verdict(vec![aborted()], calls).is_failure());
    }
    let calls = [call];
    let once = verdict(vec![aborted()], &calls);
    assert!(matches!(once, Judgement::PassedOver(_)), "{once:?}");
    assert!(verdict(vec![aborted(), aborted()], &calls).is_failure());
}

#[test]
fn what_a_connection_does_long_after_its_run_is_not_of_it() {
    let observation = observation(vec![aborted()]);
    let late = |ns: u64| with(aborted_event(), "mono_ns", json!(ENDED_NS + ns));
    let surplus = |ns| {
        let events = [aborted_event(), late(ns)];
        judge(&observation, &events, &SEES_ALL, &[]).is_failure()
    };
    assert!(surplus(LATE_NS));
    assert!(!surplus(LATE_NS + 1));
}
