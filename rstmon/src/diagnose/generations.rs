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

/// A key that was looked for, with its hash in the memory that was asked. Where it was found holds until
/// that memory is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<K> {
    key: K,
    hash: u64,
    place: Option<Place>,
}

impl<K> Sought<K> {
    /// Whether it was there.
    pub(super) const fn is_known(&self) -> bool {
        self.place.is_some()
    }
}

/// Where a key is: its number in the order of writing.
#[derive(Clone, Copy, Debug)]
enum Place {
    Young(usize),
    Old(usize),
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

impl<K: Copy + Eq + Hash, V: Copy + Default> Generations<K, V> {
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

    /// Looks for a key: once for all that is asked of it.
    pub(super) fn seek(&self, key: K) -> Sought<K> {
        let hash = self.hasher.hash_one(key);
        let find = |generation: &IndexMap<K, V, DefaultHashBuilder>| {
            let found = generation.raw_entry_v1();
            found.index_from_hash(hash, |known| *known == key)
        };
        let place = find(&self.young)
            .map(Place::Young)
            .or_else(|| find(&self.old).map(Place::Old));
        Sought { key, hash, place }
    }

    /// What is remembered of a key.
    pub(super) fn get(&self, sought: &Sought<K>) -> Option<&V> {
        let (_, value) = match sought.place? {
            Place::Young(number) => self.young.get_index(number),
            Place::Old(number) => self.old.get_index(number),
        }?;
        Some(value)
    }

    /// What is remembered of a key, to be changed; the default if it is new.
    pub(super) fn entry(&mut self, sought: &Sought<K>) -> &mut V {
        if let Some(Place::Young(number)) = sought.place
            && number < self.young.len()
        {
            return &mut self.young[number];
        }
        // Before the old one may be forgotten.
        let before = self.get(sought).copied().unwrap_or_default();
        if self.young.len() >= self.limit {
            std::mem::swap(&mut self.young, &mut self.old);
            // Its memory is kept for those that come.
            self.young.clear();
        }
        let Sought { key, hash, .. } = *sought;
        let entry = self.young.raw_entry_mut_v1();
        match entry.from_key_hashed_nocheck(hash, &key) {
            RawEntryMut::Occupied(entry) => entry.into_mut(),
            RawEntryMut::Vacant(entry) => entry.insert_hashed_nocheck(hash, key, before).1,
        }
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

    fn get(memory: &Generations<u32, u32>, key: u32) -> Option<u32> {
        memory.get(&memory.seek(key)).copied()
    }

    fn entry(memory: &mut Generations<u32, u32>, key: u32) -> &mut u32 {
        let sought = memory.seek(key);
        memory.entry(&sought)
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
