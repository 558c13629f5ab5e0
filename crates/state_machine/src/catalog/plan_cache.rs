//! Which index was best for queries of which shape, so that the next of them need not compare all again. Every member keeps
//! what it saw itself, in memory, for each collection; never part of the replicated state, and never more than a hint:
//! whoever asks has to have the index among those that can serve the query.
//!
//! All versions of a collection's entry share it until one of its indexes changes: then it begins empty. Bounded in
//! entries and bytes; the one that was not used for longest goes first.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;
use parking_lot::Mutex;

/// Entries of one collection.
pub const PLAN_CACHE_ENTRIES_MAX: usize = 200;
/// Bytes of one collection's entries.
pub const PLAN_CACHE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one entry; a longer shape is not remembered.
const ENTRY_BYTES_MAX: usize = 4 * 1024;
/// What an entry takes besides its key and its document.
const ENTRY_BYTES: usize = 128;

const _: () = assert!(ENTRY_BYTES_MAX < PLAN_CACHE_BYTES_MAX);

/// What is remembered of one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedPlan {
    /// The index that was best.
    pub index_id: u32,
    /// Its keys that the query came to when it was remembered.
    pub keys: u64,
    /// Eight digits that name the shape.
    pub shape_hash: String,
    /// Eight digits that name the shape and the indexes that could serve it.
    pub key_hash: String,
    /// The query that it was remembered for: `query`, `sort`, `projection` and `collation`.
    pub created_from: RawDocumentBuf,
}

/// The remembered plans of one collection.
#[derive(Default)]
pub struct PlanCache {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: BTreeMap<Vec<u8>, Held>,
    bytes: usize,
    /// Goes up with every use.
    uses: u64,
}

struct Held {
    plan: CachedPlan,
    /// How many bytes of the key are the shape.
    shape_bytes: usize,
    last_use: u64,
}

impl PlanCache {
    /// The best index for this shape and these indexes, and how many of its keys it came to.
    pub(crate) fn best(&self, key: &[u8]) -> Option<(u32, u64)> {
        let mut entries = self.entries.lock();
        entries.uses += 1;
        let now = entries.uses;
        let held = entries.by_key.get_mut(key)?;
        held.last_use = now;
        Some((held.plan.index_id, held.plan.keys))
    }

    /// Remembers a plan, in the place of what was there; `shape_bytes` of the key are the shape.
    pub(crate) fn remember(&self, key: Vec<u8>, shape_bytes: usize, plan: CachedPlan) {
        let bytes = size(&key, &plan);
        if bytes > ENTRY_BYTES_MAX {
            return;
        }
        let mut entries = self.entries.lock();
        entries.remove(&key);
        while entries.by_key.len() >= PLAN_CACHE_ENTRIES_MAX
            || entries.bytes + bytes > PLAN_CACHE_BYTES_MAX
        {
            let oldest = entries.by_key.iter().min_by_key(|(_, held)| held.last_use);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            entries.remove(&oldest);
        }
        entries.uses += 1;
        entries.bytes += bytes;
        let held = Held {
            plan,
            shape_bytes,
            last_use: entries.uses,
        };
        entries.by_key.insert(key, held);
    }

    /// Gives up one entry.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.entries.lock().remove(key);
    }

    /// Gives up the entries of one shape.
    pub(crate) fn forget_shape(&self, shape: &[u8]) {
        let mut entries = self.entries.lock();
        let of_shape = entries
            .by_key
            .iter()
            .filter(|(key, held)| key.get(..held.shape_bytes) == Some(shape));
        let keys: Vec<Vec<u8>> = of_shape.map(|(key, _)| key.clone()).collect();
        for key in keys {
            entries.remove(&key);
        }
    }

    /// Gives up everything.
    pub(crate) fn clear(&self) {
        *self.entries.lock() = Entries::default();
    }

    /// All entries with the bytes each takes, in the order of their keys.
    pub(crate) fn list(&self) -> Vec<(CachedPlan, usize)> {
        let entries = self.entries.lock();
        let held = entries.by_key.iter();
        held.map(|(key, held)| (held.plan.clone(), size(key, &held.plan)))
            .collect()
    }
}

impl Entries {
    fn remove(&mut self, key: &[u8]) {
        if let Some(held) = self.by_key.remove(key) {
            self.bytes -= size(key, &held.plan);
        }
    }
}

fn size(key: &[u8], plan: &CachedPlan) -> usize {
    ENTRY_BYTES + key.len() + plan.created_from.as_bytes().len()
}

impl std::fmt::Debug for PlanCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.entries.lock().by_key.len();
        formatter
            .debug_struct("PlanCache")
            .field("entries", &entries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn plan(index_id: u32, text: &str) -> CachedPlan {
        CachedPlan {
            index_id,
            keys: 3,
            shape_hash: "0000000A".to_owned(),
            key_hash: "0000000B".to_owned(),
            created_from: rawdoc! { "query": { "a": text } },
        }
    }

    fn key(number: usize) -> Vec<u8> {
        format!("shape {number:05}").into_bytes()
    }

    #[test]
    fn the_one_not_used_for_longest_goes_first() {
        let cache = PlanCache::default();
        for number in 0..PLAN_CACHE_ENTRIES_MAX {
            cache.remember(key(number), 5, plan(number as u32, ""));
        }
        assert_eq!(cache.best(&key(0)), Some((0, 3)));
        cache.remember(key(1000), 5, plan(7, ""));
        assert_eq!(cache.list().len(), PLAN_CACHE_ENTRIES_MAX);
        assert_eq!(cache.best(&key(0)), Some((0, 3)), "it was just used");
        assert_eq!(cache.best(&key(1)), None);
        assert_eq!(cache.best(&key(1000)), Some((7, 3)));
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let cache = PlanCache::default();
        let long = "x".repeat(ENTRY_BYTES_MAX / 2);
        for number in 0..PLAN_CACHE_ENTRIES_MAX {
            cache.remember(key(number), 5, plan(1, &long));
            let bytes: usize = cache.list().iter().map(|(_, bytes)| bytes).sum();
            assert!(bytes <= PLAN_CACHE_BYTES_MAX, "{bytes}");
            assert_eq!(cache.entries.lock().bytes, bytes);
        }
        assert!(cache.list().len() > 10);
        cache.remember(key(5000), 5, plan(1, &"x".repeat(ENTRY_BYTES_MAX)));
        assert_eq!(cache.best(&key(5000)), None, "too long to be kept");
        for number in 0..PLAN_CACHE_ENTRIES_MAX {
            cache.forget(&key(number));
        }
        assert_eq!(cache.entries.lock().bytes, 0);
    }

    #[test]
    fn a_shape_is_forgotten_with_whatever_indexes_there_were() {
        let cache = PlanCache::default();
        for suffix in [&b""[..], b"\0\0\0\x01", b"\0\0\0\x02"] {
            cache.remember([&b"shape"[..], suffix].concat(), 5, plan(1, ""));
            cache.remember([&b"shaped"[..], suffix].concat(), 6, plan(1, ""));
        }
        cache.forget_shape(b"shape");
        assert_eq!(cache.list().len(), 3);
        assert_eq!(cache.best(b"shape"), None);
        assert_eq!(cache.best(b"shaped"), Some((1, 3)));
        cache.clear();
        assert_eq!((cache.list().len(), cache.entries.lock().bytes), (0, 0));
    }
}
