//! The storage engines of a simulated machine: versioned maps in memory that live as long as the machine, know which of their
//! versions are durable, and lose the others when the process dies.
//!
//! Stands for `LsmEngine`: what `rotate` seals becomes durable later, when the world says so. Engines are known by their
//! directory, whose existence on the simulated disk decides whether there is one.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use platform::{Disk, SimulatedDisk};
use storage_engine::{
    Batch, BulkLoad, Callbacks, Engine, EngineStats, Engines, RangeIterator, Slice, StorageFault,
    Version,
};

/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 64;
/// Version of bulk-loaded entries, as in the engine of production.
const BULK_VERSION: Version = 1;

type Versions = BTreeMap<Version, Option<Slice>>;

/// The engines of one machine; clones share them.
#[derive(Clone)]
pub struct SimulatedEngines {
    disk: SimulatedDisk,
    memtable_bytes: u64,
    engines: Arc<Mutex<BTreeMap<PathBuf, Arc<Mutex<Content>>>>>,
}

#[derive(Default)]
struct Content {
    keys: BTreeMap<Vec<u8>, Versions>,
    last_version: Option<Version>,
    durable_version: Option<Version>,
    oldest_reader: Version,
    memtable_bytes: u64,
    /// Sealed and not durable, each known by the version it ends with.
    sealed: VecDeque<Version>,
    flushes: u64,
    /// Reads of keys whose hash ends with this fail: the block they are in is damaged.
    damaged: Option<u64>,
    callbacks: Option<Arc<Callbacks>>,
    /// The last flush found no room.
    full: bool,
}

impl SimulatedEngines {
    /// No engines yet. They want rotation once `memtable_bytes` are written.
    pub fn new(disk: SimulatedDisk, memtable_bytes: u64) -> Self {
        SimulatedEngines {
            disk,
            memtable_bytes,
            engines: Arc::default(),
        }
    }

    /// The process dies: everything that is not durable is gone.
    pub fn kill_process(&self) {
        for content in self.engines.lock().values() {
            content.lock().crash();
        }
    }

    /// Engines with sealed parts that wait to become durable.
    pub fn unflushed(&self) -> Vec<PathBuf> {
        let engines = self.engines.lock();
        let waiting = |(path, content): (&PathBuf, &Arc<Mutex<Content>>)| {
            (!content.lock().sealed.is_empty()).then(|| path.clone())
        };
        engines.iter().filter_map(waiting).collect()
    }

    /// The oldest sealed part of an engine becomes durable, unless there is no room for it. Returns whether one did.
    pub fn flush(&self, dir: &Path) -> bool {
        let Some(content) = self.engines.lock().get(dir).cloned() else {
            return false;
        };
        let has_room = self.disk.has_room_for(self.memtable_bytes);
        let (flushed, changed, callbacks) = {
            let mut content = content.lock();
            let flushed = content.sealed.pop_front_if(|_| has_room);
            if let Some(version) = flushed {
                content.durable_version = Some(version);
                content.flushes += 1;
            }
            let full = !has_room && !content.sealed.is_empty();
            let changed = std::mem::replace(&mut content.full, full) != full;
            (flushed, changed.then_some(full), content.callbacks.clone())
        };
        if let Some(callbacks) = callbacks {
            if let Some(full) = changed {
                (callbacks.on_full)(full.then_some("a flush found no room"));
            }
            if let Some(version) = flushed {
                (callbacks.on_flushed)(version);
            }
        }
        flushed.is_some()
    }

    /// From now on one in 16 keys of every engine cannot be read; `which` chooses them.
    pub fn damage(&self, which: u64) {
        for content in self.engines.lock().values() {
            content.lock().damaged = Some(which % 16);
        }
    }

    /// The disk was replaced by an empty one.
    pub fn wipe(&self) {
        self.engines.lock().clear();
    }

    fn content(&self, dir: &Path) -> Result<Arc<Mutex<Content>>, StorageFault> {
        let io = |source| StorageFault::Io {
            dir: dir.to_owned(),
            action: "open",
            source,
        };
        let mut engines = self.engines.lock();
        if !self.disk.exists(dir).map_err(io)? {
            engines.remove(dir);
            self.disk.create_dir_all(dir).map_err(io)?;
        }
        Ok(engines.entry(dir.to_owned()).or_default().clone())
    }
}

impl Engines for SimulatedEngines {
    fn open(&self, dir: &Path, callbacks: Callbacks) -> Result<Arc<dyn Engine>, StorageFault> {
        let content = self.content(dir)?;
        if content.lock().damaged.is_some() {
            return Err(StorageFault::Damaged {
                dir: dir.to_owned(),
                action: "open",
                detail: "a table whose checksum is wrong".to_owned(),
            });
        }
        content.lock().callbacks = Some(Arc::new(callbacks));
        Ok(Arc::new(SimulatedEngine {
            disk: self.disk.clone(),
            dir: dir.to_owned(),
            memtable_bytes_max: self.memtable_bytes,
            content,
        }))
    }

    fn bulk_loader(&self, dir: &Path) -> Result<Box<dyn BulkLoad>, StorageFault> {
        self.engines.lock().remove(dir);
        self.content(dir)?;
        Ok(Box::new(SimulatedLoad {
            dir: dir.to_owned(),
            engines: self.clone(),
            keys: BTreeMap::new(),
        }))
    }

    fn verify(&self, _dir: &Path) -> Result<(), StorageFault> {
        Ok(())
    }
}

struct SimulatedLoad {
    dir: PathBuf,
    engines: SimulatedEngines,
    keys: BTreeMap<Vec<u8>, Versions>,
}

impl BulkLoad for SimulatedLoad {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageFault> {
        if self
            .keys
            .last_key_value()
            .is_some_and(|(last, _)| &last[..] >= key)
        {
            return Err(StorageFault::BulkLoad {
                dir: self.dir.clone(),
                detail: "keys do not ascend",
            });
        }
        let versions = BTreeMap::from([(BULK_VERSION, Some(Slice::from(value)))]);
        self.keys.insert(key.to_vec(), versions);
        Ok(())
    }

    fn finish(self: Box<Self>, version: Version) -> Result<(), StorageFault> {
        let content = Content {
            keys: self.keys,
            last_version: Some(version),
            durable_version: Some(version),
            ..Content::default()
        };
        let content = Arc::new(Mutex::new(content));
        self.engines.engines.lock().insert(self.dir, content);
        Ok(())
    }
}

/// An open engine.
struct SimulatedEngine {
    disk: SimulatedDisk,
    dir: PathBuf,
    memtable_bytes_max: u64,
    content: Arc<Mutex<Content>>,
}

impl Content {
    fn crash(&mut self) {
        let durable = self.durable_version.unwrap_or(0);
        self.keys.retain(|_, versions| {
            versions.split_off(&(durable + 1));
            !versions.is_empty()
        });
        self.last_version = self.durable_version;
        self.memtable_bytes = 0;
        self.sealed.clear();
        self.callbacks = None;
        self.full = false;
    }

    fn check(&self, dir: &Path, action: &'static str, key: &[u8]) -> Result<(), StorageFault> {
        let Some(which) = self.damaged else {
            return Ok(());
        };
        let hash = key
            .iter()
            .fold(0_u64, |hash, byte| (hash * 31 + u64::from(*byte)) % 65_521);
        match hash % 16 == which {
            true => Err(StorageFault::Damaged {
                dir: dir.to_owned(),
                action,
                detail: "a block whose checksum is wrong".to_owned(),
            }),
            false => Ok(()),
        }
    }

    /// Drops what no reader can name any more, and no restart would need.
    fn prune(&mut self, key: &[u8]) {
        let floor = self.oldest_reader.min(self.durable_version.unwrap_or(0));
        if let Some(versions) = self.keys.get_mut(key)
            && let Some((&newest_needed, _)) = versions.range(..=floor).next_back()
        {
            *versions = versions.split_off(&newest_needed);
        }
    }
}

fn visible(versions: &Versions, as_of: Version) -> Option<Slice> {
    let (_, value) = versions.range(..=as_of).next_back()?;
    value.clone()
}

impl Engine for SimulatedEngine {
    fn get(&self, key: &[u8], as_of: Version) -> Result<Option<Slice>, StorageFault> {
        let content = self.content.lock();
        content.check(&self.dir, "get", key)?;
        let versions = content.keys.get(key);
        Ok(versions.and_then(|versions| visible(versions, as_of)))
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, as_of: Version) -> RangeIterator {
        Box::new(Range {
            dir: self.dir.clone(),
            content: self.content.clone(),
            from: from.map(<[u8]>::to_vec),
            to: to.map(<[u8]>::to_vec),
            as_of,
        })
    }

    fn write(&self, version: Version, batch: &Batch) {
        let mut content = self.content.lock();
        assert!(version > 0, "log indexes start at 1");
        assert!(
            content.last_version.is_none_or(|last| last <= version),
            "versions never go back"
        );
        assert!(
            content.sealed.back().is_none_or(|sealed| *sealed < version),
            "what is sealed is not written any more"
        );
        content.last_version = Some(version);
        for (key, value) in batch {
            let len = key.len() + value.as_ref().map_or(0, Vec::len);
            content.memtable_bytes += ENTRY_OVERHEAD_BYTES + len as u64;
            let versions = content.keys.entry(key.clone()).or_default();
            versions.insert(version, value.as_deref().map(Slice::from));
            content.prune(key);
        }
    }

    fn durable_version(&self) -> Option<Version> {
        self.content.lock().durable_version
    }

    fn memtable_bytes(&self) -> u64 {
        self.content.lock().memtable_bytes
    }

    fn wants_rotation(&self) -> bool {
        self.memtable_bytes() >= self.memtable_bytes_max
    }

    fn rotate(&self) {
        let mut content = self.content.lock();
        if content.memtable_bytes == 0 {
            return;
        }
        content.memtable_bytes = 0;
        let version = content.last_version.expect("something was written");
        content.sealed.push_back(version);
    }

    fn flush_all(&self) -> Result<(), StorageFault> {
        self.rotate();
        if !self.disk.has_room_for(self.memtable_bytes_max) {
            return Err(StorageFault::NoRoom {
                what: "a flush found no room".to_owned(),
            });
        }
        let mut content = self.content.lock();
        if let Some(last) = content.sealed.back().copied() {
            content.durable_version = Some(last);
        }
        content.sealed.clear();
        Ok(())
    }

    fn set_oldest_reader(&self, version: Version) {
        let mut content = self.content.lock();
        content.oldest_reader = content.oldest_reader.max(version);
    }

    fn stats(&self) -> EngineStats {
        let content = self.content.lock();
        EngineStats {
            memtable_bytes: content.memtable_bytes,
            sealed_memtables: content.sealed.len() as u64,
            flushes: content.flushes,
            durable_version: content.durable_version,
            ..EngineStats::default()
        }
    }
}

/// Looks each next entry up when it is asked for: most scans end early.
struct Range {
    dir: PathBuf,
    content: Arc<Mutex<Content>>,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    as_of: Version,
}

impl Range {
    /// Whether no key can lie between the bounds (`BTreeMap::range` panics on such).
    fn is_void(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                a >= b
            }
        }
    }

    fn take(&mut self, last: bool) -> Option<Result<(Slice, Slice), StorageFault>> {
        if self.is_void() {
            return None;
        }
        let content = self.content.lock();
        let bounds = (
            self.from.as_ref().map(Vec::as_slice),
            self.to.as_ref().map(Vec::as_slice),
        );
        let mut keys = content.keys.range::<[u8], _>(bounds);
        let as_of = self.as_of;
        let seen =
            |(key, versions): (&Vec<u8>, &Versions)| Some((key.clone(), visible(versions, as_of)?));
        let found = match last {
            false => keys.find_map(seen),
            true => keys.rev().find_map(seen),
        };
        let Some((key, value)) = found else {
            self.to = Bound::Excluded(Vec::new());
            self.from = Bound::Included(Vec::new());
            return None;
        };
        if let Err(fault) = content.check(&self.dir, "scan", &key) {
            self.to = Bound::Excluded(Vec::new());
            self.from = Bound::Included(Vec::new());
            return Some(Err(fault));
        }
        let entry = (Slice::from(key.as_slice()), value);
        match last {
            false => self.from = Bound::Excluded(key),
            true => self.to = Bound::Excluded(key),
        }
        Some(Ok(entry))
    }
}

impl Iterator for Range {
    type Item = Result<(Slice, Slice), StorageFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(false)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(true)
    }
}
