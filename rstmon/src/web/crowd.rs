//! The connections that are there, and which of them gives way when there are too many.
//!
//! A connection that waits for its client gives way to a new one, the longest waiting first: whoever
//! holds connections open without asking cannot keep others out. One that is being answered never
//! gives way. `server` asks it for a place for each connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for a request since then.
    Waiting(Instant),
    /// It answers one, and has until then.
    Answering(Instant),
    /// It gave way.
    Evicted,
}

/// All connections.
#[derive(Clone)]
pub(super) struct Crowd {
    places: Arc<Mutex<Places>>,
    limit: usize,
}

#[derive(Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, Arc<watch::Sender<Stage>>>,
}

/// Notes what a connection is doing now. Whoever gave way stays so.
pub(super) fn note_stage(stage: &watch::Sender<Stage>, now: Stage) {
    stage.send_if_modified(|stage| {
        let remains = *stage != Stage::Evicted;
        if remains {
            *stage = now;
        }
        remains
    });
}

/// A connection's place; dropped, it is free.
pub(super) struct Place {
    crowd: Crowd,
    number: u64,
    /// What the connection is doing, set by whoever answers its requests.
    pub(super) stage: Arc<watch::Sender<Stage>>,
}

impl Crowd {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            places: Arc::default(),
            limit,
        }
    }

    /// A place for a new connection; none if every connection is being answered.
    ///
    /// With it comes whether another gave way.
    pub(super) fn admit(&self) -> Option<(Place, bool)> {
        let mut places = self.lock();
        let is_full = places.taken.len() >= self.limit;
        if is_full {
            let oldest = places.longest_waiting()?;
            if let Some(stage) = places.taken.remove(&oldest) {
                stage.send_replace(Stage::Evicted);
            }
        }
        let number = places.next;
        places.next += 1;
        let stage = Arc::new(watch::Sender::new(Stage::Waiting(Instant::now())));
        places.taken.insert(number, Arc::clone(&stage));
        let crowd = self.clone();
        Some((
            Place {
                crowd,
                number,
                stage,
            },
            is_full,
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn longest_waiting(&self) -> Option<u64> {
        let waiting = self
            .taken
            .iter()
            .filter_map(|(number, stage)| match *stage.borrow() {
                Stage::Waiting(since) => Some((since, *number)),
                Stage::Answering(_) | Stage::Evicted => None,
            });
        waiting.min().map(|(_, number)| number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use std::time::Duration;

    fn stage(place: &Place) -> Stage {
        *place.stage.borrow()
    }

    #[test]
    fn the_longest_waiting_gives_way() {
        let crowd = Crowd::new(2);
        let (first, _) = crowd.admit().unwrap();
        let (second, _) = crowd.admit().unwrap();
        // The first has asked and been answered meanwhile.
        let later = Instant::now() + Duration::from_secs(1);
        note_stage(&first.stage, Stage::Waiting(later));
        let (third, evicted) = crowd.admit().unwrap();
        assert!(evicted);
        note_stage(&second.stage, Stage::Answering(later));
        assert_eq!(stage(&second), Stage::Evicted, "who gave way stays so");
        assert_eq!(stage(&first), Stage::Waiting(later));
        assert_ne!(stage(&third), Stage::Evicted);
    }

    #[test]
    fn who_is_answered_stays_and_the_new_one_goes() {
        let crowd = Crowd::new(1);
        let (place, _) = crowd.admit().unwrap();
        note_stage(&place.stage, Stage::Answering(Instant::now()));
        assert!(crowd.admit().is_none());
        drop(place);
        assert!(crowd.admit().is_some());
    }

    #[test]
    fn an_evicted_place_frees_nothing_twice() {
        let crowd = Crowd::new(1);
        let (first, _) = crowd.admit().unwrap();
        let (second, _) = crowd.admit().unwrap();
        drop(first);
        note_stage(&second.stage, Stage::Answering(Instant::now()));
        assert!(crowd.admit().is_none(), "the place of the second is taken");
    }
}
