//! Head and trailer of a backup as bytes. The chunks between them are `state_machine`'s.

use state_machine::{CHUNK_VERSION, CollectionCounts, CollectionSummary, Namespace};

use super::BackupError;

pub(super) const MAGIC: &[u8; 8] = b"CSTOREBK";
pub(super) const VERSION: u32 = 1;
pub(super) const HEAD_BYTES: usize = 64;
const CHECKSUM_AT: usize = 12;
const CLUSTER_AT: usize = 16;
const INDEX_AT: usize = CLUSTER_AT + 16;
const TERM_AT: usize = INDEX_AT + 8;
const TAKEN_AT: usize = TERM_AT + 8;
const CHUNKS_AT: usize = TAKEN_AT + 8;

pub(super) const TRAILER_MAGIC: &[u8; 8] = b"CSTOREBE";
/// Magic, length of the body, checksum.
pub(super) const TRAILER_HEAD_BYTES: usize = 16;
/// Far above what the names of all collections take.
pub(super) const TRAILER_BYTES_MAX: u32 = 256 << 20;
/// Chunks, their bytes, collections.
const TRAILER_FIXED_BYTES: usize = 8 + 8 + 4;

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHead {
    /// The cluster it was taken from.
    pub cluster_id: [u8; 16],
    /// The last log entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The member's wall clock when it was taken, milliseconds since 1970.
    pub taken_ms: i64,
}

/// What a whole backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSummary {
    /// Chunks.
    pub chunks: u64,
    /// Bytes of the chunks as stored.
    pub chunk_bytes: u64,
    /// In order of name.
    pub collections: Vec<CollectionSummary>,
}

impl BackupSummary {
    /// Documents of all collections, and their bytes.
    pub fn total(&self) -> CollectionCounts {
        let mut total = CollectionCounts::default();
        for collection in &self.collections {
            total.documents += collection.counts.documents;
            total.bytes += collection.counts.bytes;
        }
        total
    }
}

impl BackupHead {
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..CHECKSUM_AT].copy_from_slice(&VERSION.to_le_bytes());
        bytes[CLUSTER_AT..INDEX_AT].copy_from_slice(&self.cluster_id);
        bytes[INDEX_AT..TERM_AT].copy_from_slice(&self.index.to_le_bytes());
        bytes[TERM_AT..TAKEN_AT].copy_from_slice(&self.term.to_le_bytes());
        bytes[TAKEN_AT..CHUNKS_AT].copy_from_slice(&self.taken_ms.to_le_bytes());
        bytes[CHUNKS_AT] = CHUNK_VERSION;
        let checksum = head_checksum(&bytes);
        bytes[CHECKSUM_AT..CLUSTER_AT].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<BackupHead, BackupError> {
        if bytes[..8] != MAGIC[..] {
            return Err(BackupError::NotABackup);
        }
        if head_checksum(bytes) != u32_at(bytes, CHECKSUM_AT) {
            return Err(BackupError::Damaged {
                place: "its head".to_owned(),
                offset: 0,
                what: "the checksum does not match".to_owned(),
            });
        }
        let (version, chunks) = (u32_at(bytes, 8), bytes[CHUNKS_AT]);
        if version != VERSION || chunks != CHUNK_VERSION {
            return Err(BackupError::Newer {
                found: format!("{version}.{chunks}"),
                reads: format!("{VERSION}.{CHUNK_VERSION}"),
            });
        }
        Ok(BackupHead {
            cluster_id: bytes[CLUSTER_AT..INDEX_AT].try_into().expect("16 bytes"),
            index: u64_at(bytes, INDEX_AT),
            term: u64_at(bytes, TERM_AT),
            taken_ms: u64_at(bytes, TAKEN_AT).cast_signed(),
        })
    }
}

fn head_checksum(bytes: &[u8; HEAD_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKSUM_AT]), &bytes[CLUSTER_AT..])
}

impl BackupSummary {
    /// The whole trailer.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.chunks.to_le_bytes());
        body.extend_from_slice(&self.chunk_bytes.to_le_bytes());
        put_length(&mut body, self.collections.len());
        for collection in &self.collections {
            for name in [
                &collection.namespace.database,
                &collection.namespace.collection,
            ] {
                put_length(&mut body, name.len());
                body.extend_from_slice(name.as_bytes());
            }
            body.extend_from_slice(&collection.counts.documents.to_le_bytes());
            body.extend_from_slice(&collection.counts.bytes.to_le_bytes());
            body.extend_from_slice(&collection.hash);
        }
        let mut trailer = TRAILER_MAGIC.to_vec();
        put_length(&mut trailer, body.len());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&trailer), &body);
        trailer.extend_from_slice(&checksum.to_le_bytes());
        trailer.extend_from_slice(&body);
        trailer
    }

    /// How long the body is that follows this head of a trailer; `None` if it is not one.
    pub(super) fn body_bytes(head: &[u8; TRAILER_HEAD_BYTES]) -> Option<usize> {
        let length = u32_at(head, 8);
        let sound = head[..8] == TRAILER_MAGIC[..] && length <= TRAILER_BYTES_MAX;
        sound.then_some(length as usize)
    }

    /// `None` for bytes that are not what was written.
    pub(super) fn decode(head: &[u8; TRAILER_HEAD_BYTES], body: &[u8]) -> Option<BackupSummary> {
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[..12]), body);
        if checksum != u32_at(head, 12) || body.len() < TRAILER_FIXED_BYTES {
            return None;
        }
        let mut rest = Fields(body);
        let (chunks, chunk_bytes, count) = (rest.u64()?, rest.u64()?, rest.u32()?);
        let mut collections = Vec::new();
        for _ in 0..count {
            let namespace = Namespace::new(rest.text()?, rest.text()?);
            let counts = CollectionCounts {
                documents: rest.u64()?,
                bytes: rest.u64()?,
            };
            let hash = rest.take(16)?.try_into().ok()?;
            collections.push(CollectionSummary {
                namespace,
                counts,
                hash,
            });
        }
        rest.0.is_empty().then_some(BackupSummary {
            chunks,
            chunk_bytes,
            collections,
        })
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("names and their number are far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32_at(self.take(4)?, 0))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64_at(self.take(8)?, 0))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
