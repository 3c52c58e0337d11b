//! What the board of `rstmon top` costs: `record` counts one event, `snapshot` gathers what a screen
//! shows. Run with `cargo bench -p rstmon --bench board_cost`.
//!
//! `day` has few peers and processes; `storm` has another peer in another network and another process
//! each time, so that every table is full. It panics where a second of a storm of 100,000 events, and
//! the two screens of it, take more than a quarter of a core.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros declare; a benchmark that cannot run panics"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use rstmon::board::Board;
use rstmon::event::json_line::parse_json_line;
use rstmon::event::model::{Event, Process};
use rstmon::metrics::tally::TallySettings;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const EVENTS: &str = include_str!("../../docs/top-demo.jsonl");
/// Events of a second.
const STORM: u32 = 100_000;
/// Time between two of them.
const STEP_NS: u64 = 10_000;
/// Different events that are counted in turn.
const VARIANTS: u32 = 20_000;
/// The part of a core that the board may take in a storm.
const BOUND: Duration = Duration::from_millis(250);
/// Screens of a second at the default delay.
const SCREENS: usize = 2;

/// Endless events.
struct Load {
    events: Vec<Event>,
    made: usize,
    now_ns: u64,
}

impl Load {
    fn new(is_storm: bool) -> Self {
        let demo: Vec<Event> = EVENTS
            .lines()
            .map(|line| parse_json_line(line.as_bytes()).expect("an event"))
            .collect();
        let events = if is_storm {
            let templates = demo.iter().cycle().zip(0..VARIANTS);
            templates.map(|(event, n)| varied(event, n)).collect()
        } else {
            demo
        };
        Self {
            events,
            made: 0,
            now_ns: 1_000_000_000_000,
        }
    }

    fn next(&mut self) -> &Event {
        let place = self.made % self.events.len();
        self.made += 1;
        self.now_ns += STEP_NS;
        let event = self.events.get_mut(place).expect("within the length");
        event.mono_ns = self.now_ns;
        event
    }
}

/// An event like this one, of another peer and process.
fn varied(event: &Event, n: u32) -> Event {
    let peer = Ipv4Addr::from(0x0b00_0000 + (n << 8));
    Event {
        remote_addr: peer.into(),
        owner: Some(Process {
            pid: n,
            comm: format!("worker/{n}").as_str().into(),
        }),
        ..event.clone()
    }
}

const LOADS: [(&str, bool); 2] = [("day", false), ("storm", true)];

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for (name, is_storm) in LOADS {
        let mut load = Load::new(is_storm);
        let mut board = Board::new(TallySettings::default());
        group.bench_function(name, |bencher| bencher.iter(|| board.record(load.next())));
    }
    group.finish();
}

fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    for (name, is_storm) in LOADS {
        let mut load = Load::new(is_storm);
        let mut board = Board::new(TallySettings::default());
        for _ in 0..STORM {
            board.record(load.next());
        }
        group.bench_function(name, |bencher| bencher.iter(|| board.snapshot(0)));
    }
    group.finish();
}

fn bound(_: &mut Criterion) {
    let mut load = Load::new(true);
    let mut board = Board::new(TallySettings::default());
    let second = || {
        let began = Instant::now();
        for _ in 0..STORM {
            board.record(load.next());
        }
        for _ in 0..SCREENS {
            black_box(board.snapshot(0));
        }
        began.elapsed()
    };
    // The best of five: the machine may be busy with something else.
    let best = std::iter::repeat_with(second).take(5).min();
    assert!(best < Some(BOUND), "a second of a storm took {best:?}");
}

criterion_group!(benches, record, snapshot, bound);
criterion_main!(benches);
