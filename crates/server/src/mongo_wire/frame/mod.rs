//! Frames of the MongoDB wire protocol: OP_MSG, the opening OP_QUERY and its OP_REPLY, OP_COMPRESSED's shell.
//!
//! Parsing borrows from the connection's read buffer and copies nothing. It checks lengths, flags, sections
//! and the checksum; whether the documents inside are sound is the caller's to check. Every error here means
//! that the two sides no longer agree on where messages begin: close the connection.
//!
//! Follows the specification "MongoDB Wire Protocol" and drivers' "OP_MSG" specification.

use super::limits::MESSAGE_BYTES_MAX;

#[cfg(test)]
mod tests;

pub(crate) const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
const FLAGS_BYTES: usize = 4;
/// The shortest BSON document: its length and the closing zero.
const DOCUMENT_BYTES_MIN: usize = 5;

pub(crate) const OP_REPLY: i32 = 1;
pub(crate) const OP_QUERY: i32 = 2004;
pub(crate) const OP_COMPRESSED: i32 = 2012;
pub(crate) const OP_MSG: i32 = 2013;

pub(crate) const CHECKSUM_PRESENT: u32 = 1;
pub(crate) const MORE_TO_COME: u32 = 1 << 1;
pub(crate) const EXHAUST_ALLOWED: u32 = 1 << 16;
/// Bits 0-15 must be understood by the receiver.
const REQUIRED_FLAGS: u32 = 0xffff;

const SECTION_BODY: u8 = 0;
const SECTION_SEQUENCE: u8 = 1;

/// OP_REPLY's flag that the server knows awaitData; always set.
const REPLY_AWAIT_CAPABLE: i32 = 8;

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("message length {0} is outside 16..=48000000")]
    Length(i32),
    #[error("unknown opcode {0}")]
    Opcode(i32),
    #[error("the message ends inside its {0}")]
    Truncated(&'static str),
    #[error("flag bits {0:#x} are required and not known")]
    Flags(u32),
    #[error("unknown section kind {0}")]
    SectionKind(u8),
    #[error("a message has one body, this one has {0}")]
    Bodies(usize),
    #[error("a length of {0} inside the message is not possible")]
    InnerLength(i32),
    #[error("a name is not UTF-8")]
    Name,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("compressed with an algorithm that was not agreed on: {0}")]
    Compressor(u8),
    #[error("compressed data does not expand to the size it names")]
    Compressed,
}

/// The 16 bytes before every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whole message, this header included.
    pub length: usize,
    pub request_id: i32,
    pub opcode: i32,
}

impl Header {
    /// Reads the header at the start of `bytes`, which hold at least [`HEADER_BYTES`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let length = i32_at(bytes, 0).ok_or(FrameError::Truncated("header"))?;
        let request_id = i32_at(bytes, 4).ok_or(FrameError::Truncated("header"))?;
        let opcode = i32_at(bytes, 12).ok_or(FrameError::Truncated("header"))?;
        let bytes = usize::try_from(length).map_err(|_| FrameError::Length(length))?;
        if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&bytes) {
            return Err(FrameError::Length(length));
        }
        if !matches!(opcode, OP_MSG | OP_QUERY | OP_COMPRESSED) {
            return Err(FrameError::Opcode(opcode));
        }
        Ok(Header {
            length: bytes,
            request_id,
            opcode,
        })
    }
}

/// A document sequence (section kind 1): a name and documents back to back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence<'a> {
    pub name: &'a str,
    bytes: &'a [u8],
}

impl<'a> Sequence<'a> {
    /// The documents, each as its bytes; their length prefixes were checked by the parser.
    pub(crate) fn documents(&self) -> SequenceDocuments<'a> {
        SequenceDocuments { rest: self.bytes }
    }
}

/// Walks a sequence's documents.
pub(crate) struct SequenceDocuments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for SequenceDocuments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = document_length(self.rest).ok()?;
        let (document, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(document)
    }
}

/// A parsed OP_MSG.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub flags: u32,
    pub body: &'a [u8],
    pub sequences: Vec<Sequence<'a>>,
}

impl Message<'_> {
    pub(crate) fn more_to_come(&self) -> bool {
        self.flags & MORE_TO_COME != 0
    }

    pub(crate) fn exhaust_allowed(&self) -> bool {
        self.flags & EXHAUST_ALLOWED != 0
    }
}

/// Parses an OP_MSG; `message` is the whole message with its header.
pub(crate) fn parse_message(message: &[u8]) -> Result<Message<'_>, FrameError> {
    let flags = i32_at(message, HEADER_BYTES).ok_or(FrameError::Truncated("flags"))? as u32;
    let unknown = flags & REQUIRED_FLAGS & !(CHECKSUM_PRESENT | MORE_TO_COME);
    if unknown != 0 {
        return Err(FrameError::Flags(unknown));
    }
    let mut end = message.len();
    if flags & CHECKSUM_PRESENT != 0 {
        end = end
            .checked_sub(CHECKSUM_BYTES)
            .filter(|end| *end >= HEADER_BYTES + FLAGS_BYTES)
            .ok_or(FrameError::Truncated("checksum"))?;
        let expected = i32_at(message, end).ok_or(FrameError::Truncated("checksum"))? as u32;
        if crc32c::crc32c(&message[..end]) != expected {
            return Err(FrameError::Checksum);
        }
    }
    parse_sections(flags, &message[HEADER_BYTES + FLAGS_BYTES..end])
}

fn parse_sections(flags: u32, mut rest: &[u8]) -> Result<Message<'_>, FrameError> {
    let mut body = None;
    let mut sequences = Vec::new();
    while let Some((kind, section)) = rest.split_first() {
        match *kind {
            SECTION_BODY => {
                let (document, after) = section.split_at(document_length(section)?);
                if body.replace(document).is_some() {
                    return Err(FrameError::Bodies(2));
                }
                rest = after;
            }
            SECTION_SEQUENCE => {
                let (sequence, after) = parse_sequence(section)?;
                sequences.push(sequence);
                rest = after;
            }
            other => return Err(FrameError::SectionKind(other)),
        }
    }
    Ok(Message {
        flags,
        body: body.ok_or(FrameError::Bodies(0))?,
        sequences,
    })
}

fn parse_sequence(section: &[u8]) -> Result<(Sequence<'_>, &[u8]), FrameError> {
    let length = i32_at(section, 0).ok_or(FrameError::Truncated("document sequence"))?;
    let size = usize::try_from(length).map_err(|_| FrameError::InnerLength(length))?;
    if size < 5 || size > section.len() {
        return Err(FrameError::InnerLength(length));
    }
    let (content, after) = section.split_at(size);
    let content = &content[4..];
    let (name, bytes) = split_name(content)?;
    let mut unread = bytes;
    while !unread.is_empty() {
        unread = &unread[document_length(unread)?..];
    }
    Ok((Sequence { name, bytes }, after))
}

/// The opening handshake in the old form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// `database.collection`
    pub namespace: &'a str,
    pub document: &'a [u8],
}

/// Parses an OP_QUERY; `message` is the whole message with its header.
pub(crate) fn parse_query(message: &[u8]) -> Result<Query<'_>, FrameError> {
    let after_flags = message
        .get(HEADER_BYTES + FLAGS_BYTES..)
        .ok_or(FrameError::Truncated("flags"))?;
    let (namespace, rest) = split_name(after_flags)?;
    let skip_and_count = 8;
    let document = rest
        .get(skip_and_count..)
        .ok_or(FrameError::Truncated("query"))?;
    let length = document_length(document)?;
    Ok(Query {
        namespace,
        document: &document[..length],
    })
}

/// What an OP_COMPRESSED wraps; `data` is still compressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compressed<'a> {
    pub original_opcode: i32,
    pub original_bytes: usize,
    pub compressor: u8,
    pub data: &'a [u8],
}

/// Parses an OP_COMPRESSED; `message` is the whole message with its header.
pub(crate) fn parse_compressed(message: &[u8]) -> Result<Compressed<'_>, FrameError> {
    let at = HEADER_BYTES;
    let original_opcode = i32_at(message, at).ok_or(FrameError::Truncated("original opcode"))?;
    let size = i32_at(message, at + 4).ok_or(FrameError::Truncated("original size"))?;
    let compressor = *message
        .get(at + 8)
        .ok_or(FrameError::Truncated("compressor"))?;
    let original_bytes = usize::try_from(size).map_err(|_| FrameError::InnerLength(size))?;
    if original_bytes > MESSAGE_BYTES_MAX - HEADER_BYTES {
        return Err(FrameError::InnerLength(size));
    }
    if !matches!(original_opcode, OP_MSG | OP_QUERY) {
        return Err(FrameError::Opcode(original_opcode));
    }
    Ok(Compressed {
        original_opcode,
        original_bytes,
        compressor,
        data: &message[at + 9..],
    })
}

/// Appends an OP_MSG with one body and no checksum.
pub(crate) fn write_message(
    out: &mut Vec<u8>,
    request_id: i32,
    response_to: i32,
    flags: u32,
    body: &[u8],
) {
    let length = HEADER_BYTES + FLAGS_BYTES + 1 + body.len();
    out.reserve(length);
    write_header(out, length, request_id, response_to, OP_MSG);
    out.extend_from_slice(&flags.to_le_bytes());
    out.push(SECTION_BODY);
    out.extend_from_slice(body);
}

/// Appends an OP_REPLY with one document.
pub(crate) fn write_reply(out: &mut Vec<u8>, request_id: i32, response_to: i32, document: &[u8]) {
    let length = HEADER_BYTES + 20 + document.len();
    out.reserve(length);
    write_header(out, length, request_id, response_to, OP_REPLY);
    out.extend_from_slice(&REPLY_AWAIT_CAPABLE.to_le_bytes());
    out.extend_from_slice(&0i64.to_le_bytes()); // cursor id
    out.extend_from_slice(&0i32.to_le_bytes()); // starting from
    out.extend_from_slice(&1i32.to_le_bytes()); // documents returned
    out.extend_from_slice(document);
}

/// Appends a message header.
pub(crate) fn write_header(
    out: &mut Vec<u8>,
    length: usize,
    request_id: i32,
    response_to: i32,
    opcode: i32,
) {
    let length = i32::try_from(length).expect("replies are bounded far below 2 GiB");
    for field in [length, request_id, response_to, opcode] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

/// The length a document at the start of `bytes` claims, if it lies within `bytes`.
fn document_length(bytes: &[u8]) -> Result<usize, FrameError> {
    let claimed = i32_at(bytes, 0).ok_or(FrameError::Truncated("document"))?;
    let length = usize::try_from(claimed).map_err(|_| FrameError::InnerLength(claimed))?;
    if length < DOCUMENT_BYTES_MIN || length > bytes.len() {
        return Err(FrameError::InnerLength(claimed));
    }
    Ok(length)
}

/// Splits a zero-terminated name off the front.
fn split_name(bytes: &[u8]) -> Result<(&str, &[u8]), FrameError> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(FrameError::Truncated("name"))?;
    let name = std::str::from_utf8(&bytes[..end]).map_err(|_| FrameError::Name)?;
    Ok((name, &bytes[end + 1..]))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..at + 4)?;
    Some(i32::from_le_bytes(four.try_into().expect("four bytes")))
}
