//! Leaves the disk as an examination found it fit for appending: cuts a torn tail, writes the last batch again, and
//! puts aside what was damaged and is not needed. Each step may be cut short by a crash; the next start does it again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platform::{Disk, DiskFile, OpenOptions};

use crate::examination::{Examination, is_blank};
use crate::groups::{Group, Groups};
use crate::reader::Published;
use crate::scan::{Segment, sequences};
use crate::segment::{self, Prepared};
use crate::{Damage, Dropped, Start, TornTail, WalError};

/// Where the writer goes on.
pub(crate) struct Tail<F> {
    pub sequence: u64,
    pub file: Arc<F>,
    pub len: u64,
    pub offset: u64,
}

/// What the directory holds.
pub(crate) struct Outcome<D: Disk> {
    pub published: Published,
    pub tail: Option<Tail<D::File>>,
    /// The segment after the tail's, if one is in waiting.
    pub prepared: Option<Prepared<D::File>>,
    pub next_batch: u64,
    pub torn_tail: Option<TornTail>,
    pub dropped: Option<Dropped>,
    /// Groups whose start must be written down, as entries between it and the log's beginning are gone.
    pub moved_starts: BTreeMap<u64, Start>,
}

/// Settles what was examined. `held`: up to where the caller has what each group's entries did.
pub(crate) fn settle<D: Disk>(
    found: Examination<D>,
    held: &BTreeMap<u64, Start>,
) -> Result<Outcome<D>, WalError> {
    let (groups, moved_starts, dropped) = match found.damage.first() {
        None => (found.before, BTreeMap::new(), None),
        Some(first) => {
            let after = found
                .after
                .ok_or_else(|| WalError::Damaged(first.clone()))?;
            let (groups, moved) = drop_prefix(after, &found.before, held, first)?;
            let first_kept = found.files.keys().next().map_or(0, |it| u64::from(*it));
            let set_aside = put_aside(&found.disk, &found.dir, first_kept, &found.damage)?;
            let dropped = Dropped {
                damage: found.damage.clone(),
                set_aside,
            };
            (groups, moved, Some(dropped))
        }
    };
    let torn_tail = settle_tail(
        found.tail.as_ref(),
        (found.offset, found.next_batch),
        found.last_batch,
    )?;
    let waiting = found.waiting.as_ref();
    let torn_start = waiting.map(settle_waiting).transpose()?.flatten();
    Ok(Outcome {
        published: Published {
            dir: found.dir,
            groups,
            files: found.files,
        },
        tail: found.tail.map(|segment| Tail {
            sequence: segment.sequence,
            len: segment.bytes.len() as u64,
            file: segment.file,
            offset: found.offset as u64,
        }),
        prepared: found.waiting.map(|segment| Prepared {
            sequence: segment.sequence,
            len: segment.bytes.len() as u64,
            file: segment.file,
        }),
        next_batch: found.next_batch,
        torn_tail: torn_tail.or(torn_start),
        dropped,
        moved_starts,
    })
}

/// What stands after the damage, if all that is missing before it is held elsewhere, and nothing else can be missing.
fn drop_prefix(
    mut after: Groups,
    before: &Groups,
    held: &BTreeMap<u64, Start>,
    first: &Damage,
) -> Result<(Groups, BTreeMap<u64, Start>), WalError> {
    let refuse = || WalError::Damaged(first.clone());
    if before.0.keys().any(|id| !after.0.contains_key(id)) {
        return Err(refuse());
    }
    let mut moved = BTreeMap::new();
    for (id, group) in &mut after.0 {
        if !group.end_known {
            return Err(refuse());
        }
        if group.is_whole() {
            continue;
        }
        let held = held.get(id).copied().unwrap_or_default();
        if !reaches(group, held) {
            return Err(refuse());
        }
        group.remove_through(held);
        moved.insert(*id, held);
    }
    Ok((after, moved))
}

/// Whether `held` closes the gap before the group's first entry, and the log goes on from there.
fn reaches(group: &Group, held: Start) -> bool {
    held.index + 1 >= group.first && held.index <= group.last()
}

/// Renames damaged segments older than the first one kept, and removes the intact ones among them, oldest first.
fn put_aside<D: Disk>(
    disk: &D,
    dir: &Path,
    first_kept: u64,
    damage: &[Damage],
) -> Result<Vec<PathBuf>, WalError> {
    let mut set_aside = Vec::new();
    for sequence in sequences(disk, dir)? {
        if sequence >= first_kept {
            break;
        }
        let path = segment::path(dir, sequence);
        if damage.iter().any(|damage| damage.segment == path) {
            let aside = segment::damaged_path(dir, sequence);
            disk.rename(&path, &aside)
                .map_err(WalError::io("rename", &path))?;
            set_aside.push(aside);
        } else {
            disk.remove_file(&path)
                .map_err(WalError::io("remove", &path))?;
        }
        disk.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    }
    Ok(set_aside)
}

/// Cuts a torn batch, and writes the last good one again: if its sync had failed, it may be in memory only.
fn settle_tail<F: DiskFile>(
    tail: Option<&Segment<F>>,
    (offset, next_batch): (usize, u64),
    (start, len): (usize, usize),
) -> Result<Option<TornTail>, WalError> {
    let Some(tail) = tail else { return Ok(None) };
    let torn = matches!(
        tail.batch(offset, next_batch),
        crate::scan::Batch::Bad { .. }
    );
    if torn {
        tail.erase(offset)?;
    }
    tail.file
        .write_all_at(&tail.bytes[start..start + len], start as u64)
        .map_err(WalError::io("write", &tail.path))?;
    tail.sync()?;
    Ok(torn.then(|| TornTail {
        segment: tail.path.clone(),
        offset: offset as u64,
        detail: format!("batch {next_batch}, which was being written, is incomplete and was cut"),
    }))
}

/// Erases the first write of a segment if it was torn.
fn settle_waiting<F: DiskFile>(waiting: &Segment<F>) -> Result<Option<TornTail>, WalError> {
    if is_blank(waiting) {
        return Ok(None);
    }
    let torn = waiting.header().is_some();
    waiting.erase(0)?;
    waiting.sync()?;
    Ok(torn.then(|| TornTail {
        segment: waiting.path.clone(),
        offset: 0,
        detail:
            "the first batch of the segment, which was being written, is incomplete and was cut"
                .to_owned(),
    }))
}

/// Ends a damaged log at its first damage: what stands before it is kept, the damaged segment is copied to
/// `damaged-…`, later ones are renamed to it. **Loses whatever came after, acknowledged or not.** Returns the files
/// that were put aside; a log without damage is left as it is.
pub fn cut_at_damage<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<PathBuf>, WalError> {
    let mut set_aside = Vec::new();
    // Once a whole segment is gone, the one before it says at its end that there was a later one: that goes, too.
    while let Some(first) = Examination::of(disk.clone(), dir)?.damage.first() {
        set_aside.extend(cut_at(disk, dir, first)?);
    }
    Ok(set_aside)
}

fn cut_at<D: Disk>(disk: &D, dir: &Path, first: &Damage) -> Result<Vec<PathBuf>, WalError> {
    let mut set_aside = Vec::new();
    // Newest first: what is left after a crash is still damaged at the same spot, or cut.
    for sequence in sequences(disk, dir)?.into_iter().rev() {
        let path = segment::path(dir, sequence);
        let aside = segment::damaged_path(dir, sequence);
        if path < first.segment {
            break;
        }
        // What was put aside first is what was found; a later round only sees what an earlier one left.
        let kept = disk
            .exists(&aside)
            .map_err(WalError::io("look for", &aside))?;
        if path == first.segment && first.offset > 0 {
            if !kept {
                copy(disk, &path, &aside)?;
            }
            let segment = Segment::read(disk, dir, sequence)?;
            let offset = usize::try_from(first.offset).expect("a segment fits memory");
            let zeros = vec![0; segment.bytes.len().saturating_sub(offset)];
            segment
                .file
                .write_all_at(&zeros, first.offset)
                .map_err(WalError::io("write", &path))?;
            segment.sync()?;
        } else if kept {
            disk.remove_file(&path)
                .map_err(WalError::io("remove", &path))?;
        } else {
            disk.rename(&path, &aside)
                .map_err(WalError::io("rename", &path))?;
        }
        disk.sync_dir(dir).map_err(WalError::io("sync", dir))?;
        if !kept {
            set_aside.push(aside);
        }
    }
    Ok(set_aside)
}

fn copy<D: Disk>(disk: &D, from: &Path, to: &Path) -> Result<(), WalError> {
    let source = disk
        .open(from, OpenOptions::default())
        .map_err(WalError::io("open", from))?;
    let len = source.len().map_err(WalError::io("measure", from))?;
    let mut bytes = vec![0; usize::try_from(len).expect("a segment fits memory")];
    source
        .read_at(&mut bytes, 0)
        .map_err(WalError::io("read", from))?;
    let create = OpenOptions {
        create: true,
        create_new: false,
        write: true,
    };
    let target = disk.open(to, create).map_err(WalError::io("create", to))?;
    target
        .write_all_at(&bytes, 0)
        .map_err(WalError::io("write", to))?;
    target.sync_all().map_err(WalError::io("sync", to))
}
