//! The board over events that tests make up.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use crate::event::model::Process;
use crate::sink::samples;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn event(cause: Cause, at_s: u64, comm: &str, peer: &str) -> Event {
    let mut event = samples::full();
    event.verdict.cause = cause;
    event.mono_ns = at_s * SECOND;
    event.remote_addr = peer.parse().unwrap();
    event.owner = Some(Process {
        pid: 1,
        comm: comm.into(),
    });
    event
}

fn board(events: &[Event]) -> Board {
    let mut board = Board::new(TallySettings::default());
    for event in events {
        board.record(event);
    }
    board
}

#[test]
fn the_most_common_cause_is_first_with_its_windows_and_owner() {
    let mut events = vec![event(Cause::Paws, 1_000, "old", "192.0.2.1")];
    for second in 0..10 {
        events.push(event(
            Cause::LingerAbort,
            1_890 + second,
            "haproxy",
            "192.0.2.1",
        ));
    }
    events.push(event(Cause::LingerAbort, 1_700, "nginx", "192.0.2.1"));
    let snapshot = board(&events).snapshot(1_899 * SECOND);
    let first = &snapshot.causes[0];
    assert_eq!((first.cause, first.total), (Cause::LingerAbort, 11));
    assert_eq!(
        (
            first.per_second,
            first.last_1m,
            first.last_5m,
            first.last_15m
        ),
        (1, 10, 11, 11)
    );
    assert_eq!(first.owner.as_deref(), Some("haproxy"));
    assert_eq!(first.spark.len(), 60);
    assert_eq!(first.spark.iter().sum::<u64>(), 10);
    assert_eq!(snapshot.causes[1].last_15m, 1);
    let later = board(&events).snapshot(5_000 * SECOND);
    assert_eq!((later.causes[0].last_15m, later.causes[0].total), (0, 11));
}

#[test]
fn tables_are_capped_and_sums_stay_right() {
    let mut board = Board::new(TallySettings::default());
    for index in 0..(MAX_ROWS as u64 + 500) {
        let comm = format!("p{index}");
        board.record(&event(
            Cause::PortClosed,
            10 + index / 100,
            &comm,
            "192.0.2.1",
        ));
    }
    let snapshot = board.snapshot(0);
    assert_eq!(snapshot.processes.len(), SHOWN_ROWS + 1);
    assert_eq!(
        snapshot.processes.iter().map(|row| row.total).sum::<u64>(),
        MAX_ROWS as u64 + 500
    );
    assert_eq!(snapshot.processes.last().unwrap().name, "~other");
    assert_eq!(
        snapshot.incidents.iter().map(|row| row.total).sum::<u64>(),
        MAX_ROWS as u64 + 500
    );
}

#[test]
fn ten_thousand_resets_are_a_few_incidents() {
    let mut events = Vec::new();
    for index in 0..10_000_u64 {
        let peer = format!("198.51.100.{}", index % 250);
        events.push(event(Cause::PeerGone, 100 + index / 1_000, "app", &peer));
    }
    events.push(event(Cause::PeerGone, 110, "app", "203.0.113.9"));
    events.push(event(Cause::PeerGone, 110, "app", "127.0.0.1"));
    let rows = board(&events).snapshot(0).incidents;
    assert_eq!(rows.len(), 3);
    let largest = rows.iter().max_by_key(|row| row.total).unwrap();
    assert_eq!((largest.total, largest.distinct_peers), (10_000, 250));
    assert_eq!(largest.peers, "198.51.100.0/24");
    assert_eq!(
        (largest.first_ns, largest.last_ns),
        (100 * SECOND, 109 * SECOND)
    );
    assert!(rows.iter().any(|row| row.peers == "203.0.113.9"));
}

#[test]
fn peers_that_are_not_known_are_one_row_and_no_address() {
    let peers = ["0.0.0.0", "::", "192.0.2.1"].repeat(2);
    let events: Vec<Event> = peers
        .iter()
        .map(|peer| event(Cause::Undiagnosed, 100, "app", peer))
        .collect();
    let snapshot = board(&events).snapshot(0);
    let rows: Vec<(&str, u64)> = snapshot
        .peers
        .iter()
        .map(|row| (row.name.as_str(), row.total))
        .collect();
    assert_eq!(rows, [("(unknown)", 4), ("192.0.2.1", 2)]);
    let mut incidents: Vec<(&str, u64, u64)> = snapshot
        .incidents
        .iter()
        .map(|row| (row.peers.as_str(), row.total, row.distinct_peers))
        .collect();
    incidents.sort_unstable();
    assert_eq!(incidents, [("(unknown)", 4, 0), ("192.0.2.1", 2, 1)]);
}

#[test]
fn incidents_of_processes_that_take_turns_stay_apart() {
    let turns = ["a", "b", "c"].repeat(10);
    let events: Vec<Event> = turns
        .iter()
        .map(|comm| event(Cause::PeerGone, 100, comm, "192.0.2.1"))
        .collect();
    let rows = board(&events).snapshot(0).incidents;
    let mut totals: Vec<(&str, u64)> = rows
        .iter()
        .map(|row| (row.comm.as_str(), row.total))
        .collect();
    totals.sort_unstable();
    assert_eq!(totals, [("a", 10), ("b", 10), ("c", 10)]);
}

#[test]
fn of_more_peers_than_are_told_apart_it_is_said_that_there_are_more() {
    let from = |number: u64| {
        event(
            Cause::PeerGone,
            100,
            "app",
            &format!("2001:db8::{number:x}"),
        )
    };
    let rows = |peers: std::ops::Range<u64>| {
        let events: Vec<Event> = peers.map(from).collect();
        board(&events).snapshot(0).incidents
    };
    let all = &rows(0..256)[0];
    assert_eq!((all.distinct_peers, all.at_least), (256, false));
    let more = &rows(0..300)[0];
    assert_eq!(
        (more.total, more.distinct_peers, more.at_least),
        (300, 256, true)
    );
}

#[test]
fn a_full_table_of_incidents_makes_room_when_some_are_quiet() {
    let mut board = Board::new(TallySettings::default());
    for index in 0..=MAX_ROWS {
        board.record(&event(Cause::Paws, 10, &format!("p{index}"), "192.0.2.1"));
    }
    board.record(&event(Cause::Paws, 10 + 16 * 60, "late", "192.0.2.1"));
    let rows = board.snapshot(0).incidents;
    assert!(rows.iter().any(|row| row.comm == "late"), "{}", rows.len());
}

#[test]
fn a_snapshot_crosses_the_socket_unchanged() {
    let snapshot = board(&[event(Cause::Paws, 5, "a", "2001:db8::1")]).snapshot(0);
    let text = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(
        serde_json::from_str::<BoardSnapshot>(&text).unwrap(),
        snapshot
    );
}

proptest! {
    #[test]
    fn what_repeats_is_counted_where_a_search_would_count_it(
        events in samples::runs_of_alike(),
        // Some come late, some much later than the one before.
        steps in prop::collection::vec((0..20_u64, 0..3_u64), 1..20),
        look_every in 1..30_usize,
    ) {
        const STEP: u64 = SECOND / 4;
        let mut board = board(&[]);
        let mut searching = board.clone();
        let mut now = 100 * SECOND;
        for ((number, event), (later, late)) in (1..).zip(events).zip(steps.into_iter().cycle()) {
            now += STEP * if later == 19 { 3_000 } else { later };
            let event = Event { mono_ns: now - late * 3 * STEP, ..event };
            board.record(&event);
            searching.repeats.forget();
            searching.record(&event);
            if number % look_every == 0 {
                prop_assert_eq!(board.snapshot(now), searching.snapshot(now));
            }
        }
        prop_assert_eq!(board.snapshot(now), searching.snapshot(now));
    }
}

#[test]
fn what_repeats_and_does_not_fit_is_among_the_others() {
    let mut table = Table::new(1);
    let event = samples::bare();
    let alike = Alike::one(&event);
    table.record(&"first", || "first", &alike);
    table.record(&"second", || "second", &alike);
    table.record_again(&alike);
    let rows = table.rows(event.mono_ns, ToString::to_string);
    let totals: Vec<_> = rows
        .iter()
        .map(|row| (row.name.as_str(), row.total))
        .collect();
    assert_eq!(totals, [("first", 1), ("~other", 2)]);
}
