//! The bytes of a chunk: a header, then entries, as one LZ4 block where that saves an eighth.
//!
//! ```text
//!  0         1       2          4        8       12        16      24         28
//!  | version | flags | reserved | stored | plain | entries | index | checksum | stored bytes …
//!  | u8      | u8    | u16 0    | u32    | u32   | u32     | u64   | u32      |
//! ```
//!
//! Little-endian. Flags: bit 0, the body is compressed; bit 1, the last chunk, whose body is the number of all entries
//! (u64) and their digest (u32). `plain` is the body's length once decompressed, `index` the log index of the snapshot.
//! The checksum is CRC-32C over the header before it and the stored bytes. An entry is key length u32, key, value length
//! u32, value.

use super::import::ImportError;

/// Version of the chunks.
pub const VERSION: u8 = 2;
const COMPRESSED: u8 = 1;
const LAST: u8 = 2;

const STORED_AT: usize = 4;
const PLAIN_AT: usize = STORED_AT + 4;
const ENTRIES_AT: usize = PLAIN_AT + 4;
const INDEX_AT: usize = ENTRIES_AT + 4;
const CHECKSUM_AT: usize = INDEX_AT + 8;
/// Bytes of a chunk before its body.
pub const CHUNK_HEADER_BYTES: usize = CHECKSUM_AT + 4;

/// Longest body: one entry with the largest document, and room.
const BODY_BYTES_MAX: usize = 24 << 20;

const _: () = assert!(
    crate::limits::DOCUMENT_BYTES_MAX + crate::limits::EXPORT_CHUNK_BYTES_MAX < BODY_BYTES_MAX
);

/// Why bytes are not a chunk of this snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Made by a newer version.
    #[error(
        "the snapshot's format version {0} is not one this member reads; upgrade the older member"
    )]
    Version(u8),
    /// Shorter than it says, or longer.
    #[error("a chunk of the snapshot is {found} bytes long, not {announced}")]
    Length {
        /// What it says.
        announced: usize,
        /// What it is.
        found: usize,
    },
    /// Its bytes are not those that were written.
    #[error("a chunk of the snapshot is damaged: its checksum does not match its bytes")]
    Checksum,
    /// Of another snapshot.
    #[error("a chunk is of the snapshot at index {found}, not {expected}")]
    Index {
        /// What it says.
        found: u64,
        /// The snapshot being imported.
        expected: u64,
    },
    /// Its body is not made of entries.
    #[error("a chunk of the snapshot is malformed: {0}")]
    Malformed(&'static str),
}

/// What a chunk holds.
pub(super) enum Content {
    Entries { count: u32, plain: Vec<u8> },
    Last { entries: u64, digest: u32 },
}

/// How long the chunk is that starts with this header; `None` if none can.
pub fn chunk_bytes(header: &[u8; CHUNK_HEADER_BYTES]) -> Option<usize> {
    let stored = u32_at(header, STORED_AT) as usize;
    (header[0] == VERSION && stored <= BODY_BYTES_MAX).then_some(CHUNK_HEADER_BYTES + stored)
}

pub(super) fn encode_entries(index: u64, count: u32, plain: &[u8]) -> Vec<u8> {
    let compressed = lz4_flex::block::compress(plain);
    if compressed.len() <= plain.len() - plain.len() / 8 {
        seal(index, COMPRESSED, count, plain.len(), &compressed)
    } else {
        seal(index, 0, count, plain.len(), plain)
    }
}

pub(super) fn encode_last(index: u64, entries: u64, digest: u32) -> Vec<u8> {
    let mut body = entries.to_le_bytes().to_vec();
    body.extend_from_slice(&digest.to_le_bytes());
    seal(index, LAST, 0, body.len(), &body)
}

fn seal(index: u64, flags: u8, entries: u32, plain: usize, stored: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("chunks are far below 4 GiB");
    let mut chunk = Vec::with_capacity(CHUNK_HEADER_BYTES + stored.len());
    chunk.extend_from_slice(&[VERSION, flags, 0, 0]);
    chunk.extend_from_slice(&length(stored.len()).to_le_bytes());
    chunk.extend_from_slice(&length(plain).to_le_bytes());
    chunk.extend_from_slice(&entries.to_le_bytes());
    chunk.extend_from_slice(&index.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&chunk), stored);
    chunk.extend_from_slice(&checksum.to_le_bytes());
    chunk.extend_from_slice(stored);
    chunk
}

/// Checks a chunk of the snapshot at `index` whole and opens it.
pub(super) fn open(index: u64, chunk: &[u8]) -> Result<Content, ChunkError> {
    let Some((header, stored)) = chunk.split_first_chunk::<CHUNK_HEADER_BYTES>() else {
        return Err(ChunkError::Length {
            announced: CHUNK_HEADER_BYTES,
            found: chunk.len(),
        });
    };
    if header[0] != VERSION {
        return Err(ChunkError::Version(header[0]));
    }
    let announced = u32_at(header, STORED_AT) as usize;
    if announced != stored.len() {
        return Err(ChunkError::Length {
            announced: CHUNK_HEADER_BYTES + announced,
            found: chunk.len(),
        });
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..CHECKSUM_AT]), stored);
    if checksum != u32_at(header, CHECKSUM_AT) {
        return Err(ChunkError::Checksum);
    }
    let found = u64_at(header, INDEX_AT);
    if found != index {
        return Err(ChunkError::Index {
            found,
            expected: index,
        });
    }
    content(header, stored)
}

fn content(header: &[u8], stored: &[u8]) -> Result<Content, ChunkError> {
    let plain_bytes = u32_at(header, PLAIN_AT) as usize;
    if plain_bytes > BODY_BYTES_MAX {
        return Err(ChunkError::Malformed("its body is too long"));
    }
    let plain = match header[1] {
        0 | LAST => stored.to_vec(),
        COMPRESSED => lz4_flex::block::decompress(stored, plain_bytes)
            .map_err(|_| ChunkError::Malformed("it cannot be decompressed"))?,
        _ => {
            return Err(ChunkError::Malformed(
                "it has flags this member does not know",
            ));
        }
    };
    if plain.len() != plain_bytes {
        return Err(ChunkError::Malformed("its body has another length"));
    }
    if header[1] != LAST {
        let count = u32_at(header, ENTRIES_AT);
        return Ok(Content::Entries { count, plain });
    }
    match plain.len() {
        12 => Ok(Content::Last {
            entries: u64_at(&plain, 0),
            digest: u32_at(&plain, 8),
        }),
        _ => Err(ChunkError::Malformed("its end is not one")),
    }
}

/// Appends an entry to a chunk's plain body.
pub(super) fn push_entry(plain: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        let length = u32::try_from(part.len()).expect("keys and values are far below 4 GiB");
        plain.extend_from_slice(&length.to_le_bytes());
        plain.extend_from_slice(part);
    }
}

/// Takes an entry off the front: key, value, rest.
fn split_entry(plain: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = split_part(plain)?;
    let (value, rest) = split_part(rest)?;
    Some((key, value, rest))
}

/// Hands each of `count` entries to `take`: key, value, and the whole entry's bytes.
pub(super) fn each_entry(
    count: u32,
    plain: &[u8],
    mut take: impl FnMut(&[u8], &[u8], &[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut rest = plain;
    for _ in 0..count {
        let (key, value, after) =
            split_entry(rest).ok_or(ImportError::Incomplete("an entry is cut off"))?;
        take(key, value, &rest[..rest.len() - after.len()])?;
        rest = after;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(ImportError::Incomplete("a chunk goes on after its entries")),
    }
}

fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
