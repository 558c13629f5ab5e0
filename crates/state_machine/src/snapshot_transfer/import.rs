//! The receiving side.

use std::collections::BTreeMap;

use storage_engine::{BulkLoad, StorageFault};

use super::chunk::{self, ChunkError, Content, each_entry};
use super::progress::Progress;
use crate::catalog::encode_counts;
use crate::command::DecodeError;
use crate::keyspace;
use crate::machine::{Applied, decode_applied};
use crate::reader::CollectionCounts;

/// Why a snapshot could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Writing the new engine failed.
    #[error(transparent)]
    Storage(#[from] StorageFault),
    /// A chunk is not one of this snapshot. Nothing of it was taken in; the import can go on with the right one.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// An entry stands after one that should follow it: chunks were exchanged.
    #[error("the snapshot's entries are not in order")]
    Order,
    /// The stream ended before its end mark, or goes on after it.
    #[error("the snapshot is incomplete: {0}")]
    Incomplete(&'static str),
    /// The entries are not those the sender has.
    #[error("the snapshot announces {announced} entries and holds {received}, or others")]
    Content {
        /// What the last chunk says.
        announced: u64,
        /// What came.
        received: u64,
    },
    /// The applied position in it is missing or not that of its head.
    #[error("the snapshot's applied position is missing or wrong")]
    Position,
    /// The applied position in it cannot be read.
    #[error("the snapshot's applied position cannot be read: {0}")]
    Damaged(#[from] DecodeError),
}

/// Takes the chunks of an [`super::Export`] in order and builds an engine from them.
pub struct SnapshotImport {
    loader: Box<dyn BulkLoad>,
    progress: Progress,
    counts: BTreeMap<u32, CollectionCounts>,
    applied: Option<Applied>,
    ended: bool,
}

impl SnapshotImport {
    /// Starts an import of the snapshot at `index` into an engine that is empty so far.
    pub fn new(loader: Box<dyn BulkLoad>, index: u64) -> SnapshotImport {
        SnapshotImport {
            loader,
            progress: Progress {
                index,
                ..Progress::default()
            },
            counts: BTreeMap::new(),
            applied: None,
            ended: false,
        }
    }

    /// How far it has come: what the next chunk must begin after.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the end mark has come: nothing may follow.
    pub fn is_whole(&self) -> bool {
        self.ended
    }

    /// Takes the next chunk. After an error other than [`ImportError::Chunk`] the import is of no more use.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), ImportError> {
        let content = chunk::open(self.progress.index, chunk)?;
        if self.ended {
            return Err(ImportError::Incomplete("it goes on after its end mark"));
        }
        match content {
            Content::Entries { count, plain } => each_entry(count, &plain, |key, value, entry| {
                self.take(key, value, entry)
            }),
            Content::Last { entries, digest } => {
                if entries != self.progress.entries || digest != self.progress.digest {
                    return Err(ImportError::Content {
                        announced: entries,
                        received: self.progress.entries,
                    });
                }
                self.ended = true;
                Ok(())
            }
        }
    }

    /// Makes the engine durable. The state in it is applied as returned.
    pub fn finish(self) -> Result<Applied, ImportError> {
        if !self.ended {
            return Err(ImportError::Incomplete("it ends before its end mark"));
        }
        let applied = self.applied.ok_or(ImportError::Position)?;
        if applied.index != self.progress.index {
            return Err(ImportError::Position);
        }
        self.loader.finish(applied.index)?;
        Ok(applied)
    }

    fn take(&mut self, key: &[u8], value: &[u8], entry: &[u8]) -> Result<(), ImportError> {
        self.progress.add(key, entry);
        let counters = match (key.first(), keyspace::catalog_id(key)) {
            (Some(&keyspace::DOCUMENTS), Some(id)) => {
                let counts = self.counts.entry(id).or_default();
                counts.documents += 1;
                counts.bytes += value.len() as u64;
                None
            }
            (Some(&keyspace::COUNTERS), Some(id)) => Some(encode_counts(
                self.counts.get(&id).copied().unwrap_or_default(),
            )),
            _ => None,
        };
        if key == keyspace::applied_key() {
            self.applied = Some(decode_applied(value)?);
        }
        self.loader.add(key, counters.as_deref().unwrap_or(value))?;
        Ok(())
    }
}
