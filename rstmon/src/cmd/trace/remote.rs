//! `rstmon trace` through a running agent: the events of its control socket (docs/socket.md).

use super::TraceArgs;
use super::output::{Output, quiet_if_reader_left};
use super::stdout::End;
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
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{SignalKind, signal};

/// Stage name of events that this client did not take in time.
const LOST_AT_AGENT: &str = "socket-client";

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
    };
    let outcome = runtime.block_on(remote.watch(socket, args, filter));
    let now = clock_ns(ClockId::CLOCK_REALTIME)?;
    let settled = remote.output.settle(&mut remote.totals);
    let finished = remote.output.finish(&remote.totals, Some(now));
    outcome.and(finished).and(settled)
}

/// A client of an agent.
struct Remote {
    output: Output,
    facts: CaptureFacts,
    totals: Totals,
}

/// Connects and says what is wanted.
async fn ask(socket: &Path, filter: &Filter) -> Result<Lines<BufReader<OwnedReadHalf>>, Failure> {
    let fail = |reason: &dyn std::fmt::Display| {
        Failure::run_time(format!(
            "cannot ask the agent at {}: {reason}; is `rstmon agent` running, and are you root or \
             in its socket's group?",
            socket.display()
        ))
    };
    let stream = UnixStream::connect(socket).await.map_err(|e| fail(&e))?;
    let (reader, mut writer) = stream.into_split();
    let request = ClientRequest {
        rstmon: PROTOCOL,
        want: Want::Events,
        filter: filter.to_string(),
        every_ms: ClientRequest::USUAL_INTERVAL_MS,
    };
    let mut line = serde_json::to_vec(&request).map_err(|error| fail(&error))?;
    line.push(b'\n');
    writer
        .write_all(&line)
        .await
        .map_err(|error| fail(&error))?;
    // The other half stays open for as long as this client wants events.
    writer.forget();
    Ok(BufReader::new(reader).lines())
}

impl Remote {
    async fn watch(
        &mut self,
        socket: &Path,
        args: &TraceArgs,
        filter: &Filter,
    ) -> Result<(), Failure> {
        let fail = |error: io::Error| {
            Failure::run_time(format!("cannot read the agent's events: {error}"))
        };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
        self.output
            .end_with(End::on_signal_or(args.duration).map_err(fail)?);
        let deadline = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        let mut lines = ask(socket, filter).await?;
        while !self.output.is_full() {
            let line = tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = &mut deadline => return Ok(()),
                line = lines.next_line() => line.map_err(fail)?,
            };
            let Some(line) = line else {
                return Err(Failure::run_time("the agent has gone"));
            };
            if self.take(&line)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes one line; whether it was the last.
    fn take(&mut self, line: &str) -> Result<bool, Failure> {
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
            END_SCHEMA => return Ok(true),
            "rstmon.error/1" => return Err(Failure::usage(any.message)),
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
        Ok(false)
    }
}

/// Whether it is over, because the reader of standard output has left.
fn written_or_over(written: io::Result<()>) -> Result<bool, Failure> {
    let over = matches!(&written, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
    quiet_if_reader_left(written).map(|()| over)
}
