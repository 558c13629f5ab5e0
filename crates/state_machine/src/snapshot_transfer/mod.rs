//! A whole state as a stream of bytes: exported from a snapshot while writes go on, imported into a new engine
//! directory whose durable state then says exactly how far the log is applied.
//!
//! Stream: version byte, log index (u64 LE), then entries in key order — key length u32 LE, key, value length u32 LE,
//! value — then key length `u32::MAX`, number of entries (u64 LE). Chunks cut the stream anywhere. Everything of the
//! state is an entry: documents, index entries, sessions, the catalog, counters, and the applied position.

mod export;
mod import;

pub use export::Export;
pub use import::{ImportError, SnapshotImport};

/// Version of the stream.
const VERSION: u8 = 1;
/// In the place of a key's length: the entries are over.
const END: u32 = u32::MAX;
