//! How far an import has come: what its next chunk has to begin after, whoever sends it.

use super::ChunkError;

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 1 + 8 + 8 + 4;

/// The entries taken in so far, of one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Log index of the snapshot.
    pub index: u64,
    /// The last key taken in; empty before the first.
    pub after: Vec<u8>,
    /// How many entries.
    pub entries: u64,
    /// CRC-32C over all of them, as they stand in chunks.
    pub digest: u32,
}

impl Progress {
    pub(super) fn add(&mut self, key: &[u8], entry: &[u8]) {
        self.after.clear();
        self.after.extend_from_slice(key);
        self.entries += 1;
        self.digest = crc32c::crc32c_append(self.digest, entry);
    }

    /// Version, index, entries, digest, key. Nothing at all stands for nothing taken in.
    pub fn encode(&self) -> Vec<u8> {
        if self.entries == 0 {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.after.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.index.to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        bytes.extend_from_slice(&self.digest.to_le_bytes());
        bytes.extend_from_slice(&self.after);
        bytes
    }

    /// Reads what the importer of the snapshot at `index` wrote.
    pub fn decode(index: u64, bytes: &[u8]) -> Result<Progress, ChunkError> {
        let nothing = Progress {
            index,
            ..Progress::default()
        };
        let Some((version, rest)) = bytes.split_first() else {
            return Ok(nothing);
        };
        if *version != VERSION {
            return Err(ChunkError::Version(*version));
        }
        let (Some((found, rest)), true) = (rest.split_first_chunk(), bytes.len() > FIXED_BYTES)
        else {
            return Err(ChunkError::Length {
                announced: FIXED_BYTES + 1,
                found: bytes.len(),
            });
        };
        let found = u64::from_le_bytes(*found);
        if found != index {
            return Err(ChunkError::Index {
                found,
                expected: index,
            });
        }
        let (entries, rest) = rest.split_at(8);
        let (digest, after) = rest.split_at(4);
        Ok(Progress {
            entries: u64::from_le_bytes(entries.try_into().expect("eight bytes")),
            digest: u32::from_le_bytes(digest.try_into().expect("four bytes")),
            after: after.to_vec(),
            ..nothing
        })
    }
}
