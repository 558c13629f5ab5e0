//! The bytes of segments, batches and records; `docs/file_format.md` draws them.
//!
//! All numbers are little-endian. Every checksum is CRC-32C seeded with the segment's sequence number, so that
//! bytes left over in a recycled segment never pass.

/// The newest segment format this program reads, and the one it writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The newest record version.
pub(crate) const RECORD_VERSION: u8 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"CSTORWAL";
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"BTCH");
const MARK_MAGIC: u32 = u32::from_le_bytes(*b"SYND");

pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const BATCH_HEADER_BYTES: usize = 32;
pub(crate) const RECORD_HEADER_BYTES: usize = 32;
pub(crate) const MARK_BYTES: usize = 16;
/// Batches start at multiples of this.
pub(crate) const BATCH_ALIGNMENT: usize = 8;

/// Payloads shorter than this are not worth compressing.
const COMPRESS_BYTES_MIN: usize = 512;
const FLAG_LZ4: u8 = 1;
/// An LZ4 block makes at most so many bytes of one.
const LZ4_EXPANSION_MAX: usize = 255;
/// Indices stay where adding to them cannot overflow.
const INDEX_MAX: u64 = i64::MAX as u64;

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(BATCH_ALIGNMENT));
const _: () = assert!(BATCH_HEADER_BYTES.is_multiple_of(BATCH_ALIGNMENT));
const _: () = assert!(MARK_BYTES.is_multiple_of(BATCH_ALIGNMENT));

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The checksum seed of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub fn of(sequence: u64) -> Self {
        Self(crc32c::crc32c(&sequence.to_le_bytes()))
    }

    fn checksum(self, parts: [&[u8]; 2]) -> u32 {
        parts
            .iter()
            .fold(self.0, |crc, part| crc32c::crc32c_append(crc, part))
    }
}

/// Opens a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub version: u32,
    pub sequence: u64,
    /// Number of its first batch.
    pub first_batch: u64,
    /// The log it belongs to; 0 where that was not written down yet.
    pub log_id: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, 8, &self.version.to_le_bytes());
        put(&mut bytes, 16, &self.sequence.to_le_bytes());
        put(&mut bytes, 24, &self.first_batch.to_le_bytes());
        put(&mut bytes, 32, &self.log_id.to_le_bytes());
        let checksum = Seed::of(self.sequence).checksum([&bytes[..12], &bytes[16..]]);
        put(&mut bytes, 12, &checksum.to_le_bytes());
        bytes
    }

    /// `None` unless these are the intact bytes of the header of segment `sequence`.
    pub fn decode(bytes: &[u8], sequence: u64) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES)?;
        let checksum = Seed::of(sequence).checksum([&bytes[..12], &bytes[16..]]);
        let intact = bytes[..8] == SEGMENT_MAGIC
            && u32_at(bytes, 12) == checksum
            && u64_at(bytes, 16) == sequence;
        intact.then(|| Self {
            version: u32_at(bytes, 8),
            sequence,
            first_batch: u64_at(bytes, 24),
            log_id: u64_at(bytes, 32),
        })
    }
}

/// Opens a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Batches are numbered without gaps throughout the log.
    pub number: u64,
    /// Length of the records, padding included.
    pub body_bytes: u32,
    body_checksum: u32,
    pub records: u32,
}

impl BatchHeader {
    /// The header of a body.
    pub fn of(seed: Seed, number: u64, records: u32, body: &[u8]) -> Self {
        Self {
            number,
            body_bytes: u32::try_from(body.len()).expect("a batch is shorter than 4 GiB"),
            body_checksum: seed.checksum([body, &[]]),
            records,
        }
    }

    pub fn encode(&self, seed: Seed) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        put(&mut bytes, 0, &BATCH_MAGIC.to_le_bytes());
        put(&mut bytes, 8, &self.number.to_le_bytes());
        put(&mut bytes, 16, &self.body_bytes.to_le_bytes());
        put(&mut bytes, 20, &self.body_checksum.to_le_bytes());
        put(&mut bytes, 24, &self.records.to_le_bytes());
        let checksum = seed.checksum([&bytes[8..], &[]]);
        put(&mut bytes, 4, &checksum.to_le_bytes());
        bytes
    }

    /// `None` unless these are the intact bytes of a batch header of the seed's segment.
    pub fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if u32_at(bytes, 0) != BATCH_MAGIC {
            return None;
        }
        let intact = u32_at(bytes, 4) == seed.checksum([&bytes[8..], &[]]);
        intact.then(|| Self {
            number: u64_at(bytes, 8),
            body_bytes: u32_at(bytes, 16),
            body_checksum: u32_at(bytes, 20),
            records: u32_at(bytes, 24),
        })
    }

    /// Whether these bytes, though not an intact header, look like the beginning of batch `number`.
    pub fn resembles(bytes: &[u8], number: u64) -> bool {
        bytes.len() >= 16 && u32_at(bytes, 0) == BATCH_MAGIC && u64_at(bytes, 8) == number
    }

    pub fn matches(&self, seed: Seed, body: &[u8]) -> bool {
        self.body_checksum == seed.checksum([body, &[]])
    }

    /// Length with body.
    pub fn total_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.body_bytes as usize
    }
}

/// Says that a batch, and so every one before it, was synced. Stands where the next batch will begin, until that is
/// written over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub number: u64,
}

impl Mark {
    pub fn encode(self, seed: Seed) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        put(&mut bytes, 0, &MARK_MAGIC.to_le_bytes());
        put(&mut bytes, 8, &self.number.to_le_bytes());
        let checksum = seed.checksum([&bytes[..4], &bytes[8..]]);
        put(&mut bytes, 4, &checksum.to_le_bytes());
        bytes
    }

    /// `None` unless these are the intact bytes of a mark in the seed's segment.
    pub fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let bytes = bytes.get(..MARK_BYTES)?;
        let intact = u32_at(bytes, 0) == MARK_MAGIC
            && u32_at(bytes, 4) == seed.checksum([&bytes[..4], &bytes[8..]]);
        intact.then(|| Self {
            number: u64_at(bytes, 8),
        })
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// The payload is the entry at `index`; supersedes entries at `index` and later.
    Entry = 1,
    /// The payload is the group's state.
    State = 2,
    /// Entries up to `index` are gone; later ones stay. The payload is the tag, 8 bytes.
    Start = 3,
    /// All entries are gone; the next is `index + 1`. The payload is the tag, 8 bytes.
    Reset = 4,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Entry),
            2 => Some(Self::State),
            3 => Some(Self::Start),
            4 => Some(Self::Reset),
            _ => None,
        }
    }
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub kind: RecordKind,
    pub group: u64,
    pub index: u64,
    /// Payload bytes as stored.
    pub stored_bytes: u32,
    /// Payload bytes once decompressed.
    pub payload_bytes: u32,
    compressed: bool,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    Short,
    Checksum,
    /// Intact, but of a kind or version of a newer program.
    Unknown {
        kind: u8,
        version: u8,
    },
    Compression,
    /// Intact, but of an index that no entry has.
    Index(u64),
}

impl std::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("a record that ends too early"),
            Self::Checksum => f.write_str("a record with a wrong checksum"),
            Self::Unknown { kind, version } => {
                write!(f, "a record of unknown kind {kind} or version {version}")
            }
            Self::Compression => f.write_str("a record that cannot be decompressed"),
            Self::Index(index) => write!(f, "a record of the impossible index {index}"),
        }
    }
}

fn record_checksum(seed: Seed, bytes: &[u8]) -> u32 {
    seed.checksum([&bytes[..4], &bytes[8..]])
}

/// Appends a record to the buffer; the payload is the concatenation of the parts.
pub(crate) fn append_record(
    buffer: &mut Vec<u8>,
    seed: Seed,
    (kind, group, index): (RecordKind, u64, u64),
    payload: &[&[u8]],
) {
    let start = buffer.len();
    buffer.resize(start + RECORD_HEADER_BYTES, 0);
    for part in payload {
        buffer.extend_from_slice(part);
    }
    let payload_start = start + RECORD_HEADER_BYTES;
    let payload_bytes = buffer.len() - payload_start;
    let compressed = kind == RecordKind::Entry && compress_in_place(buffer, payload_start);
    let stored_bytes = buffer.len() - payload_start;
    let length = |bytes: usize| {
        u32::try_from(bytes)
            .expect("payloads are limited")
            .to_le_bytes()
    };
    let record = &mut buffer[start..];
    put(record, 0, &length(stored_bytes));
    record[8] = kind as u8;
    record[9] = RECORD_VERSION;
    record[10] = if compressed { FLAG_LZ4 } else { 0 };
    put(record, 12, &length(payload_bytes));
    put(record, 16, &group.to_le_bytes());
    put(record, 24, &index.to_le_bytes());
    let checksum = record_checksum(seed, record);
    put(record, 4, &checksum.to_le_bytes());
}

/// Replaces what follows `start` by its compressed form, if that saves an eighth.
fn compress_in_place(buffer: &mut Vec<u8>, start: usize) -> bool {
    let plain = buffer.len() - start;
    if plain < COMPRESS_BYTES_MIN {
        return false;
    }
    let worth = plain - plain / 8;
    let bound = lz4_flex::block::get_maximum_output_size(plain);
    buffer.resize(start + plain + bound, 0);
    let (input, output) = buffer[start..].split_at_mut(plain);
    match lz4_flex::block::compress_into(input, output) {
        Ok(stored) if stored <= worth => {
            buffer.copy_within(start + plain..start + plain + stored, start);
            buffer.truncate(start + stored);
            true
        }
        _ => {
            buffer.truncate(start + plain);
            false
        }
    }
}

/// Gives a record of another segment this seed's checksum; returns its length.
pub(crate) fn reseal_record(seed: Seed, bytes: &mut [u8]) -> usize {
    let length = RECORD_HEADER_BYTES + u32_at(bytes, 0) as usize;
    let checksum = record_checksum(seed, &bytes[..length]);
    put(bytes, 4, &checksum.to_le_bytes());
    length
}

/// Length of the record that begins here, unverified; for reading the right amount.
pub(crate) fn record_bytes(header: &[u8]) -> usize {
    RECORD_HEADER_BYTES + u32_at(header, 0) as usize
}

impl RecordHeader {
    /// Reads and verifies the record at the beginning of `bytes`; returns it with its stored payload.
    pub fn decode(bytes: &[u8], seed: Seed) -> Result<(Self, &[u8]), BadRecord> {
        if bytes.len() < RECORD_HEADER_BYTES {
            return Err(BadRecord::Short);
        }
        let length = record_bytes(bytes);
        let record = bytes.get(..length).ok_or(BadRecord::Short)?;
        if u32_at(record, 4) != record_checksum(seed, record) {
            return Err(BadRecord::Checksum);
        }
        let (kind, version, flags) = (record[8], record[9], record[10]);
        let unknown = BadRecord::Unknown { kind, version };
        if version > RECORD_VERSION || flags & !FLAG_LZ4 != 0 {
            return Err(unknown);
        }
        let header = Self {
            kind: RecordKind::from_byte(kind).ok_or(unknown)?,
            group: u64_at(record, 16),
            index: u64_at(record, 24),
            stored_bytes: u32_at(record, 0),
            payload_bytes: u32_at(record, 12),
            compressed: flags & FLAG_LZ4 != 0,
        };
        let least = u64::from(header.kind == RecordKind::Entry);
        if !(least..=INDEX_MAX).contains(&header.index) {
            return Err(BadRecord::Index(header.index));
        }
        Ok((header, &record[RECORD_HEADER_BYTES..]))
    }

    /// Length with payload.
    pub fn total_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.stored_bytes as usize
    }

    /// The payload as it was appended.
    pub fn payload(&self, stored: &[u8]) -> Result<Vec<u8>, BadRecord> {
        if !self.compressed {
            return Ok(stored.to_vec());
        }
        // No block expands further: a length that lies costs no memory.
        if self.payload_bytes as usize > stored.len().saturating_mul(LZ4_EXPANSION_MAX) {
            return Err(BadRecord::Compression);
        }
        let payload = lz4_flex::block::decompress(stored, self.payload_bytes as usize)
            .map_err(|_| BadRecord::Compression)?;
        if payload.len() != self.payload_bytes as usize {
            return Err(BadRecord::Compression);
        }
        Ok(payload)
    }

    /// The tag of a `Start` or `Reset`.
    pub fn tag(&self, stored: &[u8]) -> Result<u64, BadRecord> {
        let bytes = <[u8; 8]>::try_from(stored).map_err(|_| BadRecord::Short)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// The records of a verified batch body: header, stored payload, offset within the body.
pub(crate) fn records(
    body: &[u8],
    seed: Seed,
    count: u32,
) -> impl Iterator<Item = Result<(RecordHeader, &[u8], usize), BadRecord>> {
    let mut at = 0;
    let mut failed = false;
    (0..count).map_while(move |_| {
        if failed {
            return None;
        }
        Some(match RecordHeader::decode(&body[at..], seed) {
            Ok((header, stored)) => {
                let offset = at;
                at += header.total_bytes();
                Ok((header, stored, offset))
            }
            Err(bad) => {
                failed = true;
                Err(bad)
            }
        })
    })
}

#[cfg(test)]
mod tests;
