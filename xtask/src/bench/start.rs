//! How long rstmon takes from exec to its hooks being attached. Called by `run_bench`.

use super::Workshop;
use super::observers::{Daemon, Observer, Running, trace_command};
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

const START_SCHEMA: &str = "rstmon.start/1";

/// From exec to the word that the hooks are attached.
pub(super) fn measure_start(observer: Observer, shop: &Workshop) -> anyhow::Result<Duration> {
    match observer {
        Observer::Trace => measure_trace(shop),
        Observer::Agent => measure_agent(shop),
        _ => bail!("{} says no word when it watches", observer.title()),
    }
}

/// The start record says it.
fn measure_trace(shop: &Workshop) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let mut running = Running::spawn("trace", trace_command(shop).stdout(Stdio::piped()), shop)?;
    let stdout = running
        .child_mut()
        .stdout
        .take()
        .context("rstmon has no standard output")?;
    let mut lines = BufReader::new(stdout);
    let mut first = String::new();
    lines
        .read_line(&mut first)
        .context("cannot read from rstmon")?;
    let elapsed = begin.elapsed();
    if !first.contains(START_SCHEMA) {
        // Its end says why; a first line of another kind is a fault of its own.
        running.end()?;
        bail!("the first line of rstmon is no {START_SCHEMA}: {first:?}");
    }
    // Read on, so that rstmon never waits for us while it ends.
    let reader = std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    running.end()?;
    // The pipe ended with rstmon; what the reader met matters to nobody.
    let _ = reader.join();
    Ok(elapsed)
}

/// What systemd is told says it.
fn measure_agent(shop: &Workshop) -> anyhow::Result<Duration> {
    let daemon = Daemon::start(shop)?;
    let elapsed = daemon.started_in;
    daemon.end()?;
    Ok(elapsed)
}
