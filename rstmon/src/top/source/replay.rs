//! A recording, at its own speed, a multiple of it, or at once.

use super::{Feeder, Feeds, SourceEvent, Wishes};
use crate::filter::Filter;
use crate::pipeline::Pipeline;
use crate::sink::recording::Reader;
use crate::top::state::Header;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was.
    Times(f64),
    /// At once.
    AtOnce,
}

/// Shows the recording, and again with each wish, until nobody wishes anything any more.
pub fn run(path: &Path, speed: Speed, mut feeder: Feeder, wishes: &Wishes, feeds: &Feeds) {
    loop {
        let outcome = show(path, speed, &mut feeder, wishes, feeds);
        let (why, failed) = match outcome {
            Ok(Next::Gone) => return,
            Ok(Next::Again(filter)) => {
                feeder.want(filter);
                continue;
            }
            Ok(Next::Over) => ("the recording is over".to_owned(), false),
            Err(reason) => (format!("{}: {reason}", path.display()), true),
        };
        // A loop that has ended hears nothing; the wishes tell.
        let _ = feeds.send(SourceEvent::Ended { why, failed });
        match wishes.recv() {
            Ok(filter) => feeder.want(filter),
            Err(_) => return,
        }
    }
}

/// What comes after.
enum Next {
    Over,
    Again(Filter),
    Gone,
}

fn show(
    path: &Path,
    speed: Speed,
    feeder: &mut Feeder,
    wishes: &Wishes,
    feeds: &Feeds,
) -> Result<Next, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = Reader::new(file).map_err(|error| error.to_string())?;
    let header = Header {
        source: format!("recording {}", path.display()),
        facts: reader.facts().clone(),
    };
    let _ = feeds.send(SourceEvent::Started(Box::new(header)));
    let mut pipeline = Pipeline::new(reader.facts().clone(), Filter::all());
    let mut clock: Option<(Instant, u64)> = None;
    let mut newest = 0;
    while let Some(record) = reader.next_record().map_err(|error| error.to_string())? {
        let raw = &record.raw;
        newest = newest.max(raw.mono_ns);
        if let Speed::Times(times) = speed {
            let (began, first) = *clock.get_or_insert((Instant::now(), raw.mono_ns));
            let after = Duration::from_nanos(raw.mono_ns.saturating_sub(first)).div_f64(times);
            loop {
                let left = after.saturating_sub(began.elapsed());
                match wishes.recv_timeout(left.min(feeder.until_next())) {
                    Ok(filter) => return Ok(Next::Again(filter)),
                    Err(RecvTimeoutError::Disconnected) => return Ok(Next::Gone),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if feeder.until_next().is_zero() {
                    let since = began.elapsed().mul_f64(times).as_nanos();
                    let now = first.saturating_add(u64::try_from(since).unwrap_or(u64::MAX));
                    feed(feeder, now, feeds);
                }
                if left.is_zero() {
                    break;
                }
            }
        }
        pipeline
            .replay(raw, &record.annotation, feeder)
            .map_err(|error| error.to_string())?;
        match wishes.try_recv() {
            Ok(filter) => return Ok(Next::Again(filter)),
            Err(TryRecvError::Disconnected) => return Ok(Next::Gone),
            Err(TryRecvError::Empty) => {}
        }
        if feeder.until_next().is_zero() {
            feed(feeder, newest, feeds);
        }
    }
    pipeline
        .finish_replay(feeder)
        .map_err(|error| error.to_string())?;
    feed(feeder, newest, feeds);
    Ok(Next::Over)
}

fn feed(feeder: &mut Feeder, now_ns: u64, feeds: &Feeds) {
    // A loop that has ended hears nothing; the wishes tell.
    let _ = feeds.send(SourceEvent::Feed(Box::new(feeder.feed(now_ns, 0))));
}
