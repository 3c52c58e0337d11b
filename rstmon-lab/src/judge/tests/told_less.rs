//! What may stand for the truth, how surely it may be said, and what may be left unsaid. Each test
//! changes one thing of an event that passes.

use super::*;

fn verdict(expected: Expectation, event: Value, sights: &Sights) -> Judgement {
    judge(&observation(vec![expected]), &[event], sights, &[])
}

fn assert_differs(judgement: &Judgement, what: &str) {
    let differs = matches!(judgement, Judgement::Differs(_));
    let details = judgement.details();
    assert!(
        differs && details.iter().any(|detail| detail.contains(what)),
        "{what}: {judgement:?}"
    );
}

fn assert_not_visible(judgement: &Judgement) {
    assert!(
        matches!(judgement, Judgement::NotVisible(_)),
        "{judgement:?}"
    );
}

/// A RST that this host obeyed and that somebody else forged.
fn forged() -> Expectation {
    let (local, remote) = ends();
    Expectation::new(Kind::Received, "forged-suspect", local, remote)
        .or_without_segment("peer-aborted")
        .state(&["established"])
        .owned("server")
}

fn received(cause: &str, confidence: &str) -> Value {
    let event = with(aborted_event(), "kind", json!("received"));
    let event = with(event, "cause", json!(cause));
    with(event, "confidence", json!(confidence))
}

/// A RST that a connection refused.
fn refused() -> Expectation {
    let (local, remote) = ends();
    let mut expected = Expectation::new(Kind::Rejected, "blind-reset", local, remote)
        .state(&["established"])
        .owned("server")
        .needs(Needs::Dropped)
        .certain_given(&[Given::DropReason, Given::Receiver]);
    expected.rst = Some(Rst {
        flags: "R".to_owned(),
        seq: 100,
        ack: None,
    });
    expected
}

fn refused_event() -> Value {
    let mut event = without(without(aborted_event(), "rst_ack"), "kernel_reason");
    for (name, value) in [
        ("kind", "rejected"),
        ("cause", "blind-reset"),
        ("rst_flags", "R"),
        ("drop_reason", "TCP_RESET"),
    ] {
        event = with(event, name, json!(value));
    }
    event
}

#[test]
fn a_wrong_cause_differs_in_classic_mode_too() {
    for (cause, confidence) in [
        ("peer-gone", "guess"),
        ("peer-gone", "certain"),
        ("connection-refused", "likely"),
    ] {
        let judgement = verdict(forged(), received(cause, confidence), &CLASSIC);
        assert_differs(&judgement, &format!("cause is {cause} ({confidence})"));
    }
}

#[test]
fn classic_mode_may_explain_nothing_and_others_may_not() {
    let event = received("undiagnosed", "guess");
    assert_not_visible(&verdict(forged(), event.clone(), &CLASSIC));
    assert_differs(
        &verdict(forged(), event, &SEES_LITTLE),
        "cause is undiagnosed",
    );
    let sure = received("undiagnosed", "certain");
    assert_differs(&verdict(forged(), sure, &CLASSIC), "confidence is certain");
}

#[test]
fn a_cause_for_those_without_objects_is_for_classic_mode_alone() {
    let expected = || forged().or_without_objects("peer-gone");
    let event = received("peer-gone", "guess");
    assert_not_visible(&verdict(expected(), event.clone(), &CLASSIC));
    assert!(verdict(expected(), event, &SEES_LITTLE).is_failure());
}

#[test]
fn a_wrong_value_differs_in_classic_mode_too() {
    for (name, wrong) in [
        ("family", json!("ipv6")),
        ("state", json!("closed")),
        ("role", json!("client")),
        ("pid", json!(78)),
        ("comm", json!("swapper/0")),
        ("rst_seq", json!(101)),
        ("rst_ack", json!(0)),
        ("rst_flags", json!("R")),
        ("unread_bytes", json!(6)),
        ("unread_bytes", json!(0)),
    ] {
        let event = with(aborted_event(), name, wrong);
        assert_differs(&verdict(aborted(), event, &CLASSIC), &format!("{name} is"));
    }
}

#[test]
fn a_wrong_actor_or_initiator_differs_in_classic_mode_too() {
    let expected = || {
        aborted().initiator("local-admin").actor(Owner {
            pid: 88,
            comms: vec!["ss".to_owned()],
        })
    };
    let mut event = aborted_event();
    for (name, value) in [
        ("initiator", json!("local-admin")),
        ("actor_pid", json!(88)),
        ("actor_comm", json!("ss")),
    ] {
        event = with(event, name, value);
    }
    assert_eq!(
        verdict(expected(), event.clone(), &CLASSIC),
        Judgement::Matched
    );
    for (name, wrong) in [
        ("initiator", json!("local-app")),
        ("actor_pid", json!(1)),
        ("actor_comm", json!("init")),
    ] {
        let judgement = verdict(expected(), with(event.clone(), name, wrong), &CLASSIC);
        assert_differs(&judgement, &format!("{name} is"));
    }
    let nobody = without(without(event, "actor_pid"), "actor_comm");
    assert_not_visible(&verdict(expected(), nobody, &CLASSIC));
}

#[test]
fn an_absent_value_is_not_visible_in_classic_mode() {
    for name in ["state", "pid", "comm", "role"] {
        assert_not_visible(&verdict(
            aborted(),
            without(aborted_event(), name),
            &CLASSIC,
        ));
    }
    for name in ["rst_seq", "rst_ack", "rst_flags", "unread_bytes"] {
        let judgement = verdict(aborted(), without(aborted_event(), name), &CLASSIC);
        assert!(!judgement.is_failure(), "{name}: {judgement:?}");
    }
    for name in ["cause", "confidence", "family"] {
        let judgement = verdict(aborted(), without(aborted_event(), name), &CLASSIC);
        assert!(judgement.is_failure(), "an absent {name} passed");
    }
}

#[test]
fn what_is_less_than_the_truth_is_not_certain() {
    for (confidence, passes) in [("guess", true), ("likely", true), ("certain", false)] {
        let event = received("peer-aborted", confidence);
        for sights in [&SEES_LITTLE, &CLASSIC] {
            let judgement = verdict(forged(), event.clone(), sights);
            if passes {
                assert_not_visible(&judgement);
            } else {
                assert_differs(&judgement, "confidence is certain, expected less");
            }
        }
    }
}

#[test]
fn what_is_true_as_far_as_it_goes_may_be_certain() {
    let (local, remote) = ends();
    let expected = Expectation::new(Kind::Received, "middlebox-reset", local, remote)
        .or_broader_without_segment("connection-refused");
    let event = received("connection-refused", "certain");
    assert_not_visible(&verdict(expected.clone(), event.clone(), &SEES_LITTLE));
    assert!(verdict(expected, event, &SEES_ALL).is_failure());
}

#[test]
fn certainty_is_due_where_its_evidence_is_given() {
    let unsure = with(aborted_event(), "confidence", json!("likely"));
    for sights in [&SEES_ALL, &CLASSIC] {
        assert_differs(
            &verdict(aborted(), unsure.clone(), sights),
            "confidence is likely, expected certain",
        );
    }
    // A kernel that gives this reset no reason.
    let unspecified = with(unsure.clone(), "kernel_reason", json!("NOT_SPECIFIED"));
    assert_eq!(
        verdict(aborted(), unspecified, &SEES_ALL),
        Judgement::Matched
    );
    let unnamed = without(unsure, "kernel_reason");
    let old = Sights {
        has_kernel_reason: false,
        ..SEES_ALL
    };
    assert_eq!(
        verdict(aborted(), unnamed.clone(), &old),
        Judgement::Matched
    );
    // One that is withheld excuses nothing: both it and the confidence are missed.
    let judgement = verdict(aborted(), unnamed, &SEES_ALL);
    assert_differs(&judgement, "expected certain");
    assert_differs(&judgement, "kernel_reason is absent");
}

#[test]
fn certainty_may_take_more_than_one_thing() {
    let unsure = with(refused_event(), "confidence", json!("likely"));
    assert_differs(
        &verdict(refused(), unsure.clone(), &SEES_ALL),
        "expected certain",
    );
    let names_nobody = Sights {
        names_receiver_of_dropped: false,
        ..SEES_ALL
    };
    assert_eq!(
        verdict(refused(), unsure, &names_nobody),
        Judgement::Matched
    );
    let (local, remote) = ends();
    let always = Expectation::new(Kind::Received, "connection-refused", local, remote)
        .certain_given(&[Given::Always]);
    let event = received("connection-refused", "likely");
    assert_differs(&verdict(always, event, &CLASSIC), "expected certain");
}

#[test]
fn a_dropped_rst_shows_its_segment_and_why() {
    assert_eq!(
        verdict(refused(), refused_event(), &SEES_ALL),
        Judgement::Matched
    );
    for name in ["rst_seq", "rst_flags", "drop_reason"] {
        let judgement = verdict(refused(), without(refused_event(), name), &SEES_ALL);
        assert_differs(&judgement, &format!("{name} is absent"));
    }
    let other = with(refused_event(), "rst_ack", json!(7));
    assert_differs(&verdict(refused(), other, &SEES_ALL), "rst_ack is 7");
}

#[test]
fn a_dropped_rst_shows_its_socket_where_the_kernel_names_it() {
    let names_nobody = Sights {
        names_receiver_of_dropped: false,
        tells_ended_handshakes: false,
        sees_refusals: false,
        ..SEES_ALL
    };
    let probes = Sights {
        sees_refusals: true,
        ..names_nobody
    };
    for name in ["state", "role", "pid"] {
        let event = without(refused_event(), name);
        for sights in [&SEES_ALL, &probes] {
            assert_differs(
                &verdict(refused(), event.clone(), sights),
                &format!("{name} is absent"),
            );
        }
        assert_eq!(
            verdict(refused(), event, &names_nobody),
            Judgement::Matched,
            "{name}"
        );
    }
    // A stray one's is none of a connection's, and no probe that judges connections sees it.
    let stray = || Expectation {
        kinds: vec![Kind::Stray],
        ..refused()
    };
    let event = without(with(refused_event(), "kind", json!("stray")), "state");
    assert!(verdict(stray(), event.clone(), &SEES_ALL).is_failure());
    assert!(!verdict(stray(), event, &probes).is_failure());
}

#[test]
fn that_there_was_no_socket_is_told_by_the_reason() {
    let expected = || {
        let mut expected = refused().state(&["none"]);
        (expected.is_owned, expected.role) = (false, None);
        expected
    };
    let event = with(refused_event(), "state", json!("none"));
    let names_nobody = Sights {
        names_receiver_of_dropped: false,
        tells_ended_handshakes: false,
        sees_refusals: false,
        ..SEES_ALL
    };
    assert!(!verdict(expected(), event.clone(), &names_nobody).is_failure());
    let silent = without(event, "state");
    assert!(verdict(expected(), silent.clone(), &names_nobody).is_failure());
    let gives_none = Sights {
        has_drop_reason: false,
        ..names_nobody
    };
    assert!(!verdict(expected(), silent, &gives_none).is_failure());
}

#[test]
fn a_listener_s_own_ends_stand_for_those_of_what_it_answers() {
    let (local, remote) = ends();
    let expected = || {
        Expectation::new(Kind::Sent, "bad-handshake-ack", local, remote)
            .state(&["listen"])
            .owned("server")
            .rst_aborting(100, 200)
            .certain_given(&[Given::Reason])
    };
    let event = |cause, confidence| {
        let mut event = aborted_event();
        for (name, value) in [
            ("cause", json!(cause)),
            ("confidence", json!(confidence)),
            ("state", json!("listen")),
        ] {
            event = with(event, name, value);
        }
        without(without(event, "remote_addr"), "remote_port")
    };
    let unsure = event("undiagnosed", "guess");
    assert_not_visible(&verdict(expected(), unsure.clone(), &CLASSIC));
    let mut zeros = unsure;
    for (name, value) in [("remote_addr", json!("0.0.0.0")), ("remote_port", json!(0))] {
        zeros = with(zeros, name, value);
    }
    assert_differs(&verdict(expected(), zeros, &CLASSIC), "missing");
    for (cause, confidence, what) in [
        ("invalid-segment", "guess", "cause is invalid-segment"),
        ("bad-handshake-ack", "likely", "expected certain"),
    ] {
        let event = event(cause, confidence);
        assert_differs(&verdict(expected(), event, &CLASSIC), what);
    }
    let known = event("bad-handshake-ack", "certain");
    assert_differs(
        &verdict(expected(), known.clone(), &SEES_ALL),
        "the remote end is absent",
    );
    assert_differs(
        &judge(&observation(vec![expected()]), &[], &CLASSIC, &[]),
        "missing",
    );
    // The next run's listener has the same ends.
    let late = with(
        without(event("undiagnosed", "guess"), "netns"),
        "mono_ns",
        json!(ENDED_NS + 1),
    );
    assert_differs(&verdict(expected(), late, &CLASSIC), "missing");
    // A connection has another end, which is not to be left out.
    let elsewhere = expected().state(&["established"]);
    assert_differs(&verdict(elsewhere, known, &CLASSIC), "missing");
}
