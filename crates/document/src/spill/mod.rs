//! Room outside memory for what a sort or a group cannot hold. This crate touches no files: the caller lends the room, or
//! none, and then such a stage ends with an error.
//!
//! What was put away gives the same answers in the same order as what stays in memory.

mod merge;
mod sorter;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use merge::{Keyed, KeyedStream};
pub use sorter::{DocumentSorter, Sorted};

use std::fmt::Debug;

use crate::DocumentError;
use crate::aggregation::MEMORY_BYTES_MAX;

/// Records read back in the order in which they were written.
pub type Records = Box<dyn Iterator<Item = Result<Vec<u8>, DocumentError>> + Send>;

/// Lends runs of records.
pub trait SpillSpace: Debug + Send + Sync {
    /// A new, empty run.
    fn begin(&self) -> Result<Box<dyn SpillRun>, DocumentError>;

    /// What a stage holds in memory before it uses this room.
    fn memory_bytes_max(&self) -> usize {
        MEMORY_BYTES_MAX
    }
}

/// Records that are written once, then read once. The room is given back when the run, or its reader, is dropped.
pub trait SpillRun: Send {
    /// Adds a record.
    fn append(&mut self, record: &[u8]) -> Result<(), DocumentError>;
    /// Reads them from the start.
    fn read(self: Box<Self>) -> Result<Records, DocumentError>;
}
