//! Records that no hook wrote, through the whole path of an event: parse, the gate of tentative
//! events, decode, diagnose, join, print. Whatever they hold, every line is one line without control
//! characters, and every JSON line is JSON.

#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use rstmon::annotate::Annotator;
use rstmon::diagnose::key_facts::key_facts;
use rstmon::event::annotation::Annotation;
use rstmon::event::capture::CaptureFacts;
use rstmon::event::decode::{CheckedRecord, parse_raw_event};
use rstmon::event::model::{Event, Kind};
use rstmon::filter::Filter;
use rstmon::pipeline::{EventSink, Pipeline};
use rstmon::sink::jsonl;
use rstmon::sink::text::{self, TextStyle};
use rstmon_common::wire::{ABI, RAW_EVENT_SIZE, RawEvent};
use std::io;
use std::path::Path;

/// Names of reasons that rules know; the numbers are this target's own.
const RST_REASONS: [&str; 6] = [
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "TCP_ABORT_ON_CLOSE",
    "TCP_STATE",
    "TCP_RFC7323_PAWS",
    "MPTCP_RST_EPROTO",
];
const DROP_REASONS: [&str; 4] = [
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "TCP_RESET",
    "TCP_INVALID_SEQUENCE",
];

/// Prints each event in every form and looks at what came out.
struct Checked {
    width: Option<u16>,
    unicode: bool,
    last: Option<Event>,
}

impl Checked {
    fn style(&self) -> TextStyle {
        TextStyle {
            color: false,
            width: self.width,
            unicode: self.unicode,
            time_zone: TimeZone::UTC,
        }
    }
}

impl EventSink for Checked {
    fn accept(
        &mut self,
        event: &Event,
        _raw: &RawEvent,
        _annotation: &Annotation,
        facts: &CaptureFacts,
    ) -> io::Result<()> {
        let line = jsonl::render_event(event, facts)?;
        let line = String::from_utf8(line).expect("JSON is UTF-8");
        check_lines(&line, 1);
        let value: serde_json::Value = serde_json::from_str(&line).expect("every line is JSON");
        assert_eq!(value["seq_no"], event.seq_no);
        check_texts(&value);
        let most = if self.width.is_some() { usize::MAX } else { 1 };
        check_lines(
            &text::render_event(event, &key_facts(event), &self.style()),
            most,
        );
        if let Some(last) = self.last.replace(event.clone()) {
            let (sent, arrived) = if event.kind == Kind::Sent {
                (event, &last)
            } else {
                (&last, event)
            };
            check_lines(
                &text::render_story(sent, arrived, &key_facts(sent), &self.style()),
                most,
            );
        }
        Ok(())
    }
}

/// Whole lines, at most so many, nothing in them that moves a cursor.
fn check_lines(text: &str, most: usize) {
    let lines = text.strip_suffix('\n').expect("a line ends");
    assert!(lines.split('\n').count() <= most, "{text:?}");
    assert!(
        !lines.chars().any(|it| it.is_control() && it != '\n'),
        "{text:?}"
    );
}

/// Escaped control characters would come out of JSON again.
fn check_texts(value: &serde_json::Value) {
    match value {
        serde_json::Value::String(text) => assert!(!text.chars().any(char::is_control), "{text:?}"),
        serde_json::Value::Array(values) => values.iter().for_each(check_texts),
        serde_json::Value::Object(members) => members.values().for_each(check_texts),
        _ => {}
    }
}

fn facts() -> CaptureFacts {
    let mut facts = CaptureFacts {
        hz: Some(250),
        ..CaptureFacts::default()
    };
    facts.reasons.rst = (0..).zip(RST_REASONS.map(Into::into)).collect();
    facts.reasons.drop = (0..).zip(DROP_REASONS.map(Into::into)).collect();
    facts
}

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_raw_event(bytes).map(|raw| CheckedRecord::new(&raw).is_ok());
    let Some((&shape, records)) = bytes.split_first() else {
        return;
    };
    let width = [None, Some(60), Some(100), Some(140)][usize::from(shape & 3)];
    let mut sink = Checked {
        width,
        unicode: shape & 4 == 0,
        last: None,
    };
    // There is no such place: nothing of this host gets into an event.
    let nowhere = Path::new("/nonexistent");
    let mut annotator = Annotator::new(nowhere, nowhere);
    let mut pipeline = Pipeline::new(facts(), Filter::all());
    // Several records, so that what is kept of earlier ones is reached too; each made to pass the
    // first check, which would otherwise eat nearly all of them.
    for chunk in records.chunks(RAW_EVENT_SIZE) {
        let mut record = [0; RAW_EVENT_SIZE];
        record[..chunk.len()].copy_from_slice(chunk);
        record[..2].copy_from_slice(&ABI.to_ne_bytes());
        let now = parse_raw_event(&record).map_or(0, |raw| raw.mono_ns);
        pipeline
            .push(&record, &mut annotator, &mut sink)
            .expect("the sink takes all");
        pipeline
            .release(now, &mut annotator, &mut sink)
            .expect("the sink takes all");
    }
    pipeline
        .finish(&mut annotator, &mut sink)
        .expect("the sink takes all");
    assert_eq!(pipeline.totals.written, pipeline.totals.seen);
});
