//! Which group a key of late belongs to: spares encoding the key and looking it up in order.
//!
//! Only a shortcut. A key that is found here has the type and the bytes of one that was looked up before, and so the same group;
//! what is forgotten is looked up again. Which keys share a place, and so drive each other out, shows in nothing but time.

use bson::raw::RawBsonRef;

/// Places; a power of two.
const PLACES: usize = 512;
const _: () = assert!(PLACES.is_power_of_two());
/// Longer keys are not kept.
const KEY_BYTES_MAX: usize = 30;
/// An odd number whose bits are in no order: 2^64 over the golden ratio.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The groups of some keys.
pub(super) struct Memo {
    /// Empty until the first key is kept.
    places: Vec<Option<Kept>>,
}

#[derive(Clone, Copy)]
struct Kept {
    key: Key,
    group: u32,
}

/// A key's type and bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    kind: u8,
    length: u8,
    /// Zeros behind its length.
    bytes: [u8; KEY_BYTES_MAX],
}

impl Key {
    /// `None` for keys that are not kept: long ones, and those of types that are seldom grouped by.
    pub fn of(value: RawBsonRef<'_>) -> Option<Key> {
        let kind = value.element_type() as u8;
        match value {
            RawBsonRef::String(text) => Key::new(kind, text.as_bytes()),
            RawBsonRef::Int32(integer) => Key::new(kind, &integer.to_le_bytes()),
            RawBsonRef::Int64(integer) => Key::new(kind, &integer.to_le_bytes()),
            RawBsonRef::Double(double) => Key::new(kind, &double.to_bits().to_le_bytes()),
            RawBsonRef::ObjectId(id) => Key::new(kind, &id.bytes()),
            RawBsonRef::DateTime(date) => Key::new(kind, &date.timestamp_millis().to_le_bytes()),
            RawBsonRef::Boolean(boolean) => Key::new(kind, &[u8::from(boolean)]),
            RawBsonRef::Null => Key::new(kind, &[]),
            _ => None,
        }
    }

    fn new(kind: u8, content: &[u8]) -> Option<Key> {
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes.get_mut(..content.len())?.copy_from_slice(content);
        Some(Key {
            kind,
            length: content.len() as u8,
            bytes,
        })
    }

    fn place(&self) -> usize {
        let mut hash = u64::from(self.kind) << 8 | u64::from(self.length);
        for word in self.bytes[..usize::from(self.length)].chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(padded)).wrapping_mul(SCATTER);
        }
        (hash >> (u64::BITS - PLACES.ilog2())) as usize
    }
}

impl Memo {
    pub fn new() -> Memo {
        Memo { places: Vec::new() }
    }

    /// The group that was kept for this key.
    pub fn group(&self, key: &Key) -> Option<usize> {
        let kept = self.places.get(key.place())?.as_ref()?;
        (kept.key == *key).then_some(kept.group as usize)
    }

    /// Keeps the group of a key.
    pub fn keep(&mut self, key: Key, group: usize) {
        let Ok(group) = u32::try_from(group) else {
            return;
        };
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        self.places[key.place()] = Some(Kept { key, group });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key_encoding::{Direction, encode};
    use crate::testing::any_scalar;

    fn encoded(value: RawBsonRef<'_>) -> Vec<u8> {
        let mut key = Vec::new();
        encode(value, Direction::Ascending, &mut key);
        key
    }

    proptest! {
        #[test]
        fn what_is_found_is_of_an_equal_key(values in prop::collection::vec(any_scalar(), 0..300)) {
            let mut memo = Memo::new();
            for (group, value) in values.iter().enumerate() {
                let value = value.as_raw_bson_ref();
                let Some(key) = Key::of(value) else { continue };
                if let Some(found) = memo.group(&key) {
                    prop_assert_eq!(encoded(values[found].as_raw_bson_ref()), encoded(value));
                }
                memo.keep(key, group);
                prop_assert_eq!(memo.group(&key), Some(group));
            }
        }
    }

    #[test]
    fn long_keys_are_not_kept() {
        assert!(Key::of(RawBsonRef::String(&"a".repeat(KEY_BYTES_MAX))).is_some());
        assert!(Key::of(RawBsonRef::String(&"a".repeat(KEY_BYTES_MAX + 1))).is_none());
    }
}
