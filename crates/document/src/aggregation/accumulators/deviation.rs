//! `$stdDevPop` and `$stdDevSamp` over the numbers among the values (Welford's method).

use bson::raw::{RawBson, RawBsonRef};

use super::Accumulator;
use crate::DocumentError;
use crate::expression::number::Numeric;

struct Deviation {
    sample: bool,
    count: u64,
    mean: f64,
    squares: f64,
}

pub(super) fn start_population() -> Box<dyn Accumulator> {
    start(false)
}

pub(super) fn start_sample() -> Box<dyn Accumulator> {
    start(true)
}

fn start(sample: bool) -> Box<dyn Accumulator> {
    Box::new(Deviation {
        sample,
        count: 0,
        mean: 0.0,
        squares: 0.0,
    })
}

impl Accumulator for Deviation {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        let Some(number) = value.and_then(Numeric::of) else {
            return Ok(());
        };
        let value = number.as_double();
        self.count += 1;
        let apart = value - self.mean;
        self.mean += apart / self.count as f64;
        self.squares += apart * (value - self.mean);
        Ok(())
    }

    fn finish(self: Box<Self>) -> RawBson {
        let divisor = self.count - u64::from(self.sample && self.count > 0);
        match divisor {
            0 => RawBson::Null,
            divisor => RawBson::Double((self.squares / divisor as f64).sqrt()),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}
