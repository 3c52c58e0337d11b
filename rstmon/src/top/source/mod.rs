//! Where `top` has its events from: a capture of its own, a running agent, a recording. Each is a
//! thread that feeds the loop at an interval and hears its wishes.

pub mod agent;
pub mod own;
pub mod replay;

use super::state::Header;
use super::update::Feed;
use crate::board::Board;
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::metrics::tally::TallySettings;
use crate::pipeline::EventSink;
use rstmon_common::wire::RawEvent;
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
    /// It has ended.
    Ended {
        /// Why.
        why: String,
        /// Not because there is no more.
        failed: bool,
    },
}

/// What a source is told: which events count from now on, from zero. It ends when nobody can tell it
/// anything any more.
pub type Wishes = Receiver<Filter>;

/// The way to the loop.
pub type Feeds = SyncSender<SourceEvent>;

/// Gathers events for feeds; the sink of captures and replays.
pub struct Feeder {
    filter: Filter,
    settings: TallySettings,
    board: Board,
    events: Vec<Event>,
    unshown: u64,
    interval: Duration,
    fed: Instant,
}

impl Feeder {
    /// Gathers what a filter wants.
    #[must_use]
    pub fn new(filter: Filter, settings: TallySettings, interval: Duration) -> Self {
        Self {
            filter,
            board: Board::new(settings.clone()),
            settings,
            events: Vec::new(),
            unshown: 0,
            interval,
            fed: Instant::now(),
        }
    }

    /// Begins again with another filter.
    pub fn want(&mut self, filter: Filter) {
        self.filter = filter;
        self.board = Board::new(self.settings.clone());
        self.events.clear();
        self.unshown = 0;
    }

    /// How long until the next feed.
    #[must_use]
    pub fn until_next(&self) -> Duration {
        self.interval.saturating_sub(self.fed.elapsed())
    }

    /// The feed of this interval.
    pub fn feed(&mut self, now_ns: u64, lost: u64) -> Feed {
        self.fed = Instant::now();
        Feed {
            board: self.board.snapshot(now_ns),
            events: std::mem::take(&mut self.events),
            unshown: self.unshown,
            lost,
        }
    }

    /// Takes one event.
    pub fn take(&mut self, event: &Event) {
        if !self.filter.matches(event) {
            return;
        }
        self.board.record(event);
        if self.events.len() < EVENTS_A_FEED {
            self.events.push(event.clone());
        } else {
            self.unshown += 1;
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
