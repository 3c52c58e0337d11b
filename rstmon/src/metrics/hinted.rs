//! A map that looks first where the last key of the same kind of reset was: in a storm one key comes
//! again and again, and finding it by its hash is most of what counting costs. Who knows that the key
//! is the same need not even ask ([`super::repeats`]).
//!
//! Used by the capped counters of the tally and by the tables and incidents of the board, which count
//! each event under half a dozen keys.

use crate::event::model::Kind;
use hashbrown::{DefaultHashBuilder, Equivalent};
use indexmap::IndexMap;
use std::hash::Hash;

/// Values by key, in the order in which they came.
#[derive(Clone, Debug)]
pub struct HintedMap<K, V> {
    entries: IndexMap<K, V, DefaultHashBuilder>,
    /// By kind.
    last: [Last; Kind::ALL.len()],
}

/// The last key of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Where a key was found last, which need not be the last key. No more than a guess, which the key
    /// there must confirm.
    guess: usize,
    /// Whether the last key is there.
    is_there: bool,
}

impl<K, V> Default for HintedMap<K, V> {
    fn default() -> Self {
        Self {
            entries: IndexMap::default(),
            last: [Last::default(); Kind::ALL.len()],
        }
    }
}

impl<K: Eq + Hash, V> HintedMap<K, V> {
    /// The value of a key, if it is there.
    pub fn get_mut<Q>(&mut self, kind: Kind, key: &Q) -> Option<&mut V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let last = self.last.get_mut(kind as usize)?;
        let guessed = self.entries.get_index(last.guess);
        last.is_there = true;
        if !guessed.is_some_and(|(known, _)| key.equivalent(known)) {
            match self.entries.get_index_of(key) {
                Some(found) => last.guess = found,
                None => last.is_there = false,
            }
        }
        self.get_last_mut(kind)
    }

    /// The value of the key that was last asked for or put there under this kind, if it is there.
    pub fn get_last_mut(&mut self, kind: Kind) -> Option<&mut V> {
        let last = self.last.get(kind as usize).filter(|last| last.is_there)?;
        let (_, value) = self.entries.get_index_mut(last.guess)?;
        Some(value)
    }

    /// Puts a value there, in place of the one that was.
    pub fn insert(&mut self, kind: Kind, key: K, value: V) {
        let (guess, _) = self.entries.insert_full(key, value);
        let is_there = true;
        // There is a place for each kind: the array is as long as the list of them.
        if let Some(last) = self.last.get_mut(kind as usize) {
            *last = Last { guess, is_there };
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
        self.last = [Last::default(); Kind::ALL.len()];
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
