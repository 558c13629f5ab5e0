//! Counters of documents and bytes per collection: kept in memory, written beside the applied position when the
//! memtable rotates, never part of a hash.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::reader::CollectionCounts;

/// Shared by all versions of a collection's entry. Changed only while the applied index is being published.
#[derive(Debug, Default)]
pub(crate) struct CountersCell {
    documents: AtomicU64,
    bytes: AtomicU64,
}

/// What one command does to a collection's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CountsChange {
    pub(crate) documents: i64,
    pub(crate) bytes: i64,
}

impl CountersCell {
    pub(crate) fn new(counts: CollectionCounts) -> Self {
        CountersCell {
            documents: AtomicU64::new(counts.documents),
            bytes: AtomicU64::new(counts.bytes),
        }
    }

    pub(crate) fn get(&self) -> CollectionCounts {
        CollectionCounts {
            documents: self.documents.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Called by the apply thread alone, under the publication lock.
    pub(crate) fn change(&self, change: CountsChange) {
        let counts = self.get();
        let documents = counts.documents.saturating_add_signed(change.documents);
        let bytes = counts.bytes.saturating_add_signed(change.bytes);
        self.documents.store(documents, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}
