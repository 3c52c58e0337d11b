//! A recording, at its own speed, a multiple of it, or at once.

use super::{Feeder, Feeds, SourceEvent, Wishes};
use crate::filter::Filter;
use crate::pipeline::Pipeline;
use crate::sink::recording::Reader;
use crate::sink::totals::Totals;
use crate::top::state::{Ended, Header};
use crate::top::update::{Counting, Wish};
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
            Ok(Next::Again(wish)) => {
                want(&mut feeder, wish, feeds);
                continue;
            }
            Ok(Next::Over) => ("the recording is over".to_owned(), false),
            Err(reason) => {
                let path = path.display();
                (format!("cannot read the recording {path}: {reason}"), true)
            }
        };
        // A loop that has ended hears nothing; the wishes tell.
        let _ = feeds.send(SourceEvent::Ended(Ended { why, failed }));
        match wishes.recv() {
            Ok(wish) => want(&mut feeder, wish, feeds),
            Err(_) => return,
        }
    }
}

/// Takes a wish, for when the recording is shown again.
fn want(feeder: &mut Feeder, wish: Wish, feeds: &Feeds) {
    feeder.want(wish);
    // A loop that has ended hears nothing; the wishes tell.
    let _ = feeds.send(SourceEvent::Counting(Counting::FromStart));
}

/// What comes after.
enum Next {
    Over,
    Again(Wish),
    Gone,
}

fn show(
    path: &Path,
    speed: Speed,
    feeder: &mut Feeder,
    wishes: &Wishes,
    feeds: &Feeds,
) -> Result<Next, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let file = File::open(path).map_err(|error| text(&error))?;
    let mut reader = Reader::new(file).map_err(|error| text(&error))?;
    let header = Header {
        source: format!("recording {}", path.display()),
        facts: reader.facts().clone(),
    };
    let _ = feeds.send(SourceEvent::Started(Box::new(header)));
    let mut pipeline = Pipeline::new(reader.facts().clone(), Filter::all());
    let mut clock = Clock { speed, first: None };
    let mut newest = 0;
    // Why there is no more.
    let end = loop {
        let record = match reader.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => break Ok(Next::Over),
            Err(error) => break Err(text(&error)),
        };
        newest = newest.max(record.raw.mono_ns);
        if let Some(next) = clock.wait(record.raw.mono_ns, feeder, wishes, feeds) {
            return Ok(next);
        }
        pipeline
            .replay(&record.raw, &record.annotation, feeder)
            .map_err(|error| text(&error))?;
        match wishes.try_recv() {
            Ok(wish) => return Ok(Next::Again(wish)),
            Err(TryRecvError::Disconnected) => return Ok(Next::Gone),
            Err(TryRecvError::Empty) => {}
        }
        if feeder.until_next().is_zero() {
            feed(feeder, newest, None, feeds);
        }
    };
    // What came before the damage is whole.
    pipeline
        .finish_replay(feeder)
        .map_err(|error| text(&error))?;
    // What was lost when it was recorded is lost here too; that is known at its end.
    let lost = reader.totals().map(Totals::lost_in_all);
    feed(feeder, newest, lost, feeds);
    end
}

/// How far the recording is to be shown by now.
struct Clock {
    speed: Speed,
    /// When its first record was shown, and the time of that.
    first: Option<(Instant, u64)>,
}

impl Clock {
    /// Waits until a record is due, and feeds meanwhile; what comes instead of it, if anything does.
    fn wait(
        &mut self,
        mono_ns: u64,
        feeder: &mut Feeder,
        wishes: &Wishes,
        feeds: &Feeds,
    ) -> Option<Next> {
        let Speed::Times(times) = self.speed else {
            return None;
        };
        let (began, first) = *self.first.get_or_insert((Instant::now(), mono_ns));
        let after = Duration::from_nanos(mono_ns.saturating_sub(first)).div_f64(times);
        loop {
            let left = after.saturating_sub(began.elapsed());
            match wishes.recv_timeout(left.min(feeder.until_next())) {
                Ok(wish) => return Some(Next::Again(wish)),
                Err(RecvTimeoutError::Disconnected) => return Some(Next::Gone),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if feeder.until_next().is_zero() {
                let since = began.elapsed().mul_f64(times).as_nanos();
                let now = first.saturating_add(u64::try_from(since).unwrap_or(u64::MAX));
                feed(feeder, now, None, feeds);
            }
            if left.is_zero() {
                return None;
            }
        }
    }
}

fn feed(feeder: &mut Feeder, now_ns: u64, lost: Option<u64>, feeds: &Feeds) {
    // A loop that has ended hears nothing; the wishes tell.
    let _ = feeds.send(SourceEvent::Feed(Box::new(feeder.feed(now_ns, lost))));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

    use super::*;
    use crate::event::annotation::Annotation;
    use crate::metrics::tally::TallySettings;
    use crate::sink::recording::Writer;
    use crate::sink::samples;
    use bytemuck::Zeroable;
    use rstmon_common::wire::{self, RawEvent};
    use std::sync::mpsc::{channel, sync_channel};

    const RECORDS: u64 = 18;

    /// A recording of events a millisecond apart.
    fn recording() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &samples::facts()).unwrap();
        for number in 1..=RECORDS {
            let mut raw = RawEvent::zeroed();
            raw.abi = wire::ABI;
            raw.kind = wire::KIND_STRAY;
            raw.family = wire::AF_INET;
            raw.have = wire::HAVE_TUPLE;
            raw.hook = wire::HOOK_KFREE_SKB;
            raw.mono_ns = number * 1_000_000;
            writer.write_record(&raw, &Annotation::default()).unwrap();
        }
        let mut totals = Totals::default();
        totals.lost.insert("ring-full".into(), 7);
        writer.finish(&totals).unwrap()
    }

    /// What the source says of this file before it has ended: how many events its last feed counts,
    /// how many all feeds carry, how many are lost; then why it ended, and whether it failed.
    fn said_of(bytes: &[u8], speed: Speed) -> ((u64, usize, Option<u64>), (String, bool)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let path = file.path().to_owned();
        let (wishes, heard) = channel();
        let (feeds, fed) = sync_channel(4);
        let feeder = Feeder::new(
            Filter::all(),
            TallySettings::default(),
            Duration::from_millis(500),
        );
        let source = std::thread::spawn(move || run(&path, speed, feeder, &heard, &feeds));
        let (mut counted, mut carried, mut lost) = (0, 0, None);
        let end = loop {
            match fed.recv().unwrap() {
                SourceEvent::Feed(news) => {
                    counted = news.board.kinds.iter().map(|kind| kind.total).sum();
                    carried += news.events.len();
                    lost = news.lost;
                }
                SourceEvent::Ended(ended) => break (ended.why, ended.failed),
                _ => {}
            }
        };
        drop(wishes);
        source.join().unwrap();
        ((counted, carried, lost), end)
    }

    #[test]
    fn all_that_a_damaged_recording_holds_is_shown_before_the_error() {
        let whole = recording();
        let mut with_garbage = whole.clone();
        with_garbage.extend(b"garbage");
        let cut = &whole[..whole.len() - 3];
        for speed in [Speed::AtOnce, Speed::Times(1.0), Speed::Times(100.0)] {
            let (shown, (_, failed)) = said_of(&whole, speed);
            assert_eq!((shown, failed), ((18, 18, Some(7)), false), "{speed:?}");
            for (bytes, lost, what) in [(cut, None, "cut off"), (&with_garbage, Some(7), "damaged")]
            {
                let (shown, (why, failed)) = said_of(bytes, speed);
                assert_eq!((shown, failed), ((18, 18, lost), true), "{speed:?} {why}");
                assert!(
                    why.contains(what) && why.starts_with("cannot read the recording /"),
                    "{why}"
                );
            }
        }
    }
}
