//! `rstmon trace -r FILE`: a recording through the same stages as a live capture.

use super::TraceArgs;
use super::output::{Output, quiet_if_reader_left, unwritten};
use crate::cmd::exit::Failure;
use crate::filter::Filter;
use crate::pipeline::{EventSink, Pipeline};
use crate::sink::recording::{Reader, RecordingError};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads the recording at `path` (`-`: standard input) to its end, or to its damage.
pub(super) fn run_replay(path: &Path, args: &TraceArgs, filter: Filter) -> Result<(), Failure> {
    let fail = |error: &dyn std::fmt::Display| {
        Failure::run_time(format!(
            "cannot read the recording {}: {error}",
            path.display()
        ))
    };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| fail(&error))?)
    };
    let mut reader = Reader::new(input).map_err(|error| fail(&error))?;
    let mut pipeline = Pipeline::new(reader.facts().clone(), filter);
    let mut output = Output::new(args);
    let replayed = quiet_if_reader_left(output.start(reader.facts(), None)).and_then(|()| {
        replay(&mut reader, &mut pipeline, &mut output).map_err(|e| e.failure(&fail))
    });
    let totals = &mut pipeline.totals;
    // What was lost when it was recorded is lost here too.
    if let Some(recorded) = reader.totals() {
        totals.lost.clone_from(&recorded.lost);
        totals.notes.clone_from(&recorded.notes);
        totals.kernel_counts.clone_from(&recorded.kernel_counts);
    }
    let settled = output.settle(totals);
    // It is cut, or was read as far as `-c` says: what was lost here is not all.
    if reader.totals().is_none() {
        totals.forget_lost();
    }
    let finished = if replayed.is_ok() || totals.is_lost_known() {
        output.finish(totals, None)
    } else {
        output.finish_without_end(totals)
    };
    replayed.and(finished).and(settled)
}

/// Why a replay ended early.
enum Stopped {
    Recording(RecordingError),
    Output(std::io::Error),
}

impl Stopped {
    fn failure(self, fail: &dyn Fn(&dyn std::fmt::Display) -> Failure) -> Failure {
        match self {
            Self::Recording(error) => fail(&error),
            Self::Output(error) => unwritten(&error),
        }
    }
}

fn replay(
    reader: &mut Reader<Box<dyn Read>>,
    pipeline: &mut Pipeline,
    output: &mut Output,
) -> Result<(), Stopped> {
    let replayed = replay_records(reader, pipeline, output);
    // What came before the damage is whole.
    let written = pipeline.finish_replay(output).map_err(Stopped::Output);
    match replayed.and(written) {
        Err(Stopped::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn replay_records(
    reader: &mut Reader<Box<dyn Read>>,
    pipeline: &mut Pipeline,
    output: &mut Output,
) -> Result<(), Stopped> {
    while let Some(record) = reader.next_record().map_err(Stopped::Recording)? {
        pipeline
            .replay(&record.raw, &record.annotation, output)
            .map_err(Stopped::Output)?;
        if output.is_full() {
            return Ok(());
        }
    }
    Ok(())
}
