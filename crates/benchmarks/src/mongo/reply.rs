//! Checks of replies. Every reply is checked, at the price of a comparison: replies of one command look alike, so the bytes
//! that prove success are looked for where they stood last time, then anywhere, and only then is the reply parsed.

use bson::raw::{RawBsonRef, RawDocument};

use super::message::{BODY_AT, HEADER_BYTES, OP_MSG, places};
use crate::load::{Id, LoadError};

const OK_DOUBLE: &[u8] = b"\x01ok\x00\x00\x00\x00\x00\x00\x00\xf0\x3f";
const ID_NAME: &[u8] = b"\x07_id\x00";

/// Bytes that must stand somewhere in each reply.
#[derive(Debug)]
struct Sought {
    bytes: Vec<u8>,
    last_at: usize,
}

impl Sought {
    fn new(bytes: Vec<u8>) -> Self {
        Sought { bytes, last_at: 0 }
    }

    fn stands_in(&mut self, reply: &[u8]) -> bool {
        let there = reply.get(self.last_at..self.last_at + self.bytes.len());
        if there == Some(&self.bytes) {
            return true;
        }
        match places(reply, &self.bytes).first() {
            Some(at) => {
                self.last_at = *at;
                true
            }
            None => false,
        }
    }
}

/// Checks the replies to inserts of a fixed number of documents.
#[derive(Debug)]
pub(super) struct InsertCheck {
    documents: i32,
    ok: Sought,
    n: Sought,
}

impl InsertCheck {
    pub(super) fn new(documents: i32) -> Self {
        let mut n = b"\x10n\x00".to_vec();
        n.extend_from_slice(&documents.to_le_bytes());
        InsertCheck {
            documents,
            ok: Sought::new(OK_DOUBLE.to_vec()),
            n: Sought::new(n),
        }
    }

    pub(super) fn check(&mut self, reply: &[u8]) -> Result<(), LoadError> {
        // An acknowledged write is not enough: errors of single documents come with ok: 1.
        if is_message(reply)
            && self.ok.stands_in(reply)
            && self.n.stands_in(reply)
            && places(reply, b"write").is_empty()
        {
            return Ok(());
        }
        let body = succeeded(reply)?;
        let errors = body.get("writeErrors").ok().flatten().is_some()
            || body.get("writeConcernError").ok().flatten().is_some();
        if !errors && number(body, "n") == Some(f64::from(self.documents)) {
            return Ok(());
        }
        Err(LoadError::Refused(format!("{body:?}")))
    }
}

/// Checks that the document asked for came back.
#[derive(Debug)]
pub(super) struct FindCheck {
    ok: Sought,
    id: Sought,
}

impl FindCheck {
    pub(super) fn new() -> Self {
        let mut id = ID_NAME.to_vec();
        id.extend_from_slice(&[0; 12]);
        FindCheck {
            ok: Sought::new(OK_DOUBLE.to_vec()),
            id: Sought::new(id),
        }
    }

    pub(super) fn check(&mut self, reply: &[u8], id: &Id) -> Result<(), LoadError> {
        self.id.bytes[ID_NAME.len()..].copy_from_slice(id);
        if is_message(reply) && self.id.stands_in(reply) && self.ok.stands_in(reply) {
            return Ok(());
        }
        let body = succeeded(reply)?;
        Err(LoadError::Protocol(format!(
            "a find without the document asked for: {body:?}"
        )))
    }
}

/// The body of a reply that says ok: 1.
pub(super) fn succeeded(reply: &[u8]) -> Result<&RawDocument, LoadError> {
    let body = body(reply)?;
    if number(body, "ok") == Some(1.0) {
        Ok(body)
    } else {
        Err(LoadError::Refused(format!("{body:?}")))
    }
}

/// The body of an OP_MSG without sequences.
pub(super) fn body(message: &[u8]) -> Result<&RawDocument, LoadError> {
    if !is_message(message) {
        return Err(LoadError::Protocol("not an OP_MSG".to_owned()));
    }
    RawDocument::from_bytes(&message[BODY_AT..])
        .map_err(|error| LoadError::Protocol(format!("a malformed document: {error}")))
}

/// A number or truth value of a reply.
pub(crate) fn number(document: &RawDocument, name: &str) -> Option<f64> {
    match document.get(name).ok()?? {
        RawBsonRef::Double(value) => Some(value),
        RawBsonRef::Int32(value) => Some(f64::from(value)),
        RawBsonRef::Int64(value) => Some(value as f64),
        RawBsonRef::Boolean(value) => Some(f64::from(u8::from(value))),
        _ => None,
    }
}

/// An OP_MSG that begins with its body and carries no checksum.
fn is_message(bytes: &[u8]) -> bool {
    bytes.len() > BODY_AT
        && bytes[12..HEADER_BYTES] == OP_MSG.to_le_bytes()
        && bytes[HEADER_BYTES] & 1 == 0
        && bytes[BODY_AT - 1] == 0
}
