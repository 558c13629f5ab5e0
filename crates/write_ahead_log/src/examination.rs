//! Reads a log without changing it, and tells a torn tail from damage.
//!
//! What is found beyond damage is trusted from the next whole segment on: a segment begins with every group's state
//! and start, so that nothing before it is needed to know them. Within a damaged segment nothing after the damage is
//! used: a payload could hold bytes that look like a batch.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use platform::{Disk, DiskFile};

use crate::format::{
    BATCH_HEADER_BYTES, BadRecord, BatchHeader, FORMAT_VERSION, RECORD_VERSION,
    SEGMENT_HEADER_BYTES, SegmentHeader, records,
};
use crate::groups::{Group, Groups, Location};
use crate::reader::SegmentFile;
use crate::scan::{Batch, ERASE_BYTES, Segment, sequences};
use crate::segment;
use crate::{Start, TornTail, WalError};

/// Number of the first batch of a log.
const FIRST_BATCH: u64 = 1;
/// Sequence of the first segment of a log.
const FIRST_SEQUENCE: u64 = 1;

/// Bytes that had been synced and are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment file.
    pub segment: PathBuf,
    /// Where.
    pub offset: u64,
    /// What was found.
    pub detail: String,
}

/// What is known of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The last state set, as far as was read.
    pub state: Option<Vec<u8>>,
    /// Position before the first entry, as far as was read.
    pub start: Start,
    /// Indexes of the entries that can be read.
    pub entries: Option<RangeInclusive<u64>>,
    /// Whether the last of them is certainly the last there was.
    pub end_known: bool,
}

/// A log as it was found. Nothing has been changed yet.
pub struct Examination<D: Disk> {
    pub(crate) disk: D,
    pub(crate) dir: PathBuf,
    pub(crate) damage: Vec<Damage>,
    /// What stands before the first damage; of a whole log, all of it.
    pub(crate) before: Groups,
    /// What stands after the last damage, if whole segments follow it.
    pub(crate) after: Option<Groups>,
    /// The segments that `before` (of a whole log) or `after` were read from.
    pub(crate) files: BTreeMap<u32, SegmentFile>,
    pub(crate) tail: Option<Segment<D::File>>,
    /// A file in waiting, or torn in its first write.
    pub(crate) waiting: Option<Segment<D::File>>,
    pub(crate) next_batch: u64,
    /// What the segments say which log they belong to; `None` while there are none.
    pub(crate) log_id: Option<u64>,
    /// Where the next batch goes, and the last good one: offset and length.
    pub(crate) offset: usize,
    pub(crate) last_batch: (usize, usize),
}

impl<D: Disk> Examination<D> {
    /// Reads the log in a directory; a directory that is missing holds an empty log. Damage is not an error here.
    pub fn of(disk: D, dir: &Path) -> Result<Self, WalError> {
        examine(disk, dir)
    }

    /// Everything that is not as it was written, in the order of the log. Empty: the log is whole, but for a torn tail.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The first damage as the error that opening this log gives.
    pub fn damaged(&self) -> Option<WalError> {
        self.damage.first().cloned().map(WalError::Damaged)
    }

    /// By group: what stands before the first damage; all there is, if there is none.
    pub fn before(&self) -> BTreeMap<u64, Extent> {
        extents(&self.before)
    }

    /// By group: what stands after the last damage. The state is certainly the latest. `None`: there is no damage, or it
    /// is in the last segment.
    pub fn after(&self) -> Option<BTreeMap<u64, Extent>> {
        self.after.as_ref().map(extents)
    }

    /// The batch that opening will cut because it was being written when the machine or process stopped.
    pub fn torn_tail(&self) -> Option<TornTail> {
        if !self.damage.is_empty() {
            return None;
        }
        let tail = self.tail.as_ref().filter(|tail| self.is_torn(tail));
        let torn = tail.map(|tail| TornTail {
            segment: tail.path.clone(),
            offset: self.offset as u64,
            detail: format!(
                "batch {}, which was being written, is incomplete and was cut",
                self.next_batch
            ),
        });
        let begun = self.waiting.as_ref().filter(|it| it.header().is_some());
        torn.or_else(|| {
            begun.map(|waiting| TornTail {
                segment: waiting.path.clone(),
                offset: 0,
                detail: "the first batch of the segment, which was being written, is incomplete \
                         and was cut"
                    .to_owned(),
            })
        })
    }

    pub(crate) fn is_torn(&self, tail: &Segment<D::File>) -> bool {
        matches!(tail.batch(self.offset, self.next_batch), Batch::Bad { .. })
    }
}

fn extents(groups: &Groups) -> BTreeMap<u64, Extent> {
    let extent = |group: &Group| Extent {
        state: group.state.clone(),
        start: group.start,
        entries: (!group.locations.is_empty()).then(|| group.first..=group.last()),
        end_known: group.end_known,
    };
    groups
        .0
        .iter()
        .map(|(id, group)| (*id, extent(group)))
        .collect()
}

/// Replays segments in order.
#[derive(Default)]
struct Replay {
    groups: Groups,
    files: BTreeMap<u32, SegmentFile>,
    /// Number of the next batch; `None` before the first segment and after damage.
    next_batch: Option<u64>,
    /// Offset and length of the last batch of the last segment.
    last_batch: (usize, usize),
    offset: usize,
    damage: Vec<Damage>,
    /// What stood before the first damage.
    before: Option<Groups>,
    /// The log that the first segment says it belongs to.
    log_id: Option<u64>,
}

impl Replay {
    /// Notes damage; what follows is read as if it were the beginning of the log.
    fn damaged(&mut self, damage: Damage) {
        self.damage.push(damage);
        let groups = std::mem::take(&mut self.groups);
        self.before.get_or_insert(groups);
        self.files.clear();
        self.next_batch = None;
    }

    fn segment<F: DiskFile>(
        &mut self,
        segment: &Segment<F>,
        previous: Option<&(PathBuf, usize)>,
    ) -> Result<(), WalError> {
        let Some(header) = segment.header() else {
            self.damaged(segment.damage(0, "the segment's header is not as written".to_owned()));
            return Ok(());
        };
        if header.version > FORMAT_VERSION {
            return Err(WalError::Version {
                segment: segment.path.clone(),
                found: header.version,
                known: FORMAT_VERSION,
            });
        }
        let log_id = *self.log_id.get_or_insert(header.log_id);
        if header.log_id != log_id {
            let what = format!(
                "the segment belongs to another log ({:016x}, not {log_id:016x})",
                header.log_id
            );
            self.damaged(segment.damage(0, what));
            return Ok(());
        }
        self.check_follows(&header, previous);
        self.offset = SEGMENT_HEADER_BYTES;
        let mut number = header.first_batch;
        self.next_batch = Some(number);
        while let Batch::Good(batch) = segment.batch(self.offset, number) {
            if let Some(damage) = self.batch(segment, &batch)? {
                self.damaged(damage);
                return Ok(());
            }
            number += 1;
            self.next_batch = Some(number);
        }
        let file = SegmentFile {
            file: segment.file.clone(),
            len: segment.bytes.len() as u64,
            synced: self.offset as u64,
        };
        let sequence = u32::try_from(segment.sequence).expect("sequences stay below 2^32");
        self.files.insert(sequence, file);
        Ok(())
    }

    /// A segment that begins beyond the next batch proves that there was one.
    fn check_follows(&mut self, header: &SegmentHeader, previous: Option<&(PathBuf, usize)>) {
        if let (Some(number), Some((path, offset))) = (self.next_batch, previous)
            && number != header.first_batch
        {
            self.damaged(Damage {
                segment: path.clone(),
                offset: *offset as u64,
                detail: format!(
                    "batch {number} is not as written, though a later segment begins with batch {}",
                    header.first_batch
                ),
            });
        }
    }

    fn batch<F: DiskFile>(
        &mut self,
        segment: &Segment<F>,
        batch: &BatchHeader,
    ) -> Result<Option<Damage>, WalError> {
        let body_start = self.offset + BATCH_HEADER_BYTES;
        let body = &segment.bytes[body_start..self.offset + batch.total_bytes()];
        for record in records(body, segment.seed(), batch.records) {
            let applied = record.and_then(|(header, stored, at)| {
                let location = Location {
                    segment: u32::try_from(segment.sequence).expect("sequences stay below 2^32"),
                    offset: u32::try_from(body_start + at)
                        .expect("segments are shorter than 4 GiB"),
                };
                self.groups.apply(&header, stored, location)
            });
            match applied {
                Ok(()) => {}
                // The batch's own checksum holds, so this was written so: by a newer program.
                Err(BadRecord::Unknown { version, .. }) => {
                    return Err(WalError::Version {
                        segment: segment.path.clone(),
                        found: u32::from(version),
                        known: u32::from(RECORD_VERSION),
                    });
                }
                Err(bad) => return Ok(Some(segment.damage(body_start, bad.to_string()))),
            }
        }
        self.last_batch = (self.offset, batch.total_bytes());
        self.offset += batch.total_bytes();
        Ok(None)
    }
}

fn missing(dir: &Path, sequence: u64, next: u64) -> Damage {
    Damage {
        segment: segment::path(dir, sequence),
        offset: 0,
        detail: format!(
            "the file is missing, though {} exists",
            segment::path(dir, next).display()
        ),
    }
}

/// Reads everything; changes nothing.
fn examine<D: Disk>(disk: D, dir: &Path) -> Result<Examination<D>, WalError> {
    let exists = disk.exists(dir).map_err(WalError::io("look for", dir))?;
    let mut sequences = if exists {
        sequences(&disk, dir)?
    } else {
        Vec::new()
    };
    // The last file may be in waiting, or torn in its first write; then the one before it is the tail.
    let mut waiting = None;
    if let Some(last) = sequences.last() {
        let segment = Segment::read(&disk, dir, *last)?;
        if !segment.is_begun() {
            waiting = Some(segment);
            sequences.pop();
        }
    }
    let mut replay = Replay::default();
    let mut previous: Option<(PathBuf, usize)> = None;
    let mut tail: Option<Segment<D::File>> = None;
    for sequence in sequences {
        if let Some(before) = &tail
            && before.sequence + 1 != sequence
        {
            replay.damaged(missing(dir, before.sequence + 1, sequence));
        }
        let buffer = tail.take().map_or_else(Vec::new, |before| before.bytes);
        let segment = Segment::read_into(&disk, dir, sequence, buffer)?;
        replay.segment(&segment, previous.as_ref())?;
        previous = Some((segment.path.clone(), replay.offset));
        tail = Some(segment);
    }
    check_end(&mut replay, dir, tail.as_ref(), waiting.as_ref());
    check_front(&mut replay, dir);
    Ok(conclude(replay, disk, dir, tail, waiting))
}

fn conclude<D: Disk>(
    replay: Replay,
    disk: D,
    dir: &Path,
    tail: Option<Segment<D::File>>,
    waiting: Option<Segment<D::File>>,
) -> Examination<D> {
    let whole_after = replay.next_batch.is_some();
    let (before, after) = match replay.before {
        None => (replay.groups, None),
        Some(before) => (before, whole_after.then_some(replay.groups)),
    };
    Examination {
        disk,
        dir: dir.to_path_buf(),
        damage: replay.damage,
        before,
        after,
        files: replay.files,
        tail,
        waiting,
        next_batch: replay.next_batch.unwrap_or(FIRST_BATCH),
        log_id: replay.log_id,
        offset: replay.offset,
        last_batch: replay.last_batch,
    }
}

/// Whether anything proves that the batch which would come next, and is not there, had been synced.
fn check_end<F: DiskFile>(
    replay: &mut Replay,
    dir: &Path,
    tail: Option<&Segment<F>>,
    waiting: Option<&Segment<F>>,
) {
    if let (Some(tail), Some(waiting)) = (tail, waiting)
        && tail.sequence + 1 != waiting.sequence
    {
        replay.damaged(missing(dir, tail.sequence + 1, waiting.sequence));
        return;
    }
    // After damage in the tail itself nothing is known of its end.
    if tail.is_some() && replay.next_batch.is_none() {
        return;
    }
    let next_batch = replay.next_batch.unwrap_or(FIRST_BATCH);
    if let Some(damage) = lost_batch(replay.offset, tail, waiting, next_batch) {
        replay.damaged(damage);
    }
}

fn lost_batch<F: DiskFile>(
    offset: usize,
    tail: Option<&Segment<F>>,
    waiting: Option<&Segment<F>>,
    next_batch: u64,
) -> Option<Damage> {
    let detail = |later: String| format!("batch {next_batch} is not as written, though {later}");
    let stands = |segment: &Segment<F>, (at, what): (usize, &str)| {
        detail(format!(
            "{what} at offset {at} of {}",
            segment.path.display()
        ))
    };
    if let Some(tail) = tail {
        let from = match tail.batch(offset, next_batch) {
            Batch::Bad { end } => end,
            _ => offset,
        };
        if let Some(proof) = tail.proof_of_sync(from, next_batch) {
            return Some(tail.damage(offset, stands(tail, proof)));
        }
    }
    let waiting = waiting?;
    let (blamed, at) = tail.map_or((waiting, 0), |tail| (tail, offset));
    let header = waiting.header();
    // Its own first batch, being written, is no proof; the search begins where that ends, if it can be told.
    let from = match waiting.batch(SEGMENT_HEADER_BYTES, next_batch) {
        Batch::Bad { end } => end,
        _ => 0,
    };
    if let Some(proof) = waiting.proof_of_sync(from, next_batch) {
        let in_waiting = header.is_some_and(|header| header.first_batch == next_batch);
        let (blamed, at) = if in_waiting {
            (waiting, 0)
        } else {
            (blamed, at)
        };
        return Some(blamed.damage(at, stands(waiting, proof)));
    }
    if tail.is_none() && waiting.sequence != FIRST_SEQUENCE {
        let detail = "it is not as written, and the segments before it are gone".to_owned();
        return Some(waiting.damage(0, detail));
    }
    // Its first write came after everything before it was synced.
    let header = header.filter(|header| header.first_batch > next_batch)?;
    let begins = format!(
        "{} begins with batch {}",
        waiting.path.display(),
        header.first_batch
    );
    Some(blamed.damage(at, detail(begins)))
}

/// Segments are removed only when no group needs them: entries missing in front of a whole log were lost.
fn check_front(replay: &mut Replay, dir: &Path) {
    if !replay.damage.is_empty() {
        return;
    }
    let lost = replay.groups.0.iter().find(|(_, group)| !group.is_whole());
    let Some((id, group)) = lost else { return };
    let first = replay.files.keys().next().map_or(0, |it| u64::from(*it));
    let damage = Damage {
        segment: segment::path(dir, first),
        offset: 0,
        detail: format!(
            "entries {} to {} of group {id} are missing before it",
            group.start.index + 1,
            group.first - 1
        ),
    };
    replay.damage.push(damage);
    replay.before = Some(Groups::default());
}

/// Whether a file in waiting holds nothing.
pub(crate) fn is_blank<F>(waiting: &Segment<F>) -> bool {
    let mut beginning = waiting.bytes.iter().take(ERASE_BYTES);
    beginning.all(|byte| *byte == 0)
}
