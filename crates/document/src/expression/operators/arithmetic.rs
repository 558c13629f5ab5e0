//! `$add $subtract $multiply $divide $mod $abs`: null operands give null; int64 results that overflow become
//! doubles; dates take part in sums and differences as milliseconds.

use bson::DateTime;
use bson::raw::{RawBson, RawBsonRef};

use super::operands::{null, number, type_name};
use super::{Computed, Operands};
use crate::DocumentError;
use crate::expression::number::{IntegerOverflow, Numeric};
use crate::expression::value::is_nullish;
use crate::expression::{Value, decimal};
use crate::order::Decimal;

fn numeric(operand: &Option<Value<'_>>) -> Option<Numeric> {
    operand
        .as_ref()
        .and_then(|value| Numeric::of(value.as_ref()))
}

fn date(operand: &Option<Value<'_>>) -> Option<i64> {
    match operand.as_ref().map(Value::as_ref) {
        Some(RawBsonRef::DateTime(date)) => Some(date.timestamp_millis()),
        _ => None,
    }
}

/// Integers that do not fit go on as doubles.
fn or_double(
    result: Result<Numeric, IntegerOverflow>,
    left: Numeric,
    right: Numeric,
    doubles: fn(f64, f64) -> f64,
) -> Numeric {
    result.unwrap_or_else(|IntegerOverflow| {
        Numeric::Double(doubles(left.as_double(), right.as_double()))
    })
}

pub(super) fn add(operands: &Operands<'_>) -> Computed {
    let mut sum = Numeric::Int32(0);
    let mut with_date = false;
    for operand in operands.iter() {
        if is_nullish(operand) {
            return null();
        }
        let addend = match (numeric(operand), date(operand)) {
            (Some(number), _) => number,
            (None, Some(_)) if with_date => {
                return Err(DocumentError::location(
                    16612,
                    "only one date allowed in an $add expression",
                ));
            }
            (None, Some(millis)) => {
                with_date = true;
                Numeric::Int64(millis)
            }
            (None, None) => {
                return Err(DocumentError::type_mismatch(format!(
                    "$add only supports numeric or date types, not {}",
                    type_name(operand)
                )));
            }
        };
        sum = or_double(sum.add(addend), sum, addend, |l, r| l + r);
    }
    if with_date {
        return to_date(sum);
    }
    number(sum)
}

fn to_date(millis: Numeric) -> Computed {
    let whole = match millis {
        Numeric::Int32(_) | Numeric::Int64(_) => millis.as_integer(),
        Numeric::Double(_) | Numeric::Decimal(_) => {
            Numeric::Double(millis.as_double().round()).as_whole()
        }
    };
    let whole =
        whole.ok_or_else(|| DocumentError::new(crate::ErrorKind::Overflow, "date overflow"))?;
    Ok(Some(RawBson::DateTime(DateTime::from_millis(whole))))
}

pub(super) fn subtract(operands: &Operands<'_>) -> Computed {
    if operands.iter().any(is_nullish) {
        return null();
    }
    let [left, right] = &operands[..] else {
        unreachable!("the registry asks for two operands");
    };
    match (numeric(left), numeric(right), date(left), date(right)) {
        (Some(l), Some(r), _, _) => number(or_double(l.subtract(r), l, r, |l, r| l - r)),
        (_, _, Some(l), Some(r)) => l
            .checked_sub(r)
            .map(|apart| Some(RawBson::Int64(apart)))
            .ok_or_else(|| DocumentError::new(crate::ErrorKind::Overflow, "date overflow")),
        (_, Some(r), Some(millis), _) => {
            let left = Numeric::Int64(millis);
            to_date(or_double(left.subtract(r), left, r, |l, r| l - r))
        }
        _ => Err(DocumentError::type_mismatch(format!(
            "can't $subtract {} from {}",
            type_name(right),
            type_name(left)
        ))),
    }
}

pub(super) fn multiply(operands: &Operands<'_>) -> Computed {
    let mut product = Numeric::Int32(1);
    for operand in operands.iter() {
        if is_nullish(operand) {
            return null();
        }
        let factor = numeric(operand).ok_or_else(|| {
            DocumentError::type_mismatch(format!(
                "$multiply only supports numeric types, not {}",
                type_name(operand)
            ))
        })?;
        product = or_double(product.multiply(factor), product, factor, |l, r| l * r);
    }
    number(product)
}

pub(super) fn divide(operands: &Operands<'_>) -> Computed {
    if operands.iter().any(is_nullish) {
        return null();
    }
    match (numeric(&operands[0]), numeric(&operands[1])) {
        (Some(_), Some(divisor)) if divisor.is_zero() => {
            Err(DocumentError::bad_value("can't $divide by zero"))
        }
        (Some(dividend), Some(divisor)) => number(dividend.divide(divisor)),
        _ => Err(DocumentError::type_mismatch(format!(
            "$divide only supports numeric types, not {} and {}",
            type_name(&operands[0]),
            type_name(&operands[1])
        ))),
    }
}

pub(super) fn modulo(operands: &Operands<'_>) -> Computed {
    if operands.iter().any(is_nullish) {
        return null();
    }
    let (Some(dividend), Some(divisor)) = (numeric(&operands[0]), numeric(&operands[1])) else {
        return Err(DocumentError::location(
            16611,
            format!(
                "$mod only supports numeric types, not {} and {}",
                type_name(&operands[0]),
                type_name(&operands[1])
            ),
        ));
    };
    if divisor.is_zero() {
        return Err(DocumentError::location(16610, "can't $mod by zero"));
    }
    number(match (dividend, divisor) {
        (Numeric::Decimal(_), _) | (_, Numeric::Decimal(_)) => Numeric::Decimal(
            decimal::remainder(dividend.as_decimal(), divisor.as_decimal()),
        ),
        (Numeric::Double(_), _) | (_, Numeric::Double(_)) => {
            Numeric::Double(dividend.as_double() % divisor.as_double())
        }
        (Numeric::Int32(dividend), Numeric::Int32(divisor)) => {
            Numeric::Int32(dividend.wrapping_rem(divisor))
        }
        _ => {
            let dividend = dividend.as_integer().expect("an integer type");
            let divisor = divisor.as_integer().expect("an integer type");
            Numeric::Int64(dividend.wrapping_rem(divisor))
        }
    })
}

pub(super) fn absolute(operands: &Operands<'_>) -> Computed {
    if is_nullish(&operands[0]) {
        return null();
    }
    let value = numeric(&operands[0]).ok_or_else(|| {
        DocumentError::location(
            28765,
            format!(
                "$abs only supports numeric types, not {}",
                type_name(&operands[0])
            ),
        )
    })?;
    number(match value {
        Numeric::Int32(integer) => match integer.checked_abs() {
            Some(absolute) => Numeric::Int32(absolute),
            None => Numeric::Int64(i64::from(integer).abs()),
        },
        Numeric::Int64(integer) => {
            Numeric::Int64(integer.checked_abs().ok_or_else(|| {
                DocumentError::location(28680, "can't take $abs of long long min")
            })?)
        }
        Numeric::Double(double) => Numeric::Double(double.abs()),
        Numeric::Decimal(Decimal::Finite {
            coefficient,
            exponent,
            ..
        }) => Numeric::Decimal(Decimal::Finite {
            negative: false,
            coefficient,
            exponent,
        }),
        Numeric::Decimal(Decimal::Infinity { .. }) => {
            Numeric::Decimal(Decimal::Infinity { negative: false })
        }
        Numeric::Decimal(Decimal::NaN) => Numeric::Decimal(Decimal::NaN),
    })
}
