//! Events that every table counts in the same place: one after the other they wait here and are
//! counted at once, as in a storm nearly all are.
//!
//! Owned by [`super::Board`], which counts what waits before anything else of the same kind, and before
//! anybody looks.

use crate::event::model::{Cause, Event, Kind};

/// Events of one kind and cause in one second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alike {
    pub(super) kind: Kind,
    pub(super) cause: Cause,
    /// How many.
    pub(super) count: u32,
    /// When the newest of them was, monotonic nanoseconds.
    pub(super) newest_ns: u64,
}

/// The second of a time: what is told apart finest.
pub(super) const fn second_of(mono_ns: u64) -> u64 {
    mono_ns / 1_000_000_000
}

impl Alike {
    /// One event.
    pub(super) const fn one(event: &Event) -> Self {
        Self {
            kind: event.kind,
            cause: event.verdict.cause,
            count: 1,
            newest_ns: event.mono_ns,
        }
    }

    /// Takes one more in, whose kind and cause are these. False: it is of another second, or they are
    /// as many as can be.
    fn take(&mut self, event: &Event) -> bool {
        if second_of(self.newest_ns) != second_of(event.mono_ns) || self.count == u32::MAX {
            return false;
        }
        self.count += 1;
        self.newest_ns = self.newest_ns.max(event.mono_ns);
        true
    }
}

/// By kind, those that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting([Option<Alike>; Kind::ALL.len()]);

impl Waiting {
    /// Lets an event wait that is counted where the last one of its kind was. Those that must be
    /// counted for it to find a place are given back.
    pub(super) fn add(&mut self, event: &Event) -> Option<Alike> {
        let waiting = self.0.get_mut(event.kind as usize)?;
        if waiting.as_mut().is_some_and(|alike| alike.take(event)) {
            return None;
        }
        waiting.replace(Alike::one(event))
    }

    /// Those of a kind wait no longer.
    pub(super) fn take(&mut self, kind: Kind) -> Option<Alike> {
        self.0.get_mut(kind as usize)?.take()
    }
}
