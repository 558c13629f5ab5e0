//! OP_MSG messages as a client writes and reads them: one body, at most one document sequence, no checksum.

use bson::{RawDocument, RawDocumentBuf};

/// Bytes of the header: length, request id, response-to, opcode.
pub(crate) const HEADER_BYTES: usize = 16;
/// Offset of the request id, which a prepared message changes each time it is sent.
pub(crate) const REQUEST_ID_AT: usize = 4;
/// Largest message either side may send.
pub(crate) const MESSAGE_BYTES_MAX: usize = 48_000_000;

const RESPONSE_TO_AT: usize = 8;
const OPCODE_AT: usize = 12;
const FLAGS_AT: usize = HEADER_BYTES;
const SECTION_AT: usize = FLAGS_AT + 4;
/// Where the body of a message without sequences begins.
pub(crate) const BODY_AT: usize = SECTION_AT + 1;
const OP_MSG: i32 = 2013;

/// Appends a message to `buffer`.
pub(crate) fn encode(
    buffer: &mut Vec<u8>,
    request_id: i32,
    body: &RawDocument,
    sequence: Option<(&str, &[RawDocumentBuf])>,
) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&request_id.to_le_bytes());
    buffer.extend_from_slice(&0_i32.to_le_bytes());
    buffer.extend_from_slice(&OP_MSG.to_le_bytes());
    buffer.extend_from_slice(&0_u32.to_le_bytes());
    buffer.push(0);
    buffer.extend_from_slice(body.as_bytes());
    if let Some((name, documents)) = sequence {
        buffer.push(1);
        let section = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(name.as_bytes());
        buffer.push(0);
        for document in documents {
            buffer.extend_from_slice(document.as_bytes());
        }
        set_length(buffer, section);
    }
    set_length(buffer, start);
}

/// The whole length of the message whose header begins `bytes`, once the first four bytes are there.
/// `Err` carries a length no message can have.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, i64> {
    let Some(prefix) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_le_bytes(*prefix);
    match usize::try_from(length) {
        Ok(length) if (BODY_AT + 5..=MESSAGE_BYTES_MAX).contains(&length) => Ok(Some(length)),
        _ => Err(i64::from(length)),
    }
}

/// The body of a whole reply and the request it answers.
pub(crate) fn decode(message: &[u8]) -> Result<(i32, &RawDocument), String> {
    let opcode = integer_at(message, OPCODE_AT).ok_or("a truncated header")?;
    if opcode != OP_MSG {
        return Err(format!("opcode {opcode} where OP_MSG was expected"));
    }
    let flags = integer_at(message, FLAGS_AT).ok_or("truncated flags")?;
    if flags & 1 != 0 {
        return Err("a checksum nobody asked for".to_owned());
    }
    if message.get(SECTION_AT) != Some(&0) {
        return Err("a reply that does not begin with its body".to_owned());
    }
    let response_to = integer_at(message, RESPONSE_TO_AT).ok_or("a truncated header")?;
    let body = message.get(BODY_AT..).ok_or("a truncated body")?;
    let body =
        RawDocument::from_bytes(body).map_err(|error| format!("a malformed document: {error}"))?;
    Ok((response_to, body))
}

fn integer_at(bytes: &[u8], at: usize) -> Option<i32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(i32::from_le_bytes(four))
}

fn set_length(buffer: &mut [u8], start: usize) {
    let length = u32::try_from(buffer.len() - start).expect("callers keep messages under 48 MB");
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
}
