//! `$avg`: over the numbers among the values; null when there are none.

use bson::raw::{RawBson, RawBsonRef};

use super::Accumulator;
use super::total::Total;
use crate::DocumentError;
use crate::expression::number::Numeric;

struct Average {
    total: Total,
    count: u64,
}

pub(super) fn start() -> Box<dyn Accumulator> {
    Box::new(Average {
        total: Total::new(),
        count: 0,
    })
}

impl Accumulator for Average {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        if let Some(number) = value.and_then(Numeric::of) {
            self.total.add(number);
            self.count += 1;
        }
        Ok(())
    }

    fn so_far(&self) -> Option<RawBson> {
        Some(match self.count {
            0 => RawBson::Null,
            count => self.total.average(count),
        })
    }

    fn finish(self: Box<Self>) -> RawBson {
        self.so_far().expect("always told")
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}
