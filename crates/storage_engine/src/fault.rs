//! What can go wrong on this machine alone.

use std::path::PathBuf;

/// This machine's storage failed. The node must stop answering; never retried.
#[derive(Debug, thiserror::Error)]
pub enum StorageFault {
    /// Reading or writing failed.
    #[error("storage engine in {}: {action} failed: {source}", dir.display())]
    Io {
        /// The engine's directory.
        dir: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file is missing or its content is wrong.
    #[error(
        "storage engine in {} is damaged: {action} found {detail}; \
         remove this directory so that the node fetches a snapshot from its peers, or restore a backup", dir.display()
    )]
    Damaged {
        /// The engine's directory.
        dir: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What was found.
        detail: String,
    },
    /// An earlier fault stopped the engine.
    #[error("storage engine in {} stopped after an earlier fault: {first}", dir.display())]
    Stopped {
        /// The engine's directory.
        dir: PathBuf,
        /// The earlier fault.
        first: String,
    },
    /// The caller of a bulk load broke its rules.
    #[error("bulk load into {}: {detail}", dir.display())]
    BulkLoad {
        /// The engine's directory.
        dir: PathBuf,
        /// What was wrong.
        detail: &'static str,
    },
}
