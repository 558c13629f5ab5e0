//! Archive files as bytes: a head, then blocks of entries, each block checked by itself and compressed where that pays.

use crate::entry_codec::CodecError;

pub(super) const MAGIC: &[u8; 8] = b"CSTOREAR";
pub(super) const VERSION: u32 = 1;
pub(super) const HEAD_BYTES: usize = 64;
const CHECKSUM_AT: usize = 12;
const CLUSTER_AT: usize = 16;
const MEMBER_AT: usize = CLUSTER_AT + 16;
const FIRST_AT: usize = MEMBER_AT + 8;
const CREATED_AT: usize = FIRST_AT + 8;

const BLOCK_MAGIC: &[u8; 4] = b"ABLK";
/// Bytes of a block before its body.
pub(super) const BLOCK_HEAD_BYTES: usize = 40;
const BLOCK_CHECKSUM_AT: usize = 4;
const BLOCK_FIRST_AT: usize = 8;
const BLOCK_LAST_AT: usize = BLOCK_FIRST_AT + 8;
const PLAIN_AT: usize = BLOCK_LAST_AT + 8;
const STORED_AT: usize = PLAIN_AT + 4;
const BODY_CHECKSUM_AT: usize = STORED_AT + 4;
const FLAGS_AT: usize = BODY_CHECKSUM_AT + 4;
const COMPRESSED: u8 = 1;
/// Longest body: what is read at once, and the largest entry the log takes.
const BODY_BYTES_MAX: usize = 128 << 20;

/// Flag of an entry: the time is the command's own, not the archiving member's clock.
const OWN_TIME: u8 = 1;
/// Time, flags, length.
const ENTRY_HEAD_BYTES: usize = 8 + 1 + 4;

const ENDING: &str = ".archive";

/// Whose file it is, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileHead {
    pub cluster_id: [u8; 16],
    pub member: u64,
    /// Index of the first entry.
    pub first: u64,
    pub created_ms: i64,
}

/// What a file's head turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundHead {
    Ours(FileHead),
    /// Of a newer format.
    Newer(u32),
    Unreadable,
}

/// The name of a file: first index and member, so that names sort by index.
pub(super) fn file_name(first: u64, member: u64) -> String {
    format!("{first:020}-{member}{ENDING}")
}

/// First index and member of a file of this name.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (first, member) = name.strip_suffix(ENDING)?.split_once('-')?;
    Some((first.parse().ok()?, member.parse().ok()?))
}

impl FileHead {
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..CHECKSUM_AT].copy_from_slice(&VERSION.to_le_bytes());
        bytes[CLUSTER_AT..MEMBER_AT].copy_from_slice(&self.cluster_id);
        bytes[MEMBER_AT..FIRST_AT].copy_from_slice(&self.member.to_le_bytes());
        bytes[FIRST_AT..CREATED_AT].copy_from_slice(&self.first.to_le_bytes());
        bytes[CREATED_AT..CREATED_AT + 8].copy_from_slice(&self.created_ms.to_le_bytes());
        let checksum = head_checksum(&bytes);
        bytes[CHECKSUM_AT..CLUSTER_AT].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> FoundHead {
        if bytes[..8] != MAGIC[..] || head_checksum(bytes) != u32_at(bytes, CHECKSUM_AT) {
            return FoundHead::Unreadable;
        }
        match u32_at(bytes, 8) {
            VERSION => FoundHead::Ours(FileHead {
                cluster_id: bytes[CLUSTER_AT..MEMBER_AT].try_into().expect("16 bytes"),
                member: u64_at(bytes, MEMBER_AT),
                first: u64_at(bytes, FIRST_AT),
                created_ms: u64_at(bytes, CREATED_AT).cast_signed(),
            }),
            newer => FoundHead::Newer(newer),
        }
    }
}

fn head_checksum(bytes: &[u8; HEAD_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKSUM_AT]), &bytes[CLUSTER_AT..])
}

/// An archived entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedEntry {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Whether that is the command's own time; otherwise it was made then or before.
    pub own_time: bool,
    /// As in the log's record.
    pub payload: Vec<u8>,
}

/// A block's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub first: u64,
    pub last: u64,
    plain_bytes: u32,
    pub stored_bytes: u32,
    body_checksum: u32,
    flags: u8,
}

impl BlockHead {
    /// `None` for bytes that are no head of a block.
    pub(super) fn decode(bytes: &[u8; BLOCK_HEAD_BYTES]) -> Option<BlockHead> {
        let sound = bytes[..4] == BLOCK_MAGIC[..]
            && crc32c::crc32c(&bytes[BLOCK_FIRST_AT..]) == u32_at(bytes, BLOCK_CHECKSUM_AT);
        let head = BlockHead {
            first: u64_at(bytes, BLOCK_FIRST_AT),
            last: u64_at(bytes, BLOCK_LAST_AT),
            plain_bytes: u32_at(bytes, PLAIN_AT),
            stored_bytes: u32_at(bytes, STORED_AT),
            body_checksum: u32_at(bytes, BODY_CHECKSUM_AT),
            flags: bytes[FLAGS_AT],
        };
        let bounded = head.plain_bytes as usize <= BODY_BYTES_MAX
            && head.stored_bytes as usize <= BODY_BYTES_MAX
            && head.first <= head.last;
        (sound && bounded).then_some(head)
    }

    /// The entries of a body; `None` if it is not the one that was written.
    pub(super) fn open(&self, stored: &[u8]) -> Option<Vec<ArchivedEntry>> {
        if crc32c::crc32c(stored) != self.body_checksum {
            return None;
        }
        let plain = match self.flags {
            0 => stored.to_vec(),
            COMPRESSED => lz4_flex::block::decompress(stored, self.plain_bytes as usize).ok()?,
            _ => return None,
        };
        let mut rest = plain.as_slice();
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (head, after) = rest.split_at_checked(ENTRY_HEAD_BYTES)?;
            let length = u32_at(head, 9) as usize;
            let (payload, after) = after.split_at_checked(length)?;
            entries.push(ArchivedEntry {
                time_ms: u64_at(head, 0).cast_signed(),
                own_time: head[8] & OWN_TIME != 0,
                payload: payload.to_vec(),
            });
            rest = after;
        }
        (entries.len() as u64 == self.last - self.first + 1).then_some(entries)
    }
}

/// A whole block of entries from `first` on. Panics if there are none.
pub(super) fn encode_block(first: u64, entries: &[ArchivedEntry]) -> Vec<u8> {
    assert!(!entries.is_empty(), "a block holds at least one entry");
    let mut plain = Vec::new();
    for entry in entries {
        plain.extend_from_slice(&entry.time_ms.to_le_bytes());
        plain.push(if entry.own_time { OWN_TIME } else { 0 });
        plain.extend_from_slice(&length(entry.payload.len()).to_le_bytes());
        plain.extend_from_slice(&entry.payload);
    }
    let compressed = lz4_flex::block::compress(&plain);
    let (flags, body) = match compressed.len() <= plain.len() - plain.len() / 8 {
        true => (COMPRESSED, &compressed),
        false => (0, &plain),
    };
    let mut block = vec![0; BLOCK_HEAD_BYTES];
    block[..4].copy_from_slice(BLOCK_MAGIC);
    let last = first + entries.len() as u64 - 1;
    block[BLOCK_FIRST_AT..BLOCK_LAST_AT].copy_from_slice(&first.to_le_bytes());
    block[BLOCK_LAST_AT..PLAIN_AT].copy_from_slice(&last.to_le_bytes());
    block[PLAIN_AT..STORED_AT].copy_from_slice(&length(plain.len()).to_le_bytes());
    block[STORED_AT..BODY_CHECKSUM_AT].copy_from_slice(&length(body.len()).to_le_bytes());
    let checksum = crc32c::crc32c(body);
    block[BODY_CHECKSUM_AT..FLAGS_AT].copy_from_slice(&checksum.to_le_bytes());
    block[FLAGS_AT] = flags;
    let checksum = crc32c::crc32c(&block[BLOCK_FIRST_AT..]);
    block[BLOCK_CHECKSUM_AT..BLOCK_FIRST_AT].copy_from_slice(&checksum.to_le_bytes());
    block.extend_from_slice(body);
    block
}

/// The term of an archived entry.
pub(super) fn term_of(payload: &[u8]) -> Result<u64, CodecError> {
    crate::entry_codec::decode_entry(0, payload).map(|entry| entry.term.0)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("blocks are far below 4 GiB")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
