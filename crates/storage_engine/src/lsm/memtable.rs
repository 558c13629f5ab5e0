//! A memtable of `lsm-tree`, with a filter of its keys.
//!
//! Most keys that are looked up are in no memtable: a new document's `_id`, a unique value that is free, documents of long ago.
//! To find that out, the skip list compares some twenty keys that lie all over memory; the filter looks at one word.
//!
//! One writer inserts while others read: a reader names only versions that were written before it learned of them, so what it
//! may see is in the filter.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_tree::table::filter::standard_bloom::Builder as BloomHash;
use lsm_tree::{InternalValue, Memtable as SkipList};

/// Bytes of a memtable for each word of its filter: entries take a hundred and more, and each sets four bits.
const BYTES_PER_WORD: u64 = 512;

/// The hash of a key, for the filters of memtables and tables alike.
pub(crate) fn hash(key: &[u8]) -> u64 {
    BloomHash::get_hash(key)
}

/// Entries in memory, by key and version.
pub(crate) struct Memtable {
    entries: SkipList,
    filter: KeyFilter,
}

impl Memtable {
    /// An empty one that is to grow to about `bytes`.
    pub fn new(id: u64, bytes: u64) -> Self {
        Self {
            entries: SkipList::new(id),
            filter: KeyFilter::for_bytes(bytes),
        }
    }

    pub fn insert(&self, entry: InternalValue) {
        self.filter.add(hash(&entry.key.user_key));
        self.entries.insert(entry);
    }

    /// The newest entry of a key strictly below a version; `hash` is that of the key.
    pub fn get(&self, key: &[u8], hash: u64, below: u64) -> Option<InternalValue> {
        if !self.filter.may_contain(hash) {
            return None;
        }
        self.entries.get(key, below)
    }
}

impl Deref for Memtable {
    type Target = SkipList;

    fn deref(&self) -> &SkipList {
        &self.entries
    }
}

/// A Bloom filter whose bits for one key all stand in one word, so that a question costs one look into memory.
struct KeyFilter {
    words: Box<[AtomicU64]>,
}

impl KeyFilter {
    fn for_bytes(bytes: u64) -> Self {
        let words = (bytes / BYTES_PER_WORD).max(1);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn add(&self, hash: u64) {
        let (word, bits) = self.place(hash);
        word.fetch_or(bits, Ordering::Relaxed);
    }

    /// False only if the key was not added.
    fn may_contain(&self, hash: u64) -> bool {
        let (word, bits) = self.place(hash);
        word.load(Ordering::Relaxed) & bits == bits
    }

    fn place(&self, hash: u64) -> (&AtomicU64, u64) {
        let word = ((hash >> 32) * self.words.len() as u64) >> 32;
        let bit = |number: u32| 1 << ((hash >> (number * 6)) & 63);
        (
            &self.words[word as usize],
            bit(0) | bit(1) | bit(2) | bit(3),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_added_are_found_and_few_others() {
        const ENTRIES: u64 = 20_000;
        let filter = KeyFilter::for_bytes(ENTRIES * 100);
        let key = |number: u64| hash(&number.to_be_bytes());
        for number in 0..ENTRIES {
            filter.add(key(number));
        }
        assert!((0..ENTRIES).all(|number| filter.may_contain(key(number))));
        let wrong = (ENTRIES..2 * ENTRIES)
            .filter(|number| filter.may_contain(key(*number)))
            .count();
        assert!(wrong < ENTRIES as usize / 20, "{wrong}");
    }
}
