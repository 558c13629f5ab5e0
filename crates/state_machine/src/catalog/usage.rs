//! How often each index was used. Every member counts for itself, in memory, from when it came to know the index; never
//! part of the replicated state.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Shared by all versions of an index's entry. A catalog that is read again, as of an earlier log index, has counters of
/// its own, which nobody sees.
#[derive(Debug, Default)]
pub struct IndexUsage {
    operations: AtomicU64,
    /// 0 until somebody who has a clock asks.
    since_ms: AtomicI64,
}

impl IndexUsage {
    /// Reads, and searches of writes, whose plan had this index.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Since when operations are counted, in milliseconds since 1970. There is no clock in here: it is what the first who
    /// asked gave as `now_ms`, see [`super::Catalog::date_indexes`].
    pub fn since_ms(&self, now_ms: i64) -> i64 {
        match self
            .since_ms
            .compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => now_ms,
            Err(since_ms) => since_ms,
        }
    }

    pub(crate) fn count(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }
}
