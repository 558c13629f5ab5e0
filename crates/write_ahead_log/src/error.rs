//! Why the log cannot go on.

use std::io;
use std::path::{Path, PathBuf};

use crate::Damage;

/// Why the log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk failed.
    #[error("log: {action} {} failed: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The disk is full. Nothing is lost: what was buffered stays buffered, and the call can be repeated.
    #[error("log: no room to {action} {}: {source}", path.display())]
    NoRoom {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Bytes that had been synced are not what was written. Nothing was changed.
    #[error(
        "log segment {} is damaged at offset {}: {}. These bytes had been synced and may have been \
         acknowledged, so nothing was cut", .0.segment.display(), .0.offset, .0.detail
    )]
    Damaged(Damage),
    /// An earlier write or sync failed.
    #[error("log stopped after an earlier failure ({first}); restart the process to recover")]
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
    /// The log was begun for another directory. Nothing was changed.
    #[error(
        "the log in {} belongs to another data directory (it is log {found:016x}, not {expected:016x}): put this \
         directory's own log back", dir.display()
    )]
    Foreign {
        /// The log's directory.
        dir: PathBuf,
        /// What its segments say.
        found: u64,
        /// What they should.
        expected: u64,
    },
    /// Written by a newer version of this program.
    #[error("log segment {} has format version {found}; this program reads up to {known}: run a newer one", segment.display())]
    Version {
        /// The segment file.
        segment: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
}

impl WalError {
    /// Whether the disk is full, and nothing else is wrong.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::NoRoom { .. })
    }

    /// Wraps the error of an operation that takes space and can be repeated: a full disk is no failure of it. Never of
    /// a sync, whatever it says.
    pub(crate) fn room(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom {
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Wraps an I/O error, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
