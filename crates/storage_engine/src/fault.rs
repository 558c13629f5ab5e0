//! What can go wrong on this machine alone.

use std::io;
use std::path::{Path, PathBuf};

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
        source: io::Error,
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

/// Names the directory in every fault.
#[derive(Clone)]
pub(crate) struct FaultContext {
    dir: std::sync::Arc<Path>,
}

impl FaultContext {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    pub fn io(&self, action: &'static str, source: io::Error) -> StorageFault {
        StorageFault::Io {
            dir: self.dir.to_path_buf(),
            action,
            source,
        }
    }

    pub fn damaged(&self, action: &'static str, detail: impl Into<String>) -> StorageFault {
        StorageFault::Damaged {
            dir: self.dir.to_path_buf(),
            action,
            detail: detail.into(),
        }
    }

    /// What `lsm-tree` reports: content that is not what was written is damage, all else the disk's answer.
    pub fn tree(&self, action: &'static str, error: lsm_tree::Error) -> StorageFault {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match error {
            lsm_tree::Error::Io(source)
                if !matches!(source.kind(), InvalidData | NotFound | UnexpectedEof) =>
            {
                self.io(action, source)
            }
            other => self.damaged(action, other.to_string()),
        }
    }
}
