//! What one node counts: its log's syncs and bytes, and what its engine wrote and holds.
//!
//! Everything is since the process started. Counters are kept by the thread that does the work and read by any other;
//! each number is right by itself, several of them may be of slightly different moments.

use std::sync::atomic::{AtomicU64, Ordering};

use storage_engine::EngineStats;
use write_ahead_log::WalStats;

/// Upper bounds of the classes that [`LogMetrics::batches`] counts; the last class has none.
pub const BATCH_ENTRIES_BOUNDS: [u64; 7] = [1, 2, 4, 16, 64, 256, 1024];
const BATCH_CLASSES: usize = BATCH_ENTRIES_BOUNDS.len() + 1;

/// Counts and sizes of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Of the write-ahead log.
    pub log: LogMetrics,
    /// Of the storage engine.
    pub engine: EngineStats,
    /// What waits between the node's threads.
    pub queues: QueueBytes,
}

/// Bytes of entries in queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueBytes {
    /// Waiting for this member's disk.
    pub unsynced_bytes: u64,
    /// Waiting to be applied here.
    pub unapplied_bytes: u64,
    /// Kept for followers, or until they are applied.
    pub entry_cache_bytes: u64,
}

/// Counts and sizes of the write-ahead log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Syncs of batches; what segments need beside them is not counted.
    pub syncs: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes written, headers included.
    pub written_bytes: u64,
    /// Syncs by how many entries they took along, in classes with the bounds [`BATCH_ENTRIES_BOUNDS`].
    pub batches: [u64; BATCH_CLASSES],
    /// Bytes of all segment files, prepared ones included.
    pub disk_bytes: u64,
    /// Segment files that hold records.
    pub segments: u64,
}

/// [`LogMetrics`] as the log thread keeps them.
#[derive(Debug, Default)]
pub(crate) struct LogCounters {
    syncs: AtomicU64,
    entries: AtomicU64,
    written_bytes: AtomicU64,
    batches: [AtomicU64; BATCH_CLASSES],
    disk_bytes: AtomicU64,
    segments: AtomicU64,
}

impl LogCounters {
    /// A sync took `entries` along.
    pub fn synced(&self, entries: u64) {
        let class = BATCH_ENTRIES_BOUNDS.partition_point(|bound| *bound < entries);
        self.batches[class].fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    /// What the log says of itself.
    pub fn set(&self, stats: WalStats) {
        self.syncs.store(stats.fsyncs, Ordering::Relaxed);
        self.written_bytes
            .store(stats.written_bytes, Ordering::Relaxed);
        self.disk_bytes.store(stats.disk_bytes, Ordering::Relaxed);
        self.segments.store(stats.segments, Ordering::Relaxed);
    }

    pub fn read(&self) -> LogMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogMetrics {
            syncs: read(&self.syncs),
            entries: read(&self.entries),
            written_bytes: read(&self.written_bytes),
            batches: std::array::from_fn(|class| read(&self.batches[class])),
            disk_bytes: read(&self.disk_bytes),
            segments: read(&self.segments),
        }
    }
}

/// [`QueueBytes`] as the core thread keeps them.
#[derive(Debug, Default)]
pub(crate) struct QueueGauges {
    unsynced: AtomicU64,
    unapplied: AtomicU64,
    entry_cache: AtomicU64,
}

impl QueueGauges {
    pub fn set(&self, bytes: QueueBytes) {
        self.unsynced.store(bytes.unsynced_bytes, Ordering::Relaxed);
        self.unapplied
            .store(bytes.unapplied_bytes, Ordering::Relaxed);
        self.entry_cache
            .store(bytes.entry_cache_bytes, Ordering::Relaxed);
    }

    pub fn read(&self) -> QueueBytes {
        QueueBytes {
            unsynced_bytes: self.unsynced.load(Ordering::Relaxed),
            unapplied_bytes: self.unapplied.load(Ordering::Relaxed),
            entry_cache_bytes: self.entry_cache.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_counted_by_how_much_they_took_along() {
        let counters = LogCounters::default();
        for entries in [0, 1, 1, 2, 3, 16, 17, 2000] {
            counters.synced(entries);
        }
        let read = counters.read();
        assert_eq!(read.batches, [3, 1, 1, 1, 1, 0, 0, 1]);
        assert_eq!(read.entries, 2040);
    }
}
