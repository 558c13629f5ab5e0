//! The interface every storage engine serves.

use std::ops::Bound;

use crate::{Slice, StorageFault};

/// A log index; values written by the command at that index carry it.
pub type Version = u64;

/// Keys and their new values; `None` deletes. Keys are unique within a batch.
pub type Batch = [(Vec<u8>, Option<Vec<u8>>)];

/// Keys and values in ascending key order, from either end; owns what it reads.
pub type RangeIterator =
    Box<dyn DoubleEndedIterator<Item = Result<(Slice, Slice), StorageFault>> + Send>;

/// An ordered map from keys to versioned values.
pub trait Engine: Send + Sync + 'static {
    /// The value of `key` as of a version, its own included.
    fn get(&self, key: &[u8], as_of: Version) -> Result<Option<Slice>, StorageFault>;

    /// The entries between the bounds as of a version.
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, as_of: Version) -> RangeIterator;

    /// Writes a batch at a version not below any earlier one. Readers see it only by reading as of `version`
    /// or later. Writing a key again at the same version replaces it.
    fn write(&self, version: Version, batch: &Batch);

    /// The highest version that a restart would find. Everything after it must be replayed.
    fn durable_version(&self) -> Option<Version>;

    /// Bytes written since the last `rotate`, with a fixed overhead per entry.
    fn memtable_bytes(&self) -> u64;

    /// Whether the memtable has grown past its configured size: time to call `rotate`.
    fn wants_rotation(&self) -> bool;

    /// Seals what has been written so far, to become durable as one. To be called between commands only.
    fn rotate(&self);

    /// Seals and waits until everything written is durable.
    fn flush_all(&self) -> Result<(), StorageFault>;

    /// Promises that no read will name a version below this one; only the newest value at or below it and
    /// the later ones are kept. Never goes back.
    fn set_oldest_reader(&self, version: Version);

    /// Sorted runs of recent writes that are not merged yet: when they grow in number, writes come in faster than they can be
    /// merged, and reads have to look into each.
    fn runs_waiting(&self) -> u64 {
        0
    }

    /// Sizes and counts for metrics.
    fn stats(&self) -> EngineStats;
}

/// Sizes and counts of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Bytes in the memtable being written.
    pub memtable_bytes: u64,
    /// Memtables sealed and not yet flushed.
    pub sealed_memtables: u64,
    /// Bytes in them.
    pub sealed_bytes: u64,
    /// Tables on disk.
    pub tables: u64,
    /// Sorted runs in level 0.
    pub level_0_runs: u64,
    /// Bytes of all tables on disk.
    pub disk_bytes: u64,
    /// Bytes of blocks in the cache.
    pub cache_bytes: u64,
    /// Bytes of tables' indexes and filters that are always in memory.
    pub table_memory_bytes: u64,
    /// Entries in tables, deletions included.
    pub entries: u64,
    /// About how many of them nobody can see any more.
    pub garbage_entries: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// Compactions that did something since the start.
    pub compactions: u64,
    /// Bytes that flushes have written since the start.
    pub flushed_bytes: u64,
    /// Bytes that compactions have written since the start.
    pub compacted_bytes: u64,
    /// The highest version on disk.
    pub durable_version: Option<Version>,
}
