//! A map that looks first where the last key of the same kind of reset was: in a storm one key comes
//! again and again, and finding it by its hash is most of what counting costs.
//!
//! Used by the capped counters of the tally and by the tables of the board, both of which count each
//! event under half a dozen keys.

use crate::event::model::Kind;
use hashbrown::{DefaultHashBuilder, Equivalent};
use indexmap::IndexMap;
use std::hash::Hash;

/// Values by key, in the order in which they came.
#[derive(Clone, Debug)]
pub struct HintedMap<K, V> {
    entries: IndexMap<K, V, DefaultHashBuilder>,
    /// By kind: where its last key is, or [`NOWHERE`].
    last: [usize; Kind::ALL.len()],
}

/// No place of a map.
const NOWHERE: usize = usize::MAX;

impl<K, V> Default for HintedMap<K, V> {
    fn default() -> Self {
        Self {
            entries: IndexMap::default(),
            last: [NOWHERE; Kind::ALL.len()],
        }
    }
}

impl<K: Eq + Hash, V> HintedMap<K, V> {
    /// The value of a key, if it is there.
    pub fn get_mut<Q>(&mut self, kind: Kind, key: &Q) -> Option<&mut V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let place = self.last_place(kind);
        let last = self.entries.get_index(place);
        if !last.is_some_and(|(known, _)| key.equivalent(known)) {
            let found = self.entries.get_index_of(key);
            self.remember(kind, found.unwrap_or(NOWHERE));
        }
        self.get_last_mut(kind)
    }

    /// The value of the key that was last asked for or put there under this kind, if it is there.
    pub fn get_last_mut(&mut self, kind: Kind) -> Option<&mut V> {
        let place = self.last_place(kind);
        self.entries.get_index_mut(place).map(|(_, value)| value)
    }

    /// Puts a value there, in place of the one that was.
    pub fn insert(&mut self, kind: Kind, key: K, value: V) {
        let (place, _) = self.entries.insert_full(key, value);
        self.remember(kind, place);
    }

    fn last_place(&self, kind: Kind) -> usize {
        self.last.get(kind as usize).copied().unwrap_or(NOWHERE)
    }

    fn remember(&mut self, kind: Kind, place: usize) {
        if let Some(last) = self.last.get_mut(kind as usize) {
            *last = place;
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// Keeps those that `keep` wants.
    pub fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain(keep);
        // What goes moves the others.
        self.last = [NOWHERE; Kind::ALL.len()];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn a_wrong_guess_finds_the_right_value() {
        let mut map = HintedMap::default();
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(map.get_mut(Kind::Sent, key), None);
            map.insert(Kind::Sent, key, value);
        }
        for (kind, key, value) in [
            (Kind::Sent, "c", 3),
            (Kind::Received, "a", 1),
            (Kind::Sent, "c", 3),
            (Kind::Sent, "b", 2),
        ] {
            assert_eq!(map.get_mut(kind, key), Some(&mut value.clone()));
        }
        map.retain(|key, _| *key != "a");
        assert_eq!(map.get_mut(Kind::Sent, "b"), Some(&mut 2));
        assert_eq!(map.get_mut(Kind::Received, "c"), Some(&mut 3));
        map.retain(|key, _| *key == "b");
        assert_eq!(map.get_mut(Kind::Received, "c"), None);
        assert_eq!(map.get_mut(Kind::Received, "b"), Some(&mut 2));
        assert_eq!(map.len(), 1);
        map.insert(Kind::Received, "b", 9);
        assert_eq!(
            (map.len(), map.get_mut(Kind::Received, "b")),
            (1, Some(&mut 9))
        );
    }

    #[test]
    fn the_last_of_a_kind_is_the_one_that_was_asked_for_or_put_there() {
        let mut map = HintedMap::default();
        assert_eq!(map.get_last_mut(Kind::Sent), None);
        map.insert(Kind::Sent, "a", 1);
        map.insert(Kind::Received, "b", 2);
        assert_eq!(map.get_last_mut(Kind::Sent), Some(&mut 1));
        assert_eq!(map.get_last_mut(Kind::Received), Some(&mut 2));
        map.get_mut(Kind::Sent, "b");
        assert_eq!(map.get_last_mut(Kind::Sent), Some(&mut 2));
        map.get_mut(Kind::Sent, "c");
        assert_eq!(map.get_last_mut(Kind::Sent), None);
        map.retain(|_, _| true);
        assert_eq!(map.get_last_mut(Kind::Received), None);
    }
}
