//! The functions of `$setWindowFields`: one value for each document of a partition.

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::super::super::accumulators::Specification;
use super::bounds::Bounds;
use super::{Partition, series};
use crate::DocumentError;
use crate::expression::number::Numeric;
use crate::expression::{Expression, TimeUnit, Value};
use crate::sort::SortSpec;

/// A parsed function.
#[derive(Debug)]
pub(super) enum Function {
    Accumulated(Specification, Bounds),
    /// Peers share a rank; with gaps or without.
    Rank {
        dense: bool,
    },
    DocumentNumber,
    Shift {
        output: Expression,
        by: i64,
        default: RawBson,
    },
    Derivative(Expression, Option<TimeUnit>, Bounds),
    Integral(Expression, Option<TimeUnit>, Bounds),
    MovingAverage {
        input: Expression,
        alpha: f64,
    },
    Covariance {
        x: Expression,
        y: Expression,
        sample: bool,
        bounds: Bounds,
    },
    /// The last value that was not null.
    CarriedForward(Expression),
    LinearFill(Expression),
}

impl Function {
    /// The value for each document.
    pub fn column(
        &self,
        partition: &Partition,
        sort: Option<&SortSpec>,
    ) -> Result<Vec<RawBson>, DocumentError> {
        match self {
            Function::Accumulated(specification, bounds) => {
                accumulated(specification, bounds, partition, sort)
            }
            Function::Rank { dense } => Ok(ranks(partition, *dense)),
            Function::DocumentNumber => {
                let count = partition.documents.len() as i64;
                Ok((1..=count).map(integer).collect())
            }
            Function::Shift {
                output,
                by,
                default,
            } => shifted(output, *by, default, partition),
            Function::Derivative(input, unit, bounds) => {
                windows(bounds, partition, sort, |range| {
                    // Between the ends of the window, whatever lies inside.
                    let (first, last) = (range.start, range.end.saturating_sub(1));
                    if first >= last {
                        return Ok(RawBson::Null);
                    }
                    let mut ends = series::points(input, *unit, partition, first..first + 1)?;
                    ends.extend(series::points(input, *unit, partition, last..last + 1)?);
                    Ok(series::derivative(&ends, *unit))
                })
            }
            Function::Integral(input, unit, bounds) => windows(bounds, partition, sort, |range| {
                let points = series::points(input, *unit, partition, range)?;
                Ok(series::integral(&points, *unit))
            }),
            Function::MovingAverage { input, alpha } => {
                series::moving_average(&values(input, &partition.documents)?, *alpha)
            }
            Function::Covariance {
                x,
                y,
                sample,
                bounds,
            } => windows(bounds, partition, sort, |range| {
                let documents = &partition.documents[range];
                series::covariance(&values(x, documents)?, &values(y, documents)?, *sample)
            }),
            Function::CarriedForward(input) => {
                let mut last = RawBson::Null;
                let values = values(input, &partition.documents)?.into_iter();
                let carried = values.map(|value| {
                    if value != RawBson::Null {
                        last = value;
                    }
                    last.clone()
                });
                Ok(carried.collect())
            }
            Function::LinearFill(input) => {
                let values = values(input, &partition.documents)?;
                series::linear_fill(&values, partition)
            }
        }
    }
}

fn integer(value: i64) -> RawBson {
    i32::try_from(value).map_or(RawBson::Int64(value), RawBson::Int32)
}

/// The values of an expression; missing ones are null.
fn values(
    expression: &Expression,
    documents: &[bson::RawDocumentBuf],
) -> Result<Vec<RawBson>, DocumentError> {
    let value = |document: &bson::RawDocumentBuf| {
        let document: &RawDocument = document;
        let value = expression.evaluate(document)?;
        Ok(match value {
            None => RawBson::Null,
            Some(value) => match value.into_owned() {
                RawBson::Undefined => RawBson::Null,
                value => value,
            },
        })
    };
    documents.iter().map(value).collect()
}

fn windows(
    bounds: &Bounds,
    partition: &Partition,
    sort: Option<&SortSpec>,
    compute: impl Fn(std::ops::Range<usize>) -> Result<RawBson, DocumentError>,
) -> Result<Vec<RawBson>, DocumentError> {
    (0..partition.documents.len())
        .map(|index| compute(bounds.window(index, partition, sort)?))
        .collect()
}

fn accumulated(
    specification: &Specification,
    bounds: &Bounds,
    partition: &Partition,
    sort: Option<&SortSpec>,
) -> Result<Vec<RawBson>, DocumentError> {
    let count = partition.documents.len();
    let mut column: Vec<RawBson> = Vec::with_capacity(count);
    let mut running: Option<(usize, Box<dyn super::super::super::Accumulator>)> = None;
    let mut last_window = 0..0;
    for index in 0..count {
        let window = bounds.window(index, partition, sort)?;
        if index > 0 && window == last_window {
            let same = column[index - 1].clone();
            column.push(same);
            continue;
        }
        last_window = window.clone();
        // A window that only grows at its end is not counted anew, as long as the function tells its value so far.
        if window.start == 0 {
            let (fed, accumulator) = match &mut running {
                Some(running) => running,
                none => none.insert((0, specification.start(RawBsonRef::Null)?)),
            };
            if *fed <= window.end {
                for document in &partition.documents[*fed..window.end] {
                    specification.feed(document, accumulator.as_mut())?;
                }
                *fed = window.end;
                if let Some(value) = accumulator.so_far() {
                    column.push(value);
                    continue;
                }
            }
        }
        let mut accumulator = specification.start(RawBsonRef::Null)?;
        for document in &partition.documents[window] {
            specification.feed(document, accumulator.as_mut())?;
        }
        column.push(accumulator.finish());
    }
    Ok(column)
}

fn ranks(partition: &Partition, dense: bool) -> Vec<RawBson> {
    let mut rank = 0;
    let mut ranks = Vec::with_capacity(partition.keys.len());
    for (index, key) in partition.keys.iter().enumerate() {
        if index == 0 || *key != partition.keys[index - 1] {
            rank = if dense { rank + 1 } else { index as i64 + 1 };
        }
        ranks.push(integer(rank));
    }
    ranks
}

fn shifted(
    output: &Expression,
    by: i64,
    default: &RawBson,
    partition: &Partition,
) -> Result<Vec<RawBson>, DocumentError> {
    let value = |index: usize| {
        let position = (index as i64).checked_add(by);
        let there = position
            .and_then(|position| usize::try_from(position).ok())
            .and_then(|position| partition.documents.get(position));
        match there {
            None => Ok(default.clone()),
            Some(document) => {
                let value = output.evaluate(document)?;
                Ok(value.map_or(RawBson::Null, Value::into_owned))
            }
        }
    };
    (0..partition.documents.len()).map(value).collect()
}

/// The number in a value.
pub(super) fn number(value: &RawBson) -> Option<Numeric> {
    Numeric::of(value.as_raw_bson_ref())
}
