//! A whole state as a stream of chunks: exported from a snapshot while writes go on, imported into a new engine whose
//! durable state then says exactly how far the log is applied.
//!
//! The state as of one log index is the same sequence of entries on every member: key order, then counters and meta.
//! A chunk holds whole entries ([`chunk`] gives the bytes) and is checked by itself; [`Progress`] says how far an importer
//! has come, by key, so that any member that can read that version may go on from there. The last chunk holds the number
//! of all entries and a digest over them. Everything of the state is an entry: documents, index entries, sessions, the
//! catalog, counters, and the applied position. Counters stand in the tree as of another index, so their values are
//! counted by the importer. A [`Survey`] reads a stream without keeping it: what is in it, and the hash of each collection.

mod chunk;
mod export;
mod import;
mod progress;
mod survey;

pub use chunk::{CHUNK_HEADER_BYTES, ChunkError, VERSION as CHUNK_VERSION, chunk_bytes};
pub use export::Export;
pub use import::{ImportError, SnapshotImport};
pub use progress::Progress;
pub use survey::{CollectionSummary, Survey};
