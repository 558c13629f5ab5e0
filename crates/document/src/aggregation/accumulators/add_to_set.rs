//! `$addToSet`: the distinct values, in ascending order so that every replica gives the same.

use std::collections::BTreeMap;

use bson::raw::{RawBson, RawBsonRef};

use super::{Accumulator, value_bytes};
use crate::key_encoding::{self, Direction};
use crate::{DocumentError, raw};

#[derive(Default)]
struct AddToSet {
    values: BTreeMap<Vec<u8>, RawBson>,
    bytes: usize,
}

pub(super) fn start() -> Box<dyn Accumulator> {
    Box::new(AddToSet::default())
}

impl Accumulator for AddToSet {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        let Some(value) = value else {
            return Ok(());
        };
        let mut key = Vec::new();
        key_encoding::encode(value, Direction::Ascending, &mut key);
        if !self.values.contains_key(&key) {
            self.bytes += key.len() + value_bytes(value);
            self.values.insert(key, raw::owned(value));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> RawBson {
        let values = self.values.values().map(RawBson::as_raw_bson_ref);
        RawBson::Array(raw::array_of(values))
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}
