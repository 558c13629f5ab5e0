//! Which tables are merged next.
//!
//! The last level holds most. The levels above it hold one run each, the younger the higher, and together up to a third of it.
//! What is flushed lands in the lowest of them that is free, in a run of its own. When few are free, the runs of several are merged
//! into one, the small ones first; and when they hold too much, those tables of the lowest go down to the last level that meet
//! the least there. So a byte is written once when it lands, a few times as runs are merged, and a few times with what it meets in
//! the last level; a test counts it. What meets nothing below is moved there without being written: new keys in order are written twice (flush, landing).
//!
//! Merges of large runs take minutes. What is flushed meanwhile lands in between ([`beside`]).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use lsm_tree::{Slice, TableId};

use crate::lsm::list::{LAST_LEVEL, LEVELS, TableList, first, last};

/// The levels above the last may hold this part of it together.
const UPPER_PART: u64 = 3;
/// How full they may be before level 0 has to wait for them, as a percentage.
const OVERFULL_PERCENT: u64 = 150;
/// The lowest level above the last.
const LOWEST: usize = LAST_LEVEL - 1;
/// Runs are merged when this level is in use, and so all below it.
const CROWDED: usize = 2;
/// A run is merged with those above it if it is up to this many times as large as they are together.
const LIKE_SIZE: u64 = 2;
/// A tree lies a level deeper when it is so many times as large.
const RATIO: u64 = 10;
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

    /// Of all levels between level 0 and the last.
    fn upper_bytes(&self) -> u64 {
        (1..LAST_LEVEL).map(|level| self.bytes(level)).sum()
    }

    /// The first level with a run between level 0 and `lowest`.
    fn first_used(&self, lowest: usize) -> Option<usize> {
        (1..=lowest).find(|level| !self.levels[*level].is_empty())
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
    /// How deep that one lies.
    pub depth: usize,
    /// They go there as they are.
    pub is_move: bool,
}

/// How much levels may hold.
#[derive(Debug, PartialEq, Eq)]
struct Dues {
    /// All between level 0 and the last together; 0 in a small tree, where what is flushed goes to the last at once.
    upper: u64,
    /// How deep the last level lies.
    depth: usize,
}

impl Dues {
    fn of(shape: &Shape, sizes: Sizes) -> Self {
        let least = sizes.table_bytes * sizes.level_0_runs as u64;
        let last = shape.bytes(LAST_LEVEL);
        if last <= least * 2 {
            return Self { upper: 0, depth: 1 };
        }
        Self {
            upper: (last / UPPER_PART).max(least),
            depth: if last / RATIO > least * 2 { 3 } else { 2 },
        }
    }

    /// Before this much stands above the last level, level 0 does not wait.
    fn overfull(&self) -> u64 {
        self.upper.saturating_mul(OVERFULL_PERCENT) / 100
    }

    fn depth(&self, level: usize) -> usize {
        match LAST_LEVEL - level {
            0 => self.depth,
            1 => self.depth.saturating_sub(1).max(1),
            _ => 1,
        }
    }
}

/// How near the levels above the last are to being overfull: 0 while they hold what they may, up to 1.
pub(crate) fn urgency(shape: &Shape, sizes: Sizes) -> f64 {
    let dues = Dues::of(shape, sizes);
    if dues.upper == 0 {
        return 0.0;
    }
    let surplus = shape.upper_bytes().saturating_sub(dues.upper) as f64;
    let most = (dues.overfull() - dues.upper).max(1) as f64;
    (surplus / most).min(1.0)
}

/// The next merge that brings levels to what they are due; `None` if all are.
pub(crate) fn ordinary(shape: &Shape, sizes: Sizes) -> Option<Merge> {
    let dues = Dues::of(shape, sizes);
    if let Some(moved) = first_load(shape, &dues)
        .or_else(|| sinking(shape, &dues))
        .or_else(|| closing_up(shape, &dues))
    {
        return Some(moved);
    }
    let upper = shape.upper_bytes();
    let drained = || downwards(shape, &dues, LOWEST, upper - dues.upper, sizes.table_bytes);
    if upper > dues.overfull() {
        return Some(drained());
    }
    if let Some(first) = shape.first_used(LOWEST).filter(|first| *first <= CROWDED) {
        let to = like_sizes(shape, first, 0, LOWEST);
        let settled = settling(shape, &dues, first, to);
        return settled.or_else(|| Some(merging(shape, &dues, None, first, to)));
    }
    if shape.level_0.len() >= sizes.level_0_runs {
        return Some(landing(shape, &dues, LOWEST));
    }
    (upper > dues.upper).then(drained)
}

/// What of level 0 can be merged while the merge of these tables is under way; `None` if it is not due, or there is no place.
pub(crate) fn beside(shape: &Shape, sizes: Sizes, taken: &BTreeSet<TableId>) -> Option<Merge> {
    let dues = Dues::of(shape, sizes);
    let is_taken = |tables: &[Outline]| tables.iter().any(|table| taken.contains(&table.id));
    let is_due = shape.level_0.len() >= sizes.level_0_runs;
    if dues.upper == 0 || !is_due || shape.level_0.iter().any(|run| is_taken(&run.tables)) {
        return None;
    }
    let top = (1..LEVELS).find(|level| is_taken(&shape.levels[*level]))?;
    (top > 1).then(|| landing(shape, &dues, top - 1))
}

/// The next merge on the way to everything in the last level.
pub(crate) fn squeezing(shape: &Shape, sizes: Sizes) -> Option<Merge> {
    let dues = Dues::of(shape, sizes);
    if !shape.level_0.is_empty() {
        return Some(landing(shape, &dues, LOWEST));
    }
    let level = shape.first_used(LOWEST)?;
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

/// Tables that meet nothing in any level below theirs go to the last.
fn sinking(shape: &Shape, dues: &Dues) -> Option<Merge> {
    let sinks = |level: usize, table: &Outline| {
        // Tombstones end only where tables are written.
        !table.has_tombstones && meets_nothing(shape, table, level + 1..=LAST_LEVEL)
    };
    let tables = (1..LAST_LEVEL).flat_map(|level| {
        let tables = shape.levels[level].iter();
        tables.filter(move |table| sinks(level, table))
    });
    moving(tables, LAST_LEVEL, dues)
}

/// Tables of the levels from `first` on that meet nothing below theirs down to the level `to` go there.
fn settling(shape: &Shape, dues: &Dues, first: usize, to: usize) -> Option<Merge> {
    let tables = (first..to).flat_map(|level| {
        let tables = shape.levels[level].iter();
        tables.filter(move |table| meets_nothing(shape, table, level + 1..=to))
    });
    moving(tables, to, dues)
}

fn meets_nothing(shape: &Shape, table: &Outline, levels: RangeInclusive<usize>) -> bool {
    let met = |level| shape.meeting(level, &table.first, &table.last);
    levels.into_iter().all(|level| met(level).is_empty())
}

/// A run goes down to the lowest free level, if there is one below it.
fn closing_up(shape: &Shape, dues: &Dues) -> Option<Merge> {
    let is_free = |level: &usize| shape.levels[*level].is_empty();
    let free = (1..LAST_LEVEL).rev().find(is_free)?;
    let above = (1..free).rev().find(|level| !is_free(level))?;
    moving(shape.levels[above].iter(), free, dues)
}

fn moving<'a>(tables: impl Iterator<Item = &'a Outline>, to: usize, dues: &Dues) -> Option<Merge> {
    let tables: BTreeSet<TableId> = tables.map(|table| table.id).collect();
    (!tables.is_empty()).then(|| Merge {
        tables,
        to,
        depth: dues.depth(to),
        is_move: true,
    })
}

/// All of level 0 goes to a level that is not below `lowest`, or to the last one in a small tree.
fn landing(shape: &Shape, dues: &Dues, lowest: usize) -> Merge {
    let level_0 = Some(&shape.level_0[..]);
    match shape.first_used(lowest) {
        None if dues.upper == 0 => merging(shape, dues, level_0, 1, LAST_LEVEL),
        None => merging(shape, dues, level_0, 1, lowest),
        Some(1) => {
            let flushed = shape.level_0.iter().flat_map(|run| &run.tables);
            let bytes = flushed.map(|table| table.bytes).sum();
            let to = like_sizes(shape, 1, bytes, lowest);
            merging(shape, dues, level_0, 1, to)
        }
        Some(first) => merging(shape, dues, level_0, 1, first - 1),
    }
}

/// The level down to which runs are to be merged, beginning with that of the level `first` and `bytes` more, so that small ones are
/// not merged with large ones.
fn like_sizes(shape: &Shape, first: usize, bytes: u64, lowest: usize) -> usize {
    let mut together = bytes + shape.bytes(first);
    let mut to = first;
    // Two runs at least, or none of the levels would become free.
    if bytes == 0 {
        to += 1;
        together += shape.bytes(to);
    }
    while to < lowest && shape.bytes(to + 1) <= together.saturating_mul(LIKE_SIZE) {
        to += 1;
        together += shape.bytes(to);
    }
    to
}

/// The runs of level 0, if they are given, and those of the levels from `first` on, with what they meet in the level `to`.
fn merging(
    shape: &Shape,
    dues: &Dues,
    level_0: Option<&[Flushed]>,
    first: usize,
    to: usize,
) -> Merge {
    let mut tables = BTreeSet::new();
    let mut take = |table: &Outline| {
        tables.insert(table.id);
    };
    let met = |first: &Slice, last: &Slice| shape.meeting(to, first, last);
    for Flushed { tables: run, kinds } in level_0.unwrap_or_default() {
        run.iter().for_each(&mut take);
        if kinds.is_empty() {
            let met = run.iter().flat_map(|it| met(&it.first, &it.last));
            met.for_each(&mut take);
        }
        let met = kinds.iter().flat_map(|(first, last)| met(first, last));
        met.for_each(&mut take);
    }
    for table in shape.levels[first..to].iter().flatten() {
        take(table);
        met(&table.first, &table.last).iter().for_each(&mut take);
    }
    Merge {
        tables,
        to,
        depth: dues.depth(to),
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
    let goes_as_it_is = |table: &&Outline| {
        // Tombstones end only where tables are written.
        (to < LAST_LEVEL || !table.has_tombstones) && meets_nothing(shape, table, to..=to)
    };
    let mut moved = 0;
    let movable = shape.levels[level].iter().filter(goes_as_it_is);
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
