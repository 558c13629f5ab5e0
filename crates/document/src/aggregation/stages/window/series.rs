//! Functions over points of an ordered partition: slopes, areas, averages, gaps.

use std::ops::Range;

use bson::raw::{RawBson, RawBsonRef};

use super::Partition;
use super::bounds::measure;
use super::functions::number;
use crate::DocumentError;
use crate::expression::number::Numeric;
use crate::expression::{Expression, TimeUnit, Value};

/// A point: where on the sort field, and the value there.
pub(super) type Point = (f64, f64);

/// The points of a window whose value is a number.
pub(super) fn points(
    input: &Expression,
    unit: Option<TimeUnit>,
    partition: &Partition,
    range: Range<usize>,
) -> Result<Vec<Point>, DocumentError> {
    let mut points = Vec::with_capacity(range.len());
    for index in range {
        let sort_value = partition.sort_values[index].as_raw_bson_ref();
        let is_date = matches!(sort_value, RawBsonRef::DateTime(_));
        if is_date && unit.is_none() {
            return Err(DocumentError::location(
                5_624_901,
                "For windowed functions $derivative and $integral, 'unit' must be specified if the sortBy is a Date",
            ));
        }
        let place = measure(sort_value, unit)?;
        let value = input.evaluate(&partition.documents[index])?;
        let value = value.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
        if let Some(number) = Numeric::of(value) {
            points.push((place, number.as_double()));
        }
    }
    Ok(points)
}

/// Milliseconds of a unit; 1 for sort fields that are numbers.
fn scale(unit: Option<TimeUnit>) -> f64 {
    unit.and_then(TimeUnit::millis)
        .map_or(1.0, |millis| millis as f64)
}

/// The slope between two points.
pub(super) fn derivative(points: &[Point], unit: Option<TimeUnit>) -> RawBson {
    match points {
        [first, last] if last.0 != first.0 => {
            RawBson::Double((last.1 - first.1) / ((last.0 - first.0) / scale(unit)))
        }
        _ => RawBson::Null,
    }
}

/// The area below the points, by trapezoids.
pub(super) fn integral(points: &[Point], unit: Option<TimeUnit>) -> RawBson {
    let areas = points
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) / scale(unit) * (pair[0].1 + pair[1].1) / 2.0);
    match points {
        [] => RawBson::Null,
        _ => RawBson::Double(areas.fold(0.0, |sum, area| sum + area)),
    }
}

/// Values that are no numbers leave the average as it is.
pub(super) fn moving_average(
    values: &[RawBson],
    alpha: f64,
) -> Result<Vec<RawBson>, DocumentError> {
    let mut average: Option<f64> = None;
    let averages = values.iter().map(|value| {
        if let Some(number) = number(value) {
            let double = number.as_double();
            average = Some(average.map_or(double, |last| alpha * double + (1.0 - alpha) * last));
        }
        average.map_or(RawBson::Null, RawBson::Double)
    });
    Ok(averages.collect())
}

pub(super) fn covariance(
    x: &[RawBson],
    y: &[RawBson],
    sample: bool,
) -> Result<RawBson, DocumentError> {
    let pairs: Vec<(f64, f64)> = x
        .iter()
        .zip(y)
        .filter_map(|(x, y)| Some((number(x)?.as_double(), number(y)?.as_double())))
        .collect();
    let count = pairs.len() as f64;
    let divisor = if sample { count - 1.0 } else { count };
    if divisor <= 0.0 {
        return Ok(RawBson::Null);
    }
    let mean_x = pairs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = pairs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let sum: f64 = pairs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    Ok(RawBson::Double(sum / divisor))
}

/// Nulls between two numbers lie on the line between them; others stay.
pub(super) fn linear_fill(
    values: &[RawBson],
    partition: &Partition,
) -> Result<Vec<RawBson>, DocumentError> {
    let place = |index: usize| {
        let value = partition.sort_values[index].as_raw_bson_ref();
        match value {
            RawBsonRef::DateTime(date) => Ok(date.timestamp_millis() as f64),
            _ => measure(value, None),
        }
    };
    let mut filled = values.to_vec();
    let mut last: Option<usize> = None;
    for index in 0..values.len() {
        let Some(right) = number(&values[index]) else {
            if values[index] != RawBson::Null {
                return Err(DocumentError::type_mismatch(
                    "Value to be filled must be numeric or nullish",
                ));
            }
            continue;
        };
        if let Some(from) = last.filter(|from| index - from > 1) {
            let left = number(&values[from])
                .expect("remembered as a number")
                .as_double();
            let (start, end) = (place(from)?, place(index)?);
            for (gap, slot) in filled.iter_mut().enumerate().take(index).skip(from + 1) {
                let share = (place(gap)? - start) / (end - start);
                *slot = RawBson::Double(left + (right.as_double() - left) * share);
            }
        }
        last = Some(index);
    }
    Ok(filled)
}
