//! What a read sees: the memtables and tables of one moment, immutable but for inserts into the active
//! memtable, which carry versions that no reader names yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, Deref, RangeInclusive};
use std::sync::Arc;

use lsm_tree::mvcc_stream::MvccStream;
use lsm_tree::{AbstractTree, InternalValue, KvPair, Slice, Table, TableId, Tree};
use parking_lot::{Mutex, RwLock};

use crate::engine::Version;
use crate::lsm::extent::Extent;
use crate::lsm::memtable::{self, Memtable};

/// Keys and values from either end.
pub(crate) type TableIterator =
    Box<dyn DoubleEndedIterator<Item = lsm_tree::Result<KvPair>> + Send>;
/// Of a key, with its hash, strictly below a version.
type Get = dyn Fn(&[u8], u64, u64) -> lsm_tree::Result<Option<InternalValue>> + Send + Sync;
type Scan = dyn Fn((Bound<Slice>, Bound<Slice>), u64) -> TableIterator + Send + Sync;

/// The tables of one moment. `lsm-tree` does not name the types behind them, so closures hold them.
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
    fn of(tree: &Tree, extents: &Extents) -> Self {
        let list = tree.get_version_history_lock().latest_version();
        let tables = tree.current_version();
        let level_0_runs = tables.l0().run_count();
        let (count, disk_bytes) = (tables.table_count(), tree.disk_space());
        let entries = tables.iter_tables().map(|it| it.metadata.item_count).sum();
        let tombstones = tables.iter_tables().map(|it| it.tombstone_count()).sum();
        let pinned = |table: &Table| table.pinned_filter_size() + table.pinned_block_index_size();
        let memory_bytes = tables.iter_tables().map(|it| pinned(it) as u64).sum();
        // Of its runs, the newest comes first, and the tables of one have no key in common.
        let level_0: Vec<(Table, Option<Arc<Extent>>)> = tables
            .l0()
            .iter()
            .flat_map(|run| run.iter())
            .map(|table| (table.clone(), extents.of(table)))
            .collect();
        let runs = tables.clone();
        let known = extents.0.clone();
        let get = move |key: &[u8], hash: u64, below: u64| {
            for (table, extent) in &level_0 {
                let may_contain = match extent {
                    Some(extent) => extent.may_contain(key),
                    None => table.metadata.key_range.contains_key(key),
                };
                if may_contain && let Some(found) = table.get(key, below, hash)? {
                    return Ok(Some(found));
                }
            }
            for run in tables.iter_levels().skip(1).flat_map(|level| level.iter()) {
                if let Some(table) = run.get_for_key(key)
                    && let Some(found) = table.get(key, below, hash)?
                {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        let scan = move |bounds: (Bound<Slice>, Bound<Slice>), below: u64| {
            let mut segments = Vec::new();
            let levels = runs.iter_levels().enumerate();
            let all = levels.flat_map(|(level, runs)| runs.iter().map(move |run| (level, run)));
            for (level, run) in all {
                let Some((from, to)) = run.range_overlap_indexes::<Slice, _>(&bounds) else {
                    continue;
                };
                let extent = (level == 0 && from == to).then(|| known.get(&run[from].id()));
                let Some((first, last)) = (match extent.flatten() {
                    Some(extent) => extent.within(&bounds),
                    None => {
                        let range = |number: usize| &run[number].metadata.key_range;
                        Some((range(from).min().clone(), range(to).max().clone()))
                    }
                }) else {
                    continue;
                };
                segments.push(Segment {
                    tables: Arc::clone(run),
                    range: from..=to,
                    first,
                    last,
                });
            }
            // Documents that came in the order of their keys lie so, and there is nothing to merge.
            if follow_each_other(&mut segments) {
                return scan_in_turn(segments, bounds, below);
            }
            let entries = Tree::create_internal_range(list.clone(), &bounds, below, None);
            Box::new(entries.map(|entry| entry.map(|entry| (entry.key.user_key, entry.value))))
                as TableIterator
        };
        Self {
            get: Arc::new(get),
            scan: Arc::new(scan),
            tables: count,
            level_0_runs,
            disk_bytes,
            entries,
            tombstones,
            memory_bytes,
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

/// Tables of one run that a scan meets, all of whose keys that it meets are from `first` to `last`.
struct Segment<R> {
    tables: Arc<R>,
    range: RangeInclusive<usize>,
    first: Slice,
    last: Slice,
}

/// Brings segments into the order of their keys; whether each ends before the next begins.
fn follow_each_other<R>(segments: &mut [Segment<R>]) -> bool {
    segments.sort_by(|left, right| left.first.cmp(&right.first));
    segments.windows(2).all(|pair| pair[0].last < pair[1].first)
}

/// The visible entries of segments that follow each other. It holds the tables, and so their files, until it is dropped.
fn scan_in_turn<R: Deref<Target = [Table]> + Send + Sync + 'static>(
    segments: Vec<Segment<R>>,
    bounds: (Bound<Slice>, Bound<Slice>),
    below: u64,
) -> TableIterator {
    let held: Vec<Arc<R>> = segments.iter().map(|it| Arc::clone(&it.tables)).collect();
    let entries = segments
        .into_iter()
        .flat_map(|Segment { tables, range, .. }| {
            range.map(move |number| (Arc::clone(&tables), number))
        })
        .flat_map(move |(tables, number)| tables[number].range(bounds.clone()))
        .filter(move |entry| {
            let _held = &held;
            entry.as_ref().map_or(true, |entry| entry.key.seqno < below)
        });
    let newest = MvccStream::new(entries).filter(|entry| {
        entry
            .as_ref()
            .map_or(true, |entry| !entry.key.is_tombstone())
    });
    Box::new(newest.map(|entry| entry.map(|entry| (entry.key.user_key, entry.value))))
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
    pub fn open(tree: &Tree, active: Arc<Memtable>) -> Self {
        Self {
            active,
            sealed: Vec::new(),
            tables: Tables::of(tree, &Extents::default()),
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
    /// Held while tables are read from the tree and put into the view, so that an older list never
    /// replaces a newer one.
    refresh: Mutex<Extents>,
}

/// What is known of tables, by their numbers.
#[derive(Default)]
struct Extents(BTreeMap<TableId, Arc<Extent>>);

impl Extents {
    fn of(&self, table: &Table) -> Option<Arc<Extent>> {
        self.0.get(&table.id()).map(Arc::clone)
    }

    /// Forgets tables that are merged into others.
    fn keep_level_0(&mut self, tree: &Tree) {
        let version = tree.current_version();
        let level_0: BTreeSet<TableId> = version
            .l0()
            .iter()
            .flat_map(|run| run.iter())
            .map(Table::id)
            .collect();
        self.0.retain(|table, _| level_0.contains(table));
    }
}

impl Views {
    pub fn new(view: View) -> Self {
        Self {
            current: RwLock::new(Arc::new(view)),
            refresh: Mutex::default(),
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

    /// Takes the tree's tables into the view; `flushed` is the oldest sealed memtable, now among them. Returns
    /// the view that was replaced.
    pub fn refresh(&self, tree: &Tree, flushed: Option<Flushed<'_>>) -> Arc<View> {
        let mut extents = self.refresh.lock();
        if let Some(Flushed { tables, extent, .. }) = flushed {
            let known = tables.iter().map(|table| (table.id(), Arc::clone(extent)));
            extents.0.extend(known);
        }
        let tables = Tables::of(tree, &extents);
        extents.keep_level_0(tree);
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

/// Replaced tables whose files may wait to be deleted.
const TABLES_KEPT_MAX: usize = 8;

/// What was replaced and may still be in use. Freeing a memtable or deleting tables takes milliseconds, and
/// whoever lets go last pays: that must be a maintenance thread, never a reader or the writer.
#[derive(Default)]
pub(crate) struct Retired {
    views: Vec<Arc<View>>,
    memtables: Vec<Arc<Memtable>>,
    /// Merged into others: letting go of one deletes its file.
    tables: VecDeque<Table>,
}

impl Retired {
    pub fn add(&mut self, view: Arc<View>, memtable: Option<Arc<Memtable>>) {
        self.views.push(view);
        self.memtables.extend(memtable);
    }

    /// Tables that a compaction has replaced.
    pub fn add_tables(&mut self, tables: impl IntoIterator<Item = Table>) {
        self.tables.extend(tables);
        let beyond = self.tables.len().saturating_sub(TABLES_KEPT_MAX);
        self.tables.drain(..beyond);
    }

    /// Frees what nobody else holds; true if nothing is left. Of tables one at a time: a file system that deletes many large
    /// files at once keeps the log's syncs waiting.
    pub fn free(&mut self) -> bool {
        self.views.retain(|view| Arc::strong_count(view) > 1);
        if self.views.is_empty() {
            self.tables.pop_front();
        }
        self.memtables
            .retain(|memtable| Arc::strong_count(memtable) > 1);
        self.views.is_empty() && self.memtables.is_empty() && self.tables.is_empty()
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
