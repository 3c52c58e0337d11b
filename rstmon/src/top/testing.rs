//! States for the tests of `top`: empty, busy, degraded.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::columns::CellContext;
use super::state::{Header, State};
use super::update::{Action, Feed, update};
use crate::board::Board;
use crate::event::model::{Cause, Event, Kind, Process};
use crate::metrics::tally::TallySettings;
use crate::sink::samples;
use jiff::tz::TimeZone;

const SECOND: u64 = 1_000_000_000;

/// Nothing seen yet.
pub(super) fn empty() -> State {
    let mut facts = samples::facts();
    facts.degradations.clear();
    let header = Header {
        source: "own capture".to_owned(),
        facts,
    };
    let context = CellContext {
        now_ns: 0,
        unicode: true,
        time_zone: TimeZone::UTC,
    };
    State::new(header, String::new(), context)
}

/// An event of these.
pub(super) fn event(seq_no: u64, cause: Cause, kind: Kind, comm: &str) -> Event {
    let mut event = samples::full();
    event.seq_no = seq_no;
    event.mono_ns = 1_000 * SECOND + seq_no * SECOND / 2;
    event.time_ns += i64::try_from(seq_no).unwrap() * 500_000_000;
    event.kind = kind;
    event.verdict.cause = cause;
    event.story = None;
    event.owner = Some(Process {
        pid: 1234,
        comm: comm.into(),
    });
    event
}

/// What a source with these events feeds.
pub(super) fn feed(events: Vec<Event>) -> Feed {
    let mut board = Board::new(TallySettings::default());
    for event in &events {
        board.record(event);
    }
    Feed {
        board: board.snapshot(0),
        events,
        unshown: 0,
        lost: Some(0),
    }
}

/// A busy host.
pub(super) fn busy() -> State {
    let mut state = empty();
    let mut events = Vec::new();
    for number in 1..=60 {
        events.push(match number % 6 {
            0..=2 => event(number, Cause::CloseUnreadData, Kind::Sent, "nginx"),
            3 => event(number, Cause::PeerAborted, Kind::Received, "haproxy"),
            4 => event(number, Cause::PortClosed, Kind::Sent, ""),
            _ => event(number, Cause::BlindReset, Kind::Rejected, "sshd"),
        });
    }
    update(&mut state, Action::Feed(Box::new(feed(events))));
    state
}

/// A busy host with losses, blind spots, a filter and a stopped picture.
pub(super) fn degraded() -> State {
    let mut state = busy();
    state.header.facts = samples::facts();
    state.filter = "kind sent and comm nginx".to_owned();
    state.lost = Some(1_234_567);
    state.paused = true;
    state.unseen = 42;
    state
}
