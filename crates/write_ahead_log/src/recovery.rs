//! Reads the segments after a start, and tells a torn tail from damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platform::{Disk, DiskFile};

use crate::format::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BadRecord, BatchHeader, FORMAT_VERSION, RECORD_VERSION,
    SEGMENT_HEADER_BYTES, Seed, SegmentHeader, records,
};
use crate::groups::{Groups, Location};
use crate::reader::{Published, SegmentFile};
use crate::segment::{self, Prepared, READ_WRITE};
use crate::{TornTail, WalError};

/// Zeros written over the beginning of what is cut.
const ERASE_BYTES: usize = 4096;
/// Number of the first batch of a log.
const FIRST_BATCH: u64 = 1;

/// Where the writer goes on.
pub(crate) struct Tail<F> {
    pub sequence: u64,
    pub file: Arc<F>,
    pub len: u64,
    pub offset: u64,
}

/// Sequence of the first segment of a log.
const FIRST_SEQUENCE: u64 = 1;

/// What the directory holds.
pub(crate) struct Outcome<D: Disk> {
    pub published: Published,
    pub tail: Option<Tail<D::File>>,
    /// The segment after the tail's, if one is in waiting.
    pub prepared: Option<Prepared<D::File>>,
    pub next_batch: u64,
    pub torn_tail: Option<TornTail>,
}

/// A segment in memory.
struct Segment<F> {
    sequence: u64,
    path: PathBuf,
    file: Arc<F>,
    bytes: Vec<u8>,
}

/// What stands where the next batch is expected.
enum Batch {
    Good(BatchHeader),
    /// Its beginning is there, or what may be it; the rest is not as written.
    Bad {
        end: usize,
    },
    /// Nothing of it: zeros, or remains of an earlier use of the file.
    Absent,
}

impl<F: DiskFile> Segment<F> {
    fn read<D: Disk<File = F>>(disk: &D, dir: &Path, sequence: u64) -> Result<Self, WalError> {
        let path = segment::path(dir, sequence);
        let file = disk
            .open(&path, READ_WRITE)
            .map_err(WalError::io("open", &path))?;
        let len = file.len().map_err(WalError::io("measure", &path))?;
        let mut bytes = vec![0; usize::try_from(len).expect("a segment fits memory")];
        let count = file
            .read_at(&mut bytes, 0)
            .map_err(WalError::io("read", &path))?;
        bytes.truncate(count);
        Ok(Self {
            sequence,
            path,
            file: Arc::new(file),
            bytes,
        })
    }

    fn seed(&self) -> Seed {
        Seed::of(self.sequence)
    }

    fn header(&self) -> Option<SegmentHeader> {
        SegmentHeader::decode(&self.bytes, self.sequence)
    }

    fn batch(&self, offset: usize, number: u64) -> Batch {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        match BatchHeader::decode(rest, self.seed()) {
            Some(header) if header.number == number => {
                let body = rest.get(BATCH_HEADER_BYTES..header.total_bytes());
                match body {
                    Some(body) if header.matches(self.seed(), body) => Batch::Good(header),
                    _ => Batch::Bad {
                        end: offset + header.total_bytes(),
                    },
                }
            }
            Some(_) => Batch::Bad { end: offset },
            None if BatchHeader::resembles(rest, number) => Batch::Bad {
                end: offset + BATCH_ALIGNMENT,
            },
            None => Batch::Absent,
        }
    }

    /// Whether its header and first batch are intact.
    fn is_begun(&self) -> bool {
        self.header().is_some_and(|header| {
            let first = self.batch(SEGMENT_HEADER_BYTES, header.first_batch);
            header.version > FORMAT_VERSION || matches!(first, Batch::Good(_))
        })
    }

    /// An intact batch header with a number above `number`, at or after `offset`.
    fn later_batch(&self, offset: usize, number: u64) -> Option<usize> {
        let mut offsets =
            (offset.next_multiple_of(BATCH_ALIGNMENT)..self.bytes.len()).step_by(BATCH_ALIGNMENT);
        offsets.find(|at| {
            BatchHeader::decode(&self.bytes[*at..], self.seed())
                .is_some_and(|header| header.number > number)
        })
    }

    fn damaged(&self, offset: usize, detail: String) -> WalError {
        WalError::Damaged {
            segment: self.path.clone(),
            offset: offset as u64,
            detail,
        }
    }

    /// Overwrites the beginning of what is cut, so that it is not found again.
    fn erase(&self, offset: usize) -> Result<(), WalError> {
        let count = ERASE_BYTES.min(self.bytes.len() - offset);
        self.file
            .write_all_at(&vec![0; count], offset as u64)
            .map_err(WalError::io("write", &self.path))
    }

    fn sync(&self) -> Result<(), WalError> {
        self.file
            .sync_data()
            .map_err(WalError::io("sync", &self.path))
    }
}

/// Sequences of the segment files, ascending and without gaps.
fn sequences<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<u64>, WalError> {
    let entries = disk.list(dir).map_err(WalError::io("list", dir))?;
    let mut sequences: Vec<u64> = entries
        .iter()
        .filter_map(|entry| segment::sequence(&entry.name))
        .collect();
    sequences.sort_unstable();
    for pair in sequences.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(WalError::Damaged {
                segment: segment::path(dir, pair[0] + 1),
                offset: 0,
                detail: format!(
                    "the file is missing, though {} exists",
                    segment::path(dir, pair[1]).display()
                ),
            });
        }
    }
    Ok(sequences)
}

/// Replays segments in order.
struct Replay {
    groups: Groups,
    /// Number of the next batch; `None` before the first segment.
    next_batch: Option<u64>,
    /// Offset and length of the last batch of the last segment.
    last_batch: (usize, usize),
    offset: usize,
}

impl Replay {
    fn segment<F: DiskFile>(
        &mut self,
        segment: &Segment<F>,
        previous: Option<&(PathBuf, usize)>,
    ) -> Result<(), WalError> {
        let Some(header) = segment.header() else {
            return Err(segment.damaged(0, "the segment's header is not as written".to_owned()));
        };
        if header.version > FORMAT_VERSION {
            return Err(WalError::Version {
                segment: segment.path.clone(),
                found: header.version,
                known: FORMAT_VERSION,
            });
        }
        if let (Some(number), Some((path, offset))) = (self.next_batch, previous)
            && number != header.first_batch
        {
            return Err(WalError::Damaged {
                segment: path.clone(),
                offset: *offset as u64,
                detail: format!(
                    "batch {number} is not as written, though a later segment begins with batch {}",
                    header.first_batch
                ),
            });
        }
        self.offset = SEGMENT_HEADER_BYTES;
        let mut number = header.first_batch;
        while let Batch::Good(batch) = segment.batch(self.offset, number) {
            self.batch(segment, &batch)?;
            number += 1;
        }
        self.next_batch = Some(number);
        Ok(())
    }

    fn batch<F: DiskFile>(
        &mut self,
        segment: &Segment<F>,
        batch: &BatchHeader,
    ) -> Result<(), WalError> {
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
            // The batch's own checksum holds, so this was written so: by a newer program.
            applied.map_err(|bad| match bad {
                BadRecord::Unknown { version, .. } => WalError::Version {
                    segment: segment.path.clone(),
                    found: u32::from(version),
                    known: u32::from(RECORD_VERSION),
                },
                bad => segment.damaged(body_start, bad.to_string()),
            })?;
        }
        self.last_batch = (self.offset, batch.total_bytes());
        self.offset += batch.total_bytes();
        Ok(())
    }
}

/// Reads everything and leaves the disk ready for appending.
pub(crate) fn recover<D: Disk>(disk: &D, dir: &Path) -> Result<Outcome<D>, WalError> {
    let mut sequences = sequences(disk, dir)?;
    // The last file may be in waiting, or torn in its first write; then the one before it is the tail.
    let mut waiting = None;
    if let Some(last) = sequences.last() {
        let segment = Segment::read(disk, dir, *last)?;
        if !segment.is_begun() {
            waiting = Some(segment);
            sequences.pop();
        }
    }
    let mut replay = Replay {
        groups: Groups::default(),
        next_batch: None,
        last_batch: (0, 0),
        offset: 0,
    };
    let mut files = BTreeMap::new();
    let mut previous: Option<(PathBuf, usize)> = None;
    let mut tail = None;
    for sequence in sequences {
        let segment = Segment::read(disk, dir, sequence)?;
        replay.segment(&segment, previous.as_ref())?;
        previous = Some((segment.path.clone(), replay.offset));
        let file = SegmentFile {
            file: segment.file.clone(),
            len: segment.bytes.len() as u64,
            synced: replay.offset as u64,
        };
        files.insert(
            u32::try_from(sequence).expect("sequences stay below 2^32"),
            file,
        );
        tail = Some(segment);
    }
    let next_batch = replay.next_batch.unwrap_or(FIRST_BATCH);
    check_later(tail.as_ref(), replay.offset, waiting.as_ref(), next_batch)?;
    check_whole(&replay.groups, dir, &files)?;
    let torn_tail = settle_tail(tail.as_ref(), &replay, next_batch)?;
    let torn_start = waiting.as_ref().map(settle_waiting).transpose()?.flatten();
    Ok(Outcome {
        published: Published {
            dir: dir.to_path_buf(),
            groups: replay.groups,
            files,
        },
        tail: tail.map(|segment| Tail {
            sequence: segment.sequence,
            len: segment.bytes.len() as u64,
            file: segment.file,
            offset: replay.offset as u64,
        }),
        prepared: waiting.map(|segment| Prepared {
            sequence: segment.sequence,
            len: segment.bytes.len() as u64,
            file: segment.file,
        }),
        next_batch,
        torn_tail: torn_tail.or(torn_start),
    })
}

/// Refuses if anything proves that batch `next_batch`, which is not there, had been synced.
fn check_later<F: DiskFile>(
    tail: Option<&Segment<F>>,
    offset: usize,
    waiting: Option<&Segment<F>>,
    next_batch: u64,
) -> Result<(), WalError> {
    let detail = |later: String| format!("batch {next_batch} is not as written, though {later}");
    let later_at = |segment: &Segment<F>, at: usize| {
        detail(format!(
            "a later batch stands at offset {at} of {}",
            segment.path.display()
        ))
    };
    if let Some(tail) = tail {
        let from = match tail.batch(offset, next_batch) {
            Batch::Bad { end } => end,
            _ => offset,
        };
        if let Some(at) = tail.later_batch(from, next_batch) {
            return Err(tail.damaged(offset, later_at(tail, at)));
        }
    }
    let Some(waiting) = waiting else {
        return Ok(());
    };
    let (blamed, at) = tail.map_or((waiting, 0), |tail| (tail, offset));
    if let Some(later) = waiting.later_batch(0, next_batch) {
        return Err(blamed.damaged(at, later_at(waiting, later)));
    }
    if tail.is_none() && waiting.sequence != FIRST_SEQUENCE {
        let detail = "it is not as written, and the segments before it are gone".to_owned();
        return Err(waiting.damaged(0, detail));
    }
    match waiting.header() {
        // Its first write came after everything before it was synced.
        Some(header) if header.first_batch > next_batch => {
            let begins = format!(
                "{} begins with batch {}",
                waiting.path.display(),
                header.first_batch
            );
            Err(blamed.damaged(at, detail(begins)))
        }
        _ => Ok(()),
    }
}

/// Segments are removed only when no group needs them.
fn check_whole(
    groups: &Groups,
    dir: &Path,
    files: &BTreeMap<u32, SegmentFile>,
) -> Result<(), WalError> {
    match groups.0.iter().find(|(_, group)| !group.is_whole()) {
        None => Ok(()),
        Some((id, group)) => Err(WalError::Damaged {
            segment: segment::path(
                dir,
                files.keys().next().map_or(0, |first| u64::from(*first)),
            ),
            offset: 0,
            detail: format!(
                "entries {} to {} of group {id} are missing before it",
                group.start.index + 1,
                group.first - 1
            ),
        }),
    }
}

/// Cuts a torn batch, and writes the last good one again: if its sync had failed, it may be in memory only.
fn settle_tail<F: DiskFile>(
    tail: Option<&Segment<F>>,
    replay: &Replay,
    next_batch: u64,
) -> Result<Option<TornTail>, WalError> {
    let Some(tail) = tail else { return Ok(None) };
    let offset = replay.offset;
    let torn = matches!(tail.batch(offset, next_batch), Batch::Bad { .. });
    if torn {
        tail.erase(offset)?;
    }
    let (start, len) = replay.last_batch;
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
    if waiting
        .bytes
        .iter()
        .take(ERASE_BYTES)
        .all(|byte| *byte == 0)
    {
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
