//! `$sum $avg $min $max $stdDevPop $stdDevSamp` over the operands of an expression: a single operand that is an array
//! stands for its members.

use bson::raw::RawBsonRef;

use super::named::{Named, Wording};
use super::{Computed, Operands};
use crate::aggregation::Accumulator;
use crate::aggregation::accumulators;
use crate::raw;

fn run(operands: &Operands<'_>, mut accumulator: Box<dyn Accumulator>) -> Computed {
    match operands.array(0) {
        Some(array) if operands.len() == 1 => {
            for member in raw::members(array) {
                accumulator.add(Some(member))?;
            }
        }
        _ => {
            for index in 0..operands.len() {
                let value = operands.value(index);
                let present = !matches!(value, RawBsonRef::Undefined);
                accumulator.add(present.then_some(value))?;
            }
        }
    }
    Ok(Some(accumulator.finish()))
}

pub(super) fn sum(operands: &Operands<'_>) -> Computed {
    run(operands, accumulators::sum())
}

pub(super) fn average(operands: &Operands<'_>) -> Computed {
    run(operands, accumulators::average())
}

pub(super) fn min(operands: &Operands<'_>) -> Computed {
    run(operands, accumulators::min())
}

pub(super) fn max(operands: &Operands<'_>) -> Computed {
    run(operands, accumulators::max())
}

pub(super) fn deviation_of_population(operands: &Operands<'_>) -> Computed {
    run(operands, accumulators::deviation_of_population())
}

pub(super) fn deviation_of_sample(operands: &Operands<'_>) -> Computed {
    run(operands, accumulators::deviation_of_sample())
}

pub(super) const PERCENTILE: Named = Named {
    not_object: 7_436_200,
    unknown: 40415,
    wording: Wording::Requires,
    parameters: &[
        ("input", Some(40414)),
        ("p", Some(40414)),
        ("method", Some(40414)),
    ],
};

pub(super) const MEDIAN: Named = Named {
    not_object: 7_436_100,
    unknown: 40415,
    wording: Wording::Requires,
    parameters: &[("input", Some(40414)), ("method", Some(40414))],
};

pub(super) fn percentile(operands: &Operands<'_>) -> Computed {
    let asked = accumulators::percentiles(operands.value(1))?;
    accumulators::check_percentile_method(operands.value(2))?;
    percentile_of_input(operands, accumulators::percentile(asked))
}

pub(super) fn median(operands: &Operands<'_>) -> Computed {
    accumulators::check_percentile_method(operands.value(1))?;
    percentile_of_input(operands, accumulators::median())
}

fn percentile_of_input(operands: &Operands<'_>, mut accumulator: Box<dyn Accumulator>) -> Computed {
    match operands.array(0) {
        Some(array) => {
            for member in raw::members(array) {
                accumulator.add(Some(member))?;
            }
        }
        None => accumulator.add(Some(operands.value(0)))?,
    }
    Ok(Some(accumulator.finish()))
}
