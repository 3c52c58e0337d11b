//! `rstmon trace` on the running kernel: the loop between the ring and the output.

use super::TraceArgs;
use super::output::{Output, quiet_if_reader_left};
use crate::cmd::end_signals::EndSignals;
use crate::cmd::exit::Failure;
use crate::cmd::session::Session;
use crate::cmd::start::{clock_ns, start_capture};
use crate::cmd::stdout::{End, reader_left, watched, watched_stdout};
use crate::filter::Filter;
use crate::pipeline::EventSink;
use nix::time::ClockId;
use std::io;
use std::time::Duration;
use tokio::io::Interest;

/// Captures until a signal, `-c`, `--duration`, or the reader of standard output leaves.
pub(super) fn run_live(args: &TraceArgs, filter: Filter) -> Result<(), Failure> {
    // A recording holds what the filter does not want, too: the diagnosis of one event may lean on
    // another.
    let in_kernel = match args.write {
        Some(_) => Filter::all().pushdown(),
        None => filter.pushdown(),
    };
    let started = start_capture(&args.capture, &in_kernel)?;
    let mut output = Output::new(args);
    if let Some(path) = &args.write {
        output.record_to(path, &started.facts)?;
    }
    let mut session = Session::new(started, filter);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::run_time(format!("cannot start the event loop: {error}")))?;
    let outcome = runtime.block_on(watch(args.duration, &mut session, &mut output));
    // A pipe without a reader takes no end line either; a recording does.
    let reader_left = matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
    let ended = session.end(&mut output);
    let mut totals = session.totals()?;
    if reader_left {
        return output.finish_recording(&totals);
    }
    let settled = output.settle(&mut totals);
    let finished = output.finish(&totals, Some(clock_ns(ClockId::CLOCK_REALTIME)?));
    quiet_if_reader_left(outcome)?;
    quiet_if_reader_left(ended)?;
    finished.and(settled)
}

/// The loop.
async fn watch(
    duration: Option<Duration>,
    session: &mut Session,
    output: &mut Output,
) -> io::Result<()> {
    let mut signals = EndSignals::watch()?;
    // A write that waits for its reader keeps the loop from its signals.
    output.end_with(End::on_signal_or(duration)?);
    let ring = watched(session.ring_fd()?, Interest::READABLE)?;
    let stdout = watched_stdout();
    let deadline = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    // Whoever waits for the start line may cause a reset at once: the hooks are attached.
    output.start(session.facts(), Some(session.started_ns()))?;
    while !output.is_full() {
        tokio::select! {
            () = signals.come() => return Ok(()),
            () = &mut deadline => return Ok(()),
            () = reader_left(stdout.as_ref()) => return Err(io::ErrorKind::BrokenPipe.into()),
            ready = ring.readable(), if !session.is_polling() => ready?.clear_ready(),
            () = tokio::time::sleep(session.pause()) => {}
        }
        session.turn(output)?;
        output.flush()?;
    }
    Ok(())
}
