//! `rstmon trace`: live events on standard output, or a recording's.

mod live;
mod output;
mod remote;
mod replay;

use crate::agent::socket::DEFAULT_SOCKET;
use crate::cmd::exit::Failure;
use crate::cmd::start::{CaptureArgs, asks_no_agent, refuse_own_flag};
use crate::filter::Filter;
use anstream::ColorChoice;
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Form of the events on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One line an event, for people
    Text,
    /// One JSON object a line, schema rstmon.event/1
    Jsonl,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// Arguments of `rstmon trace`.
#[derive(Debug, Args)]
#[command(after_help = crate::sink::text::render_legend())]
pub struct TraceArgs {
    /// Which events: kind, cause, state, pid, comm, port, lport, rport, host, net, cgroup, netns,
    /// container, runtime, pod, namespace, unit
    /// with and, or, not, ( ), lists, ranges and CIDR, e.g. 'kind sent and port 80,443'
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Form of the output [default: text on a terminal or with --join, else jsonl]
    #[arg(short, long, value_enum)]
    pub output: Option<OutputFormat>,
    /// Stop after this many events
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after this time, e.g. 10s, 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Read a recording instead of the kernel ('-': standard input)
    #[arg(short, long, value_name = "FILE",
          conflicts_with_all = ["write", "mode", "btf", "duration", "max_events_per_sec", "ebpf_log"])]
    pub read: Option<PathBuf>,
    /// Record all events to a file as well, whether or not the filter wants them
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Take the events of the agent at this socket; 'none': capture here even if an agent runs
    #[arg(long, value_name = "SOCKET", conflicts_with = "read")]
    pub connect: Option<PathBuf>,
    /// Show both ends of a reset within this machine as one line of text
    #[arg(long)]
    pub join: bool,
    /// Colour the text
    #[arg(long, value_enum, default_value_t)]
    pub color: Color,
    /// Live capture
    #[command(flatten)]
    pub capture: CaptureArgs,
}

/// Runs the command.
pub fn run_trace(args: &TraceArgs) -> Result<(), Failure> {
    let filter = parse_filter(&args.filter)?;
    if args.join && args.output == Some(OutputFormat::Jsonl) {
        return Err(Failure::usage(
            "--join is of the text; JSON lines name the other end's event in `story`",
        ));
    }
    refuse_what_cannot_be(args)?;
    match &args.read {
        Some(path) => replay::run_replay(path, args, filter),
        None => match agent_socket(args) {
            Some(socket) => remote::run_remote(&socket, args, &filter),
            None => live::run_live(args, filter),
        },
    }
}

/// Refuses what clap cannot know: that depends on what a value is.
fn refuse_what_cannot_be(args: &TraceArgs) -> Result<(), Failure> {
    if args.write.as_deref() == Some(Path::new("-")) {
        return Err(Failure::usage(
            "-w - would put the recording among the event lines, on standard output; record to a file \
             (`-w ./-` if its name is to be `-`), or into a pipe with `-w /dev/fd/3 3>&1 >/dev/null | …`",
        ));
    }
    let own = args.write.as_ref().map(|_| "--write");
    let own = own.or_else(|| args.capture.first_given());
    refuse_own_flag(args.connect.as_deref(), own)
}

/// The socket of the agent whose events are shown: the one that was asked for, or, where nothing was
/// asked for that only an own capture gives, that of an agent that runs.
fn agent_socket(args: &TraceArgs) -> Option<PathBuf> {
    match &args.connect {
        Some(socket) if asks_no_agent(socket) => None,
        Some(socket) => Some(socket.clone()),
        None if args.write.is_some() || !args.capture.is_default() => None,
        None => {
            let socket = Path::new(DEFAULT_SOCKET);
            let answers = std::os::unix::net::UnixStream::connect(socket).is_ok();
            answers.then(|| socket.to_owned())
        }
    }
}

/// The words of the command line as one filter.
fn parse_filter(words: &[String]) -> Result<Filter, Failure> {
    Filter::parse(&words.join(" ")).map_err(|error| Failure::usage(error.to_string()))
}

impl TraceArgs {
    /// The form that was asked for, or that fits standard output.
    fn format(&self) -> OutputFormat {
        self.output.unwrap_or_else(|| {
            if self.join || std::io::stdout().is_terminal() {
                OutputFormat::Text
            } else {
                OutputFormat::Jsonl
            }
        })
    }
}

/// Reads `10s`, `5m`, `1h30m`, `500ms`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let explain = || format!("`{text}` is not a time; write for example 10s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| explain())?;
    Duration::try_from(span).map_err(|_| explain())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("-3s").is_err());
        assert!(parse_duration("soon").is_err_and(|error| error.contains("`soon`")));
    }
}
