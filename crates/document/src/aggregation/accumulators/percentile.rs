//! `$median` and `$percentile` over the numbers among the values: exact, each result is one of the values.

use bson::raw::{RawBson, RawBsonRef};

use super::Accumulator;
use crate::expression::number::Numeric;
use crate::{DocumentError, display, raw};

struct Percentile {
    asked: Vec<f64>,
    single: bool,
    values: Vec<f64>,
}

/// `single` gives the one value instead of a list.
pub(super) fn start(asked: Vec<f64>, single: bool) -> Box<dyn Accumulator> {
    Box::new(Percentile {
        asked,
        single,
        values: Vec::new(),
    })
}

/// `method` has one value so far.
pub(crate) fn check_method(method: RawBsonRef<'_>) -> Result<(), DocumentError> {
    match method {
        RawBsonRef::String("approximate") => Ok(()),
        _ => Err(DocumentError::bad_value(
            "Currently only 'approximate' can be used as percentile 'method'.",
        )),
    }
}

/// The list `p`.
pub(crate) fn percentiles(listed: RawBsonRef<'_>) -> Result<Vec<f64>, DocumentError> {
    let refused = |found: RawBsonRef<'_>| {
        DocumentError::location(
            7_750_301,
            format!(
                "The $percentile 'p' field must be an array of numbers from [0.0, 1.0], but found: {}",
                display::value(found)
            ),
        )
    };
    let RawBsonRef::Array(array) = listed else {
        return Err(refused(listed));
    };
    let mut asked = Vec::new();
    for member in raw::members(array) {
        match Numeric::of(member).map(Numeric::as_double) {
            Some(p) if (0.0..=1.0).contains(&p) => asked.push(p),
            _ => return Err(refused(member)),
        }
    }
    match asked.is_empty() {
        true => Err(refused(listed)),
        false => Ok(asked),
    }
}

impl Accumulator for Percentile {
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError> {
        if let Some(number) = value.and_then(Numeric::of) {
            let double = number.as_double();
            if !double.is_nan() {
                self.values.push(double);
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> RawBson {
        self.values.sort_by(f64::total_cmp);
        let count = self.values.len();
        let found = self.asked.iter().map(|p| {
            let rank = ((count as f64 * p).ceil() as usize).saturating_sub(1);
            match self.values.get(rank.min(count.saturating_sub(1))) {
                Some(value) => RawBsonRef::Double(*value),
                None => RawBsonRef::Null,
            }
        });
        let found: Vec<_> = found.collect();
        match self.single {
            true => raw::owned(found[0]),
            false => RawBson::Array(raw::array_of(found)),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }
}
