//! What sorts and groups hold in memory, counted together.
//!
//! Promises: all of them hold no more than the pool has, save for [`SHARE_BYTES_FREE`] that each may have in any case, so that
//! it gets on. Who is refused puts away on disk what it holds, or ends with an error: nobody waits, for those who hold
//! memory may themselves wait for a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{DocumentError, ErrorKind};

/// What a stage may hold though the pool is used up.
pub const SHARE_BYTES_FREE: usize = 1 << 20;
/// Shares are counted in steps of this size.
const STEP_BYTES: usize = 256 << 10;

/// The memory of all stages of a node.
#[derive(Debug)]
pub struct MemoryPool {
    bytes_max: usize,
    held: AtomicUsize,
}

impl MemoryPool {
    /// A pool of so many bytes.
    pub fn new(bytes_max: usize) -> Arc<MemoryPool> {
        Arc::new(MemoryPool {
            bytes_max,
            held: AtomicUsize::new(0),
        })
    }

    /// What stages hold now, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What one stage holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    pool: Option<Arc<MemoryPool>>,
    bytes_max: usize,
    counted: usize,
}

impl Share {
    /// A share of at most `bytes_max`, of a pool or of memory that nobody counts.
    pub fn new(pool: Option<Arc<MemoryPool>>, bytes_max: usize) -> Share {
        Share {
            pool,
            bytes_max,
            counted: 0,
        }
    }

    /// Memory that nobody counts and nothing limits.
    pub fn unlimited() -> Share {
        Share::new(None, usize::MAX)
    }

    /// Why `bytes` were refused to a stage of this name, which cannot go on on disk.
    pub fn refusal(&self, stage: &str, bytes: usize) -> DocumentError {
        let why = if bytes > self.bytes_max {
            format!(
                "{stage} exceeded memory limit of {} bytes, but did not opt in to external sorting.",
                self.bytes_max
            )
        } else {
            format!(
                "{stage} found no memory: other sorts and groups hold all that this node has for them. Try again, or allow the use of disk"
            )
        };
        DocumentError::new(ErrorKind::QueryExceededMemoryLimitNoDiskUseAllowed, why)
    }

    /// Whether the stage may hold `bytes` altogether. If so, that is what it is counted for from now on.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let Some(pool) = &self.pool else {
            return bytes <= self.bytes_max;
        };
        let wanted = bytes.next_multiple_of(STEP_BYTES);
        if wanted == self.counted {
            return bytes <= self.bytes_max;
        }
        if wanted <= self.counted {
            pool.held
                .fetch_sub(self.counted - wanted, Ordering::Relaxed);
            self.counted = wanted;
            return bytes <= self.bytes_max;
        }
        let more = wanted - self.counted;
        let granted = pool
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                (wanted <= SHARE_BYTES_FREE || held + more <= pool.bytes_max).then_some(held + more)
            });
        if granted.is_ok() {
            self.counted = wanted;
        }
        granted.is_ok() && bytes <= self.bytes_max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.held.fetch_sub(self.counted, Ordering::Relaxed);
        }
    }
}

/// The same items; what is `held` is given back with the iterator.
pub(crate) fn holding<H, I: Iterator>(held: H, items: I) -> impl Iterator<Item = I::Item> {
    items.inspect(move |_| {
        let _held = &held;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn shares_are_no_more_than_the_pool_and_come_back() {
        let pool = MemoryPool::new(10 * MIB);
        let share = || Share::new(Some(Arc::clone(&pool)), 8 * MIB);
        let (mut one, mut other) = (share(), share());
        assert!(one.hold(8 * MIB) && !one.hold(8 * MIB + 1));
        assert!(other.hold(MIB));
        let held = pool.held_bytes();
        assert!(!other.hold(3 * MIB));
        assert_eq!(pool.held_bytes(), held);
        drop(one);
        assert!(other.hold(3 * MIB));
        assert_eq!(pool.held_bytes(), 3 * MIB);
        assert!(other.hold(0));
        assert_eq!(pool.held_bytes(), 0);
    }

    #[test]
    fn a_little_is_had_though_the_pool_is_used_up() {
        let pool = MemoryPool::new(MIB);
        let mut all = Share::new(Some(Arc::clone(&pool)), MIB);
        assert!(all.hold(MIB));
        let mut late = Share::new(Some(Arc::clone(&pool)), MIB);
        assert!(late.hold(SHARE_BYTES_FREE));
        assert_eq!(pool.held_bytes(), MIB + SHARE_BYTES_FREE);
        drop((all, late));
        assert_eq!(pool.held_bytes(), 0);
    }

    #[test]
    fn without_a_pool_only_the_own_limit_counts() {
        let mut share = Share::new(None, 100);
        assert!(share.hold(100) && !share.hold(101) && share.hold(1));
    }
}
