//! The connections that are there, and which of them gives way when there are too many.
//!
//! A connection that is only being ended gives way to a new one before any other, for it has had what it
//! came for; then one that waits for its client, the longest waiting first: whoever holds connections
//! open without asking cannot keep others out. One that is being answered never gives way. `server` asks
//! it for a place for each connection.

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
    /// It is over since then: only the ends are being told.
    Ending(Instant),
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

/// Notes what a connection is doing now, and tells whether it may. Whoever gave way stays so, and one
/// that is ending does nothing else any more.
pub(super) fn note_stage(stage: &watch::Sender<Stage>, now: Stage) -> bool {
    stage.send_if_modified(|stage| {
        let goes_on = matches!(stage, Stage::Waiting(_) | Stage::Answering(_));
        if goes_on {
            *stage = now;
        }
        goes_on
    })
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
    /// With it comes whether another was refused for it: gave way before its end.
    pub(super) fn admit(&self) -> Option<(Place, bool)> {
        let mut places = self.lock();
        let mut is_refused = false;
        if places.taken.len() >= self.limit {
            let (number, was_ending) = places.first_to_go()?;
            is_refused = !was_ending;
            if let Some(stage) = places.taken.remove(&number) {
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
            is_refused,
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Who gives way first, and whether it is over anyway.
    fn first_to_go(&self) -> Option<(u64, bool)> {
        let may_go = self.taken.iter();
        let may_go = may_go.filter_map(|(number, stage)| match *stage.borrow() {
            Stage::Ending(since) => Some((0, since, *number)),
            Stage::Waiting(since) => Some((1, since, *number)),
            Stage::Answering(_) | Stage::Evicted => None,
        });
        may_go.min().map(|(rank, _, number)| (number, rank == 0))
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
    fn who_is_ending_goes_first_is_not_refused_and_does_nothing_else() {
        let crowd = Crowd::new(2);
        let (waiting, _) = crowd.admit().unwrap();
        let (ending, _) = crowd.admit().unwrap();
        assert!(note_stage(&ending.stage, Stage::Ending(Instant::now())));
        assert!(!note_stage(&ending.stage, Stage::Waiting(Instant::now())));
        let (_third, is_refused) = crowd.admit().unwrap();
        assert_eq!(stage(&ending), Stage::Evicted);
        assert_ne!(stage(&waiting), Stage::Evicted);
        assert!(!is_refused, "it had what it came for");
        assert!(!note_stage(&ending.stage, Stage::Ending(Instant::now())));
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
