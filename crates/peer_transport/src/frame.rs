//! Frames: a fixed header and a body, the unit of everything on a peer connection.
//!
//! All integers little-endian; each offset derives from the one before:
//!
//! ```text
//!  0        4         5      6          8        12       16         24
//!  | magic  | version | kind | reserved | length | crc32c | group id | body (length bytes) …
//! ```
//!
//! The checksum covers the header before it, the group id and the body. `length` is bounded by the reader, so a lying
//! header costs no memory: the buffer grows only as bytes really arrive.

use bytes::{Buf, Bytes, BytesMut};
use consensus::GroupId;

/// First bytes of every frame.
pub const MAGIC: u32 = u32::from_le_bytes(*b"cspf");
/// Version of the frame layout itself; protocol versions are agreed in the handshake.
pub const FRAME_VERSION: u8 = 1;

const VERSION_AT: usize = 4;
const KIND_AT: usize = VERSION_AT + 1;
const RESERVED_AT: usize = KIND_AT + 1;
const LENGTH_AT: usize = RESERVED_AT + 2;
const CHECKSUM_AT: usize = LENGTH_AT + 4;
const GROUP_AT: usize = CHECKSUM_AT + 4;
/// Bytes of a header.
pub const HEADER_BYTES: usize = GROUP_AT + 8;

/// Largest body on an established connection: the largest client message (48 MiB) as one log entry, and room.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Largest body before the other side has introduced itself.
pub const GREETING_BYTES_MAX: usize = 256 << 10;
/// A batch of messages is split into frames of about this size.
pub const BATCH_BYTES_TARGET: usize = 1 << 20;
/// Largest chunk of a snapshot: the largest document (16 MiB) in one piece, and room.
pub const CHUNK_BYTES_MAX: usize = 32 << 20;

const _: () = assert!(BODY_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(CHUNK_BYTES_MAX < BODY_BYTES_MAX && BATCH_BYTES_TARGET < BODY_BYTES_MAX);

/// What a frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The dialler introduces itself.
    Hello = 1,
    /// The acceptor agrees.
    HelloReply = 2,
    /// Either side declines, with a reason; the connection ends.
    Refused = 3,
    /// Raft messages.
    Messages = 4,
    /// A snapshot's description.
    SnapshotBegin = 5,
    /// A piece of a snapshot.
    SnapshotChunk = 6,
    /// All pieces have been sent.
    SnapshotEnd = 7,
    /// The snapshot is durable at the receiver.
    SnapshotDone = 8,
    /// A data directory asks to be admitted.
    Join = 9,
    /// The answer to `Join`.
    JoinReply = 10,
    /// A small question between hosts.
    Request = 11,
    /// The answer to `Request`.
    Reply = 12,
    /// What the receiver of a snapshot has already.
    SnapshotResume = 13,
    /// How far the receiver of a snapshot has come.
    SnapshotAcknowledged = 14,
    /// Asks for an answer, to see how long it takes.
    Ping = 15,
    /// The answer to `Ping`, with its body.
    Pong = 16,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        let all = [
            Hello,
            HelloReply,
            Refused,
            Messages,
            SnapshotBegin,
            SnapshotChunk,
            SnapshotEnd,
            SnapshotDone,
            Join,
            JoinReply,
            Request,
            Reply,
            SnapshotResume,
            SnapshotAcknowledged,
            Ping,
            Pong,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Why bytes are not what a peer of this version would send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a peer connection at all.
    #[error(
        "the first bytes are not a peer frame ({found:#010x}); is this another service's port?"
    )]
    NotAFrame {
        /// The four bytes found.
        found: u32,
    },
    /// A layout this build does not know.
    #[error(
        "frame layout version {found} is unknown to this build (it knows {FRAME_VERSION}); upgrade the older side"
    )]
    UnknownVersion {
        /// The version found.
        found: u8,
    },
    /// A kind this build does not know.
    #[error("frame kind {found} is unknown to this build")]
    UnknownKind {
        /// The kind found.
        found: u8,
    },
    /// The announced body is larger than this connection allows.
    #[error("a frame announces {announced} bytes, more than the {allowed} allowed")]
    TooLong {
        /// From the header.
        announced: usize,
        /// The bound in force.
        allowed: usize,
    },
    /// A log entry that only a newer build reads.
    #[error("log entry {index} needs feature level {needed}, which this build does not know")]
    NewerEntry {
        /// Its log index.
        index: u64,
        /// The level that reads it.
        needed: u32,
    },
    /// The bytes were damaged on the way.
    #[error("a frame's checksum does not match its bytes")]
    Checksum,
    /// The body is not what its kind promises.
    #[error("a {kind:?} frame's body is malformed: {detail}")]
    Body {
        /// The frame's kind.
        kind: Kind,
        /// What is wrong.
        detail: String,
    },
    /// A known frame at the wrong moment.
    #[error("a {found:?} frame came where {expected} was expected")]
    Unexpected {
        /// The frame's kind.
        found: Kind,
        /// What would have been right.
        expected: &'static str,
    },
}

/// One whole, checked frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub kind: Kind,
    /// The Raft group it concerns; 0 where it concerns none.
    pub group: GroupId,
    /// The body's bytes.
    pub body: Bytes,
}

/// Appends a frame to `buffer`; `body` writes the body's bytes at the end of the buffer it is given.
///
/// Panics if the body exceeds [`BODY_BYTES_MAX`]: callers bound what they send.
pub fn encode(buffer: &mut Vec<u8>, kind: Kind, group: GroupId, body: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC.to_le_bytes());
    buffer.extend_from_slice(&[FRAME_VERSION, kind as u8, 0, 0]);
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&group.0.to_le_bytes());
    debug_assert_eq!(buffer.len() - start, HEADER_BYTES);
    body(buffer);
    let length = buffer.len() - start - HEADER_BYTES;
    assert!(
        length <= BODY_BYTES_MAX,
        "a frame body of {length} bytes exceeds the bound"
    );
    buffer[start + LENGTH_AT..start + CHECKSUM_AT].copy_from_slice(&(length as u32).to_le_bytes());
    let checksum = checksum(&buffer[start..]);
    buffer[start + CHECKSUM_AT..start + GROUP_AT].copy_from_slice(&checksum.to_le_bytes());
}

/// Takes one frame from the front of `buffer`, or `None` when more bytes are needed.
/// After an error the rest of the buffer means nothing: close the connection.
pub fn decode(buffer: &mut BytesMut, body_bytes_max: usize) -> Result<Option<Frame>, FrameError> {
    if buffer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let found = u32::from_le_bytes(four(buffer, 0));
    if found != MAGIC {
        return Err(FrameError::NotAFrame { found });
    }
    if buffer[VERSION_AT] != FRAME_VERSION {
        return Err(FrameError::UnknownVersion {
            found: buffer[VERSION_AT],
        });
    }
    let announced = u32::from_le_bytes(four(buffer, LENGTH_AT)) as usize;
    if announced > body_bytes_max {
        return Err(FrameError::TooLong {
            announced,
            allowed: body_bytes_max,
        });
    }
    if buffer.len() < HEADER_BYTES + announced {
        return Ok(None);
    }
    let mut whole = buffer.split_to(HEADER_BYTES + announced).freeze();
    if checksum(&whole) != u32::from_le_bytes(four(&whole, CHECKSUM_AT)) {
        return Err(FrameError::Checksum);
    }
    let kind = Kind::from_byte(whole[KIND_AT]).ok_or(FrameError::UnknownKind {
        found: whole[KIND_AT],
    })?;
    whole.advance(GROUP_AT);
    let group = GroupId(whole.get_u64_le());
    Ok(Some(Frame {
        kind,
        group,
        body: whole,
    }))
}

/// How many more bytes the frame at the front of `buffer` needs, as far as is known.
pub fn bytes_missing(buffer: &[u8]) -> usize {
    if buffer.len() < HEADER_BYTES {
        return HEADER_BYTES - buffer.len();
    }
    let announced = u32::from_le_bytes(four(buffer, LENGTH_AT)) as usize;
    (HEADER_BYTES + announced).saturating_sub(buffer.len())
}

fn checksum(frame: &[u8]) -> u32 {
    let before = crc32c::crc32c(&frame[..CHECKSUM_AT]);
    crc32c::crc32c_append(before, &frame[GROUP_AT..])
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes[at..at + 4].try_into().expect("a slice of four bytes")
}

#[cfg(test)]
mod tests;
