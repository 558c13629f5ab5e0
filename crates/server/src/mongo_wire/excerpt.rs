//! The beginning of a command, for those who ask what is running or what was slow: its first KiB, and what of it can be read.

use bson::Document;
use bson::raw::RawDocument;

use super::request::Request;

/// What is kept of a command.
pub(crate) const EXCERPT_BYTES_MAX: usize = 1024;

/// Documents and texts begin with their lengths.
const LENGTH_BYTES: usize = 4;

/// The beginning of a command: its body, then the documents of its first sequence. Can be used again and again without
/// allocating.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    bytes: Vec<u8>,
    /// How much of that is the body.
    body_bytes: usize,
    /// The name of the sequence, where the rest comes from.
    sequence: String,
    is_whole: bool,
}

impl Excerpt {
    /// Takes the beginning of this command in place of what was there.
    pub(crate) fn take(&mut self, request: &Request<'_>) {
        let body = request.body.as_bytes();
        self.bytes.clear();
        self.sequence.clear();
        self.is_whole = request.sequences.len() <= 1;
        self.append(body);
        self.body_bytes = self.bytes.len();
        let Some(sequence) = request.sequences.first() else {
            return;
        };
        self.sequence.push_str(sequence.name);
        for document in sequence.documents() {
            if !self.append(document) {
                break;
            }
        }
    }

    /// Whether all of it had room.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let room = EXCERPT_BYTES_MAX - self.bytes.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(taken);
        self.is_whole &= taken.len() == bytes.len();
        taken.len() == bytes.len()
    }

    /// The command as far as it was taken; `$truncated: true` ends one that went on.
    pub(crate) fn document(&self) -> Document {
        let (body, sequence) = self.bytes.split_at(self.body_bytes);
        let mut document = readable(body).0;
        let mut members = Vec::new();
        let mut rest = sequence;
        while !rest.is_empty() {
            let (member, length) = readable(rest);
            members.push(member.into());
            rest = rest.get(length..).unwrap_or_default();
        }
        if !members.is_empty() {
            document.insert(&self.sequence, bson::Bson::Array(members));
        }
        if !self.is_whole {
            document.insert("$truncated", true);
        }
        document
    }
}

/// The document at the start of `bytes` as far as it can be read, and how long the whole of it is.
fn readable(bytes: &[u8]) -> (Document, usize) {
    let mut mended = Vec::with_capacity(bytes.len() + 64);
    mend(bytes, &mut mended);
    let document = RawDocument::from_bytes(&mended)
        .ok()
        .and_then(|document| Document::try_from(document).ok());
    let length = number(bytes).unwrap_or(bytes.len());
    (document.unwrap_or_default(), length.max(1))
}

/// Copies the document at the start of `input`, which may end anywhere, into `output` as far as it goes.
fn mend(input: &[u8], output: &mut Vec<u8>) {
    let begin = output.len();
    output.extend_from_slice(&[0; LENGTH_BYTES]);
    let mut rest = input.get(LENGTH_BYTES..).unwrap_or_default();
    while let Some(kind) = rest.first().copied().filter(|kind| *kind != 0) {
        let Some(name) = rest.iter().position(|byte| *byte == 0) else {
            break;
        };
        let (head, value) = rest.split_at(name + 1);
        match value_bytes(kind, value) {
            Some(length) if length <= value.len() => {
                output.extend_from_slice(head);
                output.extend_from_slice(&value[..length]);
                rest = &value[length..];
            }
            _ => {
                mend_value(kind, head, value, output);
                break;
            }
        }
    }
    output.push(0);
    let length = u32::try_from(output.len() - begin).unwrap_or(u32::MAX);
    output[begin..begin + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// An element whose value is cut: documents, arrays and texts have beginnings; the others are left out.
fn mend_value(kind: u8, head: &[u8], value: &[u8], output: &mut Vec<u8>) {
    let Some(beginning) = value.get(LENGTH_BYTES..) else {
        return;
    };
    match kind {
        0x03 | 0x04 => {
            output.extend_from_slice(head);
            mend(value, output);
        }
        0x02 => {
            let length = match std::str::from_utf8(beginning) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            output.extend_from_slice(head);
            let with_end = u32::try_from(length + 1).unwrap_or(u32::MAX);
            output.extend_from_slice(&with_end.to_le_bytes());
            output.extend_from_slice(&beginning[..length]);
            output.push(0);
        }
        _ => {}
    }
}

/// How long a value of this type is, as the bytes at its start say; `None` if they do not reach that far.
fn value_bytes(kind: u8, value: &[u8]) -> Option<usize> {
    let text = || Some(LENGTH_BYTES + number(value)?);
    match kind {
        0x06 | 0x0A | 0x7F | 0xFF => Some(0),
        0x08 => Some(1),
        0x10 => Some(4),
        0x01 | 0x09 | 0x11 | 0x12 => Some(8),
        0x07 => Some(12),
        0x13 => Some(16),
        0x02 | 0x0D | 0x0E => text(),
        0x0C => Some(text()? + 12),
        0x05 => Some(text()? + 1),
        0x03 | 0x04 | 0x0F => number(value),
        0x0B => {
            let mut ends = value.iter().enumerate().filter(|(_, byte)| **byte == 0);
            Some(ends.nth(1)?.0 + 1)
        }
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.first_chunk::<LENGTH_BYTES>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;

    fn taken(command: &Document) -> Document {
        let body = RawDocumentBuf::try_from(command).expect("a document");
        let request = Request::parse(&body, &[], Some("test"), false).expect("a command");
        let mut excerpt = Excerpt::default();
        excerpt.take(&request);
        excerpt.document()
    }

    #[test]
    fn a_short_command_is_told_whole() {
        let command = doc! {
            "find": "c", "filter": {"a": {"$in": [1, 2.5, i64::MAX, "x", null, true]}},
            "when": bson::DateTime::from_millis(7), "id": bson::oid::ObjectId::from_bytes([7; 12]),
            "bytes": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] },
            "like": bson::Regex { pattern: bson::raw::cstr!("^a").into(), options: bson::raw::cstr!("i").into() },
            "at": bson::Timestamp { time: 1, increment: 2 }, "least": bson::Bson::MinKey,
        };
        assert_eq!(taken(&command), command);
    }

    #[test]
    fn a_long_command_is_cut_where_it_is_long() {
        let numbers: Vec<i32> = (0..10_000).collect();
        let told = taken(&doc! {"find": "c", "filter": {"a": {"$in": numbers}}, "limit": 3});
        let list = told.get_document("filter").expect("begun");
        let list = list.get_document("a").expect("begun");
        let list = list.get_array("$in").expect("begun");
        assert_eq!(list[1], bson::Bson::Int32(1));
        assert!((50..200).contains(&list.len()), "{}", list.len());
        assert_eq!(told.get("limit"), None);
        assert_eq!(told.get_bool("$truncated").ok(), Some(true));
        let told = taken(&doc! {"insert": "c", "text": "ä".repeat(4_000)});
        let text = told.get_str("text").expect("begun");
        assert!((400..512).contains(&text.chars().count()));
    }

    #[test]
    fn wherever_it_is_cut_it_can_be_read() {
        let value = doc! {"a": [1, {"b": "text"}, 2.5], "like": bson::Regex {
            pattern: bson::raw::cstr!("^a").into(), options: bson::raw::cstr!("i").into(),
        }};
        for length in 0..300 {
            let told = taken(
                &doc! {"find": "x".repeat(EXCERPT_BYTES_MAX - length), "value": value.clone()},
            );
            assert!(told.get_str("find").is_ok(), "{length}");
        }
    }
}
