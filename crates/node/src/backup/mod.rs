//! A backup: the state of a cluster as of one log index, in one file (bytes: `docs/file_format.md`).
//!
//! The file is the stream that a member is sent ([`state_machine::Export`], without the membership) between a head that
//! names cluster, index and term, and a trailer with totals and the hash of every collection. It is written and read in one
//! pass, so it may come through a pipe. Every byte is covered by a checksum; a file that ends early has no trailer.

mod error;
mod format;
mod reader;
mod restore;
mod writer;

#[cfg(test)]
mod tests;

pub use error::BackupError;
pub use format::{BackupHead, BackupSummary};
pub use reader::BackupReader;
pub(crate) use restore::RESTORING;
pub use restore::{RestoreError, RestoreStep, Restored, restore};
pub use writer::BackupWriter;
