//! Compaction: on a thread of lower priority, in steps, at a pace that leaves the machine to others; and the gate that makes
//! dropping old versions safe.
//!
//! Levels are as `lsm-tree` keeps them: the ordinary steps bound what the tables take beyond the live data when values are
//! overwritten at random. Deletions, and overwriting without pause, leave more: then everything is *squeezed* into the last
//! level, step by step, where garbage ends. What came there while readers still needed it is found no other way than by
//! writing the tables once more; that happens when nothing else is left to do and the estimate of garbage is still high.

use std::collections::BTreeMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Leveled, Verdict};
use lsm_tree::{AbstractTree, Table};
use parking_lot::{Condvar, Mutex};

use crate::engine::Version;
use crate::lsm::maintenance::report;
use crate::lsm::pace::Pace;
use crate::lsm::view::Retired;
use crate::lsm::{Shared, room};

/// Watermark that drops nothing: no version is below it (they start at 1), and yet `lsm-tree` retires its
/// replaced lists, which it never does at 0.
pub(crate) const DROP_NOTHING: Version = 1;
/// How much further (in level-0 tables) compaction waits for old readers to finish, to drop what they hold.
const PATIENCE: usize = 2;
/// Up to this many times the level-0 threshold compaction takes all of its rest; beyond, less and less. What it does not do
/// evenly it has to do at one go later, when all that came meanwhile has to be looked into by every read.
const EASY: usize = 1;
/// From this many times the level-0 threshold on, compaction does not rest any more.
const HURRY: usize = 3;
/// Where processors are short, those who answer clients go first, but not by much: its rests are what keeps merging out of
/// their way, and when it falls behind, all reads cost more and writers are slowed down. At 8 it starved beside compilers, and
/// writers with it.
pub(crate) const COMPACTION_NICENESS: i32 = 2;
/// What levels below the first may hold while everything is squeezed into the last one, as a share of the level above.
const SQUEEZED_RATIO: f32 = 1.0 / 1024.0;

const _: () = assert!(EASY < PATIENCE && PATIENCE < HURRY);

/// The body of the compaction thread.
pub(crate) fn run_compactions(shared: &Shared) {
    // Where the system refuses, compaction competes as an equal.
    let _ = platform::lower_thread_priority(COMPACTION_NICENESS);
    let mut retired = Retired::default();
    while shared
        .maintenance
        .wait_for(&mut retired, |state| &mut state.compaction_wanted)
    {
        loop {
            match compact(shared, &mut retired) {
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

/// What a compaction is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Few runs to read; what nobody needs goes on the way. In haste nothing needs to go.
    Order,
    /// Everything into the last level, where garbage ends.
    Squeeze,
    /// The last level once more: what was merged into it in haste, or was still needed then.
    Rewrite,
}

/// How a step of compaction ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Done,
    Nothing,
    /// Readers still need what would be dropped.
    Waits,
}

/// The watermark for a compaction of everything durable now, or `None` to wait for readers. Called while
/// the gate keeps new tables out.
fn watermark(shared: &Shared, purpose: Purpose) -> Option<Version> {
    let view = shared.views.current();
    let durable = view.durable.unwrap_or(0);
    let mut state = shared.maintenance.state.lock();
    if state.oldest_reader >= durable {
        return Some(durable.saturating_add(1));
    }
    let threshold = usize::from(shared.options.level_0_tables_max);
    if purpose != Purpose::Order || view.tables.level_0_runs < threshold * PATIENCE {
        state.compaction_awaits = Some(durable);
        return None;
    }
    Some(DROP_NOTHING)
}

/// Does one step of compaction; false when there is nothing to do (now).
fn compact(shared: &Shared, retired: &mut Retired) -> lsm_tree::Result<bool> {
    match step(shared, retired, Purpose::Order)? {
        Step::Done => return Ok(true),
        Step::Waits => return Ok(false),
        Step::Nothing => {}
    }
    for purpose in [Purpose::Squeeze, Purpose::Rewrite] {
        if !is_garbage_high(shared) {
            return Ok(false);
        }
        match step(shared, retired, purpose)? {
            Step::Done if purpose == Purpose::Rewrite => {
                // What is left now cannot be dropped: the estimate was too high.
                let tables = shared.views.current().tables.clone();
                shared.garbage.lock().squeezed(&tables);
                return Ok(true);
            }
            Step::Done => return Ok(true),
            // To drop nothing would only hide what there is to drop.
            Step::Waits => return Ok(false),
            Step::Nothing => {}
        }
    }
    let tables = shared.views.current().tables.clone();
    shared.garbage.lock().squeezed(&tables);
    Ok(false)
}

fn is_garbage_high(shared: &Shared) -> bool {
    let view = shared.views.current();
    shared.garbage.lock().is_high(&view.tables)
}

fn ordinary(shared: &Shared) -> Leveled {
    Leveled::default()
        .with_l0_threshold(shared.options.level_0_tables_max)
        .with_table_target_size(shared.options.table_bytes)
}

fn squeezing(shared: &Shared) -> Leveled {
    Leveled::default()
        .with_l0_threshold(1)
        .with_level_ratio_policy(vec![SQUEEZED_RATIO])
        .with_table_target_size(shared.options.table_bytes)
}

fn step(shared: &Shared, retired: &mut Retired, purpose: Purpose) -> lsm_tree::Result<Step> {
    let _compacting = shared.gate.compacting.lock();
    let choosing = shared.gate.choose();
    let Some(watermark) = watermark(shared, purpose) else {
        return Ok(Step::Waits);
    };
    let list = shared.tree.current_version().id();
    let before = tables_of(shared);
    shared.list_numbers.set(0);
    let tree = &shared.tree;
    let compacted = match purpose {
        Purpose::Order => tree.compact(Arc::new(ordinary(shared)), watermark),
        Purpose::Squeeze => tree.compact(Arc::new(squeezing(shared)), watermark),
        Purpose::Rewrite if before.is_empty() => Ok(()),
        Purpose::Rewrite => tree.major_compact(shared.options.table_bytes, watermark),
    };
    drop(choosing);
    room::settle_tables(shared, compacted.is_err());
    compacted?;
    if shared.tree.current_version().id() == list {
        return Ok(Step::Nothing);
    }
    retired.add_tables(account(shared, before));
    retired.add(shared.views.refresh(&shared.tree, None), None);
    Ok(Step::Done)
}

/// The tables there are, by number.
fn tables_of(shared: &Shared) -> BTreeMap<u64, Table> {
    let version = shared.tree.current_version();
    let tables = version
        .iter_tables()
        .map(|table| (table.id(), table.clone()));
    tables.collect()
}

/// Adds up what a compaction wrote and dropped; the tables it replaced. What it wrote stands below level 0, where flushes put
/// theirs; a table that only moved keeps its number.
fn account(shared: &Shared, before: BTreeMap<u64, Table>) -> Vec<Table> {
    let after = shared.tree.current_version();
    let mut gone = before.clone();
    let (mut written, mut entries) = (0, 0);
    for (level, runs) in after.iter_levels().enumerate() {
        for table in runs.iter().flat_map(|run| run.iter()) {
            gone.remove(&table.id());
            if level > 0 && !before.contains_key(&table.id()) {
                written += table.metadata.file_size;
                entries += table.metadata.item_count;
            }
        }
    }
    let read: u64 = gone.values().map(|table| table.metadata.item_count).sum();
    let dropped = read.saturating_sub(entries);
    shared.garbage.lock().dropped(dropped);
    shared.maintenance.state.lock().done.compacted_bytes += written;
    gone.into_values().collect()
}

/// Merges all tables into the last level.
pub(crate) fn compact_all(shared: &Shared) -> lsm_tree::Result<()> {
    let _compacting = shared.gate.compacting.lock();
    shared.gate.unpaced.store(true, Ordering::Relaxed);
    let before = tables_of(shared);
    let choosing = shared.gate.choose();
    let watermark = watermark(shared, Purpose::Order).unwrap_or(DROP_NOTHING);
    shared.list_numbers.set(0);
    let compacted = shared
        .tree
        .major_compact(shared.options.table_bytes, watermark);
    shared.gate.unpaced.store(false, Ordering::Relaxed);
    drop(choosing);
    room::settle_tables(shared, compacted.is_err());
    compacted?;
    let replaced = account(shared, before);
    shared.views.refresh(&shared.tree, None);
    drop(replaced);
    Ok(())
}

/// Keeps new tables out from when a compaction's watermark is computed until its inputs are chosen: a table
/// slipping in between could hold versions that readers below them still need.
#[derive(Default)]
pub(crate) struct Gate {
    /// Held throughout a compaction: one at a time.
    pub compacting: Mutex<()>,
    state: Mutex<GateState>,
    changed: Condvar,
    stopping: AtomicBool,
    /// Somebody waits for the compaction that runs.
    unpaced: AtomicBool,
    /// The engine whose compactions pass; unset while there is none yet, and for a bulk load.
    engine: OnceLock<Weak<Shared>>,
}

#[derive(Default)]
struct GateState {
    /// A compaction is between watermark and choice.
    choosing: bool,
    registering: bool,
}

impl Gate {
    /// Ends the running compaction with an error at its next entry.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// From now on this engine's compactions keep their pace.
    pub fn serve(&self, engine: &Arc<Shared>) {
        // It is told once.
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    pub(super) fn choose(&self) -> Choosing<'_> {
        let mut state = self.state.lock();
        while state.registering {
            self.changed.wait(&mut state);
        }
        state.choosing = true;
        Choosing(self)
    }

    fn chosen(&self) {
        self.state.lock().choosing = false;
        self.changed.notify_all();
    }

    pub(super) fn register(&self) -> Registering<'_> {
        let mut state = self.state.lock();
        while state.choosing {
            self.changed.wait(&mut state);
        }
        state.registering = true;
        Registering(self)
    }
}

pub(super) struct Choosing<'a>(&'a Gate);

impl Drop for Choosing<'_> {
    fn drop(&mut self) {
        self.0.chosen();
    }
}

pub(super) struct Registering<'a>(&'a Gate);

impl Drop for Registering<'_> {
    fn drop(&mut self) {
        self.0.state.lock().registering = false;
        self.0.changed.notify_all();
    }
}

/// `lsm-tree` makes a filter once it has chosen its inputs, and shows it every entry: that opens the gate
/// and lets a stop interrupt a compaction. Nothing is filtered.
pub(crate) struct GateFilter(AssertUnwindSafe<Arc<Gate>>);

impl GateFilter {
    pub fn new(gate: Arc<Gate>) -> Self {
        Self(AssertUnwindSafe(gate))
    }
}

impl Factory for GateFilter {
    fn name(&self) -> &str {
        "gate"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        self.0.chosen();
        let engine = self.0.engine.get().and_then(Weak::upgrade);
        let pace = engine.map(|engine| Pace::new(&engine.dir, engine.tree.next_table_id()));
        Box::new(PacingFilter {
            gate: Arc::clone(&self.0),
            pace,
        })
    }
}

struct PacingFilter {
    gate: Arc<Gate>,
    pace: Option<Pace>,
}

impl CompactionFilter for PacingFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        if self.gate.stopping.load(Ordering::Relaxed) {
            return Err(lsm_tree::Error::Io(io::ErrorKind::Interrupted.into()));
        }
        if let Some(pace) = &mut self.pace {
            let engine = || self.gate.engine.get().and_then(Weak::upgrade);
            let bytes = item.key().len() + item.value()?.len();
            let next = || engine().map_or(0, |engine| engine.tree.next_table_id());
            if let Some(rest) = pace.entry(bytes as u64, next) {
                let ease = match engine() {
                    Some(engine) if !self.gate.unpaced.load(Ordering::Relaxed) => {
                        let ease = ease(&engine);
                        engine.maintenance.pace(rest.mul_f64(ease));
                        ease
                    }
                    _ => 0.0,
                };
                pace.go_on(ease == 0.0);
            }
        }
        Ok(Verdict::Keep)
    }
}

/// Which part of its rest compaction may take: all while few tables wait, none when many do.
fn ease(engine: &Shared) -> f64 {
    let threshold = usize::from(engine.options.level_0_tables_max);
    let runs = engine.views.current().tables.level_0_runs;
    let to_hurry = (HURRY * threshold).saturating_sub(runs) as f64;
    (to_hurry / ((HURRY - EASY) * threshold) as f64).min(1.0)
}
