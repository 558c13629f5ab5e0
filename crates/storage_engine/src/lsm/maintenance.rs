//! The engine's threads and what they tell each other; the flush of memtables, and the verification of tables.
//!
//! Flush and compaction each have a thread of their own, so that a long compaction never holds back durability.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::StorageFault;
use crate::engine::Version;
use crate::fault::FaultContext;
use crate::integrity::{self, Listed};
use crate::lsm::compaction::{COMPACTION_NICENESS, run_compactions};
use crate::lsm::extent::Extent;
use crate::lsm::freeing::run_freeing;
use crate::lsm::garbage::Sampler;
use crate::lsm::list::LEVEL_0_RUNS_MAX;
use crate::lsm::pace::Pace;
use crate::lsm::versions::Needed;
use crate::lsm::view::{Flushed, Retired, Sealed};
use crate::lsm::{MARKER_KEY, Shared, room, table_writer};

/// Pause after each MiB that is verified: 50 MiB/s at most.
const VERIFY_PAUSE: Duration = Duration::from_millis(20);
/// How long a damaged file is looked for before the fault is told without its name.
pub(crate) const LOCATE_BUDGET: Duration = Duration::from_secs(1);
const FLUSH_NICENESS: i32 = 2;
/// A flush rests so many times less than compaction: what it has not written yet is to be applied again after a crash.
const FLUSH_HURRY: u32 = 2;
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
    pub(super) stopping: bool,
    /// The first failure, in words; both threads end after it.
    fault: Option<String>,
    /// The disk is full, in words: flushes are repeated until there is room.
    full: Option<String>,
    flush_wanted: bool,
    pub(super) compaction_wanted: bool,
    /// Compaction waits until readers have moved past this version.
    pub(super) compaction_awaits: Option<Version>,
    pub(super) oldest_reader: Version,
    pub(super) done: Done,
}

/// What was done since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Done {
    pub flushes: u64,
    pub compactions: u64,
    pub flushed_bytes: u64,
    pub compacted_bytes: u64,
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

    pub fn done(&self) -> Done {
        self.state.lock().done
    }

    /// Waits until `flushed` holds; returns what prevents it.
    pub fn wait_flushed(&self, flushed: impl Fn() -> bool) -> Option<Unflushed> {
        let mut state = self.state.lock();
        while !flushed() {
            if let Some(fault) = &state.fault {
                return Some(Unflushed::Fault(fault.clone()));
            }
            if let Some(full) = &state.full {
                return Some(Unflushed::NoRoom(full.clone()));
            }
            if state.stopping {
                return Some(Unflushed::Fault("the engine was closed".to_owned()));
            }
            self.changed.wait(&mut state);
        }
        None
    }

    /// Whether the disk is found to be full, and was not before; or has room again, and had none.
    pub fn set_full(&self, full: Option<String>) -> bool {
        let mut state = self.state.lock();
        let changed = full.is_some() != state.full.is_some();
        state.full = full;
        self.changed.notify_all();
        changed
    }

    /// Whether the disk was found to be full, and no flush has succeeded since.
    pub fn is_full(&self) -> bool {
        self.state.lock().full.is_some()
    }

    /// Waits for work of one kind, freeing what was retired meanwhile; false when the thread must end.
    pub(super) fn wait_for(
        &self,
        retired: &mut Retired,
        wanted: impl Fn(&mut State) -> &mut bool,
    ) -> bool {
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

    /// Waits for all of this time; false when the engine is closing.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.stopping && state.fault.is_none() {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return true;
            }
        }
        false
    }

    /// Waits a moment; false when the engine is closing.
    pub(super) fn pace(&self, pause: Duration) -> bool {
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

/// Why not everything is durable.
pub(crate) enum Unflushed {
    Fault(String),
    /// The disk is full; it is tried again.
    NoRoom(String),
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
        ("engine-free", run_freeing),
    ];
    for (name, body) in bodies {
        match spawn(name, body) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.maintenance.stop();
                shared.freeing.stop();
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
    let mut tables: Vec<lsm_tree::Table> = shared.lists.current().tables().cloned().collect();
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
    // Where the system refuses, it competes as an equal.
    let _ = platform::lower_thread_priority(FLUSH_NICENESS);
    let mut retired = Retired::default();
    let mut written = None;
    let mut pause = room::FLUSH_PAUSE_MIN;
    while shared
        .maintenance
        .wait_for(&mut retired, |state| &mut state.flush_wanted)
    {
        loop {
            let view = shared.views.current();
            let Some(oldest) = view.sealed.last().cloned() else {
                break;
            };
            let level_0_runs = view.tables.level_0_runs;
            drop(view);
            if level_0_runs >= LEVEL_0_RUNS_MAX {
                if !shared.maintenance.pause(pause) {
                    return;
                }
                continue;
            }
            match flush(shared, &oldest, &mut written, &mut retired) {
                Ok(()) => {}
                Err(error) if room::may_be_repeated(shared, &error) => {
                    room::no_room(shared, error);
                    retired.free();
                    if !shared.maintenance.pause(pause) {
                        return;
                    }
                    pause = (pause * 2).min(room::FLUSH_PAUSE_MAX);
                    continue;
                }
                Err(error) => {
                    report(shared, "flush", error);
                    return;
                }
            }
            pause = room::FLUSH_PAUSE_MIN;
            drop(oldest.memtable);
            retired.free();
            let mut state = shared.maintenance.state.lock();
            state.done.flushes += 1;
            state.compaction_wanted = true;
            let stopping = state.stopping;
            drop(state);
            shared.maintenance.changed.notify_all();
            if shared.maintenance.set_full(None) {
                (shared.options.on_full)(None);
            }
            (shared.options.on_flushed)(oldest.version);
            if stopping {
                return;
            }
        }
    }
}

/// A memtable's table, not in the list yet, which keys it holds, and how many older values they supersede.
struct Written {
    table: lsm_tree::Table,
    extent: Arc<Extent>,
    superseded: u64,
}

/// Writes the memtable's table, unless an earlier try has left it `written`, and puts it into the list.
fn flush(
    shared: &Shared,
    sealed: &Sealed,
    written: &mut Option<Written>,
    retired: &mut Retired,
) -> lsm_tree::Result<()> {
    let made = match written.take() {
        Some(made) => made,
        None => write_table(shared, sealed)?,
    };
    let made = &*written.insert(made);
    let tables = std::slice::from_ref(&made.table);
    let flushed = Flushed {
        sealed,
        tables,
        extent: &made.extent,
    };
    let replaced = shared.lists.change(
        &shared.dir,
        |list| list.with_flushed(tables),
        |list| shared.views.refresh(list, Some(flushed)),
    )?;
    shared.garbage.lock().superseded(made.superseded);
    *written = None;
    retired.add(replaced, Some(Arc::clone(&sealed.memtable)));
    Ok(())
}

fn write_table(shared: &Shared, sealed: &Sealed) -> lsm_tree::Result<Written> {
    let _flushing = shared.table_files.flushing.lock();
    let mut needed = Needed::by(shared.maintenance.state.lock().oldest_reader);
    let mut pace = Pace::new(&shared.dir, shared.next_table_id());
    let mut sampler = Sampler::default();
    let mut extent = Extent::default();
    let tables = shared.views.current().tables.clone();
    let entries = sealed.memtable.iter().filter(|entry| needed.keeps(entry));
    let entries = entries.map(|entry| {
        let key = &entry.key.user_key;
        let bytes = key.len() + entry.value.len();
        if let Some(rest) = pace.entry(bytes as u64, || shared.next_table_id()) {
            // More memtables wait: they hold memory, and replay after a crash would take longer.
            let in_a_hurry = shared.views.current().sealed.len() > 1;
            if !in_a_hurry {
                shared.maintenance.pace(rest / FLUSH_HURRY);
            }
            pace.go_on(in_a_hurry);
        }
        extent.push(key);
        if key[..] != MARKER_KEY {
            sampler.flushed(key, |key| tables.get(key, Version::MAX));
        }
        Ok(entry)
    });
    let Some(table) = table_writer::write_one(shared, entries)? else {
        return Err(lsm_tree::Error::Unrecoverable);
    };
    room::note_tables(shared, [&table]);
    let superseded = sampler.superseded()?;
    shared.maintenance.state.lock().done.flushed_bytes += table.metadata.file_size;
    Ok(Written {
        table,
        extent: Arc::new(extent),
        superseded,
    })
}
