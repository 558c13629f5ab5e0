//! `$sum` and `$count`: other values than numbers count as nothing.

use bson::raw::{RawBson, RawBsonRef};

use super::Accumulator;
use super::total::Total;
use crate::DocumentError;
use crate::expression::number::Numeric;

struct Sum(Total);

pub(super) fn start() -> Box<dyn Accumulator> {
    Box::new(Sum(Total::new()))
}

impl Accumulator for Sum {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        if let Some(number) = value.and_then(Numeric::of) {
            self.0.add(number);
        }
        Ok(())
    }

    fn so_far(&self) -> Option<RawBson> {
        Some(self.0.sum().into())
    }

    fn finish(self: Box<Self>) -> RawBson {
        self.0.sum().into()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}
