//! `$exp $ln $log $log10 $pow $sqrt`. Results are doubles, or decimals when one takes part; powers of integers stay
//! integers while they fit. Decimals of `$exp`, of the logarithms and of fractional powers have a double's precision.

use super::operands::{fail, null, number};
use super::{Computed, Operands};
use crate::DocumentError;
use crate::expression::decimal;
use crate::expression::number::Numeric;
use crate::order::Decimal;

/// Digits of a double that a decimal result keeps.
const DOUBLE_DIGITS: usize = 15;

/// The double as the type of its operands asks for.
pub(super) fn in_type_of(operands: &[Numeric], result: f64) -> Numeric {
    let decimal = operands
        .iter()
        .any(|operand| matches!(operand, Numeric::Decimal(_)));
    match decimal {
        true => Numeric::Decimal(decimal::normalized(decimal::from_double(
            result,
            DOUBLE_DIGITS,
        ))),
        false => Numeric::Double(result),
    }
}

/// The number of a one-operand function; `None` when the operand is null.
pub(super) fn single(operands: &Operands<'_>) -> Result<Option<Numeric>, DocumentError> {
    if operands.nullish(0) {
        return Ok(None);
    }
    match operands.number(0) {
        Some(number) => Ok(Some(number)),
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

fn is_positive(value: Numeric) -> bool {
    match value {
        Numeric::Decimal(Decimal::NaN) => true,
        other => other.as_double().is_nan() || other.as_double() > 0.0,
    }
}

pub(super) fn exp(operands: &Operands<'_>) -> Computed {
    match single(operands)? {
        None => null(),
        Some(value) => number(in_type_of(&[value], value.as_double().exp())),
    }
}

pub(super) fn ln(operands: &Operands<'_>) -> Computed {
    positive(operands, 28766, f64::ln)
}

pub(super) fn log10(operands: &Operands<'_>) -> Computed {
    positive(operands, 28761, f64::log10)
}

fn positive(operands: &Operands<'_>, code: i32, function: fn(f64) -> f64) -> Computed {
    let Some(value) = single(operands)? else {
        return null();
    };
    if !is_positive(value) {
        return fail(
            code,
            format!(
                "{}'s argument must be a positive number, but is {}",
                operands.name,
                operands.shown(0)
            ),
        );
    }
    number(in_type_of(&[value], function(value.as_double())))
}

pub(super) fn log(operands: &Operands<'_>) -> Computed {
    if operands.any_nullish() {
        return null();
    }
    let Some(value) = operands.number(0) else {
        return fail(
            28756,
            format!(
                "$log's argument must be numeric, not {}",
                operands.type_name(0)
            ),
        );
    };
    let Some(base) = operands.number(1) else {
        return fail(
            28757,
            format!("$log's base must be numeric, not {}", operands.type_name(1)),
        );
    };
    if !is_positive(value) {
        return fail(
            28758,
            format!(
                "$log's argument must be a positive number, but is {}",
                operands.shown(0)
            ),
        );
    }
    if !is_positive(base) || base.as_double() == 1.0 {
        return fail(
            28759,
            format!(
                "$log's base must be a positive number not equal to 1, but is {}",
                operands.shown(1)
            ),
        );
    }
    let result = value.as_double().ln() / base.as_double().ln();
    number(in_type_of(&[value, base], result))
}

pub(super) fn square_root(operands: &Operands<'_>) -> Computed {
    let Some(value) = single(operands)? else {
        return null();
    };
    if value.as_double() < 0.0 {
        return fail(28714, "$sqrt's argument must be greater than or equal to 0");
    }
    number(match value {
        Numeric::Decimal(value) => Numeric::Decimal(decimal::square_root(value)),
        _ => Numeric::Double(value.as_double().sqrt()),
    })
}

pub(super) fn power(operands: &Operands<'_>) -> Computed {
    if operands.any_nullish() {
        return null();
    }
    let Some(base) = operands.number(0) else {
        return fail(
            28762,
            format!("$pow's base must be numeric, not {}", operands.type_name(0)),
        );
    };
    let Some(exponent) = operands.number(1) else {
        return fail(
            28763,
            format!(
                "$pow's exponent must be numeric, not {}",
                operands.type_name(1)
            ),
        );
    };
    if base.is_zero() && exponent.as_double() < 0.0 {
        return fail(
            28764,
            "$pow cannot take a base of 0 and a negative exponent",
        );
    }
    let doubles = || base.as_double().powf(exponent.as_double());
    number(match (base, exponent) {
        (Numeric::Decimal(_), _) | (_, Numeric::Decimal(_)) => match exponent.as_whole() {
            Some(whole @ 0..=1000) => {
                Numeric::Decimal(decimal_power(base.as_decimal(), whole as u32))
            }
            _ => in_type_of(&[base, exponent], doubles()),
        },
        (Numeric::Double(_), _) | (_, Numeric::Double(_)) => Numeric::Double(doubles()),
        _ => {
            let whole_base = base.as_whole().expect("an integer type");
            let whole_exponent = exponent.as_whole().expect("an integer type");
            match integer_power(whole_base, whole_exponent) {
                None => Numeric::Double(doubles()),
                Some(power) => match (base, exponent, i32::try_from(power)) {
                    (Numeric::Int32(_), Numeric::Int32(_), Ok(narrow)) => Numeric::Int32(narrow),
                    _ => Numeric::Int64(power),
                },
            }
        }
    })
}

/// The power as long as it is an integer that fits.
fn integer_power(base: i64, exponent: i64) -> Option<i64> {
    match (base, exponent) {
        (_, 0) | (1, _) => Some(1),
        (-1, exponent) => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        (0, 1..) => Some(0),
        _ => base.checked_pow(u32::try_from(exponent).ok()?),
    }
}

fn decimal_power(base: Decimal, exponent: u32) -> Decimal {
    let mut power = Decimal::from_integer(1);
    let (mut square, mut rest) = (base, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            power = decimal::multiply(power, square);
        }
        square = decimal::multiply(square, square);
        rest >>= 1;
    }
    power
}
