//! A full disk: a flush or compaction that finds no room is repeated later, and what it left behind is removed.
//!
//! Why a repetition is safe: tables are written and synced under numbers of their own before a list names
//! them; a flush that fails leaves the list as it was and at most a table that no list names, and the repetition writes
//! other files, from the memtable that is still there. A list is written to a file of its own and made current by a rename.
//! Were `current` to name a list that the engine does not know of, which only a failure after that rename could bring about,
//! nothing is repeated: that is a fault ([`may_be_repeated`]). A sync that fails for another reason always is.
//!
//! While it lasts, memtables gather: whoever writes is told ([`crate::OnFull`]) and must stop.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::fault::FaultContext;
use crate::lsm::Shared;

/// Pauses before a flush that found no room is repeated.
pub(crate) const FLUSH_PAUSE_MIN: Duration = Duration::from_millis(100);
pub(crate) const FLUSH_PAUSE_MAX: Duration = Duration::from_secs(3);
/// Pause before a compaction is: it needs much, and takes it from others while it tries.
pub(crate) const COMPACTION_PAUSE: Duration = Duration::from_secs(20);

/// Which table files are not leftovers.
#[derive(Default)]
pub(crate) struct TableFiles {
    /// Numbers of all tables that were ever named by a list, or are about to be.
    known: Mutex<BTreeSet<u64>>,
    /// Held while a flush writes tables.
    pub flushing: Mutex<()>,
    /// There may be files that no list will ever name.
    leftovers: AtomicBool,
}

/// Whether something failed for lack of space alone, and everything is as it was.
pub(crate) fn may_be_repeated(shared: &Shared, error: &lsm_tree::Error) -> bool {
    let no_room = matches!(
        error,
        lsm_tree::Error::Io(source)
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    );
    no_room && list_is_known(shared)
}

/// Whether the list that is current on disk is the engine's own.
fn list_is_known(shared: &Shared) -> bool {
    named_list(shared).is_none_or(|named| named == shared.lists.number())
}

/// A flush found the disk full: says so, and makes room of what it wrote of a table.
pub(crate) fn no_room(shared: &Shared, error: lsm_tree::Error) {
    note_leftovers(shared);
    // A compaction under way may be writing tables; it removes what is left over at its own end.
    if let Some(_compacting) = shared.compacting.under_way.try_lock() {
        remove_leftovers(shared);
    }
    let fault = FaultContext::new(&shared.dir).tree("flush", error);
    let full = fault.to_string();
    if shared.maintenance.set_full(Some(full.clone())) {
        (shared.options.on_full)(Some(&full));
    }
}

/// At the end of a compaction, which is held until then: its tables are known now, or left over.
pub(crate) fn settle_tables(shared: &Shared, failed: bool) {
    note_listed(shared);
    if failed {
        note_leftovers(shared);
    }
    let _flushing = shared.table_files.flushing.lock();
    remove_leftovers(shared);
}

/// The number of the list that is current on disk; `None` before the first.
fn named_list(shared: &Shared) -> Option<u64> {
    let named = std::fs::read(shared.dir.join("current")).ok()?;
    Some(u64::from_le_bytes(named.get(..8)?.try_into().ok()?))
}

/// Notes the tables that the list names now.
pub(crate) fn note_listed(shared: &Shared) {
    note_tables(shared, shared.lists.current().tables());
}

/// These tables are named by a list, or about to be.
pub(crate) fn note_tables<'a>(
    shared: &Shared,
    tables: impl IntoIterator<Item = &'a lsm_tree::Table>,
) {
    let numbers = tables.into_iter().map(|table| table.id());
    shared.table_files.known.lock().extend(numbers);
}

/// Something may be left over; it is removed once neither flush nor compaction writes.
fn note_leftovers(shared: &Shared) {
    shared.table_files.leftovers.store(true, Ordering::Release);
}

/// Removes what is left over. The caller holds off flushes and compactions: what those write has no list yet.
fn remove_leftovers(shared: &Shared) {
    if !shared.table_files.leftovers.swap(false, Ordering::AcqRel) || !list_is_known(shared) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(shared.dir.join("tables")) else {
        return;
    };
    let mut known = shared.table_files.known.lock();
    let mut found = BTreeSet::new();
    for entry in entries.flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(number) = number else { continue };
        if known.contains(&number) {
            found.insert(number);
        } else {
            // What stays goes at the next start.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    *known = found;
}
