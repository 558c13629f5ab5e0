//! Room for what sorts and groups hold: memory, counted for all of them together, and disk for what does not fit. This crate
//! touches no files: the caller lends the room on disk, or none, and then such a stage ends with an error.
//!
//! What was put away gives the same answers in the same order as what stays in memory.

mod memory;
mod merge;
mod sorter;
#[cfg(test)]
pub(crate) mod tests;

pub use memory::{MemoryPool, SHARE_BYTES_FREE};
pub(crate) use memory::{Share, holding};
pub(crate) use merge::{Keyed, KeyedStream};
pub use sorter::{DocumentSorter, Sorted};

use std::fmt::Debug;
use std::sync::Arc;

use crate::DocumentError;
use crate::aggregation::MEMORY_BYTES_MAX;

/// Records read back in the order in which they were written.
pub type Records = Box<dyn Iterator<Item = Result<Vec<u8>, DocumentError>> + Send>;

/// What a stage may use. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Room {
    memory: Option<Arc<MemoryPool>>,
    disk: Option<Arc<dyn SpillSpace>>,
}

impl Room {
    /// With memory that is counted.
    pub fn with_memory(mut self, pool: Arc<MemoryPool>) -> Room {
        self.memory = Some(pool);
        self
    }

    /// With room on disk.
    pub fn with_disk(mut self, space: Arc<dyn SpillSpace>) -> Room {
        self.disk = Some(space);
        self
    }

    /// Room on disk, where there is any.
    pub(crate) fn disk(&self) -> Option<&dyn SpillSpace> {
        self.disk.as_deref()
    }

    /// What one stage may hold in memory.
    pub(crate) fn bytes_max(&self) -> usize {
        self.disk()
            .map_or(MEMORY_BYTES_MAX, SpillSpace::memory_bytes_max)
    }

    /// A stage's share of the memory.
    pub(crate) fn share(&self) -> Share {
        self.share_of(self.bytes_max())
    }

    /// A share with a limit of its own.
    pub(crate) fn share_of(&self, bytes_max: usize) -> Share {
        Share::new(self.memory.clone(), bytes_max)
    }
}

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
