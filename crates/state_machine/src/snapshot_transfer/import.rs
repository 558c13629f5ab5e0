//! The receiving side.

use storage_engine::{BulkLoad, StorageFault};

use super::{END, VERSION};
use crate::command::DecodeError;
use crate::keyspace;
use crate::machine::{Applied, decode_applied};

/// Why a snapshot could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Writing the new engine failed.
    #[error(transparent)]
    Storage(#[from] StorageFault),
    /// The stream is of a newer version.
    #[error("the snapshot's format version {0} is newer than this member reads; upgrade it")]
    Version(u8),
    /// The stream ended before its end mark, or goes on after it.
    #[error("the snapshot is incomplete: {0}")]
    Incomplete(&'static str),
    /// The entries are not those the sender counted.
    #[error("the snapshot announces {announced} entries and holds {received}")]
    Count {
        /// What the end mark says.
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

/// Takes the chunks of an [`super::Export`] in order and builds an engine directory from them.
pub struct SnapshotImport {
    loader: Box<dyn BulkLoad>,
    /// Bytes of an entry that is not complete yet.
    buffer: Vec<u8>,
    index: Option<u64>,
    applied: Option<Applied>,
    entries: u64,
    ended: bool,
}

impl SnapshotImport {
    /// Starts an import into an engine that is empty so far.
    pub fn new(loader: Box<dyn BulkLoad>) -> SnapshotImport {
        SnapshotImport {
            loader,
            buffer: Vec::new(),
            index: None,
            applied: None,
            entries: 0,
            ended: false,
        }
    }

    /// Takes the next chunk.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), ImportError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(chunk);
        let mut rest = &buffer[..];
        while let Some(after) = self.take(rest)? {
            rest = after;
        }
        let used = buffer.len() - rest.len();
        buffer.drain(..used);
        self.buffer = buffer;
        Ok(())
    }

    /// Makes the directory durable. The state in it is applied as returned.
    pub fn finish(self) -> Result<Applied, ImportError> {
        if !self.ended {
            return Err(ImportError::Incomplete("it ends before its end mark"));
        }
        let applied = self.applied.ok_or(ImportError::Position)?;
        if Some(applied.index) != self.index {
            return Err(ImportError::Position);
        }
        self.loader.finish(applied.index)?;
        Ok(applied)
    }

    /// Takes one item off the front; `None` when it is not complete yet.
    fn take<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, ImportError> {
        if self.ended {
            return match bytes.is_empty() {
                true => Ok(None),
                false => Err(ImportError::Incomplete("it goes on after its end mark")),
            };
        }
        if self.index.is_none() {
            return self.take_head(bytes);
        }
        let Some((length, rest)) = take_u32(bytes) else {
            return Ok(None);
        };
        if length == END {
            return self.take_end(rest);
        }
        let Some((key, rest)) = rest.split_at_checked(length as usize) else {
            return Ok(None);
        };
        let Some((length, rest)) = take_u32(rest) else {
            return Ok(None);
        };
        let Some((value, rest)) = rest.split_at_checked(length as usize) else {
            return Ok(None);
        };
        if key == keyspace::applied_key() {
            self.applied = Some(decode_applied(value)?);
        }
        self.loader.add(key, value)?;
        self.entries += 1;
        Ok(Some(rest))
    }

    fn take_head<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, ImportError> {
        let Some((version, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if *version != VERSION {
            return Err(ImportError::Version(*version));
        }
        let Some((index, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        self.index = Some(u64::from_le_bytes(*index));
        Ok(Some(rest))
    }

    fn take_end<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, ImportError> {
        let Some((announced, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let announced = u64::from_le_bytes(*announced);
        if announced != self.entries {
            return Err(ImportError::Count {
                announced,
                received: self.entries,
            });
        }
        self.ended = true;
        Ok(Some(rest))
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*head), rest))
}
