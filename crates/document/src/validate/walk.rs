//! The pass over the bytes: <https://bsonspec.org/spec.html>.

use crate::error::{DocumentError, ErrorKind};
use bson::spec::{BinarySubtype, ElementType};

/// A field as the walk comes by.
pub(super) struct Field<'a> {
    pub name: &'a [u8],
    pub element_type: ElementType,
    /// 0 for the fields of the document itself.
    pub level: usize,
    /// Whether the field stands inside the `_id` of the document itself.
    pub in_id: bool,
}

type Visit<'v> = &'v mut dyn FnMut(Field<'_>) -> Result<(), DocumentError>;

const LENGTH_BYTES: usize = 4;
const DOCUMENT_BYTES_MIN: usize = LENGTH_BYTES + 1;

/// Checks every byte of `bytes`, a document, and shows `visit` its fields in order.
pub(super) fn walk(
    bytes: &[u8],
    nesting_max: usize,
    visit: Visit<'_>,
) -> Result<(), DocumentError> {
    let mut cursor = Cursor { bytes, position: 0 };
    // Where the terminators of the open documents stand, outermost first.
    let mut ends = vec![cursor.enter(bytes.len())?];
    if ends[0] + 1 != bytes.len() {
        return Err(malformed("document length incorrect"));
    }
    let mut in_id = false;
    while let Some(&end) = ends.last() {
        let element_type = cursor.byte(end + 1)?;
        match (element_type, cursor.position > end) {
            (0, true) => {
                ends.pop();
                continue;
            }
            (0, false) => return Err(malformed("document ends before its length says")),
            (_, true) => return Err(malformed("document without its terminator")),
            (_, false) => {}
        }
        let element_type = ElementType::from(element_type)
            .ok_or_else(|| malformed(format!("unknown element type 0x{element_type:02x}")))?;
        let name = cursor.c_string(end)?;
        let level = ends.len() - 1;
        if level == 0 {
            in_id = name == b"_id";
        }
        visit(Field {
            name,
            element_type,
            level,
            in_id: in_id && level > 0,
        })?;
        if let Some(inner_end) = cursor.value(element_type, end)? {
            if ends.len() > nesting_max {
                return Err(DocumentError::new(
                    ErrorKind::Overflow,
                    format!("Document exceeds maximum nesting depth of {nesting_max}"),
                ));
            }
            ends.push(inner_end);
        }
    }
    assert!(
        cursor.position == bytes.len(),
        "the outermost terminator is the last byte"
    );
    Ok(())
}

/// A position that never passes the `end` it is given, which never passes the bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize, end: usize) -> Result<&'a [u8], DocumentError> {
        if length > end - self.position {
            return Err(malformed("value reaches past the end of its document"));
        }
        let taken = &self.bytes[self.position..self.position + length];
        self.position += length;
        Ok(taken)
    }

    fn byte(&mut self, end: usize) -> Result<u8, DocumentError> {
        Ok(self.take(1, end)?[0])
    }

    fn length(&mut self, end: usize) -> Result<usize, DocumentError> {
        let bytes = self.take(LENGTH_BYTES, end)?;
        let length = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        usize::try_from(length).map_err(|_| malformed("negative length"))
    }

    fn c_string(&mut self, end: usize) -> Result<&'a [u8], DocumentError> {
        let rest = &self.bytes[self.position..end];
        // Names are short and mostly ASCII: one pass finds their end and whether to look closer.
        let mut all_bits = 0u8;
        for (length, &byte) in rest.iter().enumerate() {
            if byte == 0 {
                self.position += length + 1;
                if !all_bits.is_ascii() {
                    text(&rest[..length])?;
                }
                return Ok(&rest[..length]);
            }
            all_bits |= byte;
        }
        Err(malformed("name or pattern without its terminator"))
    }

    fn string(&mut self, end: usize) -> Result<(), DocumentError> {
        let length = self.length(end)?;
        match self.take(length, end)?.split_last() {
            Some((0, content)) => text(content),
            _ => Err(malformed("string without its terminator")),
        }
    }

    /// Steps over the length of an embedded document; where its terminator must stand.
    fn enter(&mut self, end: usize) -> Result<usize, DocumentError> {
        let start = self.position;
        let length = self.length(end)?;
        if length < DOCUMENT_BYTES_MIN || length > end - start {
            return Err(malformed("document length incorrect"));
        }
        Ok(start + length - 1)
    }

    /// Steps over a value, but only into a document: then where the document ends.
    fn value(
        &mut self,
        element_type: ElementType,
        end: usize,
    ) -> Result<Option<usize>, DocumentError> {
        let fixed_length = match element_type {
            ElementType::EmbeddedDocument | ElementType::Array => return self.enter(end).map(Some),
            ElementType::JavaScriptCodeWithScope => return self.code_with_scope(end).map(Some),
            ElementType::String | ElementType::JavaScriptCode | ElementType::Symbol => {
                self.string(end)?;
                0
            }
            ElementType::DbPointer => {
                self.string(end)?;
                12
            }
            ElementType::Binary => {
                self.binary(end)?;
                0
            }
            ElementType::RegularExpression => {
                self.c_string(end)?;
                self.c_string(end)?;
                0
            }
            ElementType::Boolean => {
                if self.byte(end)? > 1 {
                    return Err(malformed("boolean is neither 0 nor 1"));
                }
                0
            }
            ElementType::Int32 => 4,
            ElementType::Int64 | ElementType::Double => 8,
            ElementType::DateTime | ElementType::Timestamp => 8,
            ElementType::ObjectId => 12,
            ElementType::Decimal128 => 16,
            ElementType::Null | ElementType::Undefined => 0,
            ElementType::MinKey | ElementType::MaxKey => 0,
        };
        self.take(fixed_length, end)?;
        Ok(None)
    }

    fn binary(&mut self, end: usize) -> Result<(), DocumentError> {
        let length = self.length(end)?;
        let subtype = BinarySubtype::from(self.byte(end)?);
        let content = self.take(length, end)?;
        // The old generic subtype repeats its length inside.
        if subtype == BinarySubtype::BinaryOld {
            let inner = Cursor {
                bytes: content,
                position: 0,
            }
            .length(content.len())?;
            if inner + LENGTH_BYTES != length {
                return Err(malformed("old binary with a wrong inner length"));
            }
        }
        Ok(())
    }

    /// Total length, code, then a scope document that fills the rest.
    fn code_with_scope(&mut self, end: usize) -> Result<usize, DocumentError> {
        let start = self.position;
        let length = self.length(end)?;
        if length < LENGTH_BYTES || length > end - start {
            return Err(malformed(
                "code with scope reaches past the end of its document",
            ));
        }
        let value_end = start + length;
        self.string(value_end)?;
        let scope_end = self.enter(value_end)?;
        if scope_end + 1 != value_end {
            return Err(malformed("scope does not fill its value"));
        }
        Ok(scope_end)
    }
}

fn text(bytes: &[u8]) -> Result<(), DocumentError> {
    std::str::from_utf8(bytes)
        .map(|_| ())
        .map_err(|_| DocumentError::new(ErrorKind::InvalidBson, "Invalid BSON: not valid UTF-8"))
}

fn malformed(what: impl std::fmt::Display) -> DocumentError {
    DocumentError::new(ErrorKind::InvalidBson, format!("Invalid BSON: {what}"))
}
