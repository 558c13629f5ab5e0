//! Arithmetic over BSON's numeric types with MongoDB's promotion: int32 → int64 → double → decimal128; an int32
//! result that does not fit becomes int64.

use bson::raw::{RawBson, RawBsonRef};

use super::decimal;
use crate::order::Decimal;

/// Significant digits a double keeps when it meets a decimal.
const DOUBLE_DIGITS: usize = 15;

/// A number together with its BSON type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numeric {
    Int32(i32),
    Int64(i64),
    Double(f64),
    Decimal(Decimal),
}

/// An operation of the integers left int64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntegerOverflow;

impl Numeric {
    /// The number in `value`; None for other types.
    pub fn of(value: RawBsonRef<'_>) -> Option<Numeric> {
        Some(match value {
            RawBsonRef::Int32(integer) => Numeric::Int32(integer),
            RawBsonRef::Int64(integer) => Numeric::Int64(integer),
            RawBsonRef::Double(double) => Numeric::Double(double),
            RawBsonRef::Decimal128(bits) => Numeric::Decimal(Decimal::from_bits(bits)),
            _ => return None,
        })
    }

    pub fn add(self, other: Numeric) -> Result<Numeric, IntegerOverflow> {
        self.combine(other, i64::checked_add, |l, r| l + r, decimal::add)
    }

    pub fn subtract(self, other: Numeric) -> Result<Numeric, IntegerOverflow> {
        self.combine(
            other,
            i64::checked_sub,
            |l, r| l - r,
            |l, r| decimal::add(l, decimal::negate(r)),
        )
    }

    pub fn multiply(self, other: Numeric) -> Result<Numeric, IntegerOverflow> {
        self.combine(other, i64::checked_mul, |l, r| l * r, decimal::multiply)
    }

    /// A quotient is a double unless a decimal takes part; the caller has refused zero divisors.
    pub fn divide(self, other: Numeric) -> Numeric {
        match (self, other) {
            (Numeric::Decimal(_), _) | (_, Numeric::Decimal(_)) => {
                Numeric::Decimal(decimal::divide(self.as_decimal(), other.as_decimal()))
            }
            _ => Numeric::Double(self.as_double() / other.as_double()),
        }
    }

    /// A zero of any type.
    pub fn is_zero(self) -> bool {
        match self {
            Numeric::Int32(integer) => integer == 0,
            Numeric::Int64(integer) => integer == 0,
            Numeric::Double(double) => double == 0.0,
            Numeric::Decimal(decimal) => decimal::is_zero(decimal),
        }
    }

    /// int32 or int64.
    pub fn as_integer(self) -> Option<i64> {
        match self {
            Numeric::Int32(integer) => Some(i64::from(integer)),
            Numeric::Int64(integer) => Some(integer),
            _ => None,
        }
    }

    /// The nearest double.
    pub fn as_double(self) -> f64 {
        match self {
            Numeric::Int32(integer) => f64::from(integer),
            Numeric::Int64(integer) => integer as f64,
            Numeric::Double(double) => double,
            Numeric::Decimal(Decimal::NaN) => f64::NAN,
            Numeric::Decimal(Decimal::Infinity { negative: false }) => f64::INFINITY,
            Numeric::Decimal(Decimal::Infinity { negative: true }) => f64::NEG_INFINITY,
            Numeric::Decimal(Decimal::Finite {
                negative,
                coefficient,
                exponent,
            }) => {
                let magnitude: f64 = format!("{coefficient}e{exponent}")
                    .parse()
                    .expect("digits, e and an integer form a float literal");
                if negative { -magnitude } else { magnitude }
            }
        }
    }

    /// As a decimal; doubles keep 15 digits.
    pub fn as_decimal(self) -> Decimal {
        match self {
            Numeric::Int32(integer) => Decimal::from_integer(i64::from(integer)),
            Numeric::Int64(integer) => Decimal::from_integer(integer),
            Numeric::Double(double) => decimal::from_double(double, DOUBLE_DIGITS),
            Numeric::Decimal(decimal) => decimal,
        }
    }

    /// As an integer when the value is a whole number in the range of int64, whatever the type.
    pub fn as_whole(self) -> Option<i64> {
        match self {
            Numeric::Int32(integer) => Some(i64::from(integer)),
            Numeric::Int64(integer) => Some(integer),
            Numeric::Double(double) => whole_double(double),
            Numeric::Decimal(Decimal::Finite {
                negative,
                coefficient,
                exponent,
            }) => {
                let magnitude = whole_magnitude(coefficient, exponent)?;
                i64::try_from(if negative { -magnitude } else { magnitude }).ok()
            }
            Numeric::Decimal(_) => None,
        }
    }

    fn combine(
        self,
        other: Numeric,
        integers: fn(i64, i64) -> Option<i64>,
        doubles: fn(f64, f64) -> f64,
        decimals: fn(Decimal, Decimal) -> Decimal,
    ) -> Result<Numeric, IntegerOverflow> {
        Ok(match (self, other) {
            (Numeric::Decimal(_), _) | (_, Numeric::Decimal(_)) => {
                Numeric::Decimal(decimals(self.as_decimal(), other.as_decimal()))
            }
            (Numeric::Double(_), _) | (_, Numeric::Double(_)) => {
                Numeric::Double(doubles(self.as_double(), other.as_double()))
            }
            (Numeric::Int32(left), Numeric::Int32(right)) => {
                let wide = integers(i64::from(left), i64::from(right)).ok_or(IntegerOverflow)?;
                i32::try_from(wide).map_or(Numeric::Int64(wide), Numeric::Int32)
            }
            (Numeric::Int32(_) | Numeric::Int64(_), Numeric::Int32(_) | Numeric::Int64(_)) => {
                let left = self.as_integer().expect("matched as an integer");
                let right = other.as_integer().expect("matched as an integer");
                Numeric::Int64(integers(left, right).ok_or(IntegerOverflow)?)
            }
        })
    }
}

impl From<Numeric> for RawBson {
    fn from(number: Numeric) -> RawBson {
        match number {
            Numeric::Int32(integer) => RawBson::Int32(integer),
            Numeric::Int64(integer) => RawBson::Int64(integer),
            Numeric::Double(double) => RawBson::Double(double),
            Numeric::Decimal(decimal) => RawBson::Decimal128(decimal::to_bits(decimal)),
        }
    }
}

fn whole_double(double: f64) -> Option<i64> {
    const I64_END: f64 = 9_223_372_036_854_775_808.0;
    (double.trunc() == double && (-I64_END..I64_END).contains(&double)).then_some(double as i64)
}

fn whole_magnitude(mut coefficient: u128, mut exponent: i32) -> Option<i128> {
    if coefficient == 0 {
        return Some(0);
    }
    while exponent < 0 {
        if !coefficient.is_multiple_of(10) {
            return None;
        }
        coefficient /= 10;
        exponent += 1;
    }
    let scale = 10u128.checked_pow(exponent.unsigned_abs())?;
    i128::try_from(coefficient.checked_mul(scale)?).ok()
}
