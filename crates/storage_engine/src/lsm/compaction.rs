//! Compaction: on a thread of lower priority, in merges of some tables each, at a pace that leaves the machine to others.
//!
//! What is merged next is chosen by [`crate::lsm::choice`]. That bounds what the tables take beyond the live data when values are
//! overwritten at random. Deletions leave more: then everything is *squeezed* into the last level, merge by merge, where
//! garbage ends. What came there while readers still needed it is found no other way than by writing the tables once more;
//! that happens when nothing else is left to do and the estimate of garbage is still high.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lsm_tree::merge::Merger;
use lsm_tree::{InternalValue, Table, TableId};
use parking_lot::Mutex;

use crate::lsm::choice::{self, Merge, Shape, Sizes};
use crate::lsm::list::{LAST_LEVEL, TableList, last};
use crate::lsm::maintenance::report;
use crate::lsm::pace::Pace;
use crate::lsm::table_writer::{Fences, Place, TablesWriter};
use crate::lsm::versions::Needed;
use crate::lsm::view::Retired;
use crate::lsm::{Shared, room};

/// How much further (in level-0 tables) compaction waits for old readers to finish, to drop what they hold.
const PATIENCE: usize = 2;
/// Up to this many times the level-0 threshold compaction takes all of its rest; beyond, less and less. What it does not do
/// evenly it has to do at one go later, when all that came meanwhile has to be looked into by every read.
const EASY: usize = 1;
/// From this many times the level-0 threshold on, compaction does not rest any more. Not before writers are slowed down
/// anyway: where it works without rest at all members, those who answer wait for the processor.
const HURRY: usize = 5;
/// From this many times the level-0 threshold on, what is flushed lands while another merge is under way.
const BESIDE: usize = 2;
/// Part of its rest that compaction takes when the levels above the last are overfull; more the less they are.
const EASE_OVERFULL: f64 = 0.1;
/// Where processors are short, those who answer clients go first, but not by much: its rests are what keeps merging out of
/// their way, and when it falls behind, all reads cost more and writers are slowed down. At 8 it starved beside compilers, and
/// writers with it.
pub(crate) const COMPACTION_NICENESS: i32 = 2;

const _: () = assert!(EASY < PATIENCE && PATIENCE < HURRY);

/// What is known of compaction.
#[derive(Default)]
pub(crate) struct Compacting {
    /// Held throughout a merge: one at a time.
    pub under_way: Mutex<()>,
    stopping: AtomicBool,
}

impl Compacting {
    /// Ends the running merge with an error at its next entry.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The body of the compaction thread.
pub(crate) fn run_compactions(shared: &Shared) {
    // Where the system refuses, compaction competes as an equal.
    let _ = platform::lower_thread_priority(COMPACTION_NICENESS);
    let mut retired = Retired::default();
    // How far the last level has been written once more.
    let mut rewritten_to = Vec::new();
    while shared
        .maintenance
        .wait_for(&mut retired, |state| &mut state.compaction_wanted)
    {
        loop {
            match compact(shared, &mut rewritten_to, &mut retired) {
                Ok(true) => {
                    retired.free();
                    shared.maintenance.state.lock().done.compactions += 1;
                    shared.maintenance.changed.notify_all();
                }
                Ok(false) => break,
                // Where it lacks room it waits: nothing is lost but the space that it would free.
                Err(error) if room::may_be_repeated(shared, &error) => {
                    if !shared.maintenance.pause(room::COMPACTION_PAUSE) {
                        return;
                    }
                }
                Err(error) => {
                    report(shared, "compact", error);
                    return;
                }
            }
            if shared.maintenance.state.lock().stopping {
                return;
            }
        }
    }
}

/// Does one merge; false when there is nothing to do (now).
fn compact(
    shared: &Shared,
    rewritten_to: &mut Vec<u8>,
    retired: &mut Retired,
) -> lsm_tree::Result<bool> {
    let _under_way = shared.compacting.under_way.lock();
    let list = shared.lists.current();
    let (shape, sizes) = (shape(shared, &list), sizes(shared));
    let pacing = Pacing::Eased {
        most: 1.0 - choice::urgency(&shape, sizes) * (1.0 - EASE_OVERFULL),
    };
    if let Some(merge) = choice::ordinary(&shape, sizes) {
        let patience = if merge.is_move {
            0
        } else {
            sizes.level_0_runs * PATIENCE
        };
        if waits_for_readers(shared, patience) {
            return Ok(false);
        }
        return run(shared, &list, &merge, pacing, retired).map(|()| true);
    }
    if !is_garbage_high(shared) {
        return Ok(false);
    }
    // To drop nothing would only hide what there is to drop.
    if waits_for_readers(shared, usize::MAX) {
        return Ok(false);
    }
    if let Some(merge) = choice::squeezing(&shape, sizes) {
        return run(shared, &list, &merge, pacing, retired).map(|()| true);
    }
    if let Some(merge) = choice::rewriting(&shape, rewritten_to, sizes) {
        let end = list
            .tables()
            .filter(|it| merge.tables.contains(&it.id()))
            .map(last)
            .max();
        let end = end.map(|last| [last, &[0][..]].concat());
        run(shared, &list, &merge, pacing, retired)?;
        *rewritten_to = end.unwrap_or_default();
        return Ok(true);
    }
    // What is left now cannot be dropped: the estimate was too high.
    rewritten_to.clear();
    let tables = shared.views.current().tables.clone();
    shared.garbage.lock().squeezed(&tables);
    Ok(false)
}

fn shape(shared: &Shared, list: &TableList) -> Shape {
    Shape::of(list, |table| shared.views.kinds_of(table))
}

fn sizes(shared: &Shared) -> Sizes {
    Sizes {
        level_0_runs: usize::from(shared.options.level_0_tables_max),
        table_bytes: shared.options.table_bytes,
    }
}

/// Whether readers still need what would be dropped, and fewer than so many runs of level 0 wait; it is tried again when they
/// have gone.
fn waits_for_readers(shared: &Shared, patience: usize) -> bool {
    let view = shared.views.current();
    let durable = view.durable.unwrap_or(0);
    let mut state = shared.maintenance.state.lock();
    if state.oldest_reader >= durable || view.tables.level_0_runs >= patience {
        return false;
    }
    state.compaction_awaits = Some(durable);
    true
}

fn is_garbage_high(shared: &Shared) -> bool {
    let view = shared.views.current();
    shared.garbage.lock().is_high(&view.tables)
}

/// Merges all tables into the last level. Blocks; without rest.
pub(crate) fn compact_all(shared: &Shared) -> lsm_tree::Result<()> {
    let _under_way = shared.compacting.under_way.lock();
    let list = shared.lists.current();
    let tables: BTreeSet<_> = list.tables().map(Table::id).collect();
    if tables.is_empty() {
        return Ok(());
    }
    let merge = Merge {
        tables,
        to: LAST_LEVEL,
        depth: 1,
        is_move: false,
    };
    run(shared, &list, &merge, Pacing::None, &mut Retired::default())
}

/// Whether a merge rests.
#[derive(Clone, Copy)]
enum Pacing {
    /// At most this part of the rest that is due after a piece.
    Eased { most: f64 },
    /// Nor does it let others go between.
    None,
}

/// Does a merge that was chosen from `list`, which only flushes have changed since.
fn run(
    shared: &Shared,
    list: &TableList,
    merge: &Merge,
    pacing: Pacing,
    retired: &mut Retired,
) -> lsm_tree::Result<()> {
    let gone = tables_of(list, merge);
    let made = match merge.is_move {
        true => Ok(gone.clone()),
        false => merge_tables(shared, list, merge, pacing, retired),
    };
    let changed = made.and_then(|made| {
        replace(shared, merge, &made, retired)?;
        Ok(made)
    });
    room::settle_tables(shared, changed.is_err());
    put_away(shared, merge, &gone, &changed?);
    Ok(())
}

/// Whose turn it is, a large merge's or that of others which go between: as many bytes for one as for the others. What goes between
/// may cost more each time, and would leave the large merge no time at all.
#[derive(Default)]
struct Turns {
    owed: u64,
}

impl Turns {
    fn went_on(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_sub(bytes);
    }

    fn went_between(&mut self, bytes: u64) {
        self.owed += bytes;
    }

    fn may_go_between(&self) -> bool {
        self.owed == 0
    }
}

/// Lands what waits in level 0 while another merge, of the tables `taken`, is under way: that may take minutes, in which all reads
/// would have to look into more and more runs. Says how many bytes were merged.
fn land_beside(
    shared: &Shared,
    taken: &BTreeSet<TableId>,
    pacing: Pacing,
    retired: &mut Retired,
) -> lsm_tree::Result<u64> {
    let sizes = sizes(shared);
    if shared.views.current().tables.level_0_runs < sizes.level_0_runs * BESIDE {
        return Ok(0);
    }
    let list = shared.lists.current();
    let Some(merge) = choice::beside(&shape(shared, &list), sizes, taken) else {
        return Ok(0);
    };
    let gone = tables_of(&list, &merge);
    // What is left over after a failure is removed by the other merge, whose tables no list names yet.
    let made = merge_tables(shared, &list, &merge, pacing, retired)?;
    replace(shared, &merge, &made, retired)?;
    room::note_listed(shared);
    put_away(shared, &merge, &gone, &made);
    retired.free();
    shared.maintenance.state.lock().done.compactions += 1;
    shared.maintenance.changed.notify_all();
    Ok(gone.iter().map(|table| table.metadata.file_size).sum())
}

/// The tables that a merge takes.
fn tables_of(list: &TableList, merge: &Merge) -> Vec<Table> {
    let taken = list.tables().filter(|it| merge.tables.contains(&it.id()));
    taken.cloned().collect()
}

/// Puts what was made into the list.
fn replace(
    shared: &Shared,
    merge: &Merge,
    made: &[Table],
    retired: &mut Retired,
) -> lsm_tree::Result<()> {
    let change = |list: &TableList| list.with_merged(&merge.tables, made, merge.to);
    let refresh = |list: &TableList| shared.views.refresh(list, None);
    retired.add(shared.lists.change(&shared.dir, change, refresh)?, None);
    Ok(())
}

/// What no list names any more goes once nobody reads it.
fn put_away(shared: &Shared, merge: &Merge, gone: &[Table], made: &[Table]) {
    if merge.is_move {
        return;
    }
    account(shared, gone, made);
    for table in gone {
        shared.freeing.add(&table.path);
        // The last to let go of it deletes its file.
        table.is_deleted.store(true, Ordering::Release);
    }
}

/// Adds up what a merge wrote and dropped.
fn account(shared: &Shared, gone: &[Table], made: &[Table]) {
    let entries = |tables: &[Table]| -> u64 {
        let counts = tables.iter().map(|table| table.metadata.item_count);
        counts.sum()
    };
    let dropped = entries(gone).saturating_sub(entries(made));
    shared.garbage.lock().dropped(dropped);
    let written: u64 = made.iter().map(|table| table.metadata.file_size).sum();
    shared.maintenance.state.lock().done.compacted_bytes += written;
}

/// Writes what is needed of the tables that are merged; no list names what it returns.
fn merge_tables(
    shared: &Shared,
    list: &TableList,
    merge: &Merge,
    pacing: Pacing,
    retired: &mut Retired,
) -> lsm_tree::Result<Vec<Table>> {
    let taken = |table: &Table| merge.tables.contains(&table.id());
    let place = Place {
        level: merge.to,
        depth: merge.depth,
    };
    let fences = Fences::of(list, merge.to, taken);
    let mut writer = TablesWriter::new(shared, place, fences);
    let mut pace = Pace::new(&shared.dir, shared.next_table_id());
    let mut needed = Needed::by(shared.maintenance.state.lock().oldest_reader);
    let mut turns = Turns::default();
    // Above a merge of level 0 or 1 nothing can land.
    let highest = list.levels[..2].iter().flatten();
    let leaves_room = !highest.flat_map(|run| run.iter()).any(taken);
    for entry in Merger::new(sources(list, taken)) {
        if shared.compacting.stopping.load(Ordering::Relaxed) {
            return Err(lsm_tree::Error::Io(io::ErrorKind::Interrupted.into()));
        }
        let entry = entry?;
        let bytes = (entry.key.user_key.len() + entry.value.len()) as u64;
        turns.went_on(bytes);
        if let Some(due) = pace.entry(bytes, || shared.next_table_id()) {
            let in_a_hurry = rest(shared, pacing, due);
            let is_eased = matches!(pacing, Pacing::Eased { .. });
            if is_eased && leaves_room && turns.may_go_between() {
                turns.went_between(land_beside(shared, &merge.tables, pacing, retired)?);
            }
            pace.go_on(in_a_hurry);
        }
        if needed.keeps(&entry) && !is_over(list, merge.to, &needed, &entry) {
            writer.write(entry)?;
        }
    }
    writer.finish()
}

/// Whether the entry is a deletion that hides nothing any more.
fn is_over(list: &TableList, level: usize, needed: &Needed, entry: &InternalValue) -> bool {
    entry.is_tombstone()
        && needed.is_settled(entry)
        && list.is_absent_below(level, &entry.key.user_key)
}

type Source = Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>> + Send>;

/// The entries of the tables that are taken, run by run, each opened when it is its turn.
fn sources(list: &TableList, taken: impl Fn(&Table) -> bool) -> Vec<Source> {
    let runs = list.runs().map(|(_, run)| {
        let tables = run.iter().filter(|table| taken(table)).cloned();
        tables.collect::<Vec<Table>>()
    });
    let entries = |table: Table| -> Source {
        match table.scan() {
            Ok(entries) => Box::new(entries),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    };
    runs.filter(|tables| !tables.is_empty())
        .map(|tables| Box::new(tables.into_iter().flat_map(entries)) as Source)
        .collect()
}

/// After a piece of work: a rest, unless there is a hurry; says whether there is.
fn rest(shared: &Shared, pacing: Pacing, due: Duration) -> bool {
    let ease = match pacing {
        Pacing::Eased { most } => ease(shared).min(most),
        Pacing::None => 0.0,
    };
    if ease > 0.0 {
        shared.maintenance.pace(due.mul_f64(ease));
    }
    ease == 0.0
}

/// Which part of its rest compaction may take: all while few tables wait, none when many do.
fn ease(shared: &Shared) -> f64 {
    let threshold = usize::from(shared.options.level_0_tables_max);
    let runs = shared.views.current().tables.level_0_runs;
    let to_hurry = (HURRY * threshold).saturating_sub(runs) as f64;
    (to_hurry / ((HURRY - EASY) * threshold) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_merge_gets_as_much_as_what_goes_between() {
        let (mut turns, mut large, mut between) = (Turns::default(), 0, 0);
        // What goes between costs more each time.
        let mut costs = (1..).map(|time| time * 300);
        while large < 100_000 {
            turns.went_on(256);
            large += 256;
            if turns.may_go_between() {
                let cost = costs.next().expect("the costs have no end");
                turns.went_between(cost);
                between += cost;
            }
        }
        assert!(
            between > large / 2 && between < large + 10_000,
            "{between} {large}"
        );
    }
}
