//! Why a node does not start, and why a running one stops.

use std::path::{Path, PathBuf};

/// A start that cannot go on. Every message names the thing, what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory could not be used.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// From the system.
        source: std::io::Error,
    },
    /// Another process has the directory.
    #[error(
        "{path} is in use by another process; stop that one first or choose another --data-dir"
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory is not one of ours, or of another format.
    #[error(
        "{path} cannot be used: {what}; restore it from a copy, or start with an empty --data-dir and --join"
    )]
    Identity {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The directory holds something that is not a data directory.
    #[error(
        "{path} is not empty and holds no identity file: it is not a Collection Store directory; choose another --data-dir"
    )]
    Foreign {
        /// The data directory.
        path: PathBuf,
    },
    /// The log could not be opened.
    #[error(transparent)]
    Log(#[from] write_ahead_log::WalError),
    /// The engine could not be opened.
    #[error(transparent)]
    Engine(#[from] storage_engine::StorageFault),
    /// Log and engine do not belong together.
    #[error(
        "{path} is damaged: {what}; start with an empty --data-dir and --join so that the other members rebuild it"
    )]
    Inconsistent {
        /// The data directory.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A newer program wrote it.
    #[error(
        "{path} was written by a newer version of this program: {what}; start that version on it"
    )]
    NewerFormat {
        /// The data directory.
        path: PathBuf,
        /// What cannot be read.
        what: String,
    },
    /// The cluster does not want this node.
    #[error("the cluster did not admit this node: {reason}")]
    NotAdmitted {
        /// In the words of the member that was asked.
        reason: String,
    },
    /// The peer transport could not start, or no member admitted this node.
    #[error(transparent)]
    Transport(#[from] peer_transport::TransportError),
}

impl StartError {
    /// Names the file an I/O error happened on; a busy lock has its own message.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        StartError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why a running node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// It was asked to.
    Stopped,
    /// This machine's storage failed; the node gave up leadership and answers nothing more.
    StorageFault(String),
    /// The others use a format that this program cannot read; what is in the way.
    NewerFormat(String),
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitReason::Stopped => f.write_str("stopped"),
            ExitReason::StorageFault(what) => {
                write!(f, "storage failed: {what}; mend the disk, then start again")
            }
            ExitReason::NewerFormat(what) => write!(
                f,
                "this program is older than what the cluster uses: {what}; start a newer version of it on the same directory"
            ),
        }
    }
}
