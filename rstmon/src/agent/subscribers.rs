//! Clients that want events, as the capture thread sees them.
//!
//! Each has a queue of bounded size and a filter. A line is rendered once, for all. What a queue does
//! not take is lost to that client alone: it is told how much, and it is counted.

use super::event_log::LOST_EVENT_LOG;
use super::lines::EventLine;
use super::socket::BoardLine;
use crate::board::Board;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::metrics::tally::TallySettings;
use crate::sink::totals::Totals;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Stage name of events that a client did not take in time.
pub const LOST_SOCKET_CLIENT: &str = "socket-client";

/// Lines that may wait for a client.
pub const QUEUE_LINES: usize = 8_192;

/// Events that a client of a board gets at each interval; the board counts all.
const EVENTS_A_BOARD: usize = 500;
/// Schema of a board's line.
pub const BOARD_SCHEMA: &str = "rstmon.board/1";

/// One line for a client, shared with the others that want it.
pub type Line = Arc<[u8]>;

/// Tells one client from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(pub u64);

/// What a client wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// These events.
    Events(Filter),
    /// Some of these events, and at each interval the board of all of them.
    Board(Filter, Duration),
}

/// A client.
#[derive(Debug)]
pub struct Subscriber {
    id: ClientId,
    filter: Filter,
    board: Option<Box<ClientBoard>>,
    /// Its queue; closed when it has left.
    queue: Sender<Line>,
    /// What its queue did not take, for it to be told.
    untold: Arc<AtomicU64>,
    /// What it was sent, and what its filter did not want.
    own: Totals,
    /// All that its queue did not take.
    lost: u64,
    /// What the whole agent had lost and counted when it came.
    agent_then: Totals,
}

/// The board of a client, and what it has of it.
#[derive(Debug)]
struct ClientBoard {
    board: Board,
    interval: Duration,
    sent: Instant,
    events: usize,
    unshown: u64,
}

impl Subscriber {
    /// A client with this queue, which is empty.
    #[must_use]
    pub fn new(id: ClientId, wish: Wish, queue: Sender<Line>, untold: Arc<AtomicU64>) -> Self {
        let (filter, board) = match wish {
            Wish::Events(filter) => (filter, None),
            Wish::Board(filter, interval) => {
                let board = ClientBoard {
                    board: Board::new(TallySettings::default()),
                    interval,
                    sent: Instant::now(),
                    events: 0,
                    unshown: 0,
                };
                (filter, Some(Box::new(board)))
            }
        };
        Self {
            id,
            filter,
            board,
            queue,
            untold,
            own: Totals::default(),
            lost: 0,
            agent_then: Totals::default(),
        }
    }

    /// Counts an event, for its board too; whether its line is to be sent.
    fn takes(&mut self, event: &Event) -> bool {
        self.own.seen += 1;
        if !self.filter.matches(event) {
            self.own.filtered += 1;
            return false;
        }
        let Some(board) = &mut self.board else {
            return true;
        };
        board.board.record(event);
        if board.events == EVENTS_A_BOARD {
            board.unshown += 1;
            return false;
        }
        board.events += 1;
        true
    }

    /// Sends the line of an event; how many were lost instead.
    fn send(&mut self, event: &Event, line: Line) -> u64 {
        match self.queue.try_send(line) {
            Ok(()) => {
                self.own.count_written(event.verdict.cause);
                0
            }
            Err(TrySendError::Closed(_)) => 0,
            Err(TrySendError::Full(_)) => {
                self.untold.fetch_add(1, Ordering::Relaxed);
                self.lost += 1;
                1
            }
        }
    }

    /// What was seen, sent and lost since it came; `agent` is of the whole agent, since its start.
    #[must_use]
    pub fn totals(&self, agent: &Totals) -> Totals {
        let Totals {
            mut lost,
            kernel_counts,
            ..
        } = agent.since(&self.agent_then);
        // What the log did not take, a client may have got.
        lost.remove(LOST_EVENT_LOG);
        lost.insert(Cow::Borrowed(LOST_SOCKET_CLIENT), self.lost);
        let mut totals = Totals {
            lost,
            kernel_counts,
            ..self.own.clone()
        };
        if let Some(board) = &self.board {
            totals.note("unshown", board.unshown);
        }
        totals
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Subscribers {
    all: Vec<Subscriber>,
    lost: u64,
}

impl Subscribers {
    /// Another client. It gets the start line, then all that comes from now on; `agent` are the totals
    /// of the whole agent by now.
    pub fn add(
        &mut self,
        mut subscriber: Subscriber,
        settings: TallySettings,
        start_line: Vec<u8>,
        agent: Totals,
    ) {
        if let Some(board) = &mut subscriber.board {
            board.board = Board::new(settings);
        }
        subscriber.agent_then = agent;
        // Its queue has room; if it has left, `turn` sees it.
        let _ = subscriber.queue.try_send(Line::from(start_line));
        self.all.push(subscriber);
    }

    /// Lets a client go, if it is there.
    pub fn remove(&mut self, id: ClientId) -> Option<Subscriber> {
        let index = self.all.iter().position(|it| it.id == id)?;
        Some(self.all.swap_remove(index))
    }

    /// Hands an event to those that want it.
    pub fn accept(&mut self, line: &mut EventLine<'_>) -> io::Result<()> {
        let mut shared = None;
        for subscriber in &mut self.all {
            if !subscriber.takes(line.event) {
                continue;
            }
            let shared = match &shared {
                Some(shared) => shared,
                None => shared.insert(Line::from(line.bytes()?)),
            };
            self.lost += subscriber.send(line.event, Arc::clone(shared));
        }
        Ok(())
    }

    /// Sends the boards that are due, and lets those go that have left. `lost` are the events that
    /// the whole agent lost.
    pub fn turn(&mut self, now_ns: u64, lost: impl Fn() -> u64) -> io::Result<()> {
        self.all.retain(|subscriber| !subscriber.queue.is_closed());
        for subscriber in &mut self.all {
            let Some(board) = &mut subscriber.board else {
                continue;
            };
            if board.sent.elapsed() < board.interval {
                continue;
            }
            board.sent = Instant::now();
            board.events = 0;
            let mut line = serde_json::to_vec(&BoardLine {
                schema: Cow::Borrowed(BOARD_SCHEMA),
                board: board.board.snapshot(now_ns),
                unshown: board.unshown,
                lost: lost(),
            })?;
            line.push(b'\n');
            // A client that does not read gets the next one.
            let _ = subscriber.queue.try_send(Line::from(line));
        }
        Ok(())
    }

    /// How long until the next board is due, if anybody waits for one.
    #[must_use]
    pub fn until_board(&self) -> Option<Duration> {
        let boards = self
            .all
            .iter()
            .filter_map(|subscriber| subscriber.board.as_ref());
        boards
            .map(|board| board.interval.saturating_sub(board.sent.elapsed()))
            .min()
    }

    /// Hands each its last line, which `render` makes of its totals, and lets them go.
    pub fn end(
        &mut self,
        agent: &Totals,
        render: impl Fn(&Totals) -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        for subscriber in self.all.drain(..) {
            let line = render(&subscriber.totals(agent))?;
            // A full queue has no room for it; the client sees the end of the stream.
            let _ = subscriber.queue.try_send(Line::from(line));
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.all.len() as u64
    }

    /// Events that some client lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::agent::lines::Lines;
    use crate::sink::samples;
    use crate::sink::totals::Counts;
    use tokio::sync::mpsc::channel;

    #[test]
    fn a_client_that_does_not_read_loses_and_the_others_do_not() {
        let mut subscribers = Subscribers::default();
        let lost = Arc::new(AtomicU64::new(0));
        let (slow, mut slow_reader) = channel(1);
        let (quick, mut quick_reader) = channel(10);
        let (gone, gone_reader) = channel(10);
        drop(gone_reader);
        for (id, queue, untold) in [
            (ClientId(1), slow, Arc::clone(&lost)),
            (ClientId(2), quick, Arc::default()),
            (ClientId(3), gone, Arc::default()),
        ] {
            let subscriber = Subscriber::new(id, Wish::Events(Filter::all()), queue, untold);
            let settings = TallySettings::default();
            subscribers.add(subscriber, settings, b"start".to_vec(), agent(7, 100));
        }
        // The start line is there as soon as the client is taken, before any event.
        assert_eq!(slow_reader.try_recv().unwrap().as_ref(), b"start");
        assert_eq!(subscribers.count(), 3);
        let (event, facts, mut lines) = (samples::full(), samples::facts(), Lines::default());
        for _ in 0..3 {
            subscribers.accept(&mut lines.of(&event, &facts)).unwrap();
        }
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert_eq!(subscribers.lost(), 2);
        subscribers.turn(0, || 0).unwrap();
        assert_eq!(subscribers.all.len(), 2);
        assert_eq!(quick_reader.try_recv().unwrap().as_ref(), b"start");
        let mut lines = 0;
        while quick_reader.try_recv().is_ok() {
            lines += 1;
        }
        assert_eq!(lines, 3);
        let totals = subscribers.remove(ClientId(1)).unwrap();
        let totals = totals.totals(&agent(9, 105));
        let lost = [("ring-full", 2), ("socket-client", 2)];
        assert_eq!(totals.lost, counts(&lost));
        assert_eq!(totals.kernel_counts, counts(&[("sent", 5)]));
        // The queue had room for one once the start line was read.
        assert_eq!((totals.seen, totals.written, totals.filtered), (3, 1, 0));
        assert!(subscribers.remove(ClientId(1)).is_none());
        let totals = subscribers.remove(ClientId(2)).unwrap();
        let totals = totals.totals(&agent(9, 105));
        assert_eq!((totals.seen, totals.written, totals.filtered), (3, 3, 0));
        assert_eq!(totals.lost["socket-client"], 0);
    }

    #[test]
    fn what_the_filter_does_not_want_is_counted_as_that() {
        let mut subscribers = Subscribers::default();
        let (queue, mut reader) = channel(10);
        let wish = Wish::Events(Filter::parse("port 1").unwrap());
        let subscriber = Subscriber::new(ClientId(1), wish, queue, Arc::default());
        let start = b"start".to_vec();
        subscribers.add(subscriber, TallySettings::default(), start, agent(0, 0));
        let (event, facts, mut lines) = (samples::full(), samples::facts(), Lines::default());
        subscribers.accept(&mut lines.of(&event, &facts)).unwrap();
        let line = |totals: &Totals| Ok(format!("{} {}", totals.seen, totals.filtered).into());
        subscribers.end(&agent(0, 1), line).unwrap();
        assert_eq!(reader.try_recv().unwrap().as_ref(), b"start");
        assert_eq!(reader.try_recv().unwrap().as_ref(), b"1 1");
    }

    fn counts(counts: &[(&'static str, u64)]) -> Counts {
        let named = |(name, count): &(&'static str, u64)| (Cow::Borrowed(*name), *count);
        counts.iter().map(named).collect()
    }

    /// An agent that has lost and counted so many.
    fn agent(lost: u64, sent: u64) -> Totals {
        Totals {
            lost: counts(&[
                ("ring-full", lost),
                (LOST_SOCKET_CLIENT, lost),
                (LOST_EVENT_LOG, lost),
            ]),
            kernel_counts: counts(&[("sent", sent)]),
            ..Totals::default()
        }
    }
}
