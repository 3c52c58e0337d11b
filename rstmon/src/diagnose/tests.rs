//! The rules by table (plain case, near miss, old kernel), their order, and what always holds.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a failed test panics")]

mod authors;
mod borders;
mod forgery;
mod from_life;
mod handshakes;
mod killed;
mod memory;
mod quiet;
mod received;
mod sent;

use super::Engine;
use super::rules::RULES;
use super::testing::Scene;
use crate::event::capture::CaptureFacts;
use crate::event::decode::{CheckedRecord, decode};
use crate::event::model::{Cause, Confidence, Initiator};
use crate::metrics::known::expected;
use proptest::prelude::*;
use rstmon_common::wire::{self, RawEvent};

type Row = (&'static str, Scene, Cause, Initiator, Confidence);

fn check(rows: Vec<Row>) {
    for (name, scene, cause, initiator, confidence) in rows {
        assert_eq!(scene.verdict(), (cause, initiator, confidence), "{name}");
        // Who scrapes metrics must find the series before the first event.
        let (kinds, initiators) = expected(cause);
        let kind = scene.event().kind;
        assert!(kinds.contains(&kind), "{name}: {cause} of kind {kind}");
        assert!(
            initiators.contains(&initiator),
            "{name}: {cause} by {initiator}"
        );
    }
}

#[test]
fn every_cause_has_one_rule() {
    for (index, rule) in RULES.iter().enumerate() {
        let again = RULES
            .iter()
            .skip(index + 1)
            .find(|it| it.cause == rule.cause);
        assert!(again.is_none(), "{} has two rules", rule.cause);
        assert_ne!(rule.cause, Cause::Undiagnosed);
    }
}

/// A record of any bytes, with the numbers that the decoder checks put right.
fn any_record() -> impl Strategy<Value = RawEvent> {
    let bytes = prop::collection::vec(any::<u8>(), wire::RAW_EVENT_SIZE);
    bytes.prop_map(|bytes| {
        let raw: RawEvent = bytemuck::pod_read_unaligned(&bytes);
        RawEvent {
            abi: wire::ABI,
            have: raw.have | wire::HAVE_TUPLE,
            kind: raw.kind % 4 + 1,
            hook: raw.hook % 12 + 1,
            family: if raw.family.is_multiple_of(2) { 2 } else { 10 },
            socket_kind: raw.socket_kind % 4,
            state: raw.state % 13,
            state_at_hook: raw.state_at_hook % 13,
            closed_state: raw.closed_state % 13,
            reason: raw.reason % 16,
            ..raw
        }
    })
}

/// Some names of reasons under small numbers.
fn facts() -> CaptureFacts {
    let mut facts = CaptureFacts {
        hz: Some(250),
        ..CaptureFacts::default()
    };
    let names = [
        "NOT_SPECIFIED",
        "NO_SOCKET",
        "TCP_ABORT_ON_DATA",
        "TCP_STATE",
        "INVALID_SYN",
        "TCP_RESET",
        "TCP_TIMEWAIT_SOCKET",
    ];
    for (number, name) in (0..).zip(names) {
        facts.reasons.rst.insert(number, name.into());
        facts.reasons.drop.insert(number, name.into());
    }
    facts
}

proptest! {
    #[test]
    fn any_record_gets_one_verdict_and_the_same_one_again(
        records in prop::collection::vec(any_record(), 1..20)
    ) {
        let facts = facts();
        let (mut first, mut second) = (Engine::new(), Engine::new());
        for raw in &records {
            let Ok(record) = CheckedRecord::new(raw) else {
                panic!("a valid record was refused");
            };
            let mut event = decode(record, 1, &facts);
            let mut twin = event.clone();
            first.diagnose(&mut event);
            second.diagnose(&mut twin);
            prop_assert_eq!(&event.verdict, &twin.verdict);
            let known = RULES.iter().any(|rule| rule.cause == event.verdict.cause);
            prop_assert!(known || event.verdict.cause == Cause::Undiagnosed);
            let (kinds, initiators) = expected(event.verdict.cause);
            prop_assert!(kinds.contains(&event.kind), "{:?}", event);
            prop_assert!(initiators.contains(&event.verdict.initiator), "{:?}", event);
            let shown = super::key_facts(&event);
            prop_assert!(shown.len() <= 3);
            for fact in event.verdict.evidence.iter().chain(shown.iter().map(String::as_str)) {
                prop_assert!(!fact.chars().any(char::is_control), "{:?}", fact);
            }
        }
    }
}
