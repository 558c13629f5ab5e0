//! One replica: consensus, log, state machine and transport joined.
//!
//! Promises: a write is answered only when a majority has it on disk and this member has applied it; a read index is
//! given only after a majority confirmed the leader; after any failure of this machine's storage nothing is
//! answered any more and [`Node::wait`] says why.
//!
//! Shape: five threads, each with an inbox it drains whole. The core thread steps consensus and touches no disk; the log
//! thread appends and syncs; the apply thread runs the state machine; the background thread does what may take long; the
//! segments thread makes files of the log ready, so that the log thread waits for nothing but its own syncs. Beside them,
//! helpers look up what entries will need that wait to be applied, while applying is seen to wait for a disk (`prefetch`).
//! Each thread's work is a plain function of its inbox (`core_worker`, `log_worker`, `apply_worker`, `background`); `parts`
//! builds them, `threads` is the only place that knows threads exist, and [`SteppedNode`] offers the same workers to a
//! caller who steps them.
//!
//! Not in here: MongoDB, HTTP, operating-system calls (they are `platform`'s), test hooks.
#![forbid(unsafe_code)]

mod announce;
mod applied_waiters;
mod apply_worker;
mod archive;
mod background;
mod backlog;
mod backup;
mod config;
mod core;
mod core_worker;
mod engine_dirs;
mod entry_codec;
mod error;
mod events;
mod handle;
mod housekeeping;
mod identity;
mod inbound;
mod last_resort;
mod log_worker;
mod mailbox;
mod memory;
mod metrics;
mod parts;
mod peers;
mod peers_file;
mod pins;
mod prefetch;
mod recovery;
mod repair;
mod replay;
mod rounds;
mod small_file;
mod space;
mod staging;
mod start;
mod status;
mod stepped;
mod threads;
mod throttle;

#[cfg(test)]
mod tests;

pub use announce::Announcement;
pub use archive::{ArchiveError, ArchiveStatus, Until};
pub use backup::{
    BackupError, BackupHead, BackupReader, BackupSummary, BackupWriter, RestoreError, RestoreStep,
    Restored, restore,
};
pub use config::{
    Addresses, FEATURE_LEVEL, FEATURE_LEVEL_COMMAND_FORMAT_2, FEATURE_LEVEL_COMMAND_FORMAT_3,
    MemberContext, NodeConfig, Notices,
};
pub use consensus::{
    Membership, MembershipChange, MembershipRefusal, NodeId, RoleName, Term, VOTERS_MAX,
};
pub use core::removed_text;
pub use error::{ExitReason, StartError};
pub use events::{
    MembershipDone, MembershipOutcome, ProposeDone, ProposeOutcome, ReadDone, ReadError,
};
pub use handle::Node;
pub use housekeeping::ClientDrivesBuild;
pub use identity::{hex, unhex};
pub use inbound::RequestHandler;
pub use last_resort::{DirectoryReport, GivenUp, LastResort, examine_directory};
pub use memory::{MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN, MemoryBudget, QueueLimits};
pub use metrics::{
    BATCH_ENTRIES_BOUNDS, LogMetrics, Metrics, QueueBytes, REPLICATION_MICROS_BOUNDS,
    ReplicationMetrics,
};
pub use parts::Joiner;
pub use peers::{GROUP, Peers, SnapshotDone};
pub use space::Space;
pub use start::Platform;
pub use status::{Indices, NodeStatus, Observer};
pub use stepped::{JoinAnswer, SteppedNode, SteppedPlatform};
