//! Segment files: their names, and the stock of files written ahead of need.
//!
//! Names in `wal/`: `<sequence>.wal` holds records, or is the next segment in waiting (its header is not yet
//! valid for its name); `spare-<sequence>.wal` was freed and waits for reuse, `spare-reserve.wal` was made for when the
//! disk is full; `prepare.tmp` is being zeroed; `damaged-<sequence>.wal` was damaged and is kept for whoever wants to look
//! at it.
//!
//! A disk that is full ([`WalError::NoRoom`]) is met here, and what failed can be tried again: nothing that holds records
//! was touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use platform::{Disk, DiskFile, OpenOptions};

use crate::{Options, WalError};

const PREPARING: &str = "prepare.tmp";
const SPARE_PREFIX: &str = "spare-";
const DAMAGED_PREFIX: &str = "damaged-";
const SUFFIX: &str = ".wal";
/// Freed segments kept for reuse; more are deleted.
const SPARES_MAX: usize = 4;
/// Segments kept on disk beside the next one. When no more can be made, this much and the rest of the segment in use is
/// what a node with a full disk has for what was under way, and for its votes: of those one of 16 MiB takes 100,000.
const RESERVE_SEGMENTS: usize = 1;
/// The name of a reserve that was not used before.
const RESERVE: &str = "spare-reserve.wal";
/// Zeros written by one step of preparation, so that a step stays short.
const STEP_BYTES: u64 = 256 << 10;
/// The first segment of a log; each further one is four times as long, up to the configured length.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

pub(crate) const READ_WRITE: OpenOptions = OpenOptions {
    create: false,
    create_new: false,
    write: true,
};

pub(crate) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016}{SUFFIX}"))
}

/// Where a damaged segment is put aside.
pub(crate) fn damaged_path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{DAMAGED_PREFIX}{sequence:016}{SUFFIX}"))
}

/// The sequence in a segment's file name; `None` for other names.
pub(crate) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// A segment written ahead, under its final name.
pub(crate) struct Prepared<F> {
    pub sequence: u64,
    pub file: Arc<F>,
    pub len: u64,
}

/// Files that hold no records.
pub(crate) struct Stock<D: Disk> {
    disk: D,
    dir: PathBuf,
    segment_bytes: u64,
    /// The file being zeroed.
    preparing: Option<D::File>,
    spares: Vec<PathBuf>,
}

impl<D: Disk> Stock<D> {
    /// Takes in the spares of a directory and removes what is half-made.
    pub fn open(disk: D, dir: &Path, options: &Options) -> Result<Self, WalError> {
        let mut spares = Vec::new();
        for entry in disk.list(dir).map_err(WalError::io("list", dir))? {
            let path = dir.join(&entry.name);
            let useful = entry.len == options.segment_bytes && spares.len() < SPARES_MAX;
            if entry.name.starts_with(SPARE_PREFIX) && useful {
                spares.push(path);
            } else if entry.name.starts_with(SPARE_PREFIX) || entry.name == PREPARING {
                disk.remove_file(&path)
                    .map_err(WalError::io("remove", &path))?;
            }
        }
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            segment_bytes: options.segment_bytes,
            preparing: None,
            spares,
        })
    }

    /// Whether a freed segment waits for reuse.
    pub fn has_spare(&self) -> bool {
        !self.spares.is_empty()
    }

    /// Bytes of the spares on disk.
    pub fn bytes(&self) -> u64 {
        self.spares.len() as u64 * self.segment_bytes
    }

    /// Whether there is a segment for when no more can be made.
    pub fn has_reserve(&self) -> bool {
        self.spares.len() >= RESERVE_SEGMENTS
    }

    /// Does a short step towards the segment `sequence`; the segment, once it is ready.
    pub fn step(&mut self, sequence: u64) -> Result<Option<Prepared<D::File>>, WalError> {
        if let Some(spare) = self.spares.last().cloned() {
            let prepared = self.name(&spare, sequence)?;
            self.spares.pop();
            return Ok(Some(prepared));
        }
        let doublings = 2 * sequence.saturating_sub(1).min(16);
        let len = (FIRST_SEGMENT_BYTES << doublings).min(self.segment_bytes);
        match self.zero(len)? {
            Some(zeroed) => self.name(&zeroed, sequence).map(Some),
            None => Ok(None),
        }
    }

    /// Does a short step towards a reserve, if there is none.
    pub fn step_reserve(&mut self) -> Result<(), WalError> {
        if self.has_reserve() {
            return Ok(());
        }
        let Some(zeroed) = self.zero(self.segment_bytes)? else {
            return Ok(());
        };
        let spare = self.dir.join(RESERVE);
        self.disk
            .rename(&zeroed, &spare)
            .map_err(WalError::room("rename", &zeroed))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(WalError::io("sync", &self.dir))?;
        self.spares.push(spare);
        Ok(())
    }

    /// Deletes the spares beyond the reserve: somebody else on this disk needs the room.
    pub fn give_back(&mut self) -> Result<(), WalError> {
        if self.spares.len() <= RESERVE_SEGMENTS {
            return Ok(());
        }
        for spare in self.spares.drain(RESERVE_SEGMENTS..) {
            self.disk
                .remove_file(&spare)
                .map_err(WalError::io("remove", &spare))?;
        }
        self.disk
            .sync_dir(&self.dir)
            .map_err(WalError::io("sync", &self.dir))
    }

    /// Writes some more zeros to the file in preparation; its path once it is at least `len` bytes long.
    fn zero(&mut self, len: u64) -> Result<Option<PathBuf>, WalError> {
        let temporary = self.dir.join(PREPARING);
        let file = match self.preparing.take() {
            Some(file) => file,
            None => {
                let create = OpenOptions {
                    create: true,
                    ..READ_WRITE
                };
                let file = self.disk.open(&temporary, create);
                file.map_err(WalError::room("create", &temporary))?
            }
        };
        let written = file.len().map_err(WalError::io("measure", &temporary))?;
        let next = (written + STEP_BYTES).min(len);
        file.allocate(next)
            .map_err(WalError::room("extend", &temporary))?;
        file.sync_all().map_err(WalError::io("sync", &temporary))?;
        if next < len {
            self.preparing = Some(file);
            return Ok(None);
        }
        Ok(Some(temporary))
    }

    fn name(&mut self, from: &Path, sequence: u64) -> Result<Prepared<D::File>, WalError> {
        let path = path(&self.dir, sequence);
        self.disk
            .rename(from, &path)
            .map_err(WalError::room("rename", from))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(WalError::io("sync", &self.dir))?;
        let file = self
            .disk
            .open(&path, READ_WRITE)
            .map_err(WalError::io("open", &path))?;
        let len = file.len().map_err(WalError::io("measure", &path))?;
        Ok(Prepared {
            sequence,
            file: Arc::new(file),
            len,
        })
    }

    /// Takes a freed segment: keeps it for reuse, if `reusable` (no reader holds it) and of use.
    pub fn put_freed(&mut self, sequence: u64, len: u64, reusable: bool) -> Result<(), WalError> {
        let path = path(&self.dir, sequence);
        if reusable && len == self.segment_bytes && self.spares.len() < SPARES_MAX {
            let spare = self
                .dir
                .join(format!("{SPARE_PREFIX}{sequence:016}{SUFFIX}"));
            self.disk
                .rename(&path, &spare)
                .map_err(WalError::io("rename", &path))?;
            self.spares.push(spare);
        } else {
            self.disk
                .remove_file(&path)
                .map_err(WalError::io("remove", &path))?;
        }
        // One by one: were a younger one gone before an older one is, what is left would look damaged.
        self.disk
            .sync_dir(&self.dir)
            .map_err(WalError::io("sync", &self.dir))
    }
}

/// Makes a segment longer, for a batch that does not fit.
pub(crate) fn extend<F: DiskFile>(file: &F, path: &Path, bytes: u64) -> Result<(), WalError> {
    file.allocate(bytes)
        .map_err(WalError::room("extend", path))?;
    file.sync_all().map_err(WalError::io("sync", path))
}
