//! Clients that want events, as the capture thread sees them.
//!
//! Each has a queue of bounded size and a filter. A line is rendered once, for all. What a queue does
//! not take is lost to that client alone: it is told how much, and it is counted.

use super::lines::EventLine;
use super::socket::BoardLine;
use crate::board::Board;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::metrics::tally::TallySettings;
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
    filter: Filter,
    board: Option<Box<ClientBoard>>,
    /// Its queue; closed when it has left.
    queue: Sender<Line>,
    /// What its queue did not take, for it to be told.
    lost: Arc<AtomicU64>,
    /// Its first line.
    start_line: Line,
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
    /// A client with this queue, which is empty; the start line goes into it when the client has been
    /// taken: of what comes after, it gets everything.
    #[must_use]
    pub fn new(wish: Wish, queue: Sender<Line>, lost: Arc<AtomicU64>, start_line: Line) -> Self {
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
            filter,
            board,
            queue,
            lost,
            start_line,
        }
    }

    /// Counts an event for its board; whether its line is to be sent.
    fn takes(&mut self, event: &Event) -> bool {
        if !self.filter.matches(event) {
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

    /// Sends a line; how many were lost instead.
    fn send(&self, line: Line) -> u64 {
        match self.queue.try_send(line) {
            Ok(()) | Err(TrySendError::Closed(_)) => 0,
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                1
            }
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Subscribers {
    all: Vec<Subscriber>,
    lost: u64,
}

impl Subscribers {
    /// Another client.
    pub fn add(&mut self, mut subscriber: Subscriber, settings: TallySettings) {
        if let Some(board) = &mut subscriber.board {
            board.board = Board::new(settings);
        }
        // Its queue has room; if it has left, `turn` sees it.
        let _ = subscriber
            .queue
            .try_send(Arc::clone(&subscriber.start_line));
        self.all.push(subscriber);
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
            self.lost += subscriber.send(Arc::clone(shared));
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

    /// Hands the last line to all, and lets them go.
    pub fn end(&mut self, line: &[u8]) {
        let line = Line::from(line);
        for subscriber in self.all.drain(..) {
            // A full queue has no room for it; the client sees the end of the stream.
            let _ = subscriber.queue.try_send(Arc::clone(&line));
        }
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
    use tokio::sync::mpsc::channel;

    #[test]
    fn a_client_that_does_not_read_loses_and_the_others_do_not() {
        let mut subscribers = Subscribers::default();
        let lost = Arc::new(AtomicU64::new(0));
        let (slow, mut slow_reader) = channel(1);
        let (quick, mut quick_reader) = channel(10);
        let (gone, gone_reader) = channel(10);
        drop(gone_reader);
        for (queue, lost) in [
            (slow, Arc::clone(&lost)),
            (quick, Arc::default()),
            (gone, Arc::default()),
        ] {
            let start = Line::from(*b"start");
            let subscriber = Subscriber::new(Wish::Events(Filter::all()), queue, lost, start);
            subscribers.add(subscriber, TallySettings::default());
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
    }
}
