//! Keys: an encoding of BSON values whose byte order is `order::compare`.

use crate::error::DocumentError;
use bson::raw::RawBsonRef;

/// Which way a component of a key sorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Low values first.
    Ascending,
    /// High values first.
    Descending,
}

/// Appends the encoding of `value`.
pub fn encode(value: RawBsonRef<'_>, direction: Direction, key: &mut Vec<u8>) {
    let _ = (value, direction, key);
    todo!()
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
    let mut key = Vec::new();
    encode(id, Direction::Ascending, &mut key);
    key
}

/// The length of the first encoded value in `key`; None if it does not start with a whole one.
pub fn skip(key: &[u8], direction: Direction) -> Option<usize> {
    let _ = (key, direction);
    todo!()
}

#[allow(unused)]
type Unused = DocumentError;
