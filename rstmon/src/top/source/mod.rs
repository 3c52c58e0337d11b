//! Where `top` has its events from: a capture of its own, a running agent, a recording. Each is a
//! thread that feeds the loop at an interval and hears its wishes.

pub mod agent;
pub mod own;
pub mod replay;

use super::state::{Ended, Header};
use super::update::{Counting, Feed, Wish};
use crate::board::Board;
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::metrics::tally::TallySettings;
use crate::pipeline::EventSink;
use rstmon_common::wire::RawEvent;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

/// Events that one feed carries to the live view; the board counts all.
pub const EVENTS_A_FEED: usize = 500;

/// What a source says.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// It has begun.
    Started(Box<Header>),
    /// The interval is over.
    Feed(Box<Feed>),
    /// It has heard a wish, one for each, and counts so from now on: what it says later is of that.
    Counting(Counting),
    /// It has ended.
    Ended(Ended),
}

/// What a source is told. It ends when nobody can tell it anything any more.
pub type Wishes = Receiver<Wish>;

/// The way to the loop.
pub type Feeds = SyncSender<SourceEvent>;

/// Gathers events for feeds; the sink of captures and replays.
pub struct Feeder {
    filter: Filter,
    settings: TallySettings,
    /// What fits the filter.
    wanted: Gathered,
    /// All events, while a filter wants only some; kept where they do not come a second time.
    all: Option<Gathered>,
    keeps_all: bool,
    interval: Duration,
    fed: Instant,
}

/// What was gathered.
struct Gathered {
    board: Board,
    /// Events that no feed has carried yet: the newest.
    events: VecDeque<Event>,
    /// Events of this interval among them, or that were.
    taken: usize,
    unshown: u64,
}

impl Gathered {
    fn new(settings: &TallySettings) -> Self {
        Self {
            board: Board::new(settings.clone()),
            events: VecDeque::new(),
            taken: 0,
            unshown: 0,
        }
    }

    fn take(&mut self, event: &Event) {
        self.board.record(event);
        // A storm is not copied: the first of an interval stand for it.
        if self.taken == EVENTS_A_FEED {
            self.unshown += 1;
            return;
        }
        self.taken += 1;
        if self.events.len() == EVENTS_A_FEED {
            self.events.pop_front();
            self.unshown += 1;
        }
        self.events.push_back(event.clone());
    }
}

impl Feeder {
    /// Gathers what a filter wants.
    #[must_use]
    pub fn new(filter: Filter, settings: TallySettings, interval: Duration) -> Self {
        Self {
            filter,
            wanted: Gathered::new(&settings),
            all: None,
            keeps_all: false,
            settings,
            interval,
            fed: Instant::now(),
        }
    }

    /// Counts all events beside those of a filter, for when it is dropped.
    #[must_use]
    pub fn keeping_all(mut self) -> Self {
        self.keeps_all = true;
        self.all = (!self.filter.is_all()).then(|| Gathered::new(&self.settings));
        self
    }

    /// Gathers something else; how it counts from here on.
    pub fn want(&mut self, wish: Wish) -> Counting {
        let Wish { filter, from_zero } = wish;
        let wants_all = filter.is_all();
        self.filter = filter;
        let nothing = || Gathered::new(&self.settings);
        if from_zero {
            self.wanted = nothing();
            self.all = (self.keeps_all && !wants_all).then(nothing);
            return Counting::FromStart;
        }
        if !self.keeps_all {
            self.wanted = nothing();
            return Counting::FromNow;
        }
        if wants_all {
            self.wanted = self.all.take().unwrap_or_else(nothing);
            return Counting::Resumed;
        }
        let wanted = std::mem::replace(&mut self.wanted, nothing());
        self.all.get_or_insert(wanted);
        Counting::Beside
    }

    /// How long until the next feed.
    #[must_use]
    pub fn until_next(&self) -> Duration {
        self.interval.saturating_sub(self.fed.elapsed())
    }

    /// The feed of this interval.
    pub fn feed(&mut self, now_ns: u64, lost: Option<u64>) -> Feed {
        self.fed = Instant::now();
        if let Some(all) = &mut self.all {
            all.taken = 0;
        }
        self.wanted.taken = 0;
        Feed {
            board: self.wanted.board.snapshot(now_ns),
            events: std::mem::take(&mut self.wanted.events).into(),
            unshown: self.wanted.unshown,
            lost,
        }
    }

    /// Takes one event.
    pub fn take(&mut self, event: &Event) {
        if let Some(all) = &mut self.all {
            all.take(event);
        }
        if self.filter.matches(event) {
            self.wanted.take(event);
        }
    }
}

impl EventSink for Feeder {
    fn accept(
        &mut self,
        event: &Event,
        _raw: &RawEvent,
        _annotation: &Annotation,
        _facts: &CaptureFacts,
    ) -> io::Result<()> {
        self.take(event);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::model::{Cause, Kind};
    use crate::top::testing::event;

    /// What the next feed counts, and the events it carries.
    fn fed(feeder: &mut Feeder) -> (u64, Vec<u64>) {
        let feed = feeder.feed(0, None);
        let total = feed.board.kinds.iter().map(|kind| kind.total).sum();
        (total, feed.events.iter().map(|it| it.seq_no).collect())
    }

    fn wish(filter: &str, from_zero: bool) -> Wish {
        let filter = Filter::parse(filter).unwrap();
        Wish { filter, from_zero }
    }

    fn feeder(filter: &str) -> Feeder {
        let settings = TallySettings::default();
        Feeder::new(Filter::parse(filter).unwrap(), settings, Duration::ZERO)
    }

    fn take(feeder: &mut Feeder, number: u64, kind: Kind) {
        feeder.take(&event(number, Cause::Paws, kind, "x"));
    }

    #[test]
    fn a_dropped_filter_brings_all_back() {
        let mut feeder = feeder("").keeping_all();
        take(&mut feeder, 1, Kind::Sent);
        assert_eq!(fed(&mut feeder), (1, vec![1]));
        take(&mut feeder, 2, Kind::Sent);
        let stray = wish("kind stray", false);
        assert_eq!(feeder.want(stray), Counting::Beside);
        take(&mut feeder, 3, Kind::Stray);
        take(&mut feeder, 4, Kind::Sent);
        assert_eq!(fed(&mut feeder), (1, vec![3]));
        // Another filter is no way back.
        let rejected = wish("kind rejected", false);
        assert_eq!(feeder.want(rejected), Counting::Beside);
        assert_eq!(fed(&mut feeder), (0, vec![]));
        assert_eq!(feeder.want(wish("", false)), Counting::Resumed);
        assert_eq!(fed(&mut feeder), (4, vec![2, 3, 4]));
        take(&mut feeder, 5, Kind::Sent);
        assert_eq!(fed(&mut feeder), (5, vec![5]));
        // From zero is from zero, of all.
        assert_eq!(feeder.want(wish("kind sent", false)), Counting::Beside);
        assert_eq!(feeder.want(wish("kind sent", true)), Counting::FromStart);
        take(&mut feeder, 6, Kind::Sent);
        assert_eq!(fed(&mut feeder), (1, vec![6]));
        feeder.want(wish("", false));
        assert_eq!(fed(&mut feeder), (1, vec![6]));
    }

    #[test]
    fn all_are_counted_beside_the_first_filter_too_and_a_replay_begins_again() {
        for (keeps, total) in [(true, 2), (false, 0)] {
            let mut feeder = feeder("kind stray");
            if keeps {
                feeder = feeder.keeping_all();
            }
            take(&mut feeder, 1, Kind::Stray);
            take(&mut feeder, 2, Kind::Sent);
            assert_eq!(fed(&mut feeder).0, 1);
            feeder.want(wish("", false));
            assert_eq!(fed(&mut feeder).0, total);
        }
    }

    #[test]
    fn what_waits_for_the_end_of_a_filter_is_bounded() {
        let mut feeder = feeder("kind stray").keeping_all();
        for number in 0..3 * EVENTS_A_FEED as u64 {
            take(&mut feeder, number, Kind::Sent);
            if number % 100 == 99 {
                fed(&mut feeder);
            }
        }
        feeder.want(wish("", false));
        let feed = feeder.feed(0, None);
        assert_eq!(feed.events.len(), EVENTS_A_FEED);
        assert_eq!(feed.unshown, 2 * EVENTS_A_FEED as u64);
        assert_eq!(
            feed.events.last().unwrap().seq_no,
            3 * EVENTS_A_FEED as u64 - 1
        );
    }
}
