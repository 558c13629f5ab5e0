//! What clients send: OP_MSG, OP_QUERY and OP_COMPRESSED, and the BSON in them.

use bson::raw::RawDocument;

use crate::mongo_wire::compression;
use crate::mongo_wire::frame::{self, HEADER_BYTES, Header, OP_COMPRESSED, OP_MSG, OP_QUERY};
use crate::mongo_wire::limits::MESSAGE_BYTES_MAX;

/// A message as a connection takes it: header first, then what the header announces.
pub(crate) fn message(data: &[u8]) -> bool {
    let Ok(header) = Header::parse(data) else {
        return false;
    };
    assert!((HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&header.length));
    let Some(message) = data.get(..header.length) else {
        return false;
    };
    let mut expanded = Vec::new();
    match header.opcode {
        OP_COMPRESSED => match compression::expand(header, message, &mut expanded) {
            Ok(inner) => plain(inner, &expanded),
            Err(_) => false,
        },
        _ => plain(header, message),
    }
}

fn plain(header: Header, message: &[u8]) -> bool {
    match header.opcode {
        OP_MSG => frame::parse_message(message).is_ok_and(|message| {
            let sequences = message.sequences.iter();
            let documents = sequences.flat_map(|sequence| sequence.documents());
            // All are looked at, whatever is found.
            let sound = documents.filter(|document| is_sound(document)).count();
            is_sound(message.body) && sound <= message.body.len() + header.length
        }),
        OP_QUERY => frame::parse_query(message).is_ok_and(|query| is_sound(query.document)),
        _ => false,
    }
}

fn is_sound(bytes: &[u8]) -> bool {
    let nesting_max = document::validate::REQUEST_NESTING_MAX;
    RawDocument::from_bytes(bytes)
        .is_ok_and(|found| document::validate::well_formed(found, nesting_max).is_ok())
}

/// A message of each kind.
pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    let command = bson::rawdoc! { "insert": "c", "ordered": true, "$db": "d", "lsid": { "id": 7 }, "txnNumber": 1_i64 };
    let mut plain = Vec::new();
    frame::write_message(&mut plain, 1, 0, 0, command.as_bytes());
    let mut sequence = plain.clone();
    sequence.push(1);
    let section_at = sequence.len();
    sequence.extend_from_slice(&[0; 4]);
    sequence.extend_from_slice(b"documents\0");
    for number in 0..3 {
        sequence
            .extend_from_slice(bson::rawdoc! { "_id": number, "a": [1, { "b": "c" }] }.as_bytes());
    }
    let section_bytes = (sequence.len() - section_at) as i32;
    sequence[section_at..section_at + 4].copy_from_slice(&section_bytes.to_le_bytes());
    set_length(&mut sequence);
    let mut sealed = plain.clone();
    sealed[HEADER_BYTES] = 1;
    sealed.extend_from_slice(&[0; 4]);
    set_length(&mut sealed);
    let at = sealed.len() - 4;
    let sum = crc32c::crc32c(&sealed[..at]);
    sealed[at..].copy_from_slice(&sum.to_le_bytes());
    let mut query = Vec::new();
    frame::write_header(&mut query, 0, 1, 0, OP_QUERY);
    query.extend_from_slice(&[0; 4]);
    query.extend_from_slice(b"admin.$cmd\0");
    query.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
    query.extend_from_slice(bson::rawdoc! { "hello": 1 }.as_bytes());
    set_length(&mut query);
    let mut compressed = Vec::new();
    compression::compress(&mut compressed, &sequence, 1, 0);
    vec![plain, sequence, sealed, query, compressed]
}

fn set_length(message: &mut [u8]) {
    let length = message.len() as i32;
    message[..4].copy_from_slice(&length.to_le_bytes());
}
