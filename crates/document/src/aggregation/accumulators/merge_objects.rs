//! `$mergeObjects`: the fields of all objects, the latest value of each.

use bson::raw::{RawBson, RawBsonRef};

use super::Accumulator;
use crate::DocumentError;
use crate::expression::Merged;

struct MergeObjects(Merged);

pub(super) fn start() -> Box<dyn Accumulator> {
    Box::new(MergeObjects(Merged::default()))
}

impl Accumulator for MergeObjects {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        self.0.add(value.unwrap_or(RawBsonRef::Null))
    }

    fn finish(self: Box<Self>) -> RawBson {
        RawBson::Document(self.0.finish())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.bytes
    }
}
