//! Room on disk for sorts and groups that do not fit in memory: files in the data directory that have no name from the
//! moment they are made, so that nothing is left of them after a crash.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use document::spill::{Records, SpillRun, SpillSpace};
use document::{DocumentError, ErrorKind};

/// Bytes that all operations of a node together may have on disk.
const SPILLED_BYTES_MAX: u64 = 8 << 30;
/// Bytes that are left to the log and the tables: a node whose disk is full takes no writes.
const LEFT_FREE_BYTES: u64 = 512 << 20;
/// Bytes of a run between two looks at how much is free.
const LOOK_INTERVAL_BYTES: u64 = 16 << 20;
/// Bytes read and written at once, per run.
const BUFFER_BYTES: usize = 64 * 1024;

/// A node's room. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Spill {
    dir: Arc<Path>,
    used: Arc<AtomicU64>,
    files: Arc<AtomicU64>,
    bytes_max: u64,
    left_free_bytes: u64,
}

impl Spill {
    /// Room in `dir`, which is made when it is first needed; what a crash left there is removed.
    pub(crate) fn new(dir: PathBuf) -> Spill {
        // Usually it is not there.
        let _ = std::fs::remove_dir_all(&dir);
        Spill {
            dir: dir.into(),
            used: Arc::default(),
            files: Arc::default(),
            bytes_max: SPILLED_BYTES_MAX,
            left_free_bytes: LEFT_FREE_BYTES,
        }
    }

    /// What all runs have on disk now.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// A file that is gone from the directory as soon as it is there: its room comes back when it is closed.
    fn file(&self) -> std::io::Result<File> {
        std::fs::create_dir_all(&self.dir)?;
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(number.to_string());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    /// Refuses what would take the last of the disk.
    fn look_at_free_room(&self) -> Result<(), DocumentError> {
        match platform::file_system_room(&self.dir) {
            Ok(room) if room.available_bytes < self.left_free_bytes => Err(no_room(format!(
                "the file system of {} has less than {} MiB left, which are for writes",
                self.dir.display(),
                self.left_free_bytes >> 20
            ))),
            // A file system that does not say fails when it is full.
            _ => Ok(()),
        }
    }
}

fn no_room(why: String) -> DocumentError {
    DocumentError::new(
        ErrorKind::OutOfDiskSpace,
        format!(
            "a sort or a group that does not fit in memory found no room on disk: {why}. Make room, use an index, or ask for less"
        ),
    )
}

fn failed(error: std::io::Error) -> DocumentError {
    no_room(error.to_string())
}

impl SpillSpace for Spill {
    fn begin(&self) -> Result<Box<dyn SpillRun>, DocumentError> {
        let file = self.file().map_err(failed)?;
        self.look_at_free_room()?;
        Ok(Box::new(Run::new(self.clone(), file)))
    }
}

/// What a run takes of the room; given back when dropped.
struct Share {
    spill: Spill,
    bytes: u64,
}

impl Share {
    fn take(&mut self, bytes: u64) -> Result<(), DocumentError> {
        let before = self.spill.used.fetch_add(bytes, Ordering::Relaxed);
        let looked = self.bytes / LOOK_INTERVAL_BYTES;
        self.bytes += bytes;
        if before + bytes > self.spill.bytes_max {
            return Err(no_room(format!(
                "those of this node together have {} MiB there already",
                self.spill.bytes_max >> 20
            )));
        }
        if self.bytes / LOOK_INTERVAL_BYTES > looked {
            self.spill.look_at_free_room()?;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.spill.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Run {
    file: BufWriter<File>,
    share: Share,
}

impl Run {
    fn new(spill: Spill, file: File) -> Run {
        Run {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            share: Share { spill, bytes: 0 },
        }
    }
}

impl SpillRun for Run {
    fn append(&mut self, record: &[u8]) -> Result<(), DocumentError> {
        self.share.take(record.len() as u64 + 4)?;
        let length = u32::try_from(record.len()).expect("a record is far smaller than 4 GiB");
        self.file.write_all(&length.to_le_bytes()).map_err(failed)?;
        self.file.write_all(record).map_err(failed)
    }

    fn read(self: Box<Self>) -> Result<Records, DocumentError> {
        let mut file = self
            .file
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok(Box::new(Reading {
            left: self.share.bytes,
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            _share: self.share,
        }))
    }
}

struct Reading {
    file: BufReader<File>,
    left: u64,
    /// Given back with the last record.
    _share: Share,
}

impl Reading {
    fn record(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let mut record = vec![0; u32::from_le_bytes(length) as usize];
        self.file.read_exact(&mut record)?;
        self.left = self.left.saturating_sub(record.len() as u64 + 4);
        Ok(record)
    }
}

impl Iterator for Reading {
    type Item = Result<Vec<u8>, DocumentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.left = 0;
        }
        Some(record.map_err(failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(spill: &Spill, records: &[Vec<u8>]) -> Result<Box<dyn SpillRun>, DocumentError> {
        let mut run = spill.begin()?;
        for record in records {
            run.append(record)?;
        }
        Ok(run)
    }

    fn is_left_empty(spill: &Spill) -> bool {
        let left = std::fs::read_dir(&spill.dir).expect("it was made");
        left.count() == 0 && spill.used_bytes() == 0
    }

    fn code(result: Result<Box<dyn SpillRun>, DocumentError>) -> Option<i32> {
        result.err().map(|error| error.kind.code())
    }

    #[test]
    fn a_run_reads_back_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let spill = Spill::new(dir.path().join("spill"));
        let records: Vec<Vec<u8>> = (0..1000usize).map(|n| vec![n as u8; n]).collect();
        let run = begun(&spill, &records).expect("room");
        assert_ne!(spill.used_bytes(), 0);
        let read: Vec<Vec<u8>> = run
            .read()
            .expect("readable")
            .map(|record| record.expect("readable"))
            .collect();
        assert_eq!(read, records);
        assert!(is_left_empty(&spill));
        drop(begun(&spill, &records).expect("room"));
        assert!(is_left_empty(&spill));
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = dir.path().join("spill");
        std::fs::create_dir(&place).expect("made");
        std::fs::write(place.join("7"), "left").expect("written");
        let spill = Spill::new(place.clone());
        assert!(!place.exists());
        drop(spill.begin().expect("room"));
        assert!(is_left_empty(&spill));
    }

    #[test]
    fn more_than_a_node_may_have_is_refused_and_given_back() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut spill = Spill::new(dir.path().join("spill"));
        spill.bytes_max = 10_000;
        let kept = begun(&spill, &[vec![0; 8_000]]).expect("room");
        assert_eq!(code(begun(&spill, &[vec![0; 8_000]])), Some(14031));
        drop(kept);
        assert!(is_left_empty(&spill));
        drop(begun(&spill, &[vec![0; 8_000]]).expect("room again"));
    }

    #[test]
    fn what_is_left_for_writes_is_not_taken() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut spill = Spill::new(dir.path().join("spill"));
        spill.left_free_bytes = u64::MAX;
        assert_eq!(code(begun(&spill, &[])), Some(14031));
        assert!(is_left_empty(&spill));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let Ok(full) = File::options().write(true).open("/dev/full") else {
            return;
        };
        let dir = tempfile::tempdir().expect("a temporary directory");
        let spill = Spill::new(dir.path().join("spill"));
        let mut run = Box::new(Run::new(spill.clone(), full));
        let error = run.append(&vec![0; 2 * BUFFER_BYTES]).expect_err("full");
        assert_eq!(error.kind.code(), 14031);
        assert!(error.message.contains("No space left on device"), "{error}");
        drop(run);
        assert_eq!(spill.used_bytes(), 0);
    }
}
