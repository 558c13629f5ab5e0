//! Segmented, checksummed log with group commit: opaque bytes at positions, for many groups in one log.
//!
//! One writer buffers records and makes them durable with [`WriteAheadLog::sync`]: one write and one
//! `fdatasync` into a segment whose blocks were written before, so that no file system metadata changes.
//! What one sync wrote is a *batch*, recovered whole or not at all.
//!
//! **Order within a group.** An entry at index p supersedes every earlier entry at p and later: that is how a
//! conflicting suffix is truncated. [`WriteAheadLog::reset`] replaces the whole log of a group.
//!
//! **Torn tail or damage?** A batch is written only after the batch before it was synced. So a bad batch is
//! proved to have been synced, and thus perhaps acknowledged, if a batch with a higher number stands anywhere
//! after it, or the *mark* that the writer puts behind a synced batch when it has nothing else to do; good pieces
//! of the same batch prove nothing, for pages reach the disk out of order. A bad last batch without proof is cut
//! and reported as [`TornTail`]; any other is [`WalError::Damaged`], and nothing is changed. The mark itself is not
//! synced: what cannot be told apart from a torn write is decay of a last batch whose mark a power cut took.
//!
//! **What is left of a damaged log** is what [`Examination`] says. If whole segments follow the damage, and all that
//! is missing before them is held elsewhere by the caller, [`WriteAheadLog::open_examined`] drops the rest.
//!
//! **Failures.** After a failed write or sync the handle refuses further use: the kernel may have dropped the
//! pages though it shows them. Recovery writes the last batch again before anything builds on it. The exception is a full
//! disk ([`WalError::NoRoom`]): what is buffered stays buffered, and the call can be repeated. As segments are written ahead
//! it is met when the next one is prepared; [`WriteAheadLog::housekeep`] then has a whole segment in reserve.
//!
//! `docs/file_format.md` gives the bytes. This crate knows nothing of Raft.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod examination;
mod format;
mod groups;
mod keeper;
mod reader;
mod recovery;
mod scan;
mod segment;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use error::WalError;
pub use examination::{Damage, Examination, Extent};
pub use keeper::Keeper;
pub use reader::WalReader;
pub use recovery::cut_at_damage;
pub use writer::WriteAheadLog;

/// How to run a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a segment file. The first ones of a new log are shorter, so that small logs stay small.
    pub segment_bytes: u64,
    /// Longest payload accepted.
    pub record_bytes_max: usize,
    /// What a new log is known by, so that another's is not taken for it. 0: nothing, and any log is opened.
    pub log_id: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            record_bytes_max: 64 << 20,
            log_id: 0,
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
    /// What was dropped from the front because it was damaged and not needed, if anything.
    pub dropped: Option<Dropped>,
}

/// The damaged beginning of a log, which the caller held elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// What was damaged.
    pub damage: Vec<Damage>,
    /// Where the damaged segments are now.
    pub set_aside: Vec<PathBuf>,
}

/// A group's part of the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The last state set.
    pub state: Option<Vec<u8>>,
    /// Position before the first entry.
    pub start: Start,
    /// Entries `start.index + 1 ..`, or those after what the caller holds, without gaps.
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

/// A batch that was being written when the machine or process stopped; never synced, and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub segment: PathBuf,
    /// Where the cut was made.
    pub offset: u64,
    /// What stood there.
    pub detail: String,
}

/// Sizes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Bytes of all segment files, prepared ones included.
    pub disk_bytes: u64,
    /// Segment files holding records.
    pub segments: u64,
    /// Syncs since the start.
    pub fsyncs: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
}

#[cfg(test)]
mod tests;
