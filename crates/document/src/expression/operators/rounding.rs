//! `$ceil $floor $round $trunc`: the type stays; halves go to the even neighbour.

use bson::raw::RawBson;

use super::operands::{fail, null, number};
use super::{Computed, Operands};
use crate::expression::decimal::{self, Rounding};
use crate::expression::number::Numeric;

/// Digits of a double that take part: all that decide.
const DOUBLE_DIGITS: usize = 34;

pub(super) fn ceil(operands: &Operands<'_>) -> Computed {
    whole(operands, f64::ceil, Rounding::Up)
}

pub(super) fn floor(operands: &Operands<'_>) -> Computed {
    whole(operands, f64::floor, Rounding::Down)
}

fn whole(operands: &Operands<'_>, doubles: fn(f64) -> f64, decimals: Rounding) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    match operands.number(0) {
        Some(Numeric::Double(double)) => number(Numeric::Double(doubles(double))),
        Some(Numeric::Decimal(value)) => {
            number(Numeric::Decimal(decimal::round_to(value, 0, decimals)))
        }
        Some(integer) => number(integer),
        None => fail(
            28765,
            format!(
                "{} only supports numeric types, not {}",
                operands.name,
                operands.type_name(0)
            ),
        ),
    }
}

pub(super) fn round(operands: &Operands<'_>) -> Computed {
    to_places(operands, Rounding::HalfEven)
}

pub(super) fn truncate(operands: &Operands<'_>) -> Computed {
    to_places(operands, Rounding::TowardsZero)
}

fn to_places(operands: &Operands<'_>, rounding: Rounding) -> Computed {
    let name = operands.name;
    let precision_given = operands.len() > 1;
    if operands.nullish(0) || precision_given && operands.nullish(1) {
        return null();
    }
    let Some(value) = operands.number(0) else {
        return fail(
            51081,
            format!(
                "{name} only supports numeric types, not {}",
                operands.type_name(0)
            ),
        );
    };
    let mut places = 0;
    if precision_given {
        let Some(whole) = operands.number(1).and_then(Numeric::as_whole) else {
            return fail(
                51082,
                format!("precision argument to  {name} must be a integral value"),
            );
        };
        if !(-20..=100).contains(&whole) {
            return fail(
                51083,
                format!(
                    "cannot apply {name} with precision value {whole} value must be in [-20, 100]"
                ),
            );
        }
        places = whole as i32;
    }
    match value {
        Numeric::Double(double) if !double.is_finite() => number(value),
        Numeric::Double(double) => {
            let exact = decimal::from_double(double, DOUBLE_DIGITS);
            let rounded = Numeric::Decimal(decimal::round_to(exact, places, rounding));
            number(Numeric::Double(rounded.as_double()))
        }
        Numeric::Decimal(value) => {
            number(Numeric::Decimal(decimal::round_to(value, places, rounding)))
        }
        Numeric::Int32(integer) => integers(i64::from(integer), places, rounding, true, name),
        Numeric::Int64(integer) => integers(integer, places, rounding, false, name),
    }
}

fn integers(value: i64, places: i32, rounding: Rounding, narrow: bool, name: &str) -> Computed {
    let dropped = places.min(0).unsigned_abs();
    let scale = 10i128.pow(dropped);
    let value = i128::from(value);
    let (mut kept, rest) = (value / scale, (value % scale).unsigned_abs());
    let half = scale.unsigned_abs() / 2;
    if rounding == Rounding::HalfEven
        && dropped > 0
        && (rest > half || rest == half && kept % 2 != 0)
    {
        kept += value.signum();
    }
    let rounded = kept * scale;
    match (i32::try_from(rounded), i64::try_from(rounded)) {
        (Ok(int), _) if narrow => Ok(Some(RawBson::Int32(int))),
        (_, Ok(long)) => Ok(Some(RawBson::Int64(long))),
        _ => fail(
            51080,
            format!(
                "invalid conversion from Decimal128 result in {name} resulting from arguments: [{value}, {places}]"
            ),
        ),
    }
}
