//! The replicated command and its deterministic application: collections, indexes, retryable-write sessions and
//! the catalog, over one versioned key-value tree whose version is the log index (DESIGN §3, §4).
//!
//! - [`Command`] is what the log carries; [`StateMachine::apply`] is the only way state changes, and gives the same
//!   [`Reply`] and the same bytes on every member that applies the same log.
//! - [`Reader`] hands out [`Snapshot`]s: the state as of one log index, at the side of ongoing application.
//! - [`plan`] turns clients' writes into commands that name their documents; [`query`] reads snapshots.
//!
//! Two kinds of failure never mix: a [`CommandError`] is part of the reply and the same everywhere; a
//! [`StorageFault`] is this machine's alone and means: stop.
//!
//! Not in here: clocks, randomness, the network, who leads, and wire error numbers.
#![forbid(unsafe_code)]

mod apply;
pub mod catalog;
pub mod command;
mod error;
mod expiry;
pub mod keyspace;
pub mod limits;
mod machine;
pub mod plan;
pub mod query;
mod reader;
mod reply;
mod snapshot_transfer;
#[cfg(test)]
mod tests;

pub use catalog::{
    Catalog, CollectionEntry, IndexEntry, IndexKind, IndexState, Namespace, OWN_OPTIONS, Rules,
    Sequence, Timestamps, ValidationLevel, Validator, View, parse_expire_after_seconds,
};
pub use command::{
    Command, DecodeError, Image, IndexChange, IndexSelection, Operation, SessionStamp, Statement,
    Upsert, WriteCommand, WriteTerms,
};
pub use error::CommandError;
pub use expiry::ExpiredBatch;
pub use machine::{Applied, StateMachine};
pub use reader::{CollectionCounts, DocumentScan, IndexVerification, Reader, Retained, Snapshot};
pub use reply::{
    CatalogReply, IndexBefore, IndexBuildProgress, Reply, StatementResult, WriteReply,
};
pub use snapshot_transfer::{
    CHUNK_HEADER_BYTES, CHUNK_VERSION, ChunkError, CollectionSummary, Export, ImportError,
    Progress, SnapshotImport, Survey, chunk_bytes,
};
pub use storage_engine::{Slice, StorageFault};
