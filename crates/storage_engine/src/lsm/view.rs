//! What a read sees: the memtables and tables of one moment, immutable but for inserts into the active
//! memtable, which carry versions that no reader names yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use lsm_tree::{InternalValue, KvPair, Slice, Table, TableId};
use parking_lot::{Mutex, RwLock};

use crate::engine::Version;
use crate::lsm::extent::Extent;
use crate::lsm::list::{Run, TableList};
use crate::lsm::memtable::{self, Memtable};
use crate::lsm::segments::Segment;
use crate::lsm::table_scan::TableScan;

/// Keys and values from either end.
pub(crate) type TableIterator =
    Box<dyn DoubleEndedIterator<Item = lsm_tree::Result<KvPair>> + Send>;
/// Of a key, with its hash, strictly below a version.
type Get = dyn Fn(&[u8], u64, u64) -> lsm_tree::Result<Option<InternalValue>> + Send + Sync;
type Scan = dyn Fn((Bound<Slice>, Bound<Slice>), u64) -> TableIterator + Send + Sync;

/// The tables of one moment.
#[derive(Clone)]
pub(crate) struct Tables {
    get: Arc<Get>,
    scan: Arc<Scan>,
    pub tables: usize,
    pub level_0_runs: usize,
    pub disk_bytes: u64,
    pub entries: u64,
    pub tombstones: u64,
    /// Of what tables keep in memory outside the cache.
    pub memory_bytes: u64,
}

impl Tables {
    /// With what is known of the tables of level 0 that were flushed since the start.
    fn of(list: &TableList, extents: &Extents) -> Self {
        let pinned = |table: &Table| table.pinned_filter_size() + table.pinned_block_index_size();
        let sum = |of: &dyn Fn(&Table) -> u64| list.tables().map(of).sum();
        // Of its runs, the newest comes first, and the tables of one have no key in common.
        let level_0: Vec<(Table, Option<Arc<Extent>>)> = list.levels[0]
            .iter()
            .flat_map(|run| run.iter())
            .map(|table| (table.clone(), extents.of(table)))
            .collect();
        let below: Vec<Run> = list.levels[1..].iter().flatten().cloned().collect();
        let get = move |key: &[u8], hash: u64, below_version: u64| {
            for (table, extent) in &level_0 {
                let may_contain = match extent {
                    Some(extent) => extent.may_contain(key),
                    None => table.metadata.key_range.contains_key(key),
                };
                if may_contain && let Some(found) = table.get(key, below_version, hash)? {
                    return Ok(Some(found));
                }
            }
            for run in &below {
                if let Some(table) = TableList::table_for(run, key)
                    && let Some(found) = table.get(key, below_version, hash)?
                {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        let runs: Vec<(Run, Option<Arc<Extent>>)> = list
            .runs()
            .map(|(level, run)| {
                let known = (level == 0 && run.len() == 1).then(|| extents.of(&run[0]));
                (Arc::clone(run), known.flatten())
            })
            .collect();
        let scan = move |bounds: (Bound<Slice>, Bound<Slice>), below: u64| {
            let segments = runs
                .iter()
                .filter_map(|(run, extent)| Segment::of(run, extent.as_deref(), &bounds));
            Box::new(TableScan::new(segments.collect(), &bounds, below)) as TableIterator
        };
        Self {
            get: Arc::new(get),
            scan: Arc::new(scan),
            tables: list.tables().count(),
            level_0_runs: list.levels[0].len(),
            disk_bytes: sum(&|table| table.metadata.file_size),
            entries: sum(&|table| table.metadata.item_count),
            tombstones: sum(&|table| table.metadata.tombstone_count),
            memory_bytes: sum(&|table| pinned(table) as u64),
        }
    }

    /// The newest entry, tombstones included, at or below `as_of`.
    pub fn get(&self, key: &[u8], as_of: Version) -> lsm_tree::Result<Option<InternalValue>> {
        (self.get)(key, memtable::hash(key), below(as_of))
    }

    /// Visible entries within the bounds.
    pub fn scan(&self, from: Bound<Slice>, to: Bound<Slice>, as_of: Version) -> TableIterator {
        (self.scan)((from, to), below(as_of))
    }
}

/// `lsm-tree` shows what is strictly below the number given.
fn below(as_of: Version) -> u64 {
    as_of.saturating_add(1)
}

/// A memtable that takes no more writes.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub memtable: Arc<Memtable>,
    /// The highest version in it: durable once it is flushed.
    pub version: Version,
}

/// A memtable that the tree has as tables now.
#[derive(Clone, Copy)]
pub(crate) struct Flushed<'a> {
    pub sealed: &'a Sealed,
    pub tables: &'a [Table],
    /// Of all keys of these tables.
    pub extent: &'a Arc<Extent>,
}

/// Everything a read needs.
#[derive(Clone)]
pub(crate) struct View {
    pub active: Arc<Memtable>,
    /// Newest first.
    pub sealed: Vec<Sealed>,
    pub tables: Tables,
    pub durable: Option<Version>,
}

impl View {
    pub fn open(list: &TableList, active: Arc<Memtable>) -> Self {
        Self {
            active,
            sealed: Vec::new(),
            tables: Tables::of(list, &Extents::default()),
            durable: None,
        }
    }

    /// Memtables, newest first.
    pub fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(self.sealed.iter().map(|sealed| &sealed.memtable))
    }

    /// The newest entry, tombstones included, at or below `as_of`.
    pub fn get(&self, key: &[u8], as_of: Version) -> lsm_tree::Result<Option<InternalValue>> {
        let (hash, below) = (memtable::hash(key), below(as_of));
        for memtable in self.memtables() {
            if let Some(found) = memtable.get(key, hash, below) {
                return Ok(Some(found));
            }
        }
        (self.tables.get)(key, hash, below)
    }
}

/// The current view and the ways it changes.
pub(crate) struct Views {
    current: RwLock<Arc<View>>,
    /// Of the tables of level 0 that were flushed since the start.
    extents: Mutex<Extents>,
}

/// What is known of tables, by their numbers.
#[derive(Default)]
struct Extents(BTreeMap<TableId, Arc<Extent>>);

impl Extents {
    fn of(&self, table: &Table) -> Option<Arc<Extent>> {
        self.0.get(&table.id()).map(Arc::clone)
    }

    /// Forgets tables that are merged into others.
    fn keep_level_0(&mut self, list: &TableList) {
        let tables = list.levels[0].iter().flat_map(|run| run.iter());
        let level_0: BTreeSet<TableId> = tables.map(Table::id).collect();
        self.0.retain(|table, _| level_0.contains(table));
    }
}

impl Views {
    pub fn new(view: View) -> Self {
        Self {
            current: RwLock::new(Arc::new(view)),
            extents: Mutex::default(),
        }
    }

    pub fn current(&self) -> Arc<View> {
        Arc::clone(&self.current.read())
    }

    /// Seals the active memtable, whose highest version is `version`.
    pub fn seal(&self, fresh: Arc<Memtable>, version: Version) {
        let mut current = self.current.write();
        let sealed = Sealed {
            memtable: Arc::clone(&current.active),
            version,
        };
        *current = Arc::new(View {
            active: fresh,
            sealed: std::iter::once(sealed)
                .chain(current.sealed.iter().cloned())
                .collect(),
            tables: current.tables.clone(),
            durable: current.durable,
        });
    }

    /// Between which keys those of a table lie, kind by kind; empty if that is not known.
    pub fn kinds_of(&self, table: TableId) -> Vec<(Slice, Slice)> {
        let extents = self.extents.lock();
        let known = extents.0.get(&table).map(|extent| extent.kinds().to_vec());
        known.unwrap_or_default()
    }

    /// Takes a list's tables into the view, each list before the next one is made; `flushed` is the oldest sealed memtable, now
    /// among them. Returns the view that was replaced.
    pub fn refresh(&self, list: &TableList, flushed: Option<Flushed<'_>>) -> Arc<View> {
        let mut extents = self.extents.lock();
        if let Some(Flushed { tables, extent, .. }) = flushed {
            let known = tables.iter().map(|table| (table.id(), Arc::clone(extent)));
            extents.0.extend(known);
        }
        let tables = Tables::of(list, &extents);
        extents.keep_level_0(list);
        let mut current = self.current.write();
        let mut next = View {
            tables,
            ..View::clone(&current)
        };
        if let Some(flushed) = flushed {
            let oldest = next.sealed.pop().expect("only a flush takes memtables out");
            assert_eq!(
                oldest.memtable.id(),
                flushed.sealed.memtable.id(),
                "flushed in order"
            );
            next.durable = Some(flushed.sealed.version);
        }
        std::mem::replace(&mut *current, Arc::new(next))
    }
}

/// What was replaced and may still be in use. Freeing a memtable takes milliseconds, and whoever lets go last pays: that must
/// be a maintenance thread, never a reader or the writer.
#[derive(Default)]
pub(crate) struct Retired {
    views: Vec<Arc<View>>,
    memtables: Vec<Arc<Memtable>>,
}

impl Retired {
    pub fn add(&mut self, view: Arc<View>, memtable: Option<Arc<Memtable>>) {
        self.views.push(view);
        self.memtables.extend(memtable);
    }

    /// Frees what nobody else holds; true if nothing is left.
    pub fn free(&mut self) -> bool {
        self.views.retain(|view| Arc::strong_count(view) > 1);
        self.memtables
            .retain(|memtable| Arc::strong_count(memtable) > 1);
        self.views.is_empty() && self.memtables.is_empty()
    }
}

/// Makes memtables with increasing ids.
pub(crate) struct Memtables {
    next_id: u64,
    /// What one grows to.
    bytes: u64,
}

impl Memtables {
    pub fn new(bytes: u64) -> Self {
        Self { next_id: 0, bytes }
    }

    pub fn fresh(&mut self) -> Arc<Memtable> {
        self.next_id += 1;
        Arc::new(Memtable::new(self.next_id, self.bytes))
    }
}
