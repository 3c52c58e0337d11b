//! Tests of the JSON lines: against the schema, field by field, and their cost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use super::{EndLine, EventLine, EventLines, StartLine, render_event};
use crate::event::capture::CaptureFacts;
use crate::event::json_line::parse_json_line;
use crate::event::model::{
    Cause, Confidence, Event, Family, Initiator, Kind, Process, Role, SocketState,
};
use crate::event::workload::Runtime;
use crate::sink::samples::{self, TIME_NS};
use crate::sink::totals::Totals;
use rstmon_common::wire;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const SCHEMA: &str = include_str!("../../../../docs/event.schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn event_line(event: &Event) -> String {
    String::from_utf8(render_event(event, &samples::facts()).unwrap()).unwrap()
}

fn start_line(time_ns: Option<i64>) -> String {
    String::from_utf8(super::render_start(&samples::facts(), time_ns).unwrap()).unwrap()
}

fn end_line(totals: &Totals, time_ns: Option<i64>) -> String {
    String::from_utf8(super::render_end(totals, time_ns).unwrap()).unwrap()
}

fn object(line: &str) -> Map<String, Value> {
    let text = line.strip_suffix('\n').expect("a line ends with a newline");
    assert!(!text.contains('\n'), "{text}");
    serde_json::from_str(text).unwrap()
}

fn totals() -> Totals {
    let mut totals = Totals {
        seen: 12,
        filtered: 3,
        lost: [("ring-full".into(), 0), ("storm-budget".into(), u64::MAX)].into(),
        kernel_counts: [("sent".into(), 12)].into(),
        ..Totals::default()
    };
    totals.note("tentative-retracted", 5);
    totals.note("cgroups-skipped", 0);
    totals.count_written(Cause::PortClosed);
    totals.count_written(Cause::PortClosed);
    totals
}

#[test]
fn the_lines_are_the_contract() {
    insta::assert_snapshot!("full", event_line(&samples::full()));
    insta::assert_snapshot!("bare", event_line(&samples::bare()));
    insta::assert_snapshot!("start", start_line(Some(TIME_NS)));
    insta::assert_snapshot!("end", end_line(&totals(), Some(TIME_NS)));
}

#[test]
fn every_line_meets_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for line in [
        event_line(&samples::full()),
        event_line(&samples::bare()),
        event_line(&samples::listener()),
        start_line(Some(TIME_NS)),
        start_line(None),
        end_line(&totals(), Some(TIME_NS)),
        end_line(&Totals::default(), None),
    ] {
        let line = Value::Object(object(&line));
        let errors: Vec<String> = validator
            .iter_errors(&line)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
    }
    for broken in [
        r#"{"schema":"rstmon.event/1"}"#,
        r#"{"schema":"rstmon.other/1"}"#,
        "[]",
    ] {
        assert!(
            !validator.is_valid(&serde_json::from_str(broken).unwrap()),
            "{broken}"
        );
    }
    let mut wrong = object(&event_line(&samples::full()));
    wrong.insert("local_port".into(), 65_536.into());
    assert!(!validator.is_valid(&Value::Object(wrong)));
}

#[test]
fn a_line_is_the_same_whatever_went_before_it() {
    let second = 1_000_000_000;
    let full = samples::full();
    let mirrored = Event {
        local_addr: full.remote_addr,
        local_port: full.remote_port,
        remote_addr: full.local_addr,
        remote_port: full.local_port,
        time_ns: TIME_NS + 1,
        ..full.clone()
    };
    let other_port = Event {
        local_port: full.local_port ^ 1,
        time_ns: TIME_NS - TIME_NS % second - 1,
        ..full.clone()
    };
    let long_name = Event {
        exe: Some("x".repeat(5000).into()),
        time_ns: TIME_NS + second,
        ..full.clone()
    };
    let events = [
        full,
        mirrored,
        samples::listener(),
        other_port,
        long_name,
        samples::bare(),
    ];
    let mut lines = EventLines::new();
    for event in events.iter().chain(events.iter().rev()) {
        let line = lines.render(event, &samples::facts()).unwrap().to_vec();
        assert_eq!(String::from_utf8(line.clone()).unwrap(), event_line(event));
        assert_eq!(lines.last(), line);
    }
}

#[test]
fn the_schema_names_the_fields_of_the_lines() {
    let schema = schema();
    for (name, required, optional) in [
        ("start", StartLine::REQUIRED, StartLine::OPTIONAL),
        ("event", EventLine::REQUIRED, EventLine::OPTIONAL),
        ("end", EndLine::REQUIRED, EndLine::OPTIONAL),
    ] {
        let definition = &schema["$defs"][name];
        let described: BTreeSet<&str> = definition["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let fields: BTreeSet<&str> = required.iter().chain(optional).copied().collect();
        assert_eq!(described, fields, "{name}");
        let demanded: BTreeSet<&str> = definition["required"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field.as_str().unwrap())
            .collect();
        assert_eq!(demanded, required.iter().copied().collect(), "{name}");
    }
}

#[test]
fn the_schema_names_all_values() {
    fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().map(|value| name(*value)).collect()
    }
    let schema = schema();
    for (field, expected) in [
        ("kind", names(Kind::ALL, Kind::name)),
        ("cause", names(Cause::ALL, Cause::name)),
        ("initiator", names(Initiator::ALL, Initiator::name)),
        ("confidence", names(Confidence::ALL, Confidence::name)),
        ("state", names(SocketState::ALL, SocketState::name)),
        ("role", names(Role::ALL, Role::name)),
        ("family", names(Family::ALL, Family::name)),
        ("container_runtime", names(Runtime::ALL, Runtime::name)),
    ] {
        let described = &schema["$defs"]["event"]["properties"][field]["enum"];
        assert_eq!(described, &serde_json::json!(expected), "{field}");
    }
}

#[test]
fn a_full_event_has_every_field_and_a_bare_one_only_the_required() {
    let keys = |event: &Event| object(&event_line(event)).into_iter().map(|(key, _)| key);
    let required: BTreeSet<&str> = EventLine::REQUIRED.iter().copied().collect();
    let every = required
        .iter()
        .chain(EventLine::OPTIONAL)
        .copied()
        .collect::<BTreeSet<_>>();
    let full: BTreeSet<String> = keys(&samples::full()).collect();
    assert_eq!(
        full.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        every
    );
    let bare: BTreeSet<String> = keys(&samples::bare()).collect();
    let beyond: Vec<&str> = bare
        .iter()
        .map(String::as_str)
        .filter(|key| !required.contains(key))
        .collect();
    assert_eq!(
        beyond,
        [
            "community_id",
            "hook",
            "local_addr",
            "remote_addr",
            "remote_port"
        ]
    );
}

#[test]
fn ends_that_are_not_known_are_absent() {
    let ipv6 = samples::listener();
    let any = Family::Ipv4.unspecified();
    let ipv4 = Event {
        family: Family::Ipv4,
        local_addr: any,
        remote_addr: any,
        ..ipv6.clone()
    };
    for listener in [ipv4, ipv6] {
        let text = event_line(&listener);
        let line = object(&text);
        assert_eq!(line["local_port"], listener.local_port);
        for key in ["local_addr", "remote_addr", "remote_port", "community_id"] {
            assert!(!line.contains_key(key), "{key} in {text}");
        }
        let again = parse_json_line(text.as_bytes()).unwrap();
        assert_eq!(again.local_addr, listener.local_addr);
        assert_eq!(again.remote_addr, listener.remote_addr);
        assert_eq!(again.remote_port, 0);
    }
    // A scanner may send from port 0.
    let from_zero = Event {
        remote_port: 0,
        ..samples::bare()
    };
    assert_eq!(object(&event_line(&from_zero))["remote_port"], 0);
}

#[test]
fn integers_above_two_to_the_53_are_strings() {
    let line = object(&event_line(&samples::full()));
    assert_eq!(
        line["bytes_sent"],
        serde_json::json!(9_007_199_254_740_992u64)
    );
    assert_eq!(line["bytes_acked"], "9007199254740993");
    assert_eq!(line["cookie"], "18446744073709551615");
}

#[test]
fn an_acknowledgment_without_the_flag_is_absent() {
    let mut event = samples::full();
    for segment in [&mut event.rst, &mut event.trigger] {
        segment.as_mut().unwrap().flags.0 &= !wire::tcp_flag::ACK;
    }
    let line = object(&event_line(&event));
    assert!(!line.contains_key("rst_ack") && !line.contains_key("trigger_ack"));
    assert!(line.contains_key("rst_seq"));
}

#[test]
fn the_community_id_is_that_of_other_tools_at_both_ends() {
    let mut event = samples::bare();
    // From the baseline of the specification.
    event.local_addr = "128.232.110.120".parse().unwrap();
    event.local_port = 34_855;
    event.remote_addr = "66.35.250.204".parse().unwrap();
    event.remote_port = 80;
    let expected = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
    assert_eq!(object(&event_line(&event))["community_id"], expected);
    std::mem::swap(&mut event.local_addr, &mut event.remote_addr);
    std::mem::swap(&mut event.local_port, &mut event.remote_port);
    assert_eq!(object(&event_line(&event))["community_id"], expected);
}

#[test]
fn what_recurs_is_written_anew_when_any_of_it_changes() {
    let same = |_: &mut Event, _: &mut CaptureFacts| {};
    let changes: [fn(&mut Event, &mut CaptureFacts); 9] = [
        same,
        |event, _| event.verdict.cause = Cause::Paws,
        |event, _| event.verdict.initiator = Initiator::Middlebox,
        |event, _| event.verdict.confidence = Confidence::Guess,
        |event, _| event.verdict.evidence.push("one=more"),
        |event, _| event.family = Family::Ipv6,
        |event, _| event.kind = Kind::Stray,
        |_, facts| facts.boot_id = "another".to_owned(),
        |_, facts| facts.host = "another".to_owned(),
    ];
    let variants = changes.map(|change| {
        let (mut event, mut facts) = (samples::full(), samples::facts());
        change(&mut event, &mut facts);
        (event, facts)
    });
    let alone: BTreeSet<Vec<u8>> = variants
        .iter()
        .map(|(event, facts)| render_event(event, facts).unwrap())
        .collect();
    assert_eq!(alone.len(), changes.len());
    for times in 1..4 {
        let mut lines = EventLines::new();
        for first in &variants {
            for second in &variants {
                for (event, facts) in [first, second].into_iter().flat_map(|it| vec![it; times]) {
                    let expected = render_event(event, facts).unwrap();
                    assert_eq!(lines.render(event, facts).unwrap(), expected);
                }
            }
        }
    }
}

#[test]
fn names_from_outside_stay_inside_their_string() {
    let mut event = samples::full();
    event.owner = Some(Process {
        pid: 1,
        comm: "a\"\n\u{1b}[2J".into(),
    });
    assert_eq!(object(&event_line(&event))["comm"], "a\"\n\u{1b}[2J");
}
