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
        "storage engine in {} is damaged: {action} found {detail}", dir.display()
    )]
    Damaged {
        /// The engine's directory.
        dir: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What was found.
        detail: String,
    },
    /// The disk is full. Nothing is lost, and it is tried again.
    #[error("{what}")]
    NoRoom {
        /// What was tried, where, and the operating system's answer.
        what: String,
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

impl StorageFault {
    /// Whether what was written cannot be read back: to be repaired from a copy, not by trying again.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the disk is full, and nothing else is wrong.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::NoRoom { .. })
    }

    /// Adds the file that `find` finds, if this is damage.
    pub(crate) fn locate(&mut self, find: impl FnOnce() -> Option<String>) {
        if let Self::Damaged { detail, .. } = self
            && let Some(file) = find()
        {
            *detail = format!("{detail} ({file})");
        }
    }

    /// The same fault, for a second hearer.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Io {
                dir,
                action,
                source,
            } => Self::Io {
                dir: dir.clone(),
                action,
                source: io::Error::new(source.kind(), source.to_string()),
            },
            Self::Damaged {
                dir,
                action,
                detail,
            } => Self::Damaged {
                dir: dir.clone(),
                action,
                detail: detail.clone(),
            },
            Self::NoRoom { what } => Self::NoRoom { what: what.clone() },
            Self::Stopped { dir, first } => Self::Stopped {
                dir: dir.clone(),
                first: first.clone(),
            },
            Self::BulkLoad { dir, detail } => Self::BulkLoad {
                dir: dir.clone(),
                detail,
            },
        }
    }
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

    /// A failure on a named file: one that is missing or too short is damage.
    pub fn file(&self, action: &'static str, path: &Path, source: io::Error) -> StorageFault {
        use io::ErrorKind::{NotFound, UnexpectedEof};
        match source.kind() {
            NotFound | UnexpectedEof => {
                self.damaged(action, format!("{}: {source}", path.display()))
            }
            _ => self.io(action, source),
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
            other => self.damaged(action, plainly(&other)),
        }
    }
}

/// What `lsm-tree` found, to go on from "found".
fn plainly(error: &lsm_tree::Error) -> String {
    use lsm_tree::Error;
    match error {
        Error::Io(source) => source.to_string(),
        Error::Decompress(_) => "a block that cannot be decompressed".to_owned(),
        Error::InvalidVersion(version) => {
            format!("format version {version}, which this program does not read")
        }
        Error::Unrecoverable => "files missing, or not what the list of tables says".to_owned(),
        Error::ChecksumMismatch { .. } => "content that does not match its checksum".to_owned(),
        Error::InvalidTag((what, tag)) => format!("{what} {tag}, which there is not"),
        Error::InvalidTrailer => "a block without its end".to_owned(),
        Error::InvalidHeader(what) => format!("a wrong header ({what})"),
        Error::Utf8(source) => source.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named_without_the_words_of_a_library() {
        let context = FaultContext::new(Path::new("data/engine"));
        let checksum = |number| lsm_tree::Checksum::from_raw(number);
        let error = lsm_tree::Error::ChecksumMismatch {
            got: checksum(1),
            expected: checksum(2),
        };
        let fault = context.tree("reading a document", error);
        assert_eq!(
            fault.to_string(),
            "storage engine in data/engine is damaged: reading a document found content that does not match its checksum"
        );
        assert!(fault.is_damage());
    }
}
