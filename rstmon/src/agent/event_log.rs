//! The event log: JSON lines into a file that is rotated, and to standard output or the journal.
//!
//! Fed by the capture thread, written by a thread of its own, because a disk may wait. Between them is
//! a queue of bounded size: what does not fit, and what cannot be written, is counted as lost at the
//! stage `event-log`, and the agent goes on. The file always ends with a whole line.

mod file;
mod journal;

use self::file::RotatedFile;
use super::lines::EventLine;
use super::settings::Settings;
use super::settings::values::EventsOutput;
use crate::cmd::exit::Failure;
use crate::filter::Filter;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Stage name of events that the log could not take.
pub const LOST_EVENT_LOG: &str = "event-log";

/// Bytes that gather before they are handed on.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that may wait: 8 MiB, some 100,000 events.
const WAITING_CHUNKS: usize = 128;
/// Empty buffers that are kept to be used again.
const KEPT_BUFFERS: usize = 2;

/// What the writing thread is told.
enum Message {
    /// Whole lines, and how many of them are events.
    Lines { bytes: Vec<u8>, events: u64 },
    /// Open the file again: somebody has moved it, or the limits have changed.
    Reopen(Reopen),
}

/// How the file is to be opened.
#[derive(Clone, Copy)]
struct Reopen {
    max_size: u64,
    keep: u32,
}

/// A log whose file can be written to, and whose thread is not there yet: threads are started once
/// privileges have been dropped.
pub struct OpenedLog {
    file: Option<RotatedFile>,
    settings: Settings,
}

impl OpenedLog {
    /// Opens the log that the settings ask for, if any. Fails if its file cannot be written to.
    pub fn open(settings: &Settings) -> Result<Option<Self>, Failure> {
        let open = |path: &PathBuf| {
            RotatedFile::open(path, settings.events_max_size.0, settings.events_keep).map_err(
                |error| {
                    Failure::run_time(format!(
                        "cannot write the event log {}: {error}; give a file that can be written \
                         with --events-file, or none",
                        path.display()
                    ))
                },
            )
        };
        let file = settings.events_file.0.as_ref().map(open).transpose()?;
        let is_wanted = file.is_some() || settings.events_output != EventsOutput::Off;
        let settings = settings.clone();
        Ok(is_wanted.then_some(Self { file, settings }))
    }
}

/// The capture thread's end of the log.
pub struct EventLog {
    sender: SyncSender<Message>,
    writer: JoinHandle<()>,
    lost: Arc<AtomicU64>,
    filter: Filter,
    buffer: Vec<u8>,
    buffered: u64,
    /// Buffers that were written and are empty again: the pages of a new one would have to be mapped.
    written: Receiver<Vec<u8>>,
    /// How the file is to be opened again, until the writer has been told.
    reopen: Option<Reopen>,
}

impl EventLog {
    /// Starts the writing thread of a log that is open.
    pub fn start(opened: OpenedLog) -> Result<Self, Failure> {
        let (sender, receiver) = sync_channel(WAITING_CHUNKS);
        let (return_written, written) = sync_channel(KEPT_BUFFERS);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            path: opened.settings.events_file.0,
            file: opened.file,
            output: opened.settings.events_output,
            lost: Arc::clone(&lost),
            is_failing: false,
            written: return_written,
        };
        let writer = std::thread::Builder::new()
            .name("event-log".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| Failure::run_time(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            sender,
            writer,
            lost,
            filter: opened.settings.events_filter,
            buffer: Vec::with_capacity(2 * CHUNK_BYTES),
            buffered: 0,
            written,
            reopen: None,
        })
    }

    /// Writes a line that is no event: the start, the end.
    pub fn write_line(&mut self, line: &[u8]) {
        self.buffer.extend_from_slice(line);
        self.flush();
    }

    /// Takes an event, if the log's filter wants it.
    pub fn accept(&mut self, line: &mut EventLine<'_>) -> io::Result<()> {
        if !self.filter.matches(line.event) {
            return Ok(());
        }
        self.buffer.extend_from_slice(line.bytes()?);
        self.buffered += 1;
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush();
        }
        Ok(())
    }

    /// Hands on what has gathered; what does not fit is lost.
    pub fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.send_lines();
        }
        self.ask_to_reopen();
    }

    fn send_lines(&mut self) {
        let empty = self.written.try_recv();
        let empty = empty.unwrap_or_else(|_| Vec::with_capacity(2 * CHUNK_BYTES));
        let bytes = std::mem::replace(&mut self.buffer, empty);
        let events = std::mem::take(&mut self.buffered);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.sender.try_send(Message::Lines { bytes, events })
        {
            self.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// Takes over what may change while the agent runs, and has the file opened again.
    pub fn reload(&mut self, settings: &Settings) {
        self.filter = settings.events_filter.clone();
        self.reopen = Some(Reopen {
            max_size: settings.events_max_size.0,
            keep: settings.events_keep,
        });
        self.flush();
    }

    /// Asks the writer to open the file again, if that is due; once more at the next flush where a disk
    /// that hangs keeps it from hearing.
    fn ask_to_reopen(&mut self) {
        if let Some(reopen) = self.reopen.take()
            && let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Reopen(reopen))
        {
            self.reopen = Some(reopen);
        }
    }

    /// Events lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what has gathered and waits until it is written.
    pub fn end(mut self, last_line: &[u8]) {
        self.write_line(last_line);
        drop(self.sender);
        // A writer that panicked has said so.
        let _ = self.writer.join();
    }
}

/// The writing thread.
struct Writer {
    path: Option<PathBuf>,
    file: Option<RotatedFile>,
    output: EventsOutput,
    lost: Arc<AtomicU64>,
    /// The last write failed: the next failure is not told again.
    is_failing: bool,
    /// Takes the buffers back.
    written: SyncSender<Vec<u8>>,
}

impl Writer {
    fn run(&mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Lines { mut bytes, events } => {
                    self.write(&bytes, events);
                    bytes.clear();
                    // Beyond KEPT_BUFFERS it is freed.
                    let _ = self.written.try_send(bytes);
                }
                Message::Reopen(Reopen { max_size, keep }) => self.reopen(max_size, keep),
            }
        }
    }

    fn write(&mut self, bytes: &[u8], events: u64) {
        let mut outcome = Ok(());
        if let Some(file) = &mut self.file {
            outcome = file.append(bytes);
        }
        let to_output = match self.output {
            EventsOutput::Off => Ok(()),
            EventsOutput::Stdout => io::stdout()
                .write_all(bytes)
                .and_then(|()| io::stdout().flush()),
            EventsOutput::Journald => journal::send_lines(bytes),
        };
        match outcome.and(to_output) {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                crate::agent::notice::say("the event log can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.fetch_add(events, Ordering::Relaxed);
                self.tell(&error);
            }
        }
    }

    fn reopen(&mut self, max_size: u64, keep: u32) {
        let Some(path) = &self.path else { return };
        match RotatedFile::open(path, max_size, keep) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.tell(&error),
        }
    }

    /// Says once that the log fails, until it works again.
    fn tell(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.is_failing, true) {
            return;
        }
        let place = self.path.as_ref().map_or_else(
            || "the event log".to_owned(),
            |path| format!("the event log {}", path.display()),
        );
        crate::agent::notice::warn(&format!(
            "cannot write {place}: {error}; events are lost to it and counted \
             (rstmon_events_lost_total, stage {LOST_EVENT_LOG}) until it can be written again"
        ));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_writer_that_hangs_holds_up_no_reload_and_hears_of_it_later() {
        let (sender, messages) = sync_channel(1);
        let (_emptied, written) = sync_channel(1);
        let mut log = EventLog {
            sender,
            writer: std::thread::spawn(|| {}),
            lost: Arc::default(),
            filter: Filter::all(),
            buffer: Vec::new(),
            buffered: 0,
            written,
            reopen: None,
        };
        log.write_line(b"first\n");
        let settings = Settings::from_texts(&BTreeMap::new()).unwrap();
        log.reload(&settings);
        assert!(matches!(messages.try_recv(), Ok(Message::Lines { .. })));
        assert!(messages.try_recv().is_err());
        log.flush();
        let keep = settings.events_keep;
        let heard = messages.try_recv();
        assert!(matches!(heard, Ok(Message::Reopen(reopen)) if reopen.keep == keep));
        log.flush();
        assert!(messages.try_recv().is_err());
    }
}
