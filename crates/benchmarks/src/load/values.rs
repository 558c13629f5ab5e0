//! What is written: ids that ascend as drivers' ObjectIds do, and values that do not compress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of every value written, in every system.
pub(crate) const VALUE_BYTES: usize = 256;
/// Random bytes that values are cut from; far more than a compression window.
const POOL_BYTES: usize = 1 << 20;

/// Twelve bytes: an ObjectId for us, the key for etcd.
pub(crate) type Id = [u8; 12];

/// Hands out ids that no other run of this program used, ascending over all clients.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    prefix: [u8; 7],
    next: Arc<AtomicU64>,
}

impl Ids {
    /// Ids that start with the present second and a random part, as a new process's ObjectIds would.
    pub(crate) fn fresh() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut random = Random::new(now.as_nanos() as u64);
        let mut prefix = [0; 7];
        prefix[..4].copy_from_slice(&(now.as_secs() as u32).to_be_bytes());
        prefix[4..].copy_from_slice(&random.next_u64().to_be_bytes()[..3]);
        Self::with_prefix(prefix)
    }

    fn with_prefix(prefix: [u8; 7]) -> Self {
        Ids {
            prefix,
            next: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The id with this number, whether handed out or not.
    pub(crate) fn at(&self, number: u64) -> Id {
        let mut id = [0; 12];
        id[..7].copy_from_slice(&self.prefix);
        id[7..].copy_from_slice(&number.to_be_bytes()[3..]);
        id
    }

    /// How many were handed out.
    pub(crate) fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> Id {
        self.at(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Cuts values out of a pool of random bytes.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    pool: Arc<[u8]>,
    random: Random,
}

impl Values {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut pool = vec![0; POOL_BYTES];
        for chunk in pool.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.next_u64().to_le_bytes());
        }
        Values {
            pool: pool.into(),
            random,
        }
    }

    /// The same pool, walked in another order.
    pub(crate) fn for_client(&self, client: usize) -> Self {
        Values {
            pool: Arc::clone(&self.pool),
            random: Random::new(self.random.0 ^ (client as u64 + 1).rotate_left(32)),
        }
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        let at = self.random.below((POOL_BYTES - VALUE_BYTES) as u64) as usize;
        &self.pool[at..at + VALUE_BYTES]
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): cheap and good enough to choose keys and fill values.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `limit`, by multiplication; the bias is below 2^-32 for the limits used here.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }
}
