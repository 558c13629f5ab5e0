//! One budget of memory for a whole node, and the parts it is shared out to.
//!
//! Promises: every part is a share of the budget, the shares are no more than the whole, and what a part holds is bounded
//! by it: when a part is full, work is slowed down or refused as overload, it does not grow. `docs/operations.md` has the
//! table. The parts above this crate (messages, queries, cursors) are handed to whoever keeps them.

const MIB: u64 = 1 << 20;

/// Least a node can work with: a largest message must fit its part.
pub const MEMORY_BYTES_MIN: u64 = 512 * MIB;
/// What a node takes if it is not told.
pub const MEMORY_BYTES_DEFAULT: u64 = 1024 * MIB;

/// Shares in percent.
const MEMTABLES: u64 = 12;
const BLOCK_CACHE: u64 = 24;
/// Tables' indexes and filters that are always in memory; they grow with the data, a few KiB a table.
const TABLES: u64 = 4;
/// Entries that wait for a disk: those of a majority, then a leader's own.
const UNSYNCED: u64 = 12;
const UNAPPLIED: u64 = 6;
const ENTRY_CACHE: u64 = 2;
const PEERS: u64 = 4;
const MESSAGES: u64 = 14;
const QUERIES: u64 = 14;
const CURSORS: u64 = 4;
/// The program itself, its threads, and what an allocator cannot give back.
const PROGRAM: u64 = 4;

const WHOLE: u64 = MEMTABLES
    + BLOCK_CACHE
    + TABLES
    + UNSYNCED
    + UNAPPLIED
    + ENTRY_CACHE
    + PEERS
    + MESSAGES
    + QUERIES
    + CURSORS
    + PROGRAM;
const _: () = assert!(WHOLE == 100);

/// Full memtables that may wait to be flushed, beside the one that is written.
pub const SEALED_MEMTABLES_MAX: usize = 8;
/// Larger ones would make replay after a crash longer, smaller budgets have smaller ones.
const MEMTABLE_BYTES_MAX: u64 = 8 * MIB;
/// What a memtable takes for each byte that it counts, in percent: an entry's node and the allocator's rounding.
const MEMTABLE_OVERHEAD: u64 = 135;
/// Followers that a leader sends to at most.
const FOLLOWERS_MAX: u64 = (consensus::VOTERS_MAX - 1) as u64;
/// Bytes of entries the leader sends in one append.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// What an open cursor may hold: a block of each level, and a row that did not fit its batch.
const CURSOR_BYTES: u64 = 64 << 10;
/// Largest message of a client.
const MESSAGE_BYTES_MAX: u64 = 48 * MIB;

const fn share(bytes: u64, percent: u64) -> u64 {
    bytes / 100 * percent
}

const _: () = {
    let least = MEMORY_BYTES_MIN;
    assert!(MEMORY_BYTES_MIN <= MEMORY_BYTES_DEFAULT);
    assert!(share(least, MESSAGES) > MESSAGE_BYTES_MAX);
    assert!(share(least, PEERS) / FOLLOWERS_MAX >= 2 * APPEND_BYTES_MAX as u64);
    // The largest memtables fit the default budget: a larger one does not make replay longer.
    let tables = SEALED_MEMTABLES_MAX as u64 + 1;
    let all = MEMTABLE_BYTES_MAX * tables / 100 * MEMTABLE_OVERHEAD;
    assert!(all <= share(MEMORY_BYTES_DEFAULT, MEMTABLES));
};

/// A node's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    bytes: u64,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        MemoryBudget {
            bytes: MEMORY_BYTES_DEFAULT,
        }
    }
}

impl MemoryBudget {
    /// A budget of so many bytes, or of [`MEMORY_BYTES_MIN`] if that is more.
    pub fn new(bytes: u64) -> Self {
        MemoryBudget {
            bytes: bytes.max(MEMORY_BYTES_MIN),
        }
    }

    /// All of it.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// What the part of this name may take, by the names of the metrics.
    pub fn parts(self) -> [(&'static str, u64); 10] {
        let of = |percent| share(self.bytes, percent);
        [
            ("memtables", of(MEMTABLES)),
            ("block_cache", of(BLOCK_CACHE)),
            ("tables", of(TABLES)),
            ("unsynced", of(UNSYNCED)),
            ("unapplied", of(UNAPPLIED)),
            ("entry_cache", of(ENTRY_CACHE)),
            ("peers", of(PEERS)),
            ("messages", of(MESSAGES)),
            ("queries", of(QUERIES)),
            ("cursors", of(CURSORS)),
        ]
    }

    /// Size, as it counts itself, at which a memtable is sealed.
    pub fn memtable_bytes(self) -> u64 {
        let tables = SEALED_MEMTABLES_MAX as u64 + 1;
        (share(self.bytes, MEMTABLES) / tables * 100 / MEMTABLE_OVERHEAD).min(MEMTABLE_BYTES_MAX)
    }

    /// What memtables really take that count themselves as so many bytes.
    pub fn memtables_bytes(counted: u64) -> u64 {
        counted / 100 * MEMTABLE_OVERHEAD
    }

    /// Bytes of table blocks kept.
    pub fn cache_bytes(self) -> u64 {
        share(self.bytes, BLOCK_CACHE)
    }

    /// Bounds of the queues between a node's threads.
    pub fn queues(self) -> QueueLimits {
        let of = |percent| usize::try_from(share(self.bytes, percent)).unwrap_or(usize::MAX);
        QueueLimits {
            uncommitted_bytes: of(UNSYNCED) / 2,
            unsynced_bytes: of(UNSYNCED),
            unapplied_bytes: of(UNAPPLIED),
            entry_cache_bytes: of(ENTRY_CACHE),
            inflight_bytes: of(PEERS) / FOLLOWERS_MAX as usize,
        }
    }

    /// Bytes of large messages and replies that all connections together may hold.
    pub fn message_bytes(self) -> usize {
        usize::try_from(share(self.bytes, MESSAGES)).unwrap_or(usize::MAX)
    }

    /// Bytes that sorts and groups of all queries together may hold.
    pub fn query_bytes(self) -> usize {
        usize::try_from(share(self.bytes, QUERIES)).unwrap_or(usize::MAX)
    }

    /// Cursors that may be open.
    pub fn cursors(self) -> usize {
        usize::try_from(share(self.bytes, CURSORS) / CURSOR_BYTES).unwrap_or(usize::MAX)
    }

    /// What so many open cursors are counted as.
    pub fn cursors_bytes(cursors: usize) -> u64 {
        cursors as u64 * CURSOR_BYTES
    }
}

/// Bounds of the queues between a node's threads, in bytes of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Proposed and not committed yet.
    pub uncommitted_bytes: usize,
    /// Waiting for a leader's own disk while other members' disks go on.
    pub unsynced_bytes: usize,
    /// Waiting to be applied here; a member with more takes no new ones.
    pub unapplied_bytes: usize,
    /// Kept in memory for followers.
    pub entry_cache_bytes: usize,
    /// Under way to one follower.
    pub inflight_bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        MemoryBudget::default().queues()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_no_more_than_the_whole_and_each_holds_what_it_must() {
        for mib in [0, 512, 700, 1024, 4096, 1 << 20] {
            let budget = MemoryBudget::new(mib * MIB);
            let parts: u64 = budget.parts().iter().map(|(_, bytes)| bytes).sum();
            assert!(parts < budget.bytes(), "{mib}");
            let memtables = budget.memtable_bytes() * (SEALED_MEMTABLES_MAX as u64 + 1);
            assert!(MemoryBudget::memtables_bytes(memtables) <= budget.parts()[0].1);
            let queues = budget.queues();
            assert!(queues.uncommitted_bytes < queues.unsynced_bytes);
            assert!(queues.inflight_bytes >= APPEND_BYTES_MAX);
            assert!(budget.cursors() >= 300);
        }
    }
}
