//! Why an archive does not give what was asked of it.

use std::path::PathBuf;

/// What is missing or wrong. Times are written as milliseconds since 1970; whoever shows them may do better.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The directory or a file in it cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// From the system.
        source: std::io::Error,
    },
    /// Nothing of the backup's cluster is there.
    #[error("{path} holds no archive of cluster {cluster}, which the backup was taken from")]
    NoArchive {
        /// Where it was looked for.
        path: PathBuf,
        /// The cluster, in hexadecimal digits.
        cluster: String,
    },
    /// Written by a newer program.
    #[error(
        "{path} is an archive of format {found}, newer than this program reads ({reads}); use a newer cstore"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// The newest that is read here.
        reads: u32,
    },
    /// Entries are missing between what is there.
    #[error("the archive lacks the entries {from} to {to}{notes}; restore up to entry {}, or add the files that hold them (another member's archive may)", .from - 1)]
    Gap {
        /// The first missing index.
        from: u64,
        /// The last missing index.
        to: u64,
        /// Damaged files that may have held them.
        notes: String,
    },
    /// The archive ends before the index asked for.
    #[error("the archive ends with entry {last}: the entries {} to {asked} are not in it{notes}", .last + 1)]
    Ends {
        /// The last entry of backup and archive.
        last: u64,
        /// The index asked for.
        asked: u64,
        /// Damaged files that may have held them.
        notes: String,
    },
    /// The index asked for is in the backup already.
    #[error(
        "the backup holds everything up to entry {backup}, so the state as of entry {asked} cannot be made from it: use an older backup"
    )]
    IndexBeforeBackup {
        /// The index asked for.
        asked: u64,
        /// The backup's.
        backup: u64,
    },
    /// The time asked for is before the backup.
    #[error("the backup was taken {} ms after the time asked for: use an older backup", .taken_ms - .asked_ms)]
    BeforeBackup {
        /// The time asked for.
        asked_ms: i64,
        /// When the backup was taken.
        taken_ms: i64,
    },
}
