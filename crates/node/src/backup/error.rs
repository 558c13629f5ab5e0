//! Why a backup cannot be written or read.

use state_machine::ImportError;

/// What is wrong with a backup, and where in the file.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Reading failed.
    #[error("cannot read it at offset {offset}: {source}")]
    Read {
        /// Bytes read so far.
        offset: u64,
        /// From the system.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write it at offset {offset}: {source}")]
    Write {
        /// Bytes written so far.
        offset: u64,
        /// From the system.
        source: std::io::Error,
    },
    /// Another kind of file.
    #[error("it is not a backup: it does not begin as one")]
    NotABackup,
    /// Written by a newer program.
    #[error("it is of format {found}, newer than this program reads ({reads}); use a newer cstore")]
    Newer {
        /// What it says.
        found: String,
        /// The newest that is read here.
        reads: String,
    },
    /// The bytes are not those that were written.
    #[error("it is damaged in {place} at offset {offset}: {what}")]
    Damaged {
        /// Head, the number of a chunk, or trailer.
        place: String,
        /// Where that begins.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// It ends early.
    #[error("it is cut off: it ends at offset {offset}, within {place}")]
    CutOff {
        /// Head, the number of a chunk, or trailer.
        place: String,
        /// Its length.
        offset: u64,
    },
    /// The stream of a state is not one.
    #[error(transparent)]
    Stream(#[from] ImportError),
}
