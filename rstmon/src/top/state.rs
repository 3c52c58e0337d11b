//! All that is shown. Changed by `update` alone, read by `view`. Bounded: the newest events, and the
//! board's capped tables.

use super::columns::{CAUSES, CellContext, Column, INCIDENTS, LIVE, ROWS, on_screen};
use crate::board::{BoardSnapshot, CauseRow, IncidentRow, TableRow};
use crate::event::capture::CaptureFacts;
use crate::event::model::Event;
use std::collections::VecDeque;

/// Events that the live view keeps.
pub const RECENT_EVENTS: usize = 10_000;

/// A view, in the order of the digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The most common causes.
    Causes,
    /// The newest events.
    Live,
    /// By process.
    Processes,
    /// By workload.
    Workloads,
    /// By service port.
    Ports,
    /// By remote address.
    Peers,
    /// Events that belong together.
    Incidents,
}

impl View {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Causes,
        Self::Live,
        Self::Processes,
        Self::Workloads,
        Self::Ports,
        Self::Peers,
        Self::Incidents,
    ];

    /// Its name on the bar.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Causes => "Causes",
            Self::Live => "Live",
            Self::Processes => "Processes",
            Self::Workloads => "Workloads",
            Self::Ports => "Ports",
            Self::Peers => "Peers",
            Self::Incidents => "Incidents",
        }
    }

    /// The columns that it has on a screen of this width: those it can be sorted by.
    #[must_use]
    pub fn columns(self, width: u16) -> Vec<usize> {
        match self {
            Self::Causes => on_screen(CAUSES, width),
            Self::Live => on_screen(LIVE, width),
            Self::Incidents => on_screen(INCIDENTS, width),
            Self::Processes | Self::Workloads | Self::Ports | Self::Peers => on_screen(ROWS, width),
        }
    }

    /// The column it is sorted by at first.
    pub(super) const fn first_sort(self) -> usize {
        match self {
            Self::Causes => 5,
            Self::Live | Self::Incidents => 0,
            Self::Processes | Self::Workloads | Self::Ports | Self::Peers => 2,
        }
    }
}

/// Where one is in a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The row.
    pub row: usize,
    /// The column it is sorted by.
    pub sort: usize,
    /// The other way around.
    pub reversed: bool,
}

/// What a screen has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Rows of a table: what a page is.
    pub rows: usize,
    /// Its width.
    pub width: u16,
    /// First line of what is looked at when its last line is at the bottom.
    pub last_scroll: u16,
}

/// How a source has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub why: String,
    /// Not because there is no more.
    pub failed: bool,
}

/// A filter that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Editing {
    /// What stands there.
    pub text: String,
    /// What is wrong with it, with its column marked.
    pub error: Option<String>,
}

/// What fills the screen in place of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A cause.
    Cause(CauseRow),
    /// A row of a table, and of which view.
    Row(View, TableRow),
    /// An incident, and its last event if it is still known.
    Incident(IncidentRow, Option<Box<Event>>),
    /// An event, and the other end's if it is still known.
    Event(Box<Event>, Option<Box<Event>>),
}

/// Where the events come from, and what it cannot give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `agent`, `own capture` or the name of a recording.
    pub source: String,
    /// The capture: host, kernel, mode, what it cannot see.
    pub facts: CaptureFacts,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct State {
    /// Where the events come from.
    pub header: Header,
    /// The view.
    pub view: View,
    /// Where one is in each.
    pub places: [Place; View::ALL.len()],
    /// What is shown.
    pub board: BoardSnapshot,
    /// What is newer than what is shown: only while paused.
    pub newer: Option<BoardSnapshot>,
    /// The newest events, the oldest first.
    pub recent: VecDeque<Event>,
    /// Those from before the filter, for when it is dropped.
    pub set_aside: VecDeque<Event>,
    /// Wishes that the source has not heard yet, the oldest first: whether each wants all events.
    pub unheard: VecDeque<bool>,
    /// Whether the source tells of all events, by the last wish that it has heard.
    pub hears_all: bool,
    /// Events that came while paused.
    pub unseen: u64,
    /// Whether the picture stands still.
    pub paused: bool,
    /// Events lost before they came here, where that is known.
    pub lost: Option<u64>,
    /// Events that were counted and are not in the live view: there were too many.
    pub unshown: u64,
    /// The filter in force.
    pub filter: String,
    /// The filter that is being typed.
    pub editing: Option<Editing>,
    /// What is looked at.
    pub detail: Option<Detail>,
    /// First line of it on the screen.
    pub scroll: u16,
    /// Whether the help is shown.
    pub help: bool,
    /// Something to tell, until the next key.
    pub message: Option<String>,
    /// The source has ended.
    pub ended: Option<Ended>,
    /// What cells need.
    pub context: CellContext,
    /// What the screen has room for.
    pub room: Room,
}

impl State {
    /// Nothing yet.
    #[must_use]
    pub fn new(header: Header, filter: String, context: CellContext) -> Self {
        Self {
            header,
            view: View::Causes,
            places: View::ALL.map(|view| Place {
                sort: view.first_sort(),
                ..Place::default()
            }),
            board: BoardSnapshot::default(),
            newer: None,
            recent: VecDeque::new(),
            set_aside: VecDeque::new(),
            unheard: VecDeque::new(),
            hears_all: filter.is_empty(),
            unseen: 0,
            paused: false,
            lost: None,
            unshown: 0,
            filter,
            editing: None,
            detail: None,
            scroll: 0,
            help: false,
            message: None,
            ended: None,
            context,
            room: Room {
                rows: 10,
                width: u16::MAX - 1,
                last_scroll: 0,
            },
        }
    }

    /// Where one is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.places
            .get(self.view as usize)
            .copied()
            .unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn place_mut(&mut self) -> Option<&mut Place> {
        self.places.get_mut(self.view as usize)
    }

    /// Rows of the view.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.view {
            View::Causes => self.board.causes.len(),
            View::Live => self.recent.len(),
            View::Incidents => self.board.incidents.len(),
            view => self.table(view).len(),
        }
    }

    /// Rows of one of the four tables.
    #[must_use]
    pub fn table(&self, view: View) -> &[TableRow] {
        match view {
            View::Processes => &self.board.processes,
            View::Workloads => &self.board.workloads,
            View::Ports => &self.board.ports,
            View::Peers => &self.board.peers,
            View::Causes | View::Live | View::Incidents => &[],
        }
    }

    /// Rows in the order of the view's place.
    pub fn sorted<'r, R>(
        &self,
        columns: &'static [Column<R>],
        rows: impl IntoIterator<Item = &'r R>,
    ) -> Vec<&'r R> {
        let place = self.place();
        let mut rows: Vec<&R> = rows.into_iter().collect();
        if let Some(column) = columns.get(place.sort) {
            rows.sort_by(|a, b| (column.order)(a, b));
        }
        if place.reversed {
            rows.reverse();
        }
        rows
    }

    /// Whether the live view begins with what came last, whatever it is.
    #[must_use]
    pub fn is_newest_first(&self) -> bool {
        let place = self.places.get(View::Live as usize).copied();
        place.is_some_and(|place| !place.reversed && place.sort == View::Live.first_sort())
    }

    /// The event of a number, if it is still known.
    #[must_use]
    pub fn event(&self, seq_no: u64) -> Option<Box<Event>> {
        let found = self.recent.iter().find(|event| event.seq_no == seq_no)?;
        Some(Box::new(found.clone()))
    }

    /// What is at the place.
    #[must_use]
    pub fn selected(&self) -> Option<Detail> {
        let row = self.place().row;
        match self.view {
            View::Causes => {
                let rows = self.sorted(CAUSES, &self.board.causes);
                rows.get(row).map(|it| Detail::Cause((*it).clone()))
            }
            View::Live => {
                let rows = self.sorted(LIVE, &self.recent);
                let event = Box::new((*rows.get(row)?).clone());
                let other = event.story.and_then(|story| self.event(story));
                Some(Detail::Event(event, other))
            }
            View::Incidents => {
                let rows = self.sorted(INCIDENTS, &self.board.incidents);
                let row = (*rows.get(row)?).clone();
                let last = self.event(row.last_seq_no);
                Some(Detail::Incident(row, last))
            }
            view => {
                let rows = self.sorted(ROWS, self.table(view));
                rows.get(row).map(|it| Detail::Row(view, (*it).clone()))
            }
        }
    }
}
