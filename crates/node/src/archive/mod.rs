//! The archive: a copy of the committed log in a directory of the operator's, from which a restore replays what came after a
//! backup, up to an index or a time (bytes: `docs/file_format.md`).
//!
//! Each member archives what it has applied, by itself: archives of several members overlap and may lie in one directory.
//! Entries are told apart by cluster and index, and are the same on every member.
//!
//! *Time.* A write carries the time at which it was planned; it is kept beside the entry. Beside any other entry stands the
//! wall clock of the member that archived it: at the latest then it was made, and at the latest when the next write was.

mod archiver;
mod error;
mod format;
mod set;

#[cfg(test)]
mod tests;

pub use archiver::ArchiveStatus;
pub(crate) use archiver::{Archiver, ArchiverParts};
pub use error::ArchiveError;
pub use set::{Archive, Plan, Until};
