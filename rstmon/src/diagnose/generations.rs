//! A bounded memory in two generations: what is new goes into the young one; when that is full, the
//! old one is forgotten as a whole and the young one grows old.
//!
//! Used by `diagnose::flows`. Always holds: the last [`Generations::new`]`(limit)` keys that were
//! written are there, and never more than twice as many. Against a list in the order of use nothing
//! is allocated or taken out for a single key, and values are written one behind the other: in a
//! storm each event is of a new key, and its place in a large table is in no cache (docs/tuning.md).

use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;
use std::hash::Hash;

/// The memory.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: IndexMap<K, V, DefaultHashBuilder>,
    /// What is in both was changed since; the young one is right.
    old: IndexMap<K, V, DefaultHashBuilder>,
    limit: usize,
}

impl<K: Eq + Hash, V: Copy + Default> Generations<K, V> {
    /// An empty memory of at least so many keys.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            young: IndexMap::default(),
            old: IndexMap::default(),
            limit,
        }
    }

    /// What is remembered of a key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// What is remembered of a key, to be changed; the default if it is new.
    pub(super) fn entry(&mut self, key: K) -> &mut V {
        // Before the old one may be forgotten.
        let before = self.old.get(&key).copied().unwrap_or_default();
        if self.young.len() >= self.limit && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            // Its memory is kept for those that come.
            self.young.clear();
        }
        self.young.entry(key).or_insert(before)
    }

    /// Different keys that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let only_old = self.old.keys().filter(|key| !self.young.contains_key(*key));
        self.young.len() + only_old.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_keys_are_there_and_not_many_more() {
        let mut memory = Generations::new(10);
        for key in 0..1_000_u32 {
            *memory.entry(key) = key + 1;
            for recent in key.saturating_sub(9)..=key {
                assert_eq!(
                    memory.get(&recent),
                    Some(&(recent + 1)),
                    "{recent} of {key}"
                );
            }
            assert!(memory.len() <= 20, "{}", memory.len());
        }
        assert_eq!(memory.get(&100), None);
        assert_eq!(memory.get(&1_000), None);
    }

    #[test]
    fn a_key_that_is_written_again_stays_with_what_it_had() {
        let mut memory = Generations::new(4);
        for key in 0..1_000_u32 {
            *memory.entry(5_000) += 1;
            *memory.entry(key) = 1;
            assert_eq!(memory.get(&5_000), Some(&(key + 1)));
        }
    }

    #[test]
    fn an_old_key_that_is_written_when_the_young_are_full_keeps_what_it_had() {
        let mut memory = Generations::new(2);
        for key in [1_u32, 2, 3, 4] {
            *memory.entry(key) = 10 * key;
        }
        *memory.entry(1) += 1;
        assert_eq!(memory.get(&1), Some(&11));
    }
}
