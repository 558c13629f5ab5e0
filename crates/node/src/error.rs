//! Why a node does not start, and why a running one stops.

use std::path::{Path, PathBuf};

use storage_engine::StorageFault;
use write_ahead_log::WalError;

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
    /// A restore into the directory was interrupted.
    #[error(
        "{path} holds a restore that was not finished: delete the directory and run `cstore restore` again"
    )]
    NotRestored {
        /// The data directory.
        path: PathBuf,
    },
    /// The log could not be opened.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The engine could not be opened.
    #[error(transparent)]
    Engine(#[from] StorageFault),
    /// Log and engine do not belong together.
    #[error("{path} is damaged: {what}")]
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
    /// What this member may have acknowledged is not certain any more, and the others have not taken it in anew yet.
    #[error(
        "{path} is damaged: {cause}. This member may have lost what it acknowledged, so it does not vote again: it asks \
         the others ({asked}) to take it in anew and to send it everything, which needs a majority of the members without \
         it. Not taken in yet: {last}. Nothing was changed; start the others. If they are lost for good, see `cstore recover --help`"
    )]
    AwaitingRepair {
        /// The data directory.
        path: PathBuf,
        /// What is damaged, and where.
        cause: String,
        /// Who is asked.
        asked: String,
        /// The last answer.
        last: String,
    },
    /// The directory is damaged, and nobody can or will help.
    #[error(
        "{path} is damaged: {cause}. It cannot be repaired from other members: {why}. Nothing was changed. Restore a backup; \
         or keep what can still be read, and lose the rest, with `cstore recover` (see `cstore recover --help`)"
    )]
    Unrepairable {
        /// The data directory.
        path: PathBuf,
        /// What is damaged, and where.
        cause: String,
        /// Why the others cannot help.
        why: String,
    },
    /// The last resort was not taken, and why.
    #[error("{path} was left as it is: {why}")]
    NotRecovered {
        /// The data directory.
        path: PathBuf,
        /// Why, and what to do instead.
        why: String,
    },
    /// The peer transport could not start, or no member admitted this node.
    #[error(transparent)]
    Transport(#[from] peer_transport::TransportError),
}

impl StartError {
    /// What is damaged, and where, if this is damage that the other members may repair.
    pub(crate) fn damage(&self) -> Option<String> {
        match self {
            StartError::Log(error @ WalError::Damaged(_)) => Some(error.to_string()),
            StartError::Engine(fault) if fault.is_damage() => Some(fault.to_string()),
            StartError::Inconsistent { path, what } => Some(format!("{}: {what}", path.display())),
            _ => None,
        }
    }

    /// Whether the disk is full, and nothing else is wrong.
    pub(crate) fn is_no_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, StartError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Names the file an I/O error happened on; a busy lock has its own message.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        StartError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// A fault of this machine's storage: the node answers nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub what: String,
    /// What was written cannot be read back: the next start repairs it.
    pub damage: bool,
}

impl From<WalError> for Fault {
    fn from(error: WalError) -> Self {
        Fault {
            what: error.to_string(),
            damage: matches!(error, WalError::Damaged(_)),
        }
    }
}

impl From<StorageFault> for Fault {
    fn from(fault: StorageFault) -> Self {
        Fault {
            what: fault.to_string(),
            damage: fault.is_damage(),
        }
    }
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        Fault {
            damage: error.damage().is_some(),
            what: error.to_string(),
        }
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Fault {
            what,
            damage: false,
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
    /// What this member had written cannot be read back. It says so in its directory, and the next start repairs it.
    Damaged(String),
}

impl From<Fault> for ExitReason {
    fn from(fault: Fault) -> Self {
        match fault.damage {
            true => ExitReason::Damaged(fault.what),
            false => ExitReason::StorageFault(fault.what),
        }
    }
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
            ExitReason::Damaged(what) => write!(
                f,
                "this member's data is damaged: {what}; start it again, and the other members repair it"
            ),
        }
    }
}
