//! The engine on disk: memtables of our own over `lsm-tree`'s tables.
//!
//! `lsm-tree` writes and reads tables, and opens a directory. It holds its one lock while it syncs its list of tables
//! ("version"), so its own memtables and read path would stall writer and readers at every flush; and it chooses merges by
//! the first and last key of whole levels, so that where keys of several kinds stand in one tree a merge takes gigabytes.
//! Therefore memtables, the list and merging live here. Readers see an immutable [`View`] that is swapped whole: `get`,
//! `range` and `write` never wait for a flush or a compaction.
//!
//! Rules that make versions safe:
//! - Flush and compaction drop a value only if a newer one of the same key is at or below the oldest reader.
//! - Compaction drops a deletion only if it is at or below the oldest reader and no older table can hold its key.
//! - The engine's own key [`MARKER_KEY`] carries the durable version, so that it survives the deletion and
//!   compaction of every other key.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use lsm_tree::config::CompressionPolicy;
use lsm_tree::{
    AbstractTree, AnyTree, Cache, CompressionType, Config, DescriptorTable, InternalValue,
    SequenceNumberCounter, TableId, Tree, TreeId, ValueType,
};
use parking_lot::Mutex;
use platform::{Disk, OsDisk};

use crate::engine::{Batch, Engine, EngineStats, RangeIterator, Version};
use crate::fault::FaultContext;
use crate::integrity;
use crate::lsm::compaction::Compacting;
use crate::lsm::freeing::Freeing;
use crate::lsm::garbage::Garbage;
use crate::lsm::list::Lists;
use crate::lsm::maintenance::{Maintenance, Unflushed};
use crate::lsm::room::TableFiles;
use crate::lsm::scan::{MergeScan, is_void};
use crate::lsm::view::{Memtables, View, Views};
use crate::{OnFull, Slice, StorageFault};

pub(crate) mod choice;
pub(crate) mod compaction;
pub(crate) mod extent;
pub(crate) mod freeing;
pub(crate) mod garbage;
pub(crate) mod list;
pub(crate) mod maintenance;
pub(crate) mod memtable;
pub(crate) mod pace;
pub(crate) mod room;
pub(crate) mod scan;
pub(crate) mod segments;
pub(crate) mod table_scan;
pub(crate) mod table_writer;
pub(crate) mod versions;
pub(crate) mod view;

/// The engine's own key; smaller than every key a caller may use.
pub(crate) const MARKER_KEY: [u8; 1] = [0];
/// Version of bulk-loaded entries: below every version a caller writes after the load, above "nothing" (0).
pub(crate) const BULK_VERSION: Version = 1;
/// Table files that are kept open at most: all of them up to 64 GiB. To open one costs about as much as to read a block.
const DESCRIPTORS_MAX: u64 = 4096;
/// Part of the files the process may have open that tables may take.
const DESCRIPTORS_PART: u64 = 4;

/// How to run an [`LsmEngine`].
pub struct Options {
    /// Memtable size at which `wants_rotation` says so.
    pub memtable_bytes: u64,
    /// Most bytes of table blocks kept in memory; grows with use.
    pub cache_bytes: u64,
    /// Tables in level 0 before they are merged into level 1.
    pub level_0_tables_max: u8,
    /// Size of the tables that compaction writes.
    pub table_bytes: u64,
    /// Only to be read: nothing is flushed, compacted or verified.
    pub read_only: bool,
    /// Called on the flush thread after each flush with the new durable version.
    pub on_flushed: Box<dyn Fn(Version) + Send + Sync>,
    /// Called once, at the first fault: of a read, a flush, a compaction, or of the verification of all tables that
    /// follows each start. Nothing becomes durable after that.
    pub on_fault: Box<dyn Fn(StorageFault) + Send + Sync>,
    /// Called when a flush finds the disk full, and with `None` once one has succeeded again. Nothing is lost meanwhile, but
    /// memtables gather.
    pub on_full: OnFull,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memtable_bytes: 8 << 20,
            cache_bytes: 32 << 20,
            level_0_tables_max: 6,
            table_bytes: 16 << 20,
            read_only: false,
            on_flushed: Box::new(|_| {}),
            on_fault: Box::new(|_| {}),
            on_full: Box::new(|_| {}),
        }
    }
}

/// An engine in a directory, with its own flush and compaction threads. Dropping it stops them without a
/// flush: what was not durable must be replayed.
pub struct LsmEngine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the engine and its threads share.
pub(crate) struct Shared {
    pub dir: PathBuf,
    pub lists: Lists,
    /// Part of the name of blocks in the cache.
    pub tree_id: TreeId,
    pub cache: Arc<Cache>,
    /// Open table files.
    pub descriptors: Arc<DescriptorTable>,
    next_table_id: AtomicU64,
    pub views: Views,
    pub maintenance: Maintenance,
    pub compacting: Compacting,
    pub garbage: Mutex<Garbage>,
    pub table_files: TableFiles,
    pub freeing: Freeing,
    pub options: Options,
    /// The damaged file, once looked for.
    pub located: OnceLock<Option<String>>,
    writer: Mutex<Writer>,
}

impl Shared {
    /// Numbers of tables are not used twice in one life of the process, nor as long as a list names them.
    pub fn new_table_id(&self) -> TableId {
        self.next_table_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The number that the next table will get.
    pub fn next_table_id(&self) -> TableId {
        self.next_table_id.load(Ordering::Relaxed)
    }
}

/// Keeps table files open.
pub(crate) fn descriptors() -> Arc<DescriptorTable> {
    let kept = DESCRIPTORS_MAX.min(platform::open_files_max() / DESCRIPTORS_PART);
    Arc::new(DescriptorTable::new(kept as usize))
}

/// State of the one writer.
struct Writer {
    last_version: Option<Version>,
    memtables: Memtables,
}

/// Opens the directory, or begins a new one. What no list names is removed.
pub(crate) fn open_tree(
    dir: &Path,
    cache: &Arc<Cache>,
    descriptors: &Arc<DescriptorTable>,
) -> lsm_tree::Result<Tree> {
    let numbers = SequenceNumberCounter::default;
    let config = Config::new(dir, numbers(), numbers())
        .use_cache(Arc::clone(cache))
        .use_descriptor_table(Some(Arc::clone(descriptors)))
        // What a bulk load writes is never rewritten.
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4));
    match config.open()? {
        AnyTree::Standard(tree) => Ok(tree),
        AnyTree::Blob(_) => Err(lsm_tree::Error::Unrecoverable),
    }
}

impl LsmEngine {
    /// Opens the engine; an absent or empty directory is a fresh one.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>, StorageFault> {
        let context = FaultContext::new(dir);
        integrity::check_before_open(dir, &context)?;
        // `lsm-tree` would make it, and sync what is in it, but not its name.
        OsDisk
            .create_dir_all(dir)
            .map_err(|error| context.io("create", error))?;
        let cache = Arc::new(Cache::with_capacity_bytes(options.cache_bytes));
        let descriptors = descriptors();
        let tree =
            open_tree(dir, &cache, &descriptors).map_err(|error| opening(dir, &context, error))?;
        let lists = Lists::of(&tree);
        let (tree_id, next_table_id) = (tree.id(), tree.next_table_id());
        // It holds tables that compaction will replace.
        drop(tree);
        let mut memtables = Memtables::new(options.memtable_bytes);
        let view = View::open(&lists.current(), memtables.fresh());
        let durable = view
            .tables
            .get(&MARKER_KEY, Version::MAX)
            .map_err(|error| opening(dir, &context, error))?
            .map(|marker| decode_marker(&marker.value, &context))
            .transpose()?;
        let view = View { durable, ..view };
        let shared = Arc::new(Shared {
            dir: dir.to_path_buf(),
            lists,
            tree_id,
            cache,
            descriptors,
            next_table_id: AtomicU64::new(next_table_id),
            views: Views::new(view),
            maintenance: Maintenance::default(),
            compacting: Compacting::default(),
            garbage: Mutex::default(),
            table_files: TableFiles::default(),
            freeing: Freeing::default(),
            options,
            located: OnceLock::new(),
            writer: Mutex::new(Writer {
                last_version: durable,
                memtables,
            }),
        });
        room::note_listed(&shared);
        let threads = match shared.options.read_only {
            true => Vec::new(),
            false => maintenance::start(&shared).map_err(|e| context.io("start threads", e))?,
        };
        Ok(Arc::new(Self { shared, threads }))
    }

    fn context(&self) -> FaultContext {
        FaultContext::new(&self.shared.dir)
    }

    /// Merges all tables into one sorted run, dropping what no reader needs. Blocks; for tools and tests.
    pub fn compact_all(&self) -> Result<(), StorageFault> {
        compaction::compact_all(&self.shared).map_err(|error| self.context().tree("compact", error))
    }
}

impl Drop for LsmEngine {
    fn drop(&mut self) {
        self.shared.maintenance.stop();
        self.shared.compacting.stop();
        self.shared.freeing.stop();
        for thread in self.threads.drain(..) {
            // A callback may hold the last reference: then this runs on the thread itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// A fault at the opening; of damage, the file is looked for: the tree does not say which it was.
fn opening(dir: &Path, context: &FaultContext, error: lsm_tree::Error) -> StorageFault {
    let mut fault = context.tree("open", error);
    fault.locate(|| integrity::locate(dir, maintenance::LOCATE_BUDGET));
    fault
}

fn decode_marker(bytes: &[u8], context: &FaultContext) -> Result<Version, StorageFault> {
    <[u8; 8]>::try_from(bytes)
        .map(Version::from_be_bytes)
        .map_err(|_| context.damaged("open", "a durable-version marker that is not 8 bytes long"))
}

/// The marker's entry; it sorts before every other key.
pub(crate) fn marker(version: Version, written_at: Version) -> InternalValue {
    InternalValue::from_components(
        MARKER_KEY,
        version.to_be_bytes(),
        written_at,
        ValueType::Value,
    )
}

impl Engine for LsmEngine {
    fn get(&self, key: &[u8], as_of: Version) -> Result<Option<Slice>, StorageFault> {
        if key == MARKER_KEY || key.is_empty() {
            return Ok(None);
        }
        let view = self.shared.views.current();
        let found = view
            .get(key, as_of)
            .map_err(|error| maintenance::report(&self.shared, "get", error))?;
        Ok(found
            .filter(|entry| !entry.is_tombstone())
            .map(|entry| entry.value))
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, as_of: Version) -> RangeIterator {
        let from = match from {
            Bound::Included(key) if key > &MARKER_KEY[..] => Bound::Included(Slice::from(key)),
            Bound::Excluded(key) if key > &MARKER_KEY[..] => Bound::Excluded(Slice::from(key)),
            _ => Bound::Excluded(Slice::from(MARKER_KEY)),
        };
        let to = to.map(Slice::from);
        if is_void(&from, &to) {
            return Box::new(std::iter::empty());
        }
        let view = self.shared.views.current();
        let scan = MergeScan::new(&view, from, to, as_of);
        let shared = Arc::clone(&self.shared);
        Box::new(
            scan.map(move |item| item.map_err(|error| maintenance::report(&shared, "scan", error))),
        )
    }

    fn write(&self, version: Version, batch: &Batch) {
        let mut writer = self.shared.writer.lock();
        assert!(version > 0, "log indexes start at 1");
        assert!(
            writer.last_version.is_none_or(|last| last <= version),
            "versions never go back: {version} after {:?}",
            writer.last_version
        );
        writer.last_version = Some(version);
        // Only `rotate` replaces the active memtable, and it takes the same lock.
        let view = self.shared.views.current();
        for (key, value) in batch {
            assert!(
                key[..] > MARKER_KEY[..],
                "a key is not empty and not the engine's own"
            );
            let entry = match value {
                Some(value) => InternalValue::from_components(
                    key.as_slice(),
                    value.as_slice(),
                    version,
                    ValueType::Value,
                ),
                None => InternalValue::new_tombstone(key.as_slice(), version),
            };
            view.active.insert(entry);
        }
    }

    fn durable_version(&self) -> Option<Version> {
        self.shared.views.current().durable
    }

    fn memtable_bytes(&self) -> u64 {
        self.shared.views.current().active.size()
    }

    fn wants_rotation(&self) -> bool {
        self.memtable_bytes() >= self.shared.options.memtable_bytes
    }

    fn rotate(&self) {
        let mut writer = self.shared.writer.lock();
        let view = self.shared.views.current();
        let Some(version) = writer.last_version.filter(|_| !view.active.is_empty()) else {
            return;
        };
        view.active.insert(marker(version, version));
        self.shared.views.seal(writer.memtables.fresh(), version);
        drop(writer);
        self.shared.maintenance.sealed();
    }

    fn flush_all(&self) -> Result<(), StorageFault> {
        self.rotate();
        let views = &self.shared.views;
        match self
            .shared
            .maintenance
            .wait_flushed(|| views.current().sealed.is_empty())
        {
            None => Ok(()),
            Some(Unflushed::Fault(first)) => Err(StorageFault::Stopped {
                dir: self.shared.dir.clone(),
                first,
            }),
            Some(Unflushed::NoRoom(what)) => Err(StorageFault::NoRoom { what }),
        }
    }

    fn set_oldest_reader(&self, version: Version) {
        self.shared.maintenance.raise_oldest_reader(version);
    }

    fn runs_waiting(&self) -> u64 {
        let view = self.shared.views.current();
        (view.sealed.len() + view.tables.level_0_runs) as u64
    }

    fn stats(&self) -> EngineStats {
        let view = self.shared.views.current();
        let done = self.shared.maintenance.done();
        let garbage = self.shared.garbage.lock().entries(&view.tables);
        EngineStats {
            memtable_bytes: view.active.size(),
            sealed_memtables: view.sealed.len() as u64,
            sealed_bytes: view
                .sealed
                .iter()
                .map(|sealed| sealed.memtable.size())
                .sum(),
            tables: view.tables.tables as u64,
            level_0_runs: view.tables.level_0_runs as u64,
            disk_bytes: view.tables.disk_bytes,
            cache_bytes: self.shared.cache.size(),
            table_memory_bytes: view.tables.memory_bytes,
            entries: view.tables.entries,
            garbage_entries: garbage,
            flushes: done.flushes,
            compactions: done.compactions,
            flushed_bytes: done.flushed_bytes,
            compacted_bytes: done.compacted_bytes,
            durable_version: view.durable,
        }
    }
}

#[cfg(test)]
mod tests;
