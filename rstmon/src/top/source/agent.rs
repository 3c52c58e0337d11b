//! A running agent: it keeps the board, for this client and its filter, and sends it at the interval.

use super::{Feeds, SourceEvent, Wishes};
use crate::agent::socket::{BoardLine, ClientRequest, PROTOCOL, Want};
use crate::event::capture::CaptureFacts;
use crate::event::json_line::parse_json_line;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::sink::jsonl::{END_SCHEMA, START_SCHEMA};
use crate::top::state::Header;
use crate::top::update::Feed;
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

/// How long a read waits before wishes are heard.
const READ_TIME: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct AnyLine {
    schema: String,
    #[serde(default)]
    message: String,
}

/// What comes after.
enum Next {
    Again(Filter),
    Gone,
}

/// Runs until nobody wishes anything any more. `filter` is the first wish.
pub fn run(socket: &Path, filter: Filter, interval: Duration, wishes: &Wishes, feeds: &Feeds) {
    let mut filter = filter;
    loop {
        match watch(socket, &filter, interval, wishes, feeds) {
            Ok(Next::Gone) => return,
            Ok(Next::Again(wish)) => filter = wish,
            Err(error) => {
                let why = format!("the agent: {error}");
                let _ = feeds.send(SourceEvent::Ended { why, failed: true });
                // A wish may find the agent back.
                match wishes.recv() {
                    Ok(wish) => filter = wish,
                    Err(_) => return,
                }
            }
        }
    }
}

/// Connects and says what is wanted.
pub fn connect(socket: &Path, filter: &Filter, interval: Duration) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    let request = ClientRequest {
        rstmon: PROTOCOL,
        want: Want::Board,
        filter: filter.to_string(),
        every_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
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
    let mut events = Vec::new();
    loop {
        match wishes.try_recv() {
            Ok(wish) => return Ok(Next::Again(wish)),
            Err(TryRecvError::Disconnected) => return Ok(Next::Gone),
            Err(TryRecvError::Empty) => {}
        }
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Err(io::Error::other("it has gone")),
            Ok(_) => {
                if let Some(said) = understand(&line, &mut events)?
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

/// What a line says to the loop; events wait for the board that counts them.
fn understand(line: &[u8], events: &mut Vec<Event>) -> io::Result<Option<SourceEvent>> {
    let any: AnyLine = serde_json::from_slice(line)?;
    match any.schema.as_str() {
        START_SCHEMA => {
            let facts: CaptureFacts = serde_json::from_slice(line)?;
            let source = "agent".to_owned();
            Ok(Some(SourceEvent::Started(Box::new(Header {
                source,
                facts,
            }))))
        }
        END_SCHEMA => Err(io::Error::other("it has ended")),
        "rstmon.error/1" => Err(io::Error::other(any.message)),
        "rstmon.board/1" => {
            let line: BoardLine = serde_json::from_slice(line)?;
            Ok(Some(SourceEvent::Feed(Box::new(Feed {
                board: line.board,
                events: std::mem::take(events),
                unshown: line.unshown,
                lost: line.lost,
            }))))
        }
        "rstmon.lost/1" => Ok(None),
        _ => {
            events.push(parse_json_line(line).map_err(io::Error::other)?);
            Ok(None)
        }
    }
}
