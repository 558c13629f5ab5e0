//! Segmented, checksummed log with group commit: opaque bytes at positions.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use platform::Disk;

/// How to run a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a segment file.
    pub segment_bytes: u64,
    /// Longest payload accepted.
    pub record_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            record_bytes_max: 64 << 20,
        }
    }
}

/// The position before a group's first entry; `tag` is opaque (the term).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Index of the entry before the first.
    pub index: u64,
    /// The caller's mark of that entry.
    pub tag: u64,
}

/// What `open` found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// By group id.
    pub groups: BTreeMap<u64, RecoveredGroup>,
    /// What was cut from the end, if anything.
    pub torn_tail: Option<TornTail>,
}

/// A group's part of the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The last state set.
    pub state: Option<Vec<u8>>,
    /// Position before the first entry.
    pub start: Start,
    /// Entries `start.index + 1 ..`, without gaps.
    pub entries: Vec<RecoveredEntry>,
}

/// An entry read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredEntry {
    /// Its index.
    pub index: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// An unsynced end that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub segment: PathBuf,
    /// Where the cut was made.
    pub offset: u64,
    /// What stood there.
    pub detail: String,
}

/// Why the log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk failed.
    #[error("log {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Bytes that had been synced are not what was written.
    #[error("log segment {} is damaged at offset {offset}: {detail}", segment.display())]
    Damaged {
        /// The segment file.
        segment: PathBuf,
        /// Where.
        offset: u64,
        /// What was found and what to do.
        detail: String,
    },
    /// An earlier write or sync failed; restart and recover.
    #[error("log stopped after an earlier failure: {first}")]
    Poisoned {
        /// The earlier failure.
        first: String,
    },
    /// The payload is longer than the limit.
    #[error("log record of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Written by a newer version of this program.
    #[error("log segment {} has format version {found}; this program reads up to {known}", segment.display())]
    Version {
        /// The segment file.
        segment: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
}

/// Sizes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Bytes of all segment files.
    pub disk_bytes: u64,
    /// Segment files holding records.
    pub segments: u64,
    /// Syncs since the start.
    pub fsyncs: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
}

/// The log of all groups of a process.
pub struct WriteAheadLog<D: Disk> {
    _disk: D,
}

impl<D: Disk> WriteAheadLog<D> {
    /// Opens or creates the log in a directory.
    pub fn open(_disk: D, _dir: &Path, _options: Options) -> Result<(Self, Recovered), WalError> {
        unimplemented!()
    }
    /// Buffers an entry; supersedes every entry at `index` and later.
    pub fn append(&mut self, _group: u64, _index: u64, _payload: &[&[u8]]) -> Result<(), WalError> {
        unimplemented!()
    }
    /// Buffers a group's state.
    pub fn set_state(&mut self, _group: u64, _state: &[u8]) -> Result<(), WalError> {
        unimplemented!()
    }
    /// Buffers: the group's whole log is replaced by nothing after `start`.
    pub fn reset(&mut self, _group: u64, _start: Start) -> Result<(), WalError> {
        unimplemented!()
    }
    /// One write and one sync for everything buffered.
    pub fn sync(&mut self) -> Result<(), WalError> {
        unimplemented!()
    }
    /// Drops entries up to and including `through.index`.
    pub fn remove_prefix(&mut self, _group: u64, _through: Start) -> Result<(), WalError> {
        unimplemented!()
    }
    /// A reader of synced entries.
    pub fn reader(&self) -> WalReader {
        unimplemented!()
    }
    /// Sizes and counts.
    pub fn stats(&self) -> WalStats {
        unimplemented!()
    }
}

/// Reads synced entries.
#[derive(Clone)]
pub struct WalReader {}

impl WalReader {
    /// Entries from `from`, at least one if there is one, up to about `bytes_max`.
    pub fn read(
        &self,
        _group: u64,
        _from: u64,
        _bytes_max: usize,
    ) -> Result<Vec<RecoveredEntry>, WalError> {
        unimplemented!()
    }
}
