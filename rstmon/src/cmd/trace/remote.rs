//! `rstmon trace` through a running agent: the events of its control socket (docs/socket.md).
//!
//! In the end the agent is asked what it has counted and lost meanwhile, so that the totals are as they
//! are of a capture of one's own.

use super::TraceArgs;
use super::output::{Output, quiet_if_reader_left};
use super::stdout::{End, reader_left, watched_stdout};
use crate::agent::notice::warn;
use crate::agent::socket::{ClientRequest, PROTOCOL, Want};
use crate::cmd::exit::Failure;
use crate::cmd::start::clock_ns;
use crate::event::capture::CaptureFacts;
use crate::event::json_line::parse_json_line;
use crate::filter::Filter;
use crate::pipeline::EventSink;
use crate::sink::jsonl::{END_SCHEMA, START_SCHEMA};
use crate::sink::totals::Totals;
use nix::time::ClockId;
use serde::Deserialize;
use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};

/// Stage name of events that this client did not take in time.
const LOST_AT_AGENT: &str = "socket-client";
/// How long the agent may take to say what it has counted and lost.
const END_TIME: Duration = Duration::from_secs(2);

/// What tells one line from another, and the members of those that are no events.
#[derive(Deserialize)]
struct AnyLine {
    schema: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    events: u64,
}

/// Shows an agent's events until a signal, `-c`, `--duration`, or the agent's end.
pub(super) fn run_remote(socket: &Path, args: &TraceArgs, filter: &Filter) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::run_time(format!("cannot start the event loop: {error}")))?;
    let mut remote = Remote {
        output: Output::new(args),
        has_started: false,
        facts: CaptureFacts::default(),
        totals: Totals::default(),
    };
    let outcome = runtime.block_on(remote.run(socket, args, filter));
    let reader_left = matches!(&outcome, Ok(Over::ReaderLeft));
    let outcome = outcome.map(drop);
    // Of what never began, totals would say that nothing was lost.
    if reader_left || !remote.has_started {
        return outcome;
    }
    let now = clock_ns(ClockId::CLOCK_REALTIME)?;
    let settled = remote.output.settle(&mut remote.totals);
    let finished = remote.output.finish(&remote.totals, Some(now));
    outcome.and(finished).and(settled)
}

/// A client of an agent.
struct Remote {
    output: Output,
    /// Whether the agent has taken this client.
    has_started: bool,
    facts: CaptureFacts,
    totals: Totals,
}

/// The two halves of a connection to an agent.
struct Connection {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

/// Why no more is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Enough was shown, or a signal came: the agent has not said its totals yet.
    Enough,
    /// The agent has ended, and said its totals.
    AgentEnded,
    /// Nobody reads standard output any more.
    ReaderLeft,
}

/// Says what is wanted.
async fn say(writer: &mut OwnedWriteHalf, want: Want, filter: &Filter) -> io::Result<()> {
    let request = ClientRequest {
        rstmon: PROTOCOL,
        want,
        filter: filter.to_string(),
        every_ms: ClientRequest::USUAL_INTERVAL_MS,
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// Connects and asks for events.
async fn ask(socket: &Path, filter: &Filter) -> Result<Connection, Failure> {
    let fail = |error: io::Error| super::no_agent(socket, &error);
    let stream = UnixStream::connect(socket).await.map_err(fail)?;
    let (reader, mut writer) = stream.into_split();
    match say(&mut writer, Want::Events, filter).await {
        Ok(()) => {}
        // An agent that has let this client go has said why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(fail(error)),
    }
    let lines = BufReader::new(reader).lines();
    Ok(Connection { lines, writer })
}

impl Remote {
    async fn run(
        &mut self,
        socket: &Path,
        args: &TraceArgs,
        filter: &Filter,
    ) -> Result<Over, Failure> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| unread(&error))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| unread(&error))?;
        self.output
            .end_with(End::on_signal_or(args.duration).map_err(|error| unread(&error))?);
        let stdout = watched_stdout();
        let deadline = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let mut connection = ask(socket, filter).await?;
        let over = tokio::select! {
            _ = interrupt.recv() => Over::Enough,
            _ = terminate.recv() => Over::Enough,
            () = deadline => Over::Enough,
            () = reader_left(stdout.as_ref()) => Over::ReaderLeft,
            over = self.watch(&mut connection.lines) => over?,
        };
        if over == Over::Enough {
            self.ask_totals(&mut connection).await;
        }
        Ok(over)
    }

    /// Shows what comes. To be left off at any await: a line is taken whole or not at all.
    async fn watch(
        &mut self,
        lines: &mut Lines<BufReader<OwnedReadHalf>>,
    ) -> Result<Over, Failure> {
        while !self.output.is_full() {
            let Some(line) = lines.next_line().await.map_err(|error| unread(&error))? else {
                return Err(Failure::run_time("the agent has gone"));
            };
            if let Some(over) = self.take(&line)? {
                return Ok(over);
            }
        }
        Ok(Over::Enough)
    }

    /// Takes one line; why it was the last, if it was.
    fn take(&mut self, line: &str) -> Result<Option<Over>, Failure> {
        let malformed = |error: &dyn std::fmt::Display| {
            Failure::run_time(format!(
                "the agent says what rstmon does not understand: {error}"
            ))
        };
        let any: AnyLine = serde_json::from_str(line).map_err(|error| malformed(&error))?;
        match any.schema.as_str() {
            START_SCHEMA => {
                self.facts = serde_json::from_str(line).map_err(|error| malformed(&error))?;
                self.has_started = true;
                let now = clock_ns(ClockId::CLOCK_REALTIME)?;
                let started = self.output.start(&self.facts, Some(now));
                return written_or_over(started);
            }
            END_SCHEMA => {
                let agent = serde_json::from_str(line).map_err(|error| malformed(&error))?;
                self.take_totals(agent);
                return Ok(Some(Over::AgentEnded));
            }
            "rstmon.error/1" => {
                let message = format!("the agent refuses: {}", any.message);
                return Err(Failure::run_time(message));
            }
            "rstmon.lost/1" => {
                let lost = self.totals.lost.entry(Cow::Borrowed(LOST_AT_AGENT));
                *lost.or_default() += any.events;
            }
            _ => {
                let event = parse_json_line(line.as_bytes()).map_err(|error| malformed(&error))?;
                self.totals.seen += 1;
                self.totals.count_written(event.verdict.cause);
                let shown = self.output.show(&event, &self.facts);
                return written_or_over(shown.and_then(|()| self.output.flush()));
            }
        }
        Ok(None)
    }

    /// Asks the agent what it has counted and lost since this client came. Without an answer it is not
    /// known, which is said.
    async fn ask_totals(&mut self, connection: &mut Connection) {
        let answer = async {
            say(&mut connection.writer, Want::End, &Filter::all()).await?;
            // Events that were under way when enough was shown are passed over.
            while let Some(line) = connection.lines.next_line().await? {
                let any: AnyLine = serde_json::from_str(&line)?;
                if any.schema == END_SCHEMA {
                    return Ok(serde_json::from_str(&line)?);
                }
            }
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        let answer: Result<io::Result<Totals>, _> = tokio::time::timeout(END_TIME, answer).await;
        match answer.map_err(io::Error::from).flatten() {
            Ok(totals) => self.take_totals(totals),
            Err(error) => warn(&format!(
                "the agent did not say what it has counted and lost meanwhile: {error}"
            )),
        }
    }

    /// Takes over what only the agent knows.
    fn take_totals(&mut self, agent: Totals) {
        self.totals.seen += agent.filtered;
        self.totals.filtered = agent.filtered;
        self.totals.lost = agent.lost;
        self.totals.kernel_counts = agent.kernel_counts;
    }
}

fn unread(error: &io::Error) -> Failure {
    Failure::run_time(format!("cannot read the agent's events: {error}"))
}

/// Whether it is over, because the reader of standard output has left.
fn written_or_over(written: io::Result<()>) -> Result<Option<Over>, Failure> {
    let over = matches!(&written, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
    quiet_if_reader_left(written).map(|()| over.then_some(Over::ReaderLeft))
}
