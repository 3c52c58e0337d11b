//! User-side cost of one event: `diagnose` is the diagnosis alone, `line` all from the ring record
//! to the JSON line in memory. Run with `cargo bench -p rstmon --bench event_cost`.
//!
//! `mix` is one record of each common cause; `storm` is refused connections over loopback, each
//! from a port of its own, so that the memory of flows is always full. A time is that of one event.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros declare; a benchmark that cannot run panics"
)]

mod records;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use nix::time::{ClockId, clock_gettime};
use rstmon::annotate::Annotator;
use rstmon::diagnose::Engine;
use rstmon::event::annotation::Annotation;
use rstmon::event::capture::CaptureFacts;
use rstmon::event::decode::{CheckedRecord, decode};
use rstmon::event::model::Event;
use rstmon::filter::Filter;
use rstmon::pipeline::{EventSink, Pipeline};
use rstmon::sink::jsonl;
use rstmon_common::wire::RawEvent;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Time between two events; a storm of 100,000 a second.
const STEP_NS: u64 = 10_000;
/// Bytes that gather before they would be written.
const BUFFER_BYTES: usize = 64 * 1024;
/// First port of a storm's clients.
const FIRST_PORT: u16 = 10_000;
/// Ports of a storm's clients: more flows than the engine remembers.
const PORTS: u16 = 50_000;

/// Endless records of one kind of day.
struct Load {
    templates: Vec<RawEvent>,
    is_storm: bool,
    made: usize,
    now_ns: u64,
}

impl Load {
    fn new(is_storm: bool) -> Self {
        let templates = if is_storm {
            vec![records::port_closed(), records::connection_refused()]
        } else {
            records::mix()
        };
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
        Self {
            templates,
            is_storm,
            made: 0,
            now_ns: u64::try_from(Duration::from(now).as_nanos()).expect("not for 500 years"),
        }
    }

    fn next(&mut self) -> &RawEvent {
        let place = self.made % self.templates.len();
        let connection = self.made / self.templates.len();
        self.made += 1;
        self.now_ns += STEP_NS;
        let raw = self.templates.get_mut(place).expect("within the length");
        raw.mono_ns = self.now_ns;
        raw.born_ns = self.now_ns.saturating_sub(1_000_000);
        if self.is_storm {
            let port = FIRST_PORT + (connection % usize::from(PORTS)) as u16;
            // The client's end is local in the record of what it received.
            if place == 0 {
                raw.remote_port = port;
            } else {
                raw.local_port = port;
            }
        }
        raw
    }
}

/// A sink that renders and throws away.
#[derive(Default)]
struct Lines {
    lines: jsonl::EventLines,
    buffer: Vec<u8>,
}

impl EventSink for Lines {
    fn accept(
        &mut self,
        event: &Event,
        _: &RawEvent,
        _: &Annotation,
        facts: &CaptureFacts,
    ) -> io::Result<()> {
        let line = self.lines.render(event, facts)?;
        self.buffer.extend_from_slice(line);
        if self.buffer.len() >= BUFFER_BYTES {
            black_box(&self.buffer);
            self.buffer.clear();
        }
        Ok(())
    }
}

const LOADS: [(&str, bool); 2] = [("mix", false), ("storm", true)];

fn diagnose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("diagnose");
    for (name, is_storm) in LOADS {
        let facts = records::facts(0);
        let mut load = Load::new(is_storm);
        let mut engine = Engine::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || {
                    let record = CheckedRecord::new(load.next()).expect("a valid record");
                    decode(record, 1, &facts)
                },
                |event| engine.diagnose(event),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn line(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line");
    for (name, is_storm) in LOADS {
        let mut load = Load::new(is_storm);
        let mut pipeline = Pipeline::new(records::facts(1_772_368_000_000_000_000), everything());
        let mut annotator = Annotator::new(Path::new("/proc"), Path::new("/"));
        let mut lines = Lines::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                pipeline
                    .push(bytemuck::bytes_of(load.next()), &mut annotator, &mut lines)
                    .expect("memory takes every line");
            });
        });
    }
    group.finish();
}

fn everything() -> Filter {
    Filter::parse("").expect("no filter at all")
}

criterion_group!(benches, diagnose, line);
criterion_main!(benches);
