//! Where the events of `trace` go: standard output as text or JSON lines, and a recording.
//!
//! Lines gather in memory and leave in large writes; the live loop flushes well within the 100 ms
//! that the contract allows. A reader that went away is the quiet end of the command, not a failure.
//! What a reader never took is lost, and counted: it does not hold up the end.

use super::{OutputFormat, TraceArgs};
use crate::cmd::exit::Failure;
use crate::cmd::stdout::{End, GRACE, Stdout};
use crate::diagnose::key_facts::key_facts;
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::event::model::{Cause, Event, Kind};
use crate::pipeline::EventSink;
use crate::sink::jsonl;
use crate::sink::recording::{RecordingError, Writer};
use crate::sink::terminal::read_style;
use crate::sink::text::{self, TextStyle};
use crate::sink::totals::Totals;
use rstmon_common::wire::RawEvent;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes that gather before they are written.
const BUFFER_BYTES: usize = 64 * 1024;
/// Stage name of events that the reader of standard output did not take.
const LOST_STUCK: &str = "output-stuck";
/// Stage name of events that could not be written to standard output.
const LOST_FAILED: &str = "output-failed";

/// Form of the lines.
enum Form {
    Text(TextStyle),
    /// Both ends of a reset as one line.
    Joined(TextStyle),
    Jsonl,
}

impl Form {
    fn of(args: &TraceArgs) -> Self {
        let style = || read_style(args.color.into());
        match args.format() {
            OutputFormat::Jsonl => Self::Jsonl,
            OutputFormat::Text if args.join => Self::Joined(style()),
            OutputFormat::Text => Self::Text(style()),
        }
    }
}

/// A failed write of the recording, which nobody must take for one of standard output.
#[derive(Debug, Error)]
#[error("cannot write the recording {}: {reason}", path.display())]
struct RecordingUnwritten {
    path: PathBuf,
    reason: RecordingError,
}

/// A recording that is being written.
struct Recording {
    path: PathBuf,
    writer: Writer<File>,
}

/// What standard output does with what is written to it. But for the first, nothing is written to it
/// any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// It takes it.
    Takes,
    /// It took nothing for too long.
    Stuck,
    /// A write failed, perhaps in the middle of a line, which nothing must stand behind.
    Failed,
    /// Nobody reads it any more: what is missing is wanted by nobody.
    Left,
}

/// The sink of `trace`.
pub(super) struct Output {
    form: Form,
    /// First ends of resets whose other end comes in a moment, by its number; only when joined.
    waiting: BTreeMap<u64, Event>,
    stdout: Stdout<io::Stdout>,
    lines: jsonl::EventLines,
    buffer: Vec<u8>,
    /// Causes of the events that are not known to have been written whole.
    unwritten: Vec<Cause>,
    reader: Reader,
    recording: Option<Recording>,
    /// Events that may still be written (`-c N`).
    remaining: Option<u64>,
}

impl Output {
    /// An output as the arguments ask for it. The recording is opened by [`Self::record_to`].
    pub(super) fn new(args: &TraceArgs) -> Self {
        Self {
            form: Form::of(args),
            waiting: BTreeMap::new(),
            stdout: Stdout::new(io::stdout()),
            lines: jsonl::EventLines::new(),
            buffer: Vec::with_capacity(2 * BUFFER_BYTES),
            unwritten: Vec::new(),
            reader: Reader::Takes,
            recording: None,
            remaining: args.count,
        }
    }

    /// Gives up on a reader that takes nothing once the command shall end.
    pub(super) fn end_with(&mut self, end: End) {
        self.stdout.end_with(end);
    }

    /// Starts the recording of `-w FILE`.
    pub(super) fn record_to(&mut self, path: &Path, facts: &CaptureFacts) -> Result<(), Failure> {
        let fail = |reason: &dyn std::fmt::Display| {
            Failure::run_time(format!(
                "cannot write the recording {}: {reason}",
                path.display()
            ))
        };
        let file = File::create(path).map_err(|error| fail(&error))?;
        let writer = Writer::new(file, facts).map_err(|error| fail(&error))?;
        self.recording = Some(Recording {
            path: path.to_owned(),
            writer,
        });
        Ok(())
    }

    /// Writes the start line, or the header for people.
    ///
    /// What this capture cannot see is said on standard error, or silence would be taken for none.
    pub(super) fn start(&mut self, facts: &CaptureFacts, time_ns: Option<i64>) -> io::Result<()> {
        if !matches!(self.form, Form::Jsonl)
            && let Some(notice) = render_blindness(facts)
        {
            // Without a standard error there is nobody to tell.
            let _ = write!(anstream::stderr(), "{notice}");
        }
        match &self.form {
            Form::Jsonl => self.buffer.extend(jsonl::render_start(facts, time_ns)?),
            // A file or a pipe that is cut up by columns is better off without.
            Form::Text(style) | Form::Joined(style) if io::stdout().is_terminal() => {
                self.buffer.extend(text::render_header(style).into_bytes());
            }
            Form::Text(_) | Form::Joined(_) => {}
        }
        self.flush()
    }

    /// Writes the end line; for people, the summary on standard error. Ends the recording.
    pub(super) fn finish(&mut self, totals: &Totals, time_ns: Option<i64>) -> Result<(), Failure> {
        self.print_waiting();
        let recorded = self.finish_recording(totals);
        let written = match &self.form {
            Form::Jsonl => jsonl::render_end(totals, time_ns)
                .map(|line| self.buffer.extend(line))
                .and_then(|()| self.flush()),
            Form::Text(_) | Form::Joined(_) => self.flush().map(|()| {
                // Without a standard error there is nobody to tell.
                let _ = write!(anstream::stderr(), "{}", text::render_summary(totals));
            }),
        };
        recorded?;
        quiet_if_reader_left(written)
    }

    /// The same of a recording that is cut: there is no end line, which would say that this is all.
    pub(super) fn finish_without_end(&mut self, totals: &Totals) -> Result<(), Failure> {
        match &self.form {
            Form::Jsonl => self.finish_without_totals(),
            Form::Text(_) | Form::Joined(_) => self.finish(totals, None),
        }
    }

    /// Writes what waits, and no end: what was lost is not known.
    pub(super) fn finish_without_totals(&mut self) -> Result<(), Failure> {
        self.print_waiting();
        quiet_if_reader_left(self.flush())
    }

    /// Ends the recording, if there is one.
    pub(super) fn finish_recording(&mut self, totals: &Totals) -> Result<(), Failure> {
        let recording = self.recording.take();
        recording.map_or(Ok(()), |recording| {
            recording.writer.finish(totals).map(drop).map_err(|error| {
                let path = recording.path.display();
                Failure::run_time(format!("cannot end the recording {path}: {error}"))
            })
        })
    }

    /// Writes what has gathered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() && self.reader == Reader::Takes {
            match self.stdout.write_all(&self.buffer) {
                Ok(()) => {
                    self.unwritten.clear();
                    let waiting = self.waiting.values().map(|first| first.verdict.cause);
                    self.unwritten.extend(waiting);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.reader = Reader::Stuck;
                }
                Err(error) => {
                    self.reader = match error.kind() {
                        io::ErrorKind::BrokenPipe => Reader::Left,
                        _ => Reader::Failed,
                    };
                    self.buffer.clear();
                    return Err(error);
                }
            }
        }
        self.buffer.clear();
        match &mut self.recording {
            Some(recording) => recording
                .writer
                .flush()
                .map_err(|error| recording.error(error)),
            None => Ok(()),
        }
    }
}

impl Output {
    /// Writes what waits, and takes back from the totals what standard output did not take. A failure if
    /// there is such.
    pub(super) fn settle(&mut self, totals: &mut Totals) -> Result<(), Failure> {
        self.print_waiting();
        let flushed = quiet_if_reader_left(self.flush());
        let stage = match self.reader {
            Reader::Takes | Reader::Left => return flushed,
            Reader::Stuck => LOST_STUCK,
            Reader::Failed => LOST_FAILED,
        };
        for cause in &self.unwritten {
            totals.count_unwritten(*cause, stage);
        }
        if self.reader == Reader::Failed {
            // Whoever made the write that failed tells it.
            return flushed;
        }
        Err(Failure::run_time(format!(
            "standard output took nothing for {} s, though rstmon was to end: {} events were not \
             written; let the reader read, or stop it",
            GRACE.as_secs(),
            self.unwritten.len()
        )))
    }

    /// Prints an event, with the other end if that came before; lets it wait if that is to come.
    fn accept_joined(&mut self, event: &Event) {
        // Events come in order: what should have come before this one does not come any more.
        let not_yet_due = self.waiting.split_off(&event.seq_no);
        self.print_waiting();
        self.waiting = not_yet_due;
        match (self.waiting.remove(&event.seq_no), event.story) {
            (Some(first), _) => {
                let (sent, arrived) = if event.kind == Kind::Sent {
                    (event, &first)
                } else {
                    (&first, event)
                };
                if let Form::Joined(style) = &self.form {
                    let line = text::render_story(sent, arrived, &key_facts(sent), style);
                    self.buffer.extend(line.into_bytes());
                }
            }
            (None, Some(other)) if other > event.seq_no => {
                self.waiting.insert(other, event.clone());
            }
            (None, _) => self.print(event),
        }
    }

    /// Prints what waits, when nothing has come for a while: the other end, which comes at once, was not
    /// wanted by the filter or was lost.
    pub(super) fn give_up_waiting(&mut self) -> io::Result<()> {
        self.print_waiting();
        self.flush()
    }

    /// Whether an end waits for the other.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Prints what waits in vain.
    fn print_waiting(&mut self) {
        for (_, first) in std::mem::take(&mut self.waiting) {
            self.print(&first);
        }
    }

    fn print(&mut self, event: &Event) {
        if let Form::Joined(style) = &self.form {
            let line = text::render_event(event, &key_facts(event), style);
            self.buffer.extend(line.into_bytes());
        }
    }

    fn record(&mut self, raw: &RawEvent, annotation: &Annotation) -> io::Result<()> {
        match &mut self.recording {
            Some(recording) => {
                let written = recording.writer.write_record(raw, annotation);
                written.map_err(|error| recording.error(error))
            }
            None => Ok(()),
        }
    }
}

impl Recording {
    /// The error in the form that a sink returns.
    fn error(&self, reason: RecordingError) -> io::Error {
        io::Error::other(RecordingUnwritten {
            path: self.path.clone(),
            reason,
        })
    }
}

impl Output {
    /// Writes one event, but not to the recording.
    pub(super) fn show(&mut self, event: &Event, facts: &CaptureFacts) -> io::Result<()> {
        match &self.form {
            Form::Jsonl => {
                let line = self.lines.render(event, facts)?;
                self.buffer.extend_from_slice(line);
            }
            Form::Text(style) => {
                let line = text::render_event(event, &key_facts(event), style);
                self.buffer.extend(line.into_bytes());
            }
            Form::Joined(_) => self.accept_joined(event),
        }
        self.unwritten.push(event.verdict.cause);
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }
}

impl EventSink for Output {
    fn accept(
        &mut self,
        event: &Event,
        raw: &RawEvent,
        annotation: &Annotation,
        facts: &CaptureFacts,
    ) -> io::Result<()> {
        let recorded = self.record(raw, annotation);
        // It is counted as written, whatever becomes of the recording.
        let shown = self.show(event, facts);
        recorded.and(shown)
    }

    fn accept_unwanted(
        &mut self,
        event: &Event,
        raw: &RawEvent,
        annotation: &Annotation,
    ) -> io::Result<()> {
        if let Some(first) = self.waiting.remove(&event.seq_no) {
            self.print(&first);
        }
        self.record(raw, annotation)
    }

    fn is_full(&self) -> bool {
        self.remaining == Some(0)
    }
}

/// What a capture cannot see, as a line: for standard error, at the start. `None`: it sees all.
///
/// `check` is told the mode: by itself it would tell of the best one that this host can have.
fn render_blindness(facts: &CaptureFacts) -> Option<String> {
    let mode = &facts.mode;
    let of_mode = format!("{mode}-mode");
    let ids = facts.degradations.iter().map(|it| it.id.as_ref());
    // That it is this mode is said already.
    let ids: Vec<&str> = ids.filter(|id: &&str| *id != of_mode).collect();
    let colon = if ids.is_empty() { "" } else { ": " };
    (!facts.degradations.is_empty()).then(|| {
        format!(
            "rstmon: {mode} mode{colon}{}; `rstmon check --mode {mode}` says what is not seen and \
             what to do\n",
            ids.join(", ")
        )
    })
}

/// Turns an error of the output into the command's outcome: a pipe whose reader left is a quiet end.
pub(super) fn quiet_if_reader_left(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(unwritten(&error)),
        Ok(()) => Ok(()),
    }
}

/// Says what could not be written: the recording names itself.
pub(super) fn unwritten(error: &io::Error) -> Failure {
    let is_recording = error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<RecordingUnwritten>);
    Failure::run_time(if is_recording {
        error.to_string()
    } else {
        format!("cannot write the events to standard output: {error}")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::capture::DegradationReport;

    #[test]
    fn what_is_not_seen_is_said_once_with_the_check_of_this_mode() {
        let notice = |ids: &[&str]| {
            let degradations = ids.iter().map(|id| DegradationReport {
                id: (*id).to_owned(),
                effect: String::new(),
                reason: String::new(),
                remedy: String::new(),
            });
            render_blindness(&CaptureFacts {
                mode: "classic".to_owned(),
                degradations: degradations.collect(),
                ..CaptureFacts::default()
            })
        };
        assert_eq!(notice(&[]), None);
        let ends = "; `rstmon check --mode classic` says what is not seen and what to do\n";
        let alone = notice(&["classic-mode"]).unwrap();
        assert_eq!(alone, format!("rstmon: classic mode{ends}"));
        let more = notice(&["classic-mode", "bpf-jit-off"]).unwrap();
        assert_eq!(more, format!("rstmon: classic mode: bpf-jit-off{ends}"));
    }
}
