//! A segment's bytes in memory, and what stands where in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use platform::{Disk, DiskFile};

use crate::format::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, FORMAT_VERSION, Mark, SEGMENT_HEADER_BYTES,
    Seed, SegmentHeader,
};
use crate::segment::{self, READ_WRITE};
use crate::{Damage, WalError};

/// Zeros written over the beginning of what is cut.
pub(crate) const ERASE_BYTES: usize = 4096;

/// A segment in memory.
pub(crate) struct Segment<F> {
    pub sequence: u64,
    pub path: PathBuf,
    pub file: Arc<F>,
    pub bytes: Vec<u8>,
}

/// What stands where the next batch is expected.
pub(crate) enum Batch {
    Good(BatchHeader),
    /// Its beginning is there, or what may be it; the rest is not as written.
    Bad {
        end: usize,
    },
    /// Nothing of it: zeros, a mark, or remains of an earlier use of the file.
    Absent,
}

impl<F: DiskFile> Segment<F> {
    pub fn read<D: Disk<File = F>>(disk: &D, dir: &Path, sequence: u64) -> Result<Self, WalError> {
        Self::read_into(disk, dir, sequence, Vec::new())
    }

    /// Into memory that held another segment: fresh memory would cost more than the reading.
    pub fn read_into<D: Disk<File = F>>(
        disk: &D,
        dir: &Path,
        sequence: u64,
        mut bytes: Vec<u8>,
    ) -> Result<Self, WalError> {
        let path = segment::path(dir, sequence);
        let file = disk
            .open(&path, READ_WRITE)
            .map_err(WalError::io("open", &path))?;
        let len = file.len().map_err(WalError::io("measure", &path))?;
        bytes.resize(usize::try_from(len).expect("a segment fits memory"), 0);
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

    pub fn seed(&self) -> Seed {
        Seed::of(self.sequence)
    }

    pub fn header(&self) -> Option<SegmentHeader> {
        SegmentHeader::decode(&self.bytes, self.sequence)
    }

    pub fn batch(&self, offset: usize, number: u64) -> Batch {
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
    pub fn is_begun(&self) -> bool {
        self.header().is_some_and(|header| {
            let first = self.batch(SEGMENT_HEADER_BYTES, header.first_batch);
            header.version > FORMAT_VERSION || matches!(first, Batch::Good(_))
        })
    }

    /// What proves, at or after `offset`, that batch `number` had been synced: where it stands, and what it is.
    pub fn proof_of_sync(&self, offset: usize, number: u64) -> Option<(usize, &'static str)> {
        let mut offsets =
            (offset.next_multiple_of(BATCH_ALIGNMENT)..self.bytes.len()).step_by(BATCH_ALIGNMENT);
        offsets.find_map(|at| {
            let bytes = &self.bytes[at..];
            if BatchHeader::decode(bytes, self.seed()).is_some_and(|header| header.number > number)
            {
                return Some((at, "a later batch stands"));
            }
            Mark::decode(bytes, self.seed())
                .is_some_and(|mark| mark.number >= number)
                .then_some((at, "the mark that says it was synced stands"))
        })
    }

    pub fn damage(&self, offset: usize, detail: String) -> Damage {
        Damage {
            segment: self.path.clone(),
            offset: offset as u64,
            detail,
        }
    }

    /// Overwrites the beginning of what is cut, so that it is not found again.
    pub fn erase(&self, offset: usize) -> Result<(), WalError> {
        let count = ERASE_BYTES.min(self.bytes.len().saturating_sub(offset));
        self.file
            .write_all_at(&vec![0; count], offset as u64)
            .map_err(WalError::io("write", &self.path))
    }

    pub fn sync(&self) -> Result<(), WalError> {
        self.file
            .sync_data()
            .map_err(WalError::io("sync", &self.path))
    }
}

/// Sequences of the segment files, ascending.
pub(crate) fn sequences<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<u64>, WalError> {
    let entries = disk.list(dir).map_err(WalError::io("list", dir))?;
    let mut sequences: Vec<u64> = entries
        .iter()
        .filter_map(|entry| segment::sequence(&entry.name))
        .collect();
    sequences.sort_unstable();
    Ok(sequences)
}
