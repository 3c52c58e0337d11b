//! The page over counts that tests make up.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use crate::metrics::tally::TallySettings;
use crate::sink::samples;
use prometheus::{Encoder, TextEncoder};
use rstmon_common::counts::STATE_UNKNOWN;
use rstmon_common::wire::{self, RawEvent};

fn raw(kind: u8, reason: u32) -> RawEvent {
    RawEvent {
        kind,
        reason,
        family: wire::AF_INET,
        ..bytemuck::Zeroable::zeroed()
    }
}

fn lost(kind: u8, count: u64) -> CellCounts {
    let mut block = [0; REASONS];
    block[0] = count;
    let mut lost = CellCounts::default();
    lost.add_block(kind, STATE_UNKNOWN, wire::AF_INET, &block);
    lost
}

fn page(tally: &Tally, counted: &CellCounts, lost: &CellCounts) -> Vec<proto::MetricFamily> {
    let stages = Counts::from([("ring-full".into(), 3)]);
    build_page(&PageInputs {
        tally,
        counted,
        lost,
        stages: &stages,
        facts: &samples::facts(),
        audit: Some(&AuditFigures::default()),
        agent: &AgentFigures {
            web_requests: BTreeMap::from([(200, 1)]),
            ..AgentFigures::default()
        },
    })
}

fn sum(page: &[proto::MetricFamily], family: Family, kind: Kind) -> f64 {
    let found = page.iter().find(|it| it.name() == family.name());
    let series = found.into_iter().flat_map(proto::MetricFamily::get_metric);
    series
        .filter(|it| {
            it.get_label()
                .iter()
                .any(|pair| pair.value() == kind.name())
        })
        .map(|it| it.get_counter().get_value() + it.get_gauge().get_value())
        .sum()
}

fn value(page: &[proto::MetricFamily], family: Family) -> f64 {
    let found = page.iter().find(|it| it.name() == family.name()).unwrap();
    found.get_metric()[0].get_gauge().get_value()
}

#[test]
fn every_family_of_resets_has_the_same_sum_also_after_losses() {
    let mut tally = Tally::new(TallySettings {
        peers: true,
        max_series: BTreeMap::from([(Family::ProcessResets, 0)]),
        ..TallySettings::default()
    });
    let event = samples::full();
    let wire_kind = match event.kind {
        Kind::Sent => wire::KIND_SENT,
        Kind::Received => wire::KIND_RECEIVED,
        Kind::Rejected => wire::KIND_REJECTED,
        Kind::Stray => wire::KIND_STRAY,
    };
    for reason in [0, 1, 1, 127] {
        tally.record(&event, &raw(wire_kind, reason));
    }
    let lost = lost(wire_kind, 5);
    let mut counted = tally.cells.clone();
    counted.add(&lost);
    counted.count(&raw(wire_kind, 2));
    let page = page(&tally, &counted, &lost);
    for family in [
        Family::Resets,
        Family::KernelResets,
        Family::ProcessResets,
        Family::PortResets,
        Family::WorkloadResets,
        Family::PeerResets,
    ] {
        assert!(
            (sum(&page, family, event.kind) - 9.0).abs() < f64::EPSILON,
            "{family:?}"
        );
    }
    assert!((value(&page, Family::EventsInFlight) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn peers_that_are_not_known_are_one_series_without_a_name() {
    let mut tally = Tally::new(TallySettings {
        peers: true,
        ..TallySettings::default()
    });
    for peer in ["0.0.0.0", "::", "0.0.0.0"] {
        let mut event = samples::full();
        event.remote_addr = peer.parse().unwrap();
        tally.record(&event, &raw(wire::KIND_SENT, 3));
    }
    let counted = tally.cells.clone();
    let page = page(&tally, &counted, &CellCounts::default());
    let family = Family::PeerResets.name();
    let found = page.iter().find(|it| it.name() == family).unwrap();
    let series: Vec<(&str, f64)> = found
        .get_metric()
        .iter()
        .map(|it| {
            let mut labels = it.get_label().iter();
            let peer = labels.find(|pair| pair.name() == "peer").unwrap();
            (peer.value(), it.get_counter().get_value())
        })
        .filter(|(peer, _)| *peer != "~other")
        .collect();
    assert_eq!(series, [("", 3.0)]);
}

#[test]
fn known_series_are_there_before_the_first_reset() {
    let tally = Tally::new(TallySettings::default());
    let none = CellCounts::default();
    let page = page(&tally, &none, &none);
    let resets = page.iter().find(|it| it.name() == Family::Resets.name());
    assert_eq!(
        resets.unwrap().get_metric().len(),
        known_combinations().count()
    );
}

#[test]
fn the_whole_page() {
    let mut tally = Tally::new(TallySettings::default());
    tally.record(&samples::full(), &raw(wire::KIND_SENT, 3));
    let lost = lost(wire::KIND_SENT, 2);
    let mut counted = tally.cells.clone();
    counted.add(&lost);
    let mut text = Vec::new();
    let page = page(&tally, &counted, &lost);
    TextEncoder::new().encode(&page, &mut text).unwrap();
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
}
