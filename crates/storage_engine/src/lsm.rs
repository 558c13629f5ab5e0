//! The engine on disk.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use crate::engine::{Batch, Engine, EngineStats, RangeIterator, Version};
use crate::{Slice, StorageFault};

/// How to run an [`LsmEngine`].
pub struct Options {
    /// Memtable size at which `wants_rotation` says so.
    pub memtable_bytes: u64,
    /// Most bytes of table blocks kept in memory.
    pub cache_bytes: u64,
    /// Called on the maintenance thread after each flush with the new durable version.
    pub on_flushed: Box<dyn Fn(Version) + Send + Sync>,
    /// Called once if the maintenance thread fails.
    pub on_fault: Box<dyn Fn(StorageFault) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memtable_bytes: 16 << 20,
            cache_bytes: 32 << 20,
            on_flushed: Box::new(|_| {}),
            on_fault: Box::new(|_| {}),
        }
    }
}

/// An engine in a directory, with its own maintenance thread.
pub struct LsmEngine {}

impl LsmEngine {
    /// Opens the engine; an absent or empty directory is a fresh one.
    pub fn open(_dir: &Path, _options: Options) -> Result<Arc<Self>, StorageFault> {
        unimplemented!()
    }
}

impl Engine for LsmEngine {
    fn get(&self, _key: &[u8], _as_of: Version) -> Result<Option<Slice>, StorageFault> {
        unimplemented!()
    }
    fn range(&self, _from: Bound<&[u8]>, _to: Bound<&[u8]>, _as_of: Version) -> RangeIterator {
        unimplemented!()
    }
    fn write(&self, _version: Version, _batch: &Batch) {
        unimplemented!()
    }
    fn durable_version(&self) -> Option<Version> {
        unimplemented!()
    }
    fn memtable_bytes(&self) -> u64 {
        unimplemented!()
    }
    fn wants_rotation(&self) -> bool {
        unimplemented!()
    }
    fn rotate(&self) {
        unimplemented!()
    }
    fn flush_all(&self) -> Result<(), StorageFault> {
        unimplemented!()
    }
    fn set_oldest_reader(&self, _version: Version) {
        unimplemented!()
    }
    fn stats(&self) -> EngineStats {
        unimplemented!()
    }
}
