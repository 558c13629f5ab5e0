//! The reading side: a [`Reader`] is shared by all threads that answer queries; a [`Snapshot`] is the state as of one
//! log index and keeps that version from being dropped while it lives.
//!
//! The applied index, the catalog and the counters are published together after the engine has the command's writes,
//! so a snapshot never sees half a command.

mod estimate;
mod hash;
mod places;
mod prefetch;
mod shared;
mod snapshot;
mod verify;

pub(crate) use hash::begin_digest;
pub(crate) use shared::{Published, Shared};
pub use snapshot::{DocumentScan, Retained, Snapshot};
pub use verify::IndexVerification;

use std::sync::Arc;

use storage_engine::{EngineStats, StorageFault};

use crate::command::Command;

/// How much a collection holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionCounts {
    /// Documents.
    pub documents: u64,
    /// Bytes of their BSON.
    pub bytes: u64,
}

/// Hands out snapshots. Cheap to clone; lives independently of the [`crate::StateMachine`].
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// The last log index whose effects [`Reader::snapshot`] shows.
    pub fn applied_index(&self) -> u64 {
        self.shared.applied_index()
    }

    /// The state as of the applied index.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::latest(&self.shared)
    }

    /// The state as of an earlier log index; `None` if it is not applied yet or may have been dropped already.
    pub fn snapshot_at(&self, index: u64) -> Result<Option<Snapshot>, StorageFault> {
        Snapshot::at(&self.shared, index)
    }

    /// Keeps the state as of `index` readable: for an index whose versions the engine is known to hold still, though this
    /// reader was opened after it; the caller has kept them from being dropped in an earlier run. To be called before
    /// anything is applied.
    pub fn retain(&self, index: u64) -> Retained {
        Retained::new(&self.shared, index)
    }

    /// How many snapshots are held, and the oldest log index whose state is readable.
    pub fn readable_since(&self) -> (usize, u64) {
        self.shared.readable_since()
    }

    /// Gives up the versions that stay readable for a while though no snapshot shows them: for a time when nothing is
    /// written, which would otherwise make them old.
    pub fn release_old_versions(&self) {
        self.shared.release_all_old_versions();
    }

    /// Sizes and counts of the engine under it.
    pub fn engine_stats(&self) -> EngineStats {
        self.shared.engine.stats()
    }

    /// Sorted runs of recent writes that the engine has not merged yet.
    pub fn runs_waiting(&self) -> u64 {
        self.shared.engine.runs_waiting()
    }

    /// Keys of the documents that applying an encoded [`Command`] will look up, as far as it names them; for
    /// [`Reader::prefetch`].
    pub fn keys_to_apply(&self, command: &[u8]) -> Vec<Vec<u8>> {
        prefetch::keys(&self.shared, command)
    }

    /// Looks a key up, so that what the engine reads for it is in memory when it is looked up again.
    ///
    /// # Errors
    /// The engine's. It has been told to the engine's host as well, as every fault of a read.
    pub fn prefetch(&self, key: &[u8]) -> Result<(), StorageFault> {
        let applied = self.applied_index();
        self.shared.engine.get(key, applied).map(drop)
    }

    /// Work that the leader should propose when it has nothing better to do: the next step of an index build, or the
    /// reclaiming of dropped data. `None` when there is none.
    pub fn background_command(&self) -> Option<Command> {
        self.shared.background_command()
    }
}
