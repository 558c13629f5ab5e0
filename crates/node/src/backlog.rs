//! How much work the other threads have before them, so that a member that falls behind says so instead of growing.
//!
//! Promises: what was added is counted until the thread that does it reports that it came that far. The counts are the
//! core's own: no lock, no atomics.
//!
//! A leader over a bound refuses proposals; a follower over a bound drops entries it is sent, which the leader takes for
//! lost and sends again: it is slowed down to what this member can do, and heartbeats still get through.

use std::collections::VecDeque;

use consensus::{LogIndex, PersistPosition};

use crate::memory::{QueueLimits, SEALED_MEMTABLES_MAX};

/// Work handed out and not reported done, each piece with the mark whose report ends it.
#[derive(Default)]
struct Pieces {
    waiting: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Pieces {
    fn add(&mut self, mark: u64, bytes: usize) {
        self.waiting.push_back((mark, bytes));
        self.bytes += bytes;
    }

    fn done(&mut self, through: u64) {
        while let Some((_, bytes)) = self.waiting.pop_front_if(|(mark, _)| *mark <= through) {
            self.bytes -= bytes;
        }
    }
}

/// What the log thread, the apply thread and the engine have before them.
#[derive(Default)]
pub(crate) struct Backlog {
    unsynced: Pieces,
    unapplied: Pieces,
    /// Memtables that wait to be flushed.
    sealed: Pieces,
    limits: QueueLimits,
}

impl Backlog {
    /// Nothing waits yet; this much may.
    pub fn within(limits: QueueLimits) -> Self {
        Backlog {
            limits,
            ..Backlog::default()
        }
    }

    /// Bytes that wait for the disk, and to be applied.
    pub fn bytes(&self) -> (usize, usize) {
        (self.unsynced.bytes, self.unapplied.bytes)
    }

    /// Handed to the log thread.
    pub fn persisting(&mut self, position: PersistPosition, bytes: usize) {
        self.unsynced.add(position.0, bytes);
    }

    /// The log thread has synced up to here.
    pub fn durable(&mut self, position: PersistPosition) {
        self.unsynced.done(position.0);
    }

    /// Handed to the apply thread.
    pub fn applying(&mut self, index: LogIndex, bytes: usize) {
        self.unapplied.add(index.0, bytes);
    }

    /// The apply thread has come up to here.
    pub fn applied(&mut self, index: LogIndex) {
        self.unapplied.done(index.0);
    }

    /// The engine has begun another memtable after `index`.
    pub fn sealed(&mut self, index: LogIndex) {
        self.sealed.add(index.0, 1);
    }

    /// The engine's tables hold everything up to here, or a snapshot that does was put in its place.
    pub fn flushed(&mut self, index: LogIndex) {
        self.sealed.done(index.0);
    }

    /// Whether this member should take no more entries for now.
    pub fn is_full(&self) -> bool {
        self.unapplied.bytes >= self.limits.unapplied_bytes
            || self.sealed.bytes >= SEALED_MEMTABLES_MAX
    }

    /// Whether a leader should take no more proposals for now: its own disk may be slower than those of a majority.
    pub fn is_full_for_a_leader(&self) -> bool {
        self.is_full() || self.unsynced.bytes >= self.limits.unsynced_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_makes_room() {
        let mut backlog = Backlog::default();
        let limits = QueueLimits::default();
        backlog.applying(LogIndex(1), limits.unapplied_bytes - 1);
        assert!(!backlog.is_full());
        backlog.applying(LogIndex(2), 1);
        assert!(backlog.is_full());
        backlog.applied(LogIndex(1));
        assert!(!backlog.is_full() && backlog.unapplied.bytes == 1);
        for index in 0..SEALED_MEMTABLES_MAX as u64 {
            assert!(!backlog.is_full());
            backlog.sealed(LogIndex(index));
        }
        assert!(backlog.is_full());
        backlog.flushed(LogIndex(0));
        assert!(!backlog.is_full());
        backlog.persisting(PersistPosition(1), limits.unsynced_bytes);
        assert!(!backlog.is_full() && backlog.is_full_for_a_leader());
        backlog.durable(PersistPosition(1));
        assert!(!backlog.is_full_for_a_leader());
    }
}
