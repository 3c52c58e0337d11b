//! A running agent: it keeps the board, for this client and its filter, and sends it at the interval.

use super::{EVENTS_A_FEED, Feeds, SourceEvent, Wishes};
use crate::agent::client::{request_line, unless_let_go};
use crate::agent::socket::{BoardLine, ERROR_SCHEMA, LOST_SCHEMA, Want};
use crate::agent::subscribers::BOARD_SCHEMA;
use crate::event::capture::CaptureFacts;
use crate::event::json_line::parse_json_line;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::sink::jsonl::{END_SCHEMA, START_SCHEMA};
use crate::top::state::{Ended, Header};
use crate::top::update::{Counting, Feed, Wish};
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

/// How long a read waits before wishes are heard.
const READ_TIME: Duration = Duration::from_millis(100);
/// How the agent begins the line of an event: one that is not shown need not be understood.
const EVENT_LINE: &[u8] = br#"{"schema":"rstmon.event/1","#;

#[derive(Deserialize)]
struct AnyLine {
    schema: String,
    #[serde(default)]
    message: String,
    /// Lines that this client lost.
    #[serde(default)]
    events: u64,
}

/// Events that wait for the board that counts them: no more than a feed carries.
#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    /// Events since this watch began that came, or were lost on their way here, and are not shown.
    unshown: u64,
}

/// What comes after.
enum Next {
    Again(Wish),
    Gone,
}

/// Runs until nobody wishes anything any more. `filter` is the first wish.
pub fn run(socket: &Path, filter: Filter, interval: Duration, wishes: &Wishes, feeds: &Feeds) {
    let mut filter = filter;
    loop {
        let wish = match watch(socket, &filter, interval, wishes, feeds) {
            Ok(Next::Gone) => return,
            Ok(Next::Again(wish)) => wish,
            Err(error) => {
                let why = format!("the agent: {error}");
                let _ = feeds.send(SourceEvent::Ended(Ended { why, failed: true }));
                // A wish may find the agent back.
                match wishes.recv() {
                    Ok(wish) => wish,
                    Err(_) => return,
                }
            }
        };
        // The agent keeps a board for each connection: this one's goes with it.
        let counting = if wish.from_zero {
            Counting::FromStart
        } else {
            Counting::FromNow
        };
        let _ = feeds.send(SourceEvent::Counting(counting));
        filter = wish.filter;
    }
}

/// Connects and says what is wanted.
pub fn connect(socket: &Path, filter: &Filter, interval: Duration) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    let line = request_line(Want::Board, filter, interval)?;
    unless_let_go(stream.write_all(&line))?;
    stream.set_read_timeout(Some(READ_TIME))?;
    Ok(stream)
}

fn watch(
    socket: &Path,
    filter: &Filter,
    interval: Duration,
    wishes: &Wishes,
    feeds: &Feeds,
) -> io::Result<Next> {
    let mut reader = BufReader::new(connect(socket, filter, interval)?);
    let mut line = Vec::new();
    let mut waiting = Waiting::default();
    loop {
        match wishes.try_recv() {
            Ok(wish) => return Ok(Next::Again(wish)),
            Err(TryRecvError::Disconnected) => return Ok(Next::Gone),
            Err(TryRecvError::Empty) => {}
        }
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Err(io::Error::other("it has gone")),
            Ok(_) => {
                if let Some(said) = understand(&line, &mut waiting)?
                    && feeds.send(said).is_err()
                {
                    return Ok(Next::Gone);
                }
                line.clear();
            }
            // What was read so far stays in the line.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a line says to the loop, if it does not wait for the next board.
fn understand(line: &[u8], waiting: &mut Waiting) -> io::Result<Option<SourceEvent>> {
    let is_full = waiting.events.len() >= EVENTS_A_FEED;
    if is_full && line.starts_with(EVENT_LINE) {
        waiting.unshown += 1;
        return Ok(None);
    }
    let any: AnyLine = serde_json::from_slice(line)?;
    match any.schema.as_str() {
        START_SCHEMA => {
            let facts: CaptureFacts = serde_json::from_slice(line)?;
            let source = "agent".to_owned();
            return Ok(Some(SourceEvent::Started(Box::new(Header {
                source,
                facts,
            }))));
        }
        END_SCHEMA => return Err(io::Error::other("it has ended")),
        ERROR_SCHEMA => return Err(io::Error::other(any.message)),
        BOARD_SCHEMA => {
            let line: BoardLine = serde_json::from_slice(line)?;
            return Ok(Some(SourceEvent::Feed(Box::new(Feed {
                board: line.board,
                events: std::mem::take(&mut waiting.events),
                unshown: line.unshown + waiting.unshown,
                lost: Some(line.lost),
            }))));
        }
        LOST_SCHEMA => waiting.unshown += any.events,
        _ if is_full => waiting.unshown += 1,
        _ => waiting
            .events
            .push(parse_json_line(line).map_err(io::Error::other)?),
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

    use super::*;

    const EVENTS: &str = include_str!("../../../../docs/top-demo.jsonl");

    #[test]
    fn what_waits_for_the_board_is_bounded_and_the_rest_is_counted() {
        let mut waiting = Waiting::default();
        let lines = EVENTS.lines().cycle().take(EVENTS_A_FEED + 700);
        for (n, line) in lines.enumerate() {
            // Of another order of members, too.
            let line = if n % 2 == 0 {
                line.to_owned()
            } else {
                line.replacen(r#"{"schema""#, r#"{ "schema""#, 1)
            };
            assert!(understand(line.as_bytes(), &mut waiting).unwrap().is_none());
        }
        assert_eq!(waiting.events.len(), EVENTS_A_FEED);
        let lost = br#"{"schema":"rstmon.lost/1","stage":"socket-client","events":30}"#;
        assert!(understand(lost, &mut waiting).unwrap().is_none());
        assert_eq!(waiting.unshown, 730);
    }
}
