//! From an encoded value back to the value, where the encoding tells exactly what it was.
//!
//! It does not for what compares as equal and yet is not the same: numbers (`1`, `1.0` and decimal `1.00` share a key), and
//! null, which an index also holds for a field that is missing. Nor for strings that went through a collation: whoever asks
//! must know that. A symbol, a type out of use, is taken for the string that it equals.

use bson::oid::ObjectId;
use bson::raw::RawBson;
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Timestamp};

use super::{Direction, END, ESCAPE, tag};

/// The value that `key` is the whole encoding of; `None` where it may have been one of several, or is no encoding.
pub fn exact(key: &[u8], direction: Direction) -> Option<RawBson> {
    match direction {
        Direction::Ascending => exact_ascending(key),
        Direction::Descending => {
            let ascending: Vec<u8> = key.iter().map(|byte| !byte).collect();
            exact_ascending(&ascending)
        }
    }
}

fn exact_ascending(key: &[u8]) -> Option<RawBson> {
    let (&first, rest) = key.split_first()?;
    Some(match first {
        tag::STRING => RawBson::String(text(rest)?),
        tag::BINARY => binary(rest)?,
        tag::OBJECT_ID => RawBson::ObjectId(ObjectId::from_bytes(rest.try_into().ok()?)),
        tag::FALSE if rest.is_empty() => RawBson::Boolean(false),
        tag::TRUE if rest.is_empty() => RawBson::Boolean(true),
        tag::DATE => {
            let millis = i64::from_be_bytes(rest.try_into().ok()?) ^ i64::MIN;
            RawBson::DateTime(DateTime::from_millis(millis))
        }
        tag::TIMESTAMP => {
            let both = u64::from_be_bytes(rest.try_into().ok()?);
            RawBson::Timestamp(Timestamp {
                time: (both >> 32) as u32,
                increment: both as u32,
            })
        }
        tag::MIN_KEY if rest.is_empty() => RawBson::MinKey,
        tag::MAX_KEY if rest.is_empty() => RawBson::MaxKey,
        _ => return None,
    })
}

fn text(encoded: &[u8]) -> Option<String> {
    let (&END, encoded) = encoded.split_last()? else {
        return None;
    };
    if encoded.iter().all(|&byte| byte > ESCAPE) {
        return String::from_utf8(encoded.to_vec()).ok();
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut encoded = encoded.iter();
    while let Some(&byte) = encoded.next() {
        match byte {
            ESCAPE => bytes.push(encoded.next()?.checked_sub(1)?),
            END => return None,
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The key of the old subtype leaves out the length that its bytes begin with.
fn binary(encoded: &[u8]) -> Option<RawBson> {
    let (length, rest) = encoded.split_first_chunk::<4>()?;
    let (&subtype, bytes) = rest.split_first()?;
    let subtype = BinarySubtype::from(subtype);
    if subtype == BinarySubtype::BinaryOld || u32::from_be_bytes(*length) as usize != bytes.len() {
        return None;
    }
    Some(RawBson::Binary(Binary {
        subtype,
        bytes: bytes.to_vec(),
    }))
}
