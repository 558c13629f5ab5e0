//! Where engines come from: production opens directories of tables, a simulation keeps its engines in memory.

use std::path::Path;
use std::sync::Arc;

use crate::{BulkLoader, Engine, LsmEngine, Options, StorageFault, Version};

/// Called after each flush with the new durable version.
pub type OnFlushed = Box<dyn Fn(Version) + Send + Sync>;
/// Called once, if flush or compaction fails.
pub type OnFault = Box<dyn Fn(StorageFault) + Send + Sync>;

/// Called when a flush finds the disk full, with what is to be told, and with `None` once one has succeeded again.
pub type OnFull = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// What an engine tells of itself while it is open.
pub struct Callbacks {
    /// Of each flush.
    pub on_flushed: OnFlushed,
    /// Of the fault that ends it.
    pub on_fault: OnFault,
    /// Of a full disk.
    pub on_full: OnFull,
}

impl Default for Callbacks {
    /// Nobody listens.
    fn default() -> Self {
        Callbacks {
            on_flushed: Box::new(|_| {}),
            on_fault: Box::new(|_| {}),
            on_full: Box::new(|_| {}),
        }
    }
}

/// Opens and builds engines, each known by its directory.
pub trait Engines: Send + Sync + 'static {
    /// Opens the engine in `dir`, an empty one if there is none.
    fn open(&self, dir: &Path, callbacks: Callbacks) -> Result<Arc<dyn Engine>, StorageFault>;

    /// Opens the engine in `dir` to read what is durable in it.
    fn open_to_read(&self, dir: &Path) -> Result<Arc<dyn Engine>, StorageFault> {
        self.open(dir, Callbacks::default())
    }

    /// Starts building an engine in `dir`, which must be absent or empty.
    fn bulk_loader(&self, dir: &Path) -> Result<Box<dyn BulkLoad>, StorageFault>;

    /// Reads the whole of the engine in `dir`, which is not open, and compares it with its checksums.
    fn verify(&self, dir: &Path) -> Result<(), StorageFault>;
}

/// Builds a complete engine from entries in key order. What is dropped without `finish` is to be removed.
pub trait BulkLoad: Send {
    /// Adds an entry; keys must ascend.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageFault>;

    /// Makes it durable; reads as of `version` or later see every entry, and a restart replays from there.
    fn finish(self: Box<Self>, version: Version) -> Result<(), StorageFault>;
}

/// The engines of production: [`LsmEngine`]s.
#[derive(Debug, Clone, Copy)]
pub struct LsmEngines {
    /// Memtable size at which an engine wants to be rotated.
    pub memtable_bytes: u64,
    /// Most bytes of table blocks kept in memory.
    pub cache_bytes: u64,
}

impl Engines for LsmEngines {
    fn open(&self, dir: &Path, callbacks: Callbacks) -> Result<Arc<dyn Engine>, StorageFault> {
        let options = Options {
            memtable_bytes: self.memtable_bytes,
            cache_bytes: self.cache_bytes,
            on_flushed: callbacks.on_flushed,
            on_fault: callbacks.on_fault,
            on_full: callbacks.on_full,
            ..Options::default()
        };
        Ok(LsmEngine::open(dir, options)?)
    }

    fn open_to_read(&self, dir: &Path) -> Result<Arc<dyn Engine>, StorageFault> {
        let options = Options {
            memtable_bytes: self.memtable_bytes,
            cache_bytes: self.cache_bytes,
            read_only: true,
            ..Options::default()
        };
        Ok(LsmEngine::open(dir, options)?)
    }

    fn bulk_loader(&self, dir: &Path) -> Result<Box<dyn BulkLoad>, StorageFault> {
        Ok(Box::new(BulkLoader::create(dir)?))
    }

    fn verify(&self, dir: &Path) -> Result<(), StorageFault> {
        crate::verify(dir).map(drop)
    }
}

impl BulkLoad for BulkLoader {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageFault> {
        BulkLoader::add(self, key, value)
    }

    fn finish(self: Box<Self>, version: Version) -> Result<(), StorageFault> {
        BulkLoader::finish(*self, version)
    }
}
