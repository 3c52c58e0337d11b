//! What a scrape of 2,000 series costs: `pause` is what the capture thread gives for it, a copy of its
//! figures, during which the ring is not read; `page` is the rest, on the server's thread. Run with
//! `cargo bench -p rstmon --bench scrape_cost`.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros declare; a benchmark that cannot run panics"
)]

#[path = "event_cost/records.rs"]
mod records;

use criterion::{Criterion, criterion_group, criterion_main};
use prometheus::{Encoder, TextEncoder, proto::MetricFamily};
use rstmon::diagnose::Engine;
use rstmon::event::cells::CellCounts;
use rstmon::event::decode::{CheckedRecord, decode};
use rstmon::event::workload::Workload;
use rstmon::metrics::families::Family;
use rstmon::metrics::page::{AgentFigures, PageInputs, build_page};
use rstmon::metrics::tally::{Tally, TallySettings};
use rstmon::sink::totals::Counts;
use std::hint::black_box;
use std::sync::Arc;

/// Series that a busy host's page has at least.
const SERIES: usize = 2_000;
/// Processes, service ports and units that had resets.
const OWNERS: u16 = 100;

/// The figures of a host on which every common cause happened to many.
fn busy_host() -> Tally {
    let facts = records::facts(0);
    let families = [
        Family::ProcessResets,
        Family::PortResets,
        Family::WorkloadResets,
    ];
    let mut tally = Tally::new(TallySettings {
        max_series: families.map(|family| (family, SERIES)).into(),
        ..TallySettings::default()
    });
    let mut engine = Engine::new();
    let mut number = 0;
    for owner in 0..OWNERS {
        for raw in &mut records::mix() {
            number += 1;
            raw.mono_ns = number * 1_000_000;
            let port = 1_000 + owner;
            if raw.local_port < 32_768 {
                raw.local_port = port;
            } else {
                raw.remote_port = port;
            }
            let record = CheckedRecord::new(raw).expect("a valid record");
            let mut event = decode(record, number, &facts);
            if let Some(process) = &mut event.owner {
                process.comm = format!("service-{owner}").into();
            }
            event.workload = Some(Arc::new(Workload {
                unit: Some(format!("service-{owner}.service").into()),
                ..Workload::default()
            }));
            engine.diagnose(&mut event);
            tally.record(&event, raw);
        }
    }
    tally
}

fn page(tally: &Tally) -> Vec<MetricFamily> {
    build_page(&PageInputs {
        tally,
        counted: &tally.cells,
        lost: &CellCounts::default(),
        stages: &Counts::default(),
        facts: &records::facts(0),
        audit: None,
        agent: &AgentFigures::default(),
    })
}

fn scrape(criterion: &mut Criterion) {
    let tally = busy_host();
    let series: usize = page(&tally).iter().map(|it| it.get_metric().len()).sum();
    assert!(series >= SERIES, "a page of {series} series is too small");
    let mut group = criterion.benchmark_group("scrape");
    group.bench_function("pause", |bencher| {
        bencher.iter(|| black_box(tally.clone()));
    });
    group.bench_function("page", |bencher| {
        let mut body = Vec::new();
        bencher.iter(|| {
            body.clear();
            TextEncoder::new()
                .encode(&page(&tally), &mut body)
                .expect("memory takes it");
            black_box(body.len())
        });
    });
    group.finish();
}

criterion_group!(benches, scrape);
criterion_main!(benches);
