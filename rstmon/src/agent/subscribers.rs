//! Clients that want events, as the capture thread sees them.
//!
//! Each has a queue of bounded size and a filter. A line is rendered once, for all. What a queue does
//! not take is lost to that client alone: it is told how much, and it is counted.

use crate::event::capture::CaptureFacts;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::sink::jsonl;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Stage name of events that a client did not take in time.
pub const LOST_SOCKET_CLIENT: &str = "socket-client";

/// Lines that may wait for a client.
pub const QUEUE_LINES: usize = 8_192;

/// One line for a client, shared with the others that want it.
pub type Line = Arc<[u8]>;

/// A client that wants events.
#[derive(Debug)]
pub struct Subscriber {
    /// Which.
    pub filter: Filter,
    /// Its queue; closed when it has left.
    pub queue: Sender<Line>,
    /// What its queue did not take, for it to be told.
    pub lost: Arc<AtomicU64>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Subscribers {
    all: Vec<Subscriber>,
    lost: u64,
    buffer: Vec<u8>,
}

impl Subscribers {
    /// Another client.
    pub fn add(&mut self, subscriber: Subscriber) {
        self.all.push(subscriber);
    }

    /// Hands an event to those that want it.
    pub fn accept(&mut self, event: &Event, facts: &CaptureFacts) -> io::Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        let mut line = None;
        let mut has_left = false;
        for subscriber in &self.all {
            if !subscriber.filter.matches(event) {
                continue;
            }
            let line = if let Some(line) = &line {
                line
            } else {
                self.buffer.clear();
                jsonl::render_event(event, facts, &mut self.buffer)?;
                line.insert(Line::from(self.buffer.as_slice()))
            };
            match subscriber.queue.try_send(Arc::clone(line)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    subscriber.lost.fetch_add(1, Ordering::Relaxed);
                    self.lost += 1;
                }
                Err(TrySendError::Closed(_)) => has_left = true,
            }
        }
        if has_left {
            self.all.retain(|subscriber| !subscriber.queue.is_closed());
        }
        Ok(())
    }

    /// Hands the last line to all, and lets them go.
    pub fn end(&mut self, line: &[u8]) {
        let line = Line::from(line);
        for subscriber in self.all.drain(..) {
            // A full queue has no room for it; the client sees the end of the stream.
            let _ = subscriber.queue.try_send(Arc::clone(&line));
        }
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
    use crate::sink::samples;
    use tokio::sync::mpsc::channel;

    #[test]
    fn a_client_that_does_not_read_loses_and_the_others_do_not() {
        let mut subscribers = Subscribers::default();
        let lost = Arc::new(AtomicU64::new(0));
        let (slow, _slow_reader) = channel(1);
        let (quick, mut quick_reader) = channel(10);
        let (gone, gone_reader) = channel(10);
        drop(gone_reader);
        for (queue, lost) in [
            (slow, Arc::clone(&lost)),
            (quick, Arc::default()),
            (gone, Arc::default()),
        ] {
            subscribers.add(Subscriber {
                filter: Filter::all(),
                queue,
                lost,
            });
        }
        for _ in 0..3 {
            subscribers
                .accept(&samples::full(), &samples::facts())
                .unwrap();
        }
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert_eq!(subscribers.lost(), 2);
        assert_eq!(subscribers.all.len(), 2);
        let mut lines = 0;
        while quick_reader.try_recv().is_ok() {
            lines += 1;
        }
        assert_eq!(lines, 3);
    }
}
