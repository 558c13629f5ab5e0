//! Keys: an encoding of BSON values whose byte order is `order::compare`.
//!
//! Promises, for well-formed values:
//! - `encode(a) < encode(b)` exactly when a sorts before b, and the encodings are equal exactly when the values
//!   compare as equal (so `1`, `1.0` and decimal `1.00` share a key); descending reverses the order;
//! - no encoding is a prefix of another, hence keys of several components compare component by component and
//!   [`skip`] finds the end of each;
//! - no encoding starts with the byte 0x00 or 0xff, so both may bound a range.
//!
//! A value is a tag byte in the order of the types, then:
//!
//! | type | bytes after the tag |
//! |---|---|
//! | NaN, infinities, zero, booleans, null, undefined, MinKey, MaxKey | none: the tag says it all |
//! | number above zero | 8 bytes: bits of the magnitude cut down to a double, shifted left by one, lowest bit 1 if that lost something; then, only if so, 2 bytes of decimal exponent and 15 of 34 digits |
//! | number below zero | the same, all bits inverted |
//! | string, symbol, code | the bytes, 0x00 written as 01 01 and 0x01 as 01 02, then 0x00 |
//! | object | per field: tag of the value's class, name as a string, the value; then 0x00 |
//! | array | the members; then 0x00 |
//! | binary | 4 bytes of length, subtype, the bytes |
//! | ObjectId | its 12 bytes |
//! | date | 8 bytes, sign bit inverted |
//! | timestamp | 4 bytes of time, 4 of increment |
//! | regular expression | pattern and options, each as a string |
//! | DBPointer | 4 bytes of length, namespace and id |
//! | code with scope | code as a string, scope as an object without its tag |
//!
//! Integers are big-endian. A descending component is the ascending one with all bits inverted.

mod exact;
mod number;
mod skip;
#[cfg(test)]
mod tests;

pub use exact::exact;
pub use skip::skip;

use crate::order;
use bson::raw::{RawBsonRef, RawDocument};

/// Which way a component of a key sorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Low values first.
    Ascending,
    /// High values first.
    Descending,
}

/// The first byte of an encoded value. Gaps leave room for types to come.
mod tag {
    pub const MIN_KEY: u8 = 0x01;
    pub const UNDEFINED: u8 = 0x08;
    pub const NULL: u8 = 0x10;
    pub const NAN: u8 = 0x18;
    pub const NEGATIVE_INFINITY: u8 = 0x19;
    pub const NEGATIVE: u8 = 0x1a;
    pub const ZERO: u8 = 0x1b;
    pub const POSITIVE: u8 = 0x1c;
    pub const POSITIVE_INFINITY: u8 = 0x1d;
    pub const STRING: u8 = 0x28;
    pub const OBJECT: u8 = 0x30;
    pub const ARRAY: u8 = 0x38;
    pub const BINARY: u8 = 0x40;
    pub const OBJECT_ID: u8 = 0x48;
    pub const FALSE: u8 = 0x50;
    pub const TRUE: u8 = 0x51;
    pub const DATE: u8 = 0x58;
    pub const TIMESTAMP: u8 = 0x60;
    pub const REGEX: u8 = 0x68;
    pub const DB_POINTER: u8 = 0x70;
    pub const CODE: u8 = 0x78;
    pub const CODE_WITH_SCOPE: u8 = 0x80;
    pub const MAX_KEY: u8 = 0xf0;
}

/// Ends a string, an object and an array: below every tag and every escaped byte.
const END: u8 = 0x00;
/// Introduces the two bytes that may not stand in an encoded string.
const ESCAPE: u8 = 0x01;

/// Appends the encoding of `value`.
pub fn encode(value: RawBsonRef<'_>, direction: Direction, key: &mut Vec<u8>) {
    let start = key.len();
    encode_ascending(value, key);
    if direction == Direction::Descending {
        for byte in &mut key[start..] {
            *byte = !*byte;
        }
    }
}

/// The encodings of several values one after the other.
pub fn encode_compound<'a>(
    values: impl IntoIterator<Item = (RawBsonRef<'a>, Direction)>,
) -> Vec<u8> {
    let mut key = Vec::new();
    for (value, direction) in values {
        encode(value, direction, &mut key);
    }
    key
}

/// The key of an `_id` value: ascending, on its own.
pub fn id_key(id: RawBsonRef<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    encode_ascending(id, &mut key);
    key
}

fn encode_ascending(value: RawBsonRef<'_>, key: &mut Vec<u8>) {
    match value {
        RawBsonRef::MinKey => key.push(tag::MIN_KEY),
        RawBsonRef::Undefined => key.push(tag::UNDEFINED),
        RawBsonRef::Null => key.push(tag::NULL),
        RawBsonRef::Int32(integer) => number::encode_integer(i64::from(integer), key),
        RawBsonRef::Int64(integer) => number::encode_integer(integer, key),
        RawBsonRef::Double(double) => number::encode_double(double, key),
        RawBsonRef::Decimal128(decimal) => number::encode_decimal(decimal, key),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => {
            key.push(tag::STRING);
            encode_text(text, key);
        }
        RawBsonRef::Document(document) => {
            key.push(tag::OBJECT);
            encode_fields(document, key);
        }
        RawBsonRef::Array(array) => {
            key.push(tag::ARRAY);
            for member in array.into_iter().map_while(Result::ok) {
                encode_ascending(member, key);
            }
            key.push(END);
        }
        RawBsonRef::Binary(binary) => {
            key.push(tag::BINARY);
            key.extend_from_slice(&(order::binary_length(&binary) as u32).to_be_bytes());
            key.push(binary.subtype.into());
            key.extend_from_slice(binary.bytes);
        }
        RawBsonRef::ObjectId(id) => {
            key.push(tag::OBJECT_ID);
            key.extend_from_slice(&id.bytes());
        }
        RawBsonRef::Boolean(false) => key.push(tag::FALSE),
        RawBsonRef::Boolean(true) => key.push(tag::TRUE),
        RawBsonRef::DateTime(date) => {
            key.push(tag::DATE);
            let millis = date.timestamp_millis() ^ i64::MIN;
            key.extend_from_slice(&millis.to_be_bytes());
        }
        RawBsonRef::Timestamp(timestamp) => {
            key.push(tag::TIMESTAMP);
            key.extend_from_slice(&timestamp.time.to_be_bytes());
            key.extend_from_slice(&timestamp.increment.to_be_bytes());
        }
        RawBsonRef::RegularExpression(regex) => {
            key.push(tag::REGEX);
            encode_text(regex.pattern.as_str(), key);
            encode_text(regex.options.as_str(), key);
        }
        RawBsonRef::DbPointer(_) => {
            key.push(tag::DB_POINTER);
            let bytes = order::db_pointer_bytes(value);
            key.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            key.extend_from_slice(&bytes);
        }
        RawBsonRef::JavaScriptCode(code) => {
            key.push(tag::CODE);
            encode_text(code, key);
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            key.push(tag::CODE_WITH_SCOPE);
            encode_text(code.code, key);
            encode_fields(code.scope, key);
        }
        RawBsonRef::MaxKey => key.push(tag::MAX_KEY),
    }
}

fn encode_text(text: &str, key: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if bytes.iter().all(|&byte| byte > ESCAPE) {
        key.extend_from_slice(bytes);
    } else {
        for &byte in bytes {
            match byte {
                0x00 | 0x01 => key.extend_from_slice(&[ESCAPE, byte + 1]),
                _ => key.push(byte),
            }
        }
    }
    key.push(END);
}

fn encode_fields(document: &RawDocument, key: &mut Vec<u8>) {
    for (name, value) in document.iter().map_while(Result::ok) {
        // Fields order by class, then name, then value: so the class comes before the name.
        key.push(class_tag(value));
        encode_text(name.as_str(), key);
        encode_ascending(value, key);
    }
    key.push(END);
}

/// One tag for all values of a class.
fn class_tag(value: RawBsonRef<'_>) -> u8 {
    use order::TypeClass;
    match order::type_class(value) {
        TypeClass::MinKey => tag::MIN_KEY,
        TypeClass::Undefined => tag::UNDEFINED,
        TypeClass::Null => tag::NULL,
        TypeClass::Number => tag::ZERO,
        TypeClass::String => tag::STRING,
        TypeClass::Object => tag::OBJECT,
        TypeClass::Array => tag::ARRAY,
        TypeClass::Binary => tag::BINARY,
        TypeClass::ObjectId => tag::OBJECT_ID,
        TypeClass::Boolean => tag::FALSE,
        TypeClass::DateTime => tag::DATE,
        TypeClass::Timestamp => tag::TIMESTAMP,
        TypeClass::Regex => tag::REGEX,
        TypeClass::DbPointer => tag::DB_POINTER,
        TypeClass::Code => tag::CODE,
        TypeClass::CodeWithScope => tag::CODE_WITH_SCOPE,
        TypeClass::MaxKey => tag::MAX_KEY,
    }
}
