//! `rstmon trace` through a running agent: the events of its control socket (docs/socket.md).
//!
//! In the end the agent is asked what it has counted and lost meanwhile, so that the totals are as they
//! are of a capture of one's own.

use super::TraceArgs;
use super::output::{Output, quiet_if_reader_left};
use crate::agent::client::{cannot_ask, request_line, unless_let_go};
use crate::agent::socket::{ClientRequest, ERROR_SCHEMA, LOST_SCHEMA, Want};
use crate::agent::subscribers::LOST_SOCKET_CLIENT;
use crate::cmd::end_signals::EndSignals;
use crate::cmd::exit::Failure;
use crate::cmd::start::clock_ns;
use crate::cmd::stdout::{End, reader_left, watched_stdout};
use crate::event::capture::CaptureFacts;
use crate::event::json_line::parse_json_line;
use crate::filter::Filter;
use crate::pipeline::EventSink;
use crate::sink::jsonl::{END_SCHEMA, START_SCHEMA};
use crate::sink::totals::Totals;
use nix::time::ClockId;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// How long the agent may be silent when it is to say what it has counted and lost.
const END_TIME: Duration = Duration::from_secs(2);
/// The other end of a connection comes right after the first, if the agent has it and the filter wants it.
const OTHER_END_TIME: Duration = Duration::from_millis(100);

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
        facts: CaptureFacts::default(),
        totals: Totals::default(),
        has_totals: false,
    };
    let outcome = runtime.block_on(remote.run(socket, args, filter));
    if matches!(&outcome, Ok(Over::ReaderLeft)) {
        return Ok(());
    }
    if matches!(&outcome, Ok(Over::AgentEnded)) {
        // Or whoever leaves it running takes what is to come for watched.
        // Without a standard error there is nobody to tell.
        let _ = writeln!(
            anstream::stderr(),
            "rstmon: the agent has ended; no more events come"
        );
    }
    let now = clock_ns(ClockId::CLOCK_REALTIME)?;
    let settled = remote.output.settle(&mut remote.totals);
    let finished = if remote.has_totals {
        remote.output.finish(&remote.totals, Some(now))
    } else {
        // An end line would say that nothing was lost.
        remote.output.finish_without_totals()
    };
    outcome.map(drop).and(finished).and(settled)
}

/// A client of an agent.
struct Remote {
    output: Output,
    facts: CaptureFacts,
    totals: Totals,
    /// Whether the agent has said what it has counted and lost.
    has_totals: bool,
}

type AgentLines = Lines<BufReader<OwnedReadHalf>>;

/// The two halves of a connection to an agent.
struct Connection {
    lines: AgentLines,
    writer: OwnedWriteHalf,
}

/// Why no more is to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Enough was shown, or this command shall end: the agent is to be asked for its totals.
    Here,
    /// The agent has ended the conversation, and said its totals.
    AgentEnded,
    /// Nobody reads standard output any more.
    ReaderLeft,
}

/// Connects and asks for events.
async fn ask(socket: &Path, filter: &Filter) -> Result<Connection, Failure> {
    let fail = |error: io::Error| cannot_ask(socket, &error);
    let stream = UnixStream::connect(socket).await.map_err(fail)?;
    let (reader, mut writer) = stream.into_split();
    say(&mut writer, Want::Events, filter).await.map_err(fail)?;
    let lines = BufReader::new(reader).lines();
    Ok(Connection { lines, writer })
}

/// Says what is wanted.
async fn say(writer: &mut OwnedWriteHalf, want: Want, filter: &Filter) -> io::Result<()> {
    // Of no meaning without a board.
    let interval = Duration::from_millis(ClientRequest::USUAL_INTERVAL_MS);
    let line = request_line(want, filter, interval)?;
    unless_let_go(writer.write_all(&line).await)
}

impl Remote {
    async fn run(
        &mut self,
        socket: &Path,
        args: &TraceArgs,
        filter: &Filter,
    ) -> Result<Over, Failure> {
        let mut signals = EndSignals::watch().map_err(|error| unread(&error))?;
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
            () = signals.come() => Over::Here,
            () = deadline => Over::Here,
            () = reader_left(stdout.as_ref()) => Over::ReaderLeft,
            over = self.watch(&mut connection.lines) => over?,
        };
        if over != Over::Here {
            return Ok(over);
        }
        match self.end(&mut connection).await? {
            // As it was asked to.
            Over::AgentEnded => Ok(Over::Here),
            over => Ok(over),
        }
    }

    /// Shows what comes. To be left off at any await: a line is taken whole or not at all.
    async fn watch(&mut self, lines: &mut AgentLines) -> Result<Over, Failure> {
        while !self.output.is_full() {
            let over = if self.output.is_waiting() {
                // A line is taken whole or not at all.
                match tokio::time::timeout(OTHER_END_TIME, self.take_next(lines)).await {
                    Ok(over) => over?,
                    Err(_) => written_or_over(self.output.give_up_waiting())?,
                }
            } else {
                self.take_next(lines).await?
            };
            if let Some(over) = over {
                return Ok(over);
            }
        }
        Ok(Over::Here)
    }

    /// Asks for the agent's totals, and shows what was under way until they come.
    async fn end(&mut self, connection: &mut Connection) -> Result<Over, Failure> {
        let asked = say(&mut connection.writer, Want::End, &Filter::all()).await;
        asked.map_err(|error| unread(&error))?;
        loop {
            let next = self.take_next(&mut connection.lines);
            let Ok(next) = tokio::time::timeout(END_TIME, next).await else {
                return Err(Failure::run_time(format!(
                    "the agent did not say what it has counted and lost; it was silent for {} s",
                    END_TIME.as_secs()
                )));
            };
            if let Some(over) = next? {
                return Ok(over);
            }
        }
    }

    async fn take_next(&mut self, lines: &mut AgentLines) -> Result<Option<Over>, Failure> {
        let line = lines.next_line().await.map_err(|error| unread(&error))?;
        match line {
            Some(line) => self.take(&line),
            None => Err(Failure::run_time(
                "the agent has gone without saying what it has counted and lost",
            )),
        }
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
                let now = clock_ns(ClockId::CLOCK_REALTIME)?;
                let started = self.output.start(&self.facts, Some(now));
                return written_or_over(started);
            }
            END_SCHEMA => {
                let agent = serde_json::from_str(line).map_err(|error| malformed(&error))?;
                self.take_totals(agent);
                return Ok(Some(Over::AgentEnded));
            }
            ERROR_SCHEMA => {
                let message = format!("the agent refuses: {}", any.message);
                return Err(Failure::run_time(message));
            }
            LOST_SCHEMA => {
                let lost = self.totals.lost.entry(Cow::Borrowed(LOST_SOCKET_CLIENT));
                *lost.or_default() += any.events;
            }
            // Of those that were under way when enough was shown, as little is seen as of what comes later.
            _ if self.output.is_full() => {}
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

    /// Takes over what only the agent knows.
    fn take_totals(&mut self, agent: Totals) {
        self.totals.seen += agent.filtered;
        self.totals.filtered = agent.filtered;
        self.totals.lost = agent.lost;
        self.totals.kernel_counts = agent.kernel_counts;
        self.has_totals = true;
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
