//! `rstmon top`: who is resetting what, and why, at a look.
//!
//! Takes its events from a running agent, else from a capture of its own, or from a recording; draws
//! on a terminal, else prints.

use crate::agent::client::cannot_ask;
use crate::agent::socket::DEFAULT_SOCKET;
use crate::cmd::exit::{ExitCode, Failure};
use crate::cmd::session::Session;
use crate::cmd::start::{CaptureArgs, asks_no_agent, refuse_own_flag, start_capture};
use crate::cmd::stdout::{End, Stdout};
use crate::cmd::trace::Color;
use crate::filter::Filter;
use crate::kernel::port_range::read_port_range;
use crate::metrics::tally::TallySettings;
use crate::sink::terminal::read_style;
use crate::top::batch::{render_json, render_text};
use crate::top::columns::CellContext;
use crate::top::run::{Look, outcome, run};
use crate::top::source::replay::Speed;
use crate::top::source::{Feeder, Feeds, SourceEvent, Wishes, agent, own, replay};
use crate::top::state::{Header, State};
use crate::top::theme::Theme;
use clap::{Args, ValueEnum};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

/// Feeds that may wait: the source waits for the screen, not the screen for old pictures.
const WAITING_FEEDS: usize = 4;

/// How often is looked whether a signal came, where nothing else does.
const SIGNAL_LOOK: Duration = Duration::from_millis(100);

/// Form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrintFormat {
    /// Tables for people
    Text,
    /// One JSON object a picture, on a line
    Json,
}

/// Arguments of `rstmon top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Which events, in the language of `rstmon trace`
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Seconds between two pictures
    #[arg(short, long, value_name = "SECONDS", default_value = "0.5", value_parser = parse_delay)]
    pub delay: Duration,
    /// Print instead of drawing; so does a standard output that is no terminal
    #[arg(short, long)]
    pub batch: bool,
    /// Stop after this many pictures
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print in this form
    #[arg(short, long, value_enum)]
    pub output: Option<PrintFormat>,
    /// Show a recording of `rstmon trace -w`
    #[arg(short, long, value_name = "FILE",
          conflicts_with_all = ["connect", "mode", "btf", "max_events_per_sec", "ebpf_log"])]
    pub read: Option<PathBuf>,
    /// How many times as fast as it was recorded; 0: at once
    #[arg(long, value_name = "N", default_value = "1", requires = "read", value_parser = parse_speed)]
    pub speed: Speed,
    /// Take the events of the agent at this socket; 'none': capture here even if an agent runs
    #[arg(long, value_name = "SOCKET")]
    pub connect: Option<PathBuf>,
    /// Leave the mouse to the terminal
    #[arg(long)]
    pub no_mouse: bool,
    /// Colour
    #[arg(long, value_enum, default_value_t)]
    pub color: Color,
    /// Own capture
    #[command(flatten)]
    pub capture: CaptureArgs,
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("`{text}` is no number of seconds from 0.1 to 3600")),
    }
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    match text.trim_start_matches('x').parse::<f64>() {
        Ok(0.0) => Ok(Speed::AtOnce),
        Ok(times) if times > 0.0 && times.is_finite() => Ok(Speed::Times(times)),
        _ => Err(format!(
            "`{text}` is no speed; write for example 1, 10 or 0"
        )),
    }
}

/// Runs the command.
pub fn run_top(args: &TopArgs) -> Result<(), Failure> {
    let filter =
        Filter::parse(&args.filter.join(" ")).map_err(|error| Failure::usage(error.to_string()))?;
    refuse_own_flag(args.connect.as_deref(), args.capture.first_given())?;
    let (wishes, heard) = channel();
    let (feeds, fed) = sync_channel(WAITING_FEEDS);
    start_source(args, &filter, heard, feeds)?;
    let style = read_style(args.color.into());
    let context = CellContext {
        now_ns: 0,
        unicode: style.unicode,
        time_zone: style.time_zone,
    };
    let is_to_print = args.batch || args.output.is_some() || !io::stdout().is_terminal();
    let hindrance = if is_to_print {
        None
    } else {
        undrawable(env::var("TERM").ok().as_deref())
    };
    let header = first_header(&fed)?;
    if let Some(why) = hindrance {
        // Without a standard error there is nobody to tell.
        let _ = writeln!(anstream::stderr(), "rstmon: {why}: printing, as with -b");
    }
    if is_to_print || hindrance.is_some() {
        return print(args, &header, &fed, &context, style.width);
    }
    let state = State::new(header, filter.to_string(), context);
    let look = Look {
        theme: Theme::new(style.color),
        mouse: !args.no_mouse,
        count: args.count,
        ends_soon: args.read.is_some() && args.speed == Speed::AtOnce,
    };
    run(state, fed, &wishes, &look)
}

/// Why a terminal of this `TERM` cannot be drawn on: what moves its cursor is not known, or it has none.
fn undrawable(term: Option<&str>) -> Option<&'static str> {
    match term {
        None | Some("") => Some("TERM is not set"),
        Some("dumb") => Some("TERM=dumb cannot be drawn on"),
        Some(_) => None,
    }
}

/// Starts the source that the arguments ask for, or the first that there is.
fn start_source(
    args: &TopArgs,
    filter: &Filter,
    heard: Wishes,
    feeds: Feeds,
) -> Result<(), Failure> {
    let delay = args.delay;
    let settings = TallySettings::default().with_ephemeral_ports(read_port_range());
    let feeder = Feeder::new(filter.clone(), settings, delay);
    if let Some(path) = args.read.clone() {
        let speed = args.speed;
        return start(move || replay::run(&path, speed, feeder, &heard, &feeds));
    }
    if let Some(socket) = agent_socket(args, filter)? {
        let filter = filter.clone();
        return start(move || agent::run(&socket, filter, delay, &heard, &feeds));
    }
    let started =
        start_capture(&args.capture, &Filter::all().pushdown()).map_err(with_both_ways)?;
    let session = Session::new(started, Filter::all());
    start(move || own::run(session, feeder.keeping_all(), &heard, &feeds))
}

/// The socket of the agent to ask; none where this process is to capture.
fn agent_socket(args: &TopArgs, filter: &Filter) -> Result<Option<PathBuf>, Failure> {
    match &args.connect {
        Some(socket) if asks_no_agent(socket) => Ok(None),
        Some(socket) => match agent::connect(socket, filter, args.delay) {
            Ok(_) => Ok(Some(socket.clone())),
            Err(error) => Err(cannot_ask(socket, &error)),
        },
        None => {
            let socket = Path::new(DEFAULT_SOCKET);
            let answers =
                args.capture.is_default() && agent::connect(socket, filter, args.delay).is_ok();
            Ok(answers.then(|| socket.to_owned()))
        }
    }
}

/// Where a privilege is missing, an agent would do.
fn with_both_ways(failure: Failure) -> Failure {
    if failure.code != ExitCode::Privilege {
        return failure;
    }
    Failure::privilege(format!(
        "{failure}; or ask root to run `rstmon agent --socket-group GROUP` with a group that you are \
         in, whose events `rstmon top` then shows"
    ))
}

fn start(source: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    std::thread::Builder::new()
        .name("source".to_owned())
        .spawn(source)
        .map(drop)
        .map_err(|error| Failure::run_time(format!("cannot start a thread: {error}")))
}

/// What the source says first.
fn first_header(source: &Receiver<SourceEvent>) -> Result<Header, Failure> {
    match source.recv() {
        Ok(SourceEvent::Started(header)) => Ok(*header),
        Ok(SourceEvent::Ended(ended)) => Err(Failure::run_time(ended.why)),
        Ok(SourceEvent::Feed(_) | SourceEvent::Counting(_)) | Err(_) => {
            Err(Failure::run_time("the source said nothing"))
        }
    }
}

/// Prints a picture at each interval.
fn print(
    args: &TopArgs,
    header: &Header,
    source: &Receiver<SourceEvent>,
    context: &CellContext,
    width: Option<u16>,
) -> Result<(), Failure> {
    let mut left = args.count;
    let mut is_first = true;
    let end = End::on_signal_or(None)
        .map_err(|error| Failure::run_time(format!("cannot take signals: {error}")))?;
    let mut stdout = Stdout::new(io::stdout());
    stdout.end_with(end.clone());
    while left != Some(0) {
        let feed = match receive(source, &end) {
            Some(SourceEvent::Feed(feed)) => feed,
            Some(SourceEvent::Started(_) | SourceEvent::Counting(_)) => continue,
            Some(SourceEvent::Ended(ended)) => return outcome(Some(&ended)),
            None => return Ok(()),
        };
        let picture = match args.output {
            Some(PrintFormat::Json) => render_json(header, &feed)
                .map_err(|error| Failure::run_time(format!("no JSON: {error}")))?,
            Some(PrintFormat::Text) | None => {
                let gap = if is_first { "" } else { "\n" };
                format!("{gap}{}", render_text(header, &feed, context, width))
            }
        };
        is_first = false;
        match stdout.write_all(picture.as_bytes()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            // A reader that takes nothing misses the picture, and the command ends.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
            Err(error) => return Err(Failure::run_time(format!("cannot print: {error}"))),
        }
        left = left.map(|left| left - 1);
    }
    // Of a recording that is read at once the last picture is no good news where it is damaged.
    if args.speed == Speed::AtOnce
        && let Some(SourceEvent::Ended(ended)) = receive(source, &end)
    {
        return outcome(Some(&ended));
    }
    Ok(())
}

/// What the source says next; nothing once it says no more, or the command shall end.
fn receive(source: &Receiver<SourceEvent>, end: &End) -> Option<SourceEvent> {
    while !end.has_come() {
        match source.recv_timeout(SIGNAL_LOOK) {
            Ok(said) => return Some(said),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::undrawable;

    #[test]
    fn only_a_terminal_with_a_cursor_is_drawn_on() {
        for term in [None, Some(""), Some("dumb")] {
            assert!(undrawable(term).is_some(), "{term:?}");
        }
        for term in ["xterm-256color", "linux", "tmux"] {
            assert_eq!(undrawable(Some(term)), None, "{term}");
        }
    }
}
