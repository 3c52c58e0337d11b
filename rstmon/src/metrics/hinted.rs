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
    /// By kind: where its last key was. No more than a guess, which the key there must confirm.
    hints: [usize; Kind::ALL.len()],
}

impl<K, V> Default for HintedMap<K, V> {
    fn default() -> Self {
        Self {
            entries: IndexMap::default(),
            hints: [0; Kind::ALL.len()],
        }
    }
}

impl<K: Eq + Hash, V> HintedMap<K, V> {
    /// The value of a key, if it is there.
    pub fn get_mut<Q>(&mut self, kind: Kind, key: &Q) -> Option<&mut V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut none = 0;
        let hint = self.hints.get_mut(kind as usize).unwrap_or(&mut none);
        let is_there = self
            .entries
            .get_index(*hint)
            .is_some_and(|(known, _)| key.equivalent(known));
        if !is_there {
            *hint = self.entries.get_index_of(key)?;
        }
        self.entries.get_index_mut(*hint).map(|(_, value)| value)
    }

    /// Puts a value there, in place of the one that was.
    pub fn insert(&mut self, key: K, value: V) {
        self.entries.insert(key, value);
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
            map.insert(key, value);
        }
        for (kind, key, value) in [
            (Kind::Sent, "c", 3),
            (Kind::Received, "a", 1),
            (Kind::Sent, "c", 3),
            (Kind::Sent, "b", 2),
        ] {
            assert_eq!(map.get_mut(kind, key), Some(&mut value.clone()));
        }
        // What goes moves the others, and a guess may lie behind the last.
        map.retain(|key, _| *key != "a");
        assert_eq!(map.get_mut(Kind::Sent, "b"), Some(&mut 2));
        assert_eq!(map.get_mut(Kind::Received, "c"), Some(&mut 3));
        map.retain(|key, _| *key == "b");
        assert_eq!(map.get_mut(Kind::Received, "c"), None);
        assert_eq!(map.get_mut(Kind::Received, "b"), Some(&mut 2));
        assert_eq!(map.len(), 1);
        map.insert("b", 9);
        assert_eq!(
            (map.len(), map.get_mut(Kind::Received, "b")),
            (1, Some(&mut 9))
        );
    }
}
