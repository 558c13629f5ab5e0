//! The engine as a plain ordered map: the model that tests compare with, and an engine for simulations.
//! What `rotate` seals is durable at once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::engine::{Batch, Engine, EngineStats, RangeIterator, Version};
use crate::{Slice, StorageFault};

/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 64;
const MEMTABLE_BYTES: u64 = 16 << 20;

type Versions = BTreeMap<Version, Option<Slice>>;

/// An engine in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: RwLock<State>,
    memtable_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<Vec<u8>, Versions>,
    last_version: Option<Version>,
    durable_version: Option<Version>,
    oldest_reader: Version,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }
}

fn visible(versions: &Versions, as_of: Version) -> Option<Slice> {
    let (_, value) = versions.range(..=as_of).next_back()?;
    value.clone()
}

/// Whether no key can lie between the bounds (`BTreeMap::range` panics on such).
fn is_void(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8], as_of: Version) -> Result<Option<Slice>, StorageFault> {
        let state = self.state.read();
        Ok(state
            .keys
            .get(key)
            .and_then(|versions| visible(versions, as_of)))
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, as_of: Version) -> RangeIterator {
        if is_void(from, to) {
            return Box::new(std::iter::empty());
        }
        let state = self.state.read();
        let found: Vec<_> = state
            .keys
            .range::<[u8], _>((from, to))
            .filter_map(|(key, versions)| {
                Some(Ok((Slice::from(key.as_slice()), visible(versions, as_of)?)))
            })
            .collect();
        Box::new(found.into_iter())
    }

    fn write(&self, version: Version, batch: &Batch) {
        let mut state = self.state.write();
        assert!(
            state.last_version.is_none_or(|last| last <= version),
            "versions never go back"
        );
        state.last_version = Some(version);
        let oldest_reader = state.oldest_reader;
        let mut bytes = 0;
        for (key, value) in batch {
            let len = key.len() + value.as_ref().map_or(0, Vec::len);
            bytes += ENTRY_OVERHEAD_BYTES + len as u64;
            let versions = state.keys.entry(key.clone()).or_default();
            versions.insert(version, value.as_deref().map(Slice::from));
            // Drop what no reader can name any more.
            if let Some((&newest_needed, _)) = versions.range(..=oldest_reader).next_back() {
                *versions = versions.split_off(&newest_needed);
            }
        }
        self.memtable_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn durable_version(&self) -> Option<Version> {
        self.state.read().durable_version
    }

    fn memtable_bytes(&self) -> u64 {
        self.memtable_bytes.load(Ordering::Relaxed)
    }

    fn wants_rotation(&self) -> bool {
        self.memtable_bytes() >= MEMTABLE_BYTES
    }

    fn rotate(&self) {
        let mut state = self.state.write();
        state.durable_version = state.last_version;
        self.memtable_bytes.store(0, Ordering::Relaxed);
    }

    fn flush_all(&self) -> Result<(), StorageFault> {
        self.rotate();
        Ok(())
    }

    fn set_oldest_reader(&self, version: Version) {
        let mut state = self.state.write();
        state.oldest_reader = state.oldest_reader.max(version);
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            memtable_bytes: self.memtable_bytes(),
            durable_version: self.durable_version(),
            ..EngineStats::default()
        }
    }
}
