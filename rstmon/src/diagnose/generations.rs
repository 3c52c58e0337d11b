//! A bounded memory in two generations: what is new goes into the young one; when that is full, the
//! old one is forgotten as a whole and the young one grows old.
//!
//! Used by `diagnose::flows`. Always holds: the last [`Generations::new`]`(limit)` keys that were
//! written are there, and never more than twice as many. Unlike an LRU list it allocates nothing for a
//! single key, takes none out, and writes values one behind the other: in a storm each event is of a
//! new key, and its place in a large table is in no cache (docs/tuning.md).

use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::{RawEntryApiV1, RawEntryMut};
use std::hash::{BuildHasher, Hash};

/// A key with its hash in the memory that made it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed<K> {
    key: K,
    hash: u64,
}

/// The memory.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    hasher: DefaultHashBuilder,
    young: IndexMap<K, V, DefaultHashBuilder>,
    /// A key that is in both was changed since: the young value counts.
    old: IndexMap<K, V, DefaultHashBuilder>,
    limit: usize,
}

impl<K: Eq + Hash, V: Copy + Default> Generations<K, V> {
    /// An empty memory of at least so many keys.
    pub(super) fn new(limit: usize) -> Self {
        let hasher = DefaultHashBuilder::default();
        let generation = || IndexMap::with_capacity_and_hasher(limit, hasher.clone());
        Self {
            young: generation(),
            old: generation(),
            hasher,
            limit,
        }
    }

    /// The key as this memory looks for it: once for all that is asked of it.
    pub(super) fn hashed(&self, key: K) -> Hashed<K> {
        let hash = self.hasher.hash_one(&key);
        Hashed { key, hash }
    }

    /// What is remembered of a key.
    pub(super) fn get(&self, key: &Hashed<K>) -> Option<&V> {
        let find = |generation| find(generation, key);
        find(&self.young).or_else(|| find(&self.old))
    }

    /// What is remembered of a key, to be changed; the default if it is new.
    pub(super) fn entry(&mut self, key: Hashed<K>) -> &mut V {
        let is_young = find(&self.young, &key).is_some();
        // Before the old one may be forgotten.
        let before = if is_young {
            None
        } else {
            find(&self.old, &key).copied()
        };
        if !is_young && self.young.len() >= self.limit {
            std::mem::swap(&mut self.young, &mut self.old);
            // Its memory is kept for those that come.
            self.young.clear();
        }
        let Hashed { key, hash } = key;
        let entry = self.young.raw_entry_mut_v1();
        match entry.from_key_hashed_nocheck(hash, &key) {
            RawEntryMut::Occupied(entry) => entry.into_mut(),
            RawEntryMut::Vacant(entry) => {
                let before = before.unwrap_or_default();
                entry.insert_hashed_nocheck(hash, key, before).1
            }
        }
    }

    /// Different keys that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let only_old = self.old.keys().filter(|key| !self.young.contains_key(*key));
        self.young.len() + only_old.count()
    }
}

fn find<'a, K: Eq + Hash, V>(
    generation: &'a IndexMap<K, V, DefaultHashBuilder>,
    key: &Hashed<K>,
) -> Option<&'a V> {
    let found = generation.raw_entry_v1();
    let (_, value) = found.from_key_hashed_nocheck(key.hash, &key.key)?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(memory: &Generations<u32, u32>, key: u32) -> Option<u32> {
        memory.get(&memory.hashed(key)).copied()
    }

    fn entry(memory: &mut Generations<u32, u32>, key: u32) -> &mut u32 {
        memory.entry(memory.hashed(key))
    }

    #[test]
    fn the_last_keys_are_there_and_not_many_more() {
        let mut memory = Generations::new(10);
        for key in 0..1_000_u32 {
            *entry(&mut memory, key) = key + 1;
            for recent in key.saturating_sub(9)..=key {
                assert_eq!(get(&memory, recent), Some(recent + 1), "{recent} of {key}");
            }
            assert!(memory.len() <= 20, "{}", memory.len());
        }
        assert_eq!(get(&memory, 100), None);
        assert_eq!(get(&memory, 1_000), None);
    }

    #[test]
    fn a_key_that_is_written_again_stays_with_what_it_had() {
        let mut memory = Generations::new(4);
        for key in 0..1_000_u32 {
            *entry(&mut memory, 5_000) += 1;
            *entry(&mut memory, key) = 1;
            assert_eq!(get(&memory, 5_000), Some(key + 1));
        }
    }

    #[test]
    fn an_old_key_that_is_written_when_the_young_are_full_keeps_what_it_had() {
        let mut memory = Generations::new(2);
        for key in [1_u32, 2, 3, 4] {
            *entry(&mut memory, key) = 10 * key;
        }
        *entry(&mut memory, 1) += 1;
        assert_eq!(get(&memory, 1), Some(11));
    }
}
