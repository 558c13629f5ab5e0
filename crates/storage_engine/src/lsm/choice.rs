//! Which tables are merged next.
//!
//! The last level holds most; each level above it is to hold a tenth of the one below, and the first of them, the *base*, a few
//! tables' worth. What is flushed goes to the base; from a level that holds too much, the tables go down that meet the least of
//! the next one: those that meet nothing are only moved. So new keys in order are written twice (flush, base) and no merge takes
//! more than some tables.

use std::collections::BTreeSet;

use lsm_tree::{Slice, TableId};

use crate::lsm::list::{LAST_LEVEL, LEVELS, TableList, first, last};

/// How many times as much a level may hold as the one above.
const RATIO: u64 = 10;
/// How many times its due the base may hold before level 0 has to wait for it.
const BASE_OVERFULL: u64 = 2;
/// Tables' worth of bytes in one merge of two levels, if it can be chosen.
const MERGE_TABLES: u64 = 30;

/// What a choice has to know of a table.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    pub id: TableId,
    pub bytes: u64,
    pub first: Slice,
    pub last: Slice,
    pub has_tombstones: bool,
}

/// What a choice has to know of a run of level 0.
#[derive(Clone, Debug)]
pub(crate) struct Flushed {
    pub tables: Vec<Outline>,
    /// Between which keys its own lie, kind by kind; empty if that is not known.
    pub kinds: Vec<(Slice, Slice)>,
}

/// What a choice has to know of all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Runs of level 0, the newest first.
    pub level_0: Vec<Flushed>,
    /// The tables of each other level, in the order of their keys.
    pub levels: [Vec<Outline>; LEVELS],
}

impl Shape {
    pub fn of(list: &TableList, extent: impl Fn(TableId) -> Vec<(Slice, Slice)>) -> Self {
        let outlines = |run: &[lsm_tree::Table]| -> Vec<Outline> {
            let tables = run.iter().map(|table| Outline {
                id: table.id(),
                bytes: table.metadata.file_size,
                first: first(table).clone(),
                last: last(table).clone(),
                has_tombstones: table.metadata.tombstone_count > 0,
            });
            tables.collect()
        };
        let level_0 = list.levels[0].iter().map(|run| {
            let kinds = match &run[..] {
                [table] => extent(table.id()),
                _ => Vec::new(),
            };
            Flushed {
                tables: outlines(run),
                kinds,
            }
        });
        let mut levels: [Vec<Outline>; LEVELS] = Default::default();
        for (level, runs) in list.levels.iter().enumerate().skip(1) {
            levels[level] = runs.iter().flat_map(|run| outlines(run)).collect();
        }
        Self {
            level_0: level_0.collect(),
            levels,
        }
    }

    fn bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|table| table.bytes).sum()
    }

    /// The tables of a level that have keys between these.
    fn meeting(&self, level: usize, first: &[u8], last: &[u8]) -> &[Outline] {
        let tables = &self.levels[level];
        let from = tables.partition_point(|table| table.last[..] < *first);
        let to = tables.partition_point(|table| table.first[..] <= *last);
        &tables[from..to.max(from)]
    }
}

/// How large things are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Runs of level 0 that are merged.
    pub level_0_runs: usize,
    /// Bytes of a table.
    pub table_bytes: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub tables: BTreeSet<TableId>,
    /// The level that takes what comes of them.
    pub to: usize,
    /// Levels in use from the first to that one.
    pub depth: usize,
    /// They go there as they are.
    pub is_move: bool,
}

/// How much each level may hold, and to which level flushed tables go.
#[derive(Debug, PartialEq, Eq)]
struct Dues {
    bytes: [u64; LEVELS],
    base: usize,
}

impl Dues {
    fn of(shape: &Shape, sizes: Sizes) -> Self {
        let least = sizes.table_bytes * sizes.level_0_runs as u64;
        let mut bytes = [0; LEVELS];
        bytes[LAST_LEVEL] = u64::MAX;
        let mut base = LAST_LEVEL;
        let mut below = shape.bytes(LAST_LEVEL);
        while base > 1 && below > least * 2 {
            base -= 1;
            bytes[base] = (below / RATIO).max(least);
            below = bytes[base];
        }
        let first = (1..base).find(|level| !shape.levels[*level].is_empty());
        // What a larger tree has left above the base goes down: it is due nothing.
        Self {
            bytes,
            base: first.unwrap_or(base),
        }
    }

    fn depth(&self, level: usize) -> usize {
        level + 1 - self.base.min(level)
    }
}

/// The next merge that brings levels to what they are due; `None` if all are.
pub(crate) fn ordinary(shape: &Shape, sizes: Sizes) -> Option<Merge> {
    let dues = Dues::of(shape, sizes);
    if let Some(moved) = first_load(shape, &dues) {
        return Some(moved);
    }
    let is_level_0_due = shape.level_0.len() >= sizes.level_0_runs;
    let base_due = dues.bytes[dues.base].saturating_mul(BASE_OVERFULL);
    if is_level_0_due && shape.bytes(dues.base) <= base_due {
        return Some(level_0(shape, &dues));
    }
    let overfull = (1..LAST_LEVEL).filter(|level| shape.bytes(*level) > dues.bytes[*level]);
    let fullest = overfull.max_by(|left, right| {
        let fullness = |level: usize| shape.bytes(level) as f64 / dues.bytes[level].max(1) as f64;
        fullness(*left).total_cmp(&fullness(*right))
    });
    match fullest {
        Some(level) => {
            let surplus = shape.bytes(level) - dues.bytes[level];
            Some(downwards(shape, &dues, level, surplus, sizes.table_bytes))
        }
        None => is_level_0_due.then(|| level_0(shape, &dues)),
    }
}

/// The next merge on the way to everything in the last level.
pub(crate) fn squeezing(shape: &Shape, sizes: Sizes) -> Option<Merge> {
    let dues = Dues::of(shape, sizes);
    if !shape.level_0.is_empty() {
        return Some(level_0(shape, &dues));
    }
    let level = (1..LAST_LEVEL).find(|level| !shape.levels[*level].is_empty())?;
    Some(downwards(shape, &dues, level, u64::MAX, sizes.table_bytes))
}

/// Some tables of the last level from this key on, to be written once more; `None` if there are none.
pub(crate) fn rewriting(shape: &Shape, from: &[u8], sizes: Sizes) -> Option<Merge> {
    let tables = &shape.levels[LAST_LEVEL];
    let start = tables.partition_point(|table| table.first[..] < *from);
    let mut bytes = 0;
    let chosen = tables[start..].iter().take_while(|table| {
        let is_first = bytes == 0;
        bytes += table.bytes;
        is_first || bytes <= MERGE_TABLES * sizes.table_bytes
    });
    let tables: BTreeSet<TableId> = chosen.map(|table| table.id).collect();
    (!tables.is_empty()).then(|| Merge {
        tables,
        to: LAST_LEVEL,
        depth: Dues::of(shape, sizes).depth(LAST_LEVEL),
        is_move: false,
    })
}

/// A snapshot that was loaded in one run goes to the last level as it is, if nothing is there.
fn first_load(shape: &Shape, dues: &Dues) -> Option<Merge> {
    let run = &shape.level_0.last()?.tables;
    let is_alone = shape.levels.iter().all(Vec::is_empty);
    (run.len() > 1 && is_alone).then(|| Merge {
        tables: run.iter().map(|table| table.id).collect(),
        to: LAST_LEVEL,
        depth: dues.depth(LAST_LEVEL),
        is_move: true,
    })
}

/// All of level 0, with what it meets of the base.
fn level_0(shape: &Shape, dues: &Dues) -> Merge {
    let mut tables = BTreeSet::new();
    for Flushed { tables: run, kinds } in &shape.level_0 {
        tables.extend(run.iter().map(|table| table.id));
        if kinds.is_empty() {
            for table in run {
                let met = shape.meeting(dues.base, &table.first, &table.last);
                tables.extend(met.iter().map(|table| table.id));
            }
        }
        for (first, last) in kinds {
            let met = shape.meeting(dues.base, first, last);
            tables.extend(met.iter().map(|table| table.id));
        }
    }
    Merge {
        tables,
        to: dues.base,
        depth: dues.depth(dues.base),
        is_move: false,
    }
}

/// Tables of a level that go to the next one.
struct Candidate<'a> {
    going: &'a [Outline],
    met: &'a [Outline],
}

impl Candidate<'_> {
    fn going_bytes(&self) -> u64 {
        self.going.iter().map(|table| table.bytes).sum()
    }

    fn met_bytes(&self) -> u64 {
        self.met.iter().map(|table| table.bytes).sum()
    }

    /// What is written for each byte that goes down.
    fn cost(&self) -> f64 {
        self.met_bytes() as f64 / self.going_bytes().max(1) as f64
    }
}

/// What of a level that is not empty goes to the next one: what meets nothing there, up to `surplus` bytes, or else one merge.
fn downwards(shape: &Shape, dues: &Dues, level: usize, surplus: u64, table_bytes: u64) -> Merge {
    let to = level + 1;
    let depth = dues.depth(to);
    let meets_nothing = |table: &&Outline| {
        // Tombstones end only where tables are written.
        (to < LAST_LEVEL || !table.has_tombstones)
            && shape.meeting(to, &table.first, &table.last).is_empty()
    };
    let mut moved = 0;
    let movable = shape.levels[level].iter().filter(meets_nothing);
    let tables: BTreeSet<TableId> = movable
        .take_while(|table| {
            let goes = moved < surplus;
            moved += table.bytes;
            goes
        })
        .map(|table| table.id)
        .collect();
    if !tables.is_empty() {
        return Merge {
            tables,
            to,
            depth,
            is_move: true,
        };
    }
    let candidates = || {
        shape.levels[level]
            .iter()
            .map(|table| candidate(shape, level, table))
    };
    let bytes = |it: &Candidate<'_>| it.going_bytes() + it.met_bytes();
    let small = candidates().filter(|it| bytes(it) <= MERGE_TABLES * table_bytes);
    let chosen = small
        .min_by(|left, right| left.cost().total_cmp(&right.cost()))
        .or_else(|| candidates().min_by_key(bytes))
        .expect("the level is not empty");
    let tables = chosen.going.iter().chain(chosen.met);
    Merge {
        tables: tables.map(|table| table.id).collect(),
        to,
        depth,
        is_move: false,
    }
}

/// A table, what it meets of the next level, and what else of its own level lies within.
fn candidate<'a>(shape: &'a Shape, level: usize, table: &Outline) -> Candidate<'a> {
    let met = shape.meeting(level + 1, &table.first, &table.last);
    let first = met
        .first()
        .map_or(&table.first, |it| (&it.first).min(&table.first));
    let last = met
        .last()
        .map_or(&table.last, |it| (&it.last).max(&table.last));
    let tables = &shape.levels[level];
    let from = tables.partition_point(|it| it.first < *first);
    let to = tables.partition_point(|it| it.last <= *last);
    Candidate {
        going: &tables[from..to],
        met,
    }
}

#[cfg(test)]
mod tests;
