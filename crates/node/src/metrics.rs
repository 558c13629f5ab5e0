//! What one node counts: its log's syncs and bytes, and what its engine wrote and holds.
//!
//! Everything is since the process started. Counters are kept by the thread that does the work and read by any other;
//! each number is right by itself, several of them may be of slightly different moments.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use storage_engine::EngineStats;
use write_ahead_log::WalStats;

/// Upper bounds of the classes that [`LogMetrics::batches`] counts; the last class has none.
pub const BATCH_ENTRIES_BOUNDS: [u64; 7] = [1, 2, 4, 16, 64, 256, 1024];
const BATCH_CLASSES: usize = BATCH_ENTRIES_BOUNDS.len() + 1;

/// Upper bounds in microseconds of the classes that [`ReplicationMetrics::entries`] counts; the last class has none.
pub const REPLICATION_MICROS_BOUNDS: [u64; 14] = [
    250, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 50_000, 100_000, 500_000,
    2_000_000,
];
const REPLICATION_CLASSES: usize = REPLICATION_MICROS_BOUNDS.len() + 1;

/// Counts and sizes of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Of the write-ahead log.
    pub log: LogMetrics,
    /// Of the storage engine.
    pub engine: EngineStats,
    /// What waits between the node's threads.
    pub queues: QueueBytes,
    /// How long entries took to be committed while this member led.
    pub replication: ReplicationMetrics,
    /// Keys looked up for entries that were waiting to be applied, because applying them waited for a disk.
    pub prefetched_keys: u64,
}

/// From the leader's taking an entry into its log until it knows that a majority has it on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicationMetrics {
    /// Entries by how long they took, in classes with the bounds [`REPLICATION_MICROS_BOUNDS`].
    pub entries: [u64; REPLICATION_CLASSES],
    /// What all of them took together.
    pub total_micros: u64,
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

/// [`ReplicationMetrics`] as the core thread keeps them.
#[derive(Debug, Default)]
pub(crate) struct ReplicationCounters {
    entries: [AtomicU64; REPLICATION_CLASSES],
    total_micros: AtomicU64,
}

impl ReplicationCounters {
    /// So many entries took so long.
    fn committed(&self, entries: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = REPLICATION_MICROS_BOUNDS.partition_point(|bound| *bound < micros);
        self.entries[class].fetch_add(entries, Ordering::Relaxed);
        self.total_micros
            .fetch_add(micros.saturating_mul(entries), Ordering::Relaxed);
    }

    pub fn read(&self) -> ReplicationMetrics {
        ReplicationMetrics {
            entries: std::array::from_fn(|class| self.entries[class].load(Ordering::Relaxed)),
            total_micros: self.total_micros.load(Ordering::Relaxed),
        }
    }
}

/// When the leader took which entries that are not committed yet.
#[derive(Debug, Default)]
pub(crate) struct ReplicationClock {
    /// The last entry of what came together, and when that was; ascending.
    taken: VecDeque<(u64, Duration)>,
    /// The last one timed; `None` while another leads.
    timed: Option<u64>,
}

impl ReplicationClock {
    /// After a round at `now`: the end of a leader's log and what of it is committed. Nothing is timed for `None`, another role.
    pub fn round(
        &mut self,
        leads: Option<(u64, u64)>,
        now: Duration,
        counters: &ReplicationCounters,
    ) {
        let Some((last, commit)) = leads else {
            self.taken.clear();
            self.timed = None;
            return;
        };
        // Who begins to lead did not take what it finds in its log.
        let mut timed = self.timed.unwrap_or(last);
        let newest = self.taken.back().map_or(timed, |(last, _)| *last);
        if last > newest {
            self.taken.push_back((last, now));
        }
        while timed < commit
            && let Some((last, taken)) = self.taken.front().copied()
        {
            let through = last.min(commit);
            counters.committed(through - timed, now.saturating_sub(taken));
            timed = through;
            if through == last {
                self.taken.pop_front();
            }
        }
        self.timed = Some(timed);
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

    #[test]
    fn entries_are_timed_from_when_the_leader_took_them_until_they_are_committed() {
        let counters = ReplicationCounters::default();
        let mut clock = ReplicationClock::default();
        let us = Duration::from_micros;
        clock.round(None, us(0), &counters);
        // Found in the log, with the new leader's own entry: not timed.
        clock.round(Some((10, 7)), us(100), &counters);
        clock.round(Some((13, 9)), us(200), &counters);
        clock.round(Some((14, 12)), us(400), &counters);
        let read = counters.read();
        assert_eq!((read.entries[0], read.total_micros), (2, 400));
        clock.round(Some((14, 14)), us(1200), &counters);
        let read = counters.read();
        assert_eq!(read.entries[..4], [2, 0, 2, 0]);
        assert_eq!(read.total_micros, 400 + 1000 + 800);
        // What another leader commits is that one's.
        clock.round(Some((20, 14)), us(1300), &counters);
        clock.round(None, us(1400), &counters);
        clock.round(Some((21, 21)), us(1500), &counters);
        assert_eq!(counters.read(), read);
    }
}
