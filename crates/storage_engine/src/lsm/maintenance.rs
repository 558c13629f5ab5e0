//! Flush and compaction, each on a thread of its own, so that a long compaction never holds back durability.
//! Compaction runs at a lower scheduling priority and gives way to a pending stop.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Leveled, Verdict};
use lsm_tree::{AbstractTree, InternalValue};
use parking_lot::{Condvar, Mutex};

use crate::StorageFault;
use crate::engine::Version;
use crate::fault::FaultContext;
use crate::integrity::{self, Listed};
use crate::lsm::Shared;
use crate::lsm::view::{Retired, Sealed};

/// Watermark that drops nothing: no version is below it (they start at 1), and yet `lsm-tree` retires its
/// replaced lists, which it never does at 0.
const DROP_NOTHING: Version = 1;
/// How much further (in level-0 tables) compaction waits for old readers to finish, to drop what they hold.
const PATIENCE: usize = 2;
const COMPACTION_NICENESS: i32 = 3;
/// Pause after each MiB that is verified: 50 MiB/s at most.
const VERIFY_PAUSE: Duration = Duration::from_millis(20);
/// How long a damaged file is looked for before the fault is told without its name.
pub(crate) const LOCATE_BUDGET: Duration = Duration::from_secs(1);
/// How soon a thread looks again whether what it replaced can be freed.
const FREE_INTERVAL: Duration = Duration::from_millis(50);

/// What the engine tells its threads, and they tell it.
#[derive(Default)]
pub(crate) struct Maintenance {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    stopping: bool,
    /// The first failure, in words; both threads end after it.
    fault: Option<String>,
    flush_wanted: bool,
    compaction_wanted: bool,
    /// Compaction waits until readers have moved past this version.
    compaction_awaits: Option<Version>,
    oldest_reader: Version,
    flushes: u64,
    pub(super) compactions: u64,
}

impl Maintenance {
    pub fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    pub fn sealed(&self) {
        self.state.lock().flush_wanted = true;
        self.changed.notify_all();
    }

    pub fn raise_oldest_reader(&self, version: Version) {
        let mut state = self.state.lock();
        state.oldest_reader = state.oldest_reader.max(version);
        if state
            .compaction_awaits
            .is_some_and(|awaited| awaited <= version)
        {
            state.compaction_awaits = None;
            state.compaction_wanted = true;
            self.changed.notify_all();
        }
    }

    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.flushes, state.compactions)
    }

    /// Waits until `flushed` holds; returns the fault that prevents it.
    pub fn wait_flushed(&self, flushed: impl Fn() -> bool) -> Option<String> {
        let mut state = self.state.lock();
        while !flushed() {
            if let Some(fault) = &state.fault {
                return Some(fault.clone());
            }
            if state.stopping {
                return Some("the engine was closed".to_owned());
            }
            self.changed.wait(&mut state);
        }
        None
    }

    /// Waits for work of one kind, freeing what was retired meanwhile; false when the thread must end.
    fn wait_for(&self, retired: &mut Retired, wanted: impl Fn(&mut State) -> &mut bool) -> bool {
        loop {
            let all_freed = retired.free();
            let mut state = self.state.lock();
            if state.stopping || state.fault.is_some() {
                return false;
            }
            if std::mem::take(wanted(&mut state)) {
                return true;
            }
            if all_freed {
                self.changed.wait(&mut state);
            } else {
                self.changed.wait_for(&mut state, FREE_INTERVAL);
            }
        }
    }

    /// Waits a moment; false when the engine is closing.
    fn pace(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stopping {
            self.changed.wait_for(&mut state, pause);
        }
        !state.stopping
    }

    /// Whether this is the first failure, and not a consequence of stopping.
    fn fail(&self, description: String) -> bool {
        let mut state = self.state.lock();
        let first = state.fault.is_none() && !state.stopping;
        if first {
            state.fault = Some(description);
        }
        self.changed.notify_all();
        first
    }
}

/// What a thread does until the engine is closed.
type Body = fn(&Shared);

/// Starts the threads.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let spawn = |name: &str, body: Body| {
        let shared = Arc::clone(shared);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || body(&shared))
    };
    let mut threads = Vec::new();
    let flush: Body = run_flushes;
    let bodies = [
        ("engine-flush", flush),
        ("engine-compact", run_compactions),
        ("engine-verify", run_verification),
    ];
    for (name, body) in bodies {
        match spawn(name, body) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.maintenance.stop();
                for thread in threads {
                    let _ = thread.join();
                }
                return Err(error);
            }
        }
    }
    Ok(threads)
}

/// Turns what `lsm-tree` reports into a fault, and tells of the first one. Of damage, the file is looked for: the tree
/// does not say which it was.
pub(crate) fn report(
    shared: &Shared,
    action: &'static str,
    error: lsm_tree::Error,
) -> StorageFault {
    let mut fault = FaultContext::new(&shared.dir).tree(action, error);
    fault.locate(|| {
        let find = || integrity::locate(&shared.dir, LOCATE_BUDGET);
        shared.located.get_or_init(find).clone()
    });
    tell(shared, fault)
}

fn tell(shared: &Shared, fault: StorageFault) -> StorageFault {
    if shared.maintenance.fail(fault.to_string()) {
        (shared.options.on_fault)(fault.copy());
    }
    fault
}

/// Reads every table there is at the start, at a pace that disturbs nobody, and compares it with its checksum: damage is
/// to be found before the other members' copies are gone too.
fn run_verification(shared: &Shared) {
    // Where the system refuses, it competes as an equal.
    let _ = platform::lower_thread_priority(COMPACTION_NICENESS);
    // While they are held here, a compaction does not delete their files.
    let mut tables: Vec<lsm_tree::Table> = shared
        .tree
        .current_version()
        .iter_tables()
        .cloned()
        .collect();
    while let Some(table) = tables.pop() {
        let listed = Listed {
            path: table.path.to_path_buf(),
            checksum: table.checksum().into_u128(),
        };
        let found = integrity::verify_table(&listed, |_| shared.maintenance.pace(VERIFY_PAUSE));
        if shared.maintenance.state.lock().stopping {
            return;
        }
        if let Err(what) = found {
            let context = FaultContext::new(&shared.dir);
            tell(shared, context.damaged("verification", what));
            return;
        }
    }
}

fn run_flushes(shared: &Shared) {
    let mut retired = Retired::default();
    while shared
        .maintenance
        .wait_for(&mut retired, |state| &mut state.flush_wanted)
    {
        loop {
            let Some(oldest) = shared.views.current().sealed.last().cloned() else {
                break;
            };
            if let Err(error) = flush(shared, &oldest, &mut retired) {
                report(shared, "flush", error);
                return;
            }
            drop(oldest.memtable);
            retired.free();
            let mut state = shared.maintenance.state.lock();
            state.flushes += 1;
            state.compaction_wanted = true;
            let stopping = state.stopping;
            drop(state);
            shared.maintenance.changed.notify_all();
            (shared.options.on_flushed)(oldest.version);
            if stopping {
                return;
            }
        }
    }
}

fn flush(shared: &Shared, sealed: &Sealed, retired: &mut Retired) -> lsm_tree::Result<()> {
    let oldest_reader = shared.maintenance.state.lock().oldest_reader;
    let entries = NeededVersions::new(sealed.memtable.iter(), oldest_reader);
    let Some((tables, _)) = shared.tree.flush_to_tables(entries.map(Ok))? else {
        return Err(lsm_tree::Error::Unrecoverable);
    };
    let replaced = {
        // Until the view names them durable, too: a compaction that took them by the older durable version would drop
        // what readers between the two versions still see.
        let _registering = shared.gate.register();
        shared.list_numbers.set(0);
        shared
            .tree
            .register_tables(&tables, None, None, &[], DROP_NOTHING)?;
        shared.views.refresh(&shared.tree, Some(sealed))
    };
    retired.add(replaced, Some(Arc::clone(&sealed.memtable)));
    Ok(())
}

/// Leaves out what no reader can see: all but the newest of a key's versions at or below the oldest reader.
/// Entries come sorted by key, newest version first.
struct NeededVersions<I: Iterator<Item = InternalValue>> {
    entries: I,
    oldest_reader: Version,
    /// The key whose newest version at or below the oldest reader has passed.
    settled: Option<lsm_tree::Slice>,
}

impl<I: Iterator<Item = InternalValue>> NeededVersions<I> {
    fn new(entries: I, oldest_reader: Version) -> Self {
        Self {
            entries,
            oldest_reader,
            settled: None,
        }
    }
}

impl<I: Iterator<Item = InternalValue>> Iterator for NeededVersions<I> {
    type Item = InternalValue;

    fn next(&mut self) -> Option<InternalValue> {
        loop {
            let entry = self.entries.next()?;
            if self.settled.as_ref() == Some(&entry.key.user_key) {
                continue;
            }
            if entry.key.seqno <= self.oldest_reader {
                self.settled = Some(entry.key.user_key.clone());
            }
            return Some(entry);
        }
    }
}

fn run_compactions(shared: &Shared) {
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
                    shared.maintenance.state.lock().compactions += 1;
                    shared.maintenance.changed.notify_all();
                }
                Ok(false) => break,
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

/// The watermark for a compaction of everything durable now, or `None` to wait for readers. Called while
/// the gate keeps new tables out.
fn watermark(shared: &Shared, patient: bool) -> Option<Version> {
    let view = shared.views.current();
    let durable = view.durable.unwrap_or(0);
    let mut state = shared.maintenance.state.lock();
    if state.oldest_reader >= durable {
        return Some(durable.saturating_add(1));
    }
    let threshold = usize::from(shared.options.level_0_tables_max);
    if patient && view.tables.level_0_runs < threshold * PATIENCE {
        state.compaction_awaits = Some(durable);
        return None;
    }
    Some(DROP_NOTHING)
}

/// Does one step of leveled compaction; false when there is nothing to do (now).
fn compact(shared: &Shared, retired: &mut Retired) -> lsm_tree::Result<bool> {
    let options = &shared.options;
    let strategy = Leveled::default()
        .with_l0_threshold(options.level_0_tables_max)
        .with_table_target_size(options.table_bytes);
    let _compacting = shared.gate.compacting.lock();
    let choosing = shared.gate.choose();
    let Some(watermark) = watermark(shared, true) else {
        return Ok(false);
    };
    let before = shared.tree.current_version().id();
    shared.list_numbers.set(0);
    shared.tree.compact(Arc::new(strategy), watermark)?;
    drop(choosing);
    if shared.tree.current_version().id() == before {
        return Ok(false);
    }
    retired.add(shared.views.refresh(&shared.tree, None), None);
    Ok(true)
}

/// Merges all tables into the last level.
pub(crate) fn compact_all(shared: &Shared) -> lsm_tree::Result<()> {
    let _compacting = shared.gate.compacting.lock();
    let choosing = shared.gate.choose();
    let watermark = watermark(shared, false).unwrap_or(DROP_NOTHING);
    shared.list_numbers.set(0);
    shared
        .tree
        .major_compact(shared.options.table_bytes, watermark)?;
    drop(choosing);
    shared.views.refresh(&shared.tree, None);
    Ok(())
}

/// Keeps new tables out from when a compaction's watermark is computed until its inputs are chosen: a table
/// slipping in between could hold versions that readers below them still need.
#[derive(Default)]
pub(crate) struct Gate {
    /// Held throughout a compaction: one at a time.
    compacting: Mutex<()>,
    state: Mutex<GateState>,
    changed: Condvar,
    stopping: AtomicBool,
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

    fn choose(&self) -> Choosing<'_> {
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

    fn register(&self) -> Registering<'_> {
        let mut state = self.state.lock();
        while state.choosing {
            self.changed.wait(&mut state);
        }
        state.registering = true;
        Registering(self)
    }
}

struct Choosing<'a>(&'a Gate);

impl Drop for Choosing<'_> {
    fn drop(&mut self) {
        self.0.chosen();
    }
}

struct Registering<'a>(&'a Gate);

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
        Box::new(StopFilter(Arc::clone(&self.0)))
    }
}

struct StopFilter(Arc<Gate>);

impl CompactionFilter for StopFilter {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        if self.0.stopping.load(Ordering::Relaxed) {
            return Err(lsm_tree::Error::Io(io::ErrorKind::Interrupted.into()));
        }
        Ok(Verdict::Keep)
    }
}
