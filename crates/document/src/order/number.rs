//! Exact comparison of BSON's four numeric types.
//!
//! A decimal128 is read from its bits (IEEE 754-2008, binary integer significand); non-canonical significands
//! count as zero. Doubles and decimals compare by exact value with a small integer of arbitrary length, never
//! through rounding.

use bson::Decimal128;
use bson::raw::RawBsonRef;
use std::cmp::Ordering;

/// The most decimal digits a decimal128 holds.
const DIGITS_MAX: i32 = 34;
/// Subtracted from the stored exponent.
const EXPONENT_BIAS: i32 = 6176;
/// One above the greatest canonical significand.
const COEFFICIENT_END: u128 = 10u128.pow(DIGITS_MAX as u32);
/// 2^63, the least double above every int64.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

/// A BSON number by value.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// int32 or int64.
    Integer(i64),
    /// Double.
    Double(f64),
    /// decimal128.
    Decimal(Decimal),
}

/// A decimal128 taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimal {
    /// Any NaN; sign and payload do not matter.
    NaN,
    /// Either infinity.
    Infinity {
        /// Whether it is the lower one.
        negative: bool,
    },
    /// ±coefficient × 10^exponent; coefficient < 10^34.
    Finite {
        /// The sign; may stand before zero.
        negative: bool,
        /// The digits.
        coefficient: u128,
        /// The power of ten.
        exponent: i32,
    },
}

/// A finite magnitude above zero in the one form that equal values share: the power of ten of the leading
/// digit, and the digits padded to 34. Orders as its fields do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CanonicalMagnitude {
    /// The power of ten of the first digit.
    pub leading_exponent: i32,
    /// Exactly 34 digits.
    pub digits: u128,
}

impl Number {
    /// The number in `value`, or None for the other types.
    pub fn of(value: RawBsonRef<'_>) -> Option<Number> {
        match value {
            RawBsonRef::Int32(integer) => Some(Number::Integer(i64::from(integer))),
            RawBsonRef::Int64(integer) => Some(Number::Integer(integer)),
            RawBsonRef::Double(double) => Some(Number::Double(double)),
            RawBsonRef::Decimal128(decimal) => Some(Number::Decimal(Decimal::from_bits(decimal))),
            _ => None,
        }
    }

    /// Whether this is a NaN of either kind.
    pub fn is_nan(&self) -> bool {
        match self {
            Number::Integer(_) => false,
            Number::Double(double) => double.is_nan(),
            Number::Decimal(decimal) => *decimal == Decimal::NaN,
        }
    }

    /// The integral part, if it is an int64; None for NaN and infinities.
    pub fn truncate_to_i64(&self) -> Option<i64> {
        match *self {
            Number::Integer(integer) => Some(integer),
            Number::Double(double) => (-I64_END..I64_END)
                .contains(&double)
                .then_some(double as i64),
            Number::Decimal(decimal) => decimal.truncate_to_i64(),
        }
    }

    /// By exact value. NaN equals NaN and is below everything; zeros are equal whatever their sign.
    pub fn compare(&self, other: &Number) -> Ordering {
        match (self, other) {
            (Number::Integer(l), Number::Integer(r)) => l.cmp(r),
            (Number::Double(l), Number::Double(r)) => compare_doubles(*l, *r),
            (Number::Integer(l), Number::Double(r)) => compare_integer_to_double(*l, *r),
            (Number::Double(l), Number::Integer(r)) => compare_integer_to_double(*r, *l).reverse(),
            (Number::Decimal(l), Number::Decimal(r)) => l.compare(r),
            (Number::Decimal(l), Number::Integer(r)) => l.compare(&Decimal::from_integer(*r)),
            (Number::Integer(l), Number::Decimal(r)) => Decimal::from_integer(*l).compare(r),
            (Number::Decimal(l), Number::Double(r)) => l.compare_to_double(*r),
            (Number::Double(l), Number::Decimal(r)) => r.compare_to_double(*l).reverse(),
        }
    }
}

fn compare_doubles(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

fn compare_integer_to_double(integer: i64, double: f64) -> Ordering {
    if double.is_nan() {
        return Ordering::Greater;
    }
    if double >= I64_END {
        return Ordering::Less;
    }
    if double < -I64_END {
        return Ordering::Greater;
    }
    // Within the range of int64 the integral part converts exactly.
    let whole = double.trunc();
    integer
        .cmp(&(whole as i64))
        .then_with(|| compare_doubles(whole, double))
}

impl Decimal {
    /// Reads the bits.
    pub fn from_bits(decimal: Decimal128) -> Decimal {
        let bits = u128::from_le_bytes(decimal.bytes());
        let negative = bits >> 127 == 1;
        let combination = (bits >> 122) & 0x1f;
        match combination {
            0x1f => Decimal::NaN,
            0x1e => Decimal::Infinity { negative },
            // The significand would have an implied leading 0b100, which is above 10^34: not canonical.
            0x18..0x1e => Decimal::Finite {
                negative,
                coefficient: 0,
                exponent: ((bits >> 111) & 0x3fff) as i32 - EXPONENT_BIAS,
            },
            _ => {
                let coefficient = bits & ((1 << 113) - 1);
                Decimal::Finite {
                    negative,
                    coefficient: if coefficient < COEFFICIENT_END {
                        coefficient
                    } else {
                        0
                    },
                    exponent: ((bits >> 113) & 0x3fff) as i32 - EXPONENT_BIAS,
                }
            }
        }
    }

    /// The same value as `integer`.
    pub fn from_integer(integer: i64) -> Decimal {
        Decimal::Finite {
            negative: integer < 0,
            coefficient: u128::from(integer.unsigned_abs()),
            exponent: 0,
        }
    }

    /// By value.
    pub fn compare(&self, other: &Decimal) -> Ordering {
        self.signum().cmp(&other.signum()).then_with(|| {
            let magnitudes = match (self.magnitude(), other.magnitude()) {
                (Some(l), Some(r)) => l.cmp(&r),
                // Infinities, or the one value there is: zero, NaN.
                _ => self.is_infinite().cmp(&other.is_infinite()),
            };
            self.signum().apply(magnitudes)
        })
    }

    /// The integral part, if it is an int64; None for NaN and infinities.
    pub fn truncate_to_i64(&self) -> Option<i64> {
        let Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } = *self
        else {
            return None;
        };
        if coefficient == 0 {
            return Some(0);
        }
        let power = 10u128.checked_pow(exponent.unsigned_abs());
        let magnitude = if exponent >= 0 {
            coefficient.checked_mul(power?)?
        } else {
            // A power too large to hold is above every coefficient.
            power.map_or(0, |power| coefficient / power)
        };
        let magnitude = i128::try_from(magnitude).ok()?;
        i64::try_from(if negative { -magnitude } else { magnitude }).ok()
    }

    fn compare_to_double(&self, double: f64) -> Ordering {
        self.signum().cmp(&signum_of_double(double)).then_with(|| {
            let magnitudes = match *self {
                Decimal::Finite { .. } if double.is_infinite() => Ordering::Less,
                Decimal::Finite {
                    coefficient,
                    exponent,
                    ..
                } if coefficient != 0 => {
                    compare_magnitude_to_double(coefficient, exponent, double.abs())
                }
                Decimal::Infinity { .. } if !double.is_infinite() => Ordering::Greater,
                _ => Ordering::Equal,
            };
            self.signum().apply(magnitudes)
        })
    }

    fn is_infinite(&self) -> bool {
        matches!(self, Decimal::Infinity { .. })
    }

    pub(crate) fn signum(&self) -> Signum {
        match *self {
            Decimal::NaN => Signum::NaN,
            Decimal::Finite { coefficient: 0, .. } => Signum::Zero,
            Decimal::Finite { negative: true, .. } | Decimal::Infinity { negative: true } => {
                Signum::Negative
            }
            _ => Signum::Positive,
        }
    }

    /// None for zero, infinities and NaN.
    pub(crate) fn magnitude(&self) -> Option<CanonicalMagnitude> {
        match *self {
            Decimal::Finite {
                coefficient,
                exponent,
                ..
            } if coefficient != 0 => {
                let digit_count = coefficient.ilog10() as i32 + 1;
                Some(CanonicalMagnitude {
                    leading_exponent: exponent + digit_count - 1,
                    digits: coefficient * 10u128.pow((DIGITS_MAX - digit_count) as u32),
                })
            }
            _ => None,
        }
    }

    /// The greatest double not above the magnitude, and whether it is the magnitude itself. Magnitudes above
    /// every finite double give the greatest of them. None for zero, infinities and NaN.
    pub(crate) fn truncate_to_double(&self) -> Option<(f64, bool)> {
        let Decimal::Finite {
            coefficient,
            exponent,
            ..
        } = *self
        else {
            return None;
        };
        if coefficient == 0 {
            return None;
        }
        // Correctly rounded to nearest, hence at most one step too high.
        let nearest: f64 = format!("{coefficient}e{exponent}")
            .parse()
            .expect("digits, e and an integer form a float literal");
        if nearest.is_infinite() {
            return Some((f64::MAX, false));
        }
        Some(
            match compare_magnitude_to_double(coefficient, exponent, nearest) {
                Ordering::Equal => (nearest, true),
                Ordering::Greater => (nearest, false),
                Ordering::Less => (f64::from_bits(nearest.to_bits() - 1), false),
            },
        )
    }
}

/// Sign with NaN below everything; orders as numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signum {
    NaN,
    Negative,
    Zero,
    Positive,
}

impl Signum {
    /// The order of two values of this sign whose magnitudes order as given.
    fn apply(self, magnitudes: Ordering) -> Ordering {
        match self {
            Signum::Negative => magnitudes.reverse(),
            _ => magnitudes,
        }
    }
}

fn signum_of_double(double: f64) -> Signum {
    if double.is_nan() {
        Signum::NaN
    } else if double == 0.0 {
        Signum::Zero
    } else if double < 0.0 {
        Signum::Negative
    } else {
        Signum::Positive
    }
}

/// coefficient × 10^exponent against a finite double ≥ 0, exactly; coefficient > 0.
fn compare_magnitude_to_double(coefficient: u128, exponent: i32, double: f64) -> Ordering {
    assert!(double >= 0.0 && double.is_finite() && coefficient > 0);
    if double == 0.0 {
        return Ordering::Greater;
    }
    // Far apart: the double lies within [10^-324, 10^309), and the integers below stay short.
    let leading_exponent = exponent + coefficient.ilog10() as i32;
    if leading_exponent > 309 {
        return Ordering::Greater;
    }
    if leading_exponent < -325 {
        return Ordering::Less;
    }
    let (mantissa, binary_exponent) = decompose(double);
    // Both sides times a power of two and of five that leaves integers:
    // coefficient·5^e·2^e against mantissa·2^b.
    let mut left = Integer::new(coefficient);
    let mut right = Integer::new(u128::from(mantissa));
    if exponent >= 0 {
        left.multiply_by_power_of_five(exponent.unsigned_abs());
    } else {
        right.multiply_by_power_of_five(exponent.unsigned_abs());
    }
    let shift = exponent - binary_exponent;
    if shift >= 0 {
        left.shift_left(shift.unsigned_abs());
    } else {
        right.shift_left(shift.unsigned_abs());
    }
    left.compare(&right)
}

/// `double` = mantissa × 2^exponent, for finite doubles above zero.
fn decompose(double: f64) -> (u64, i32) {
    let bits = double.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match (bits >> 52) & 0x7ff {
        0 => (fraction, -1074),
        stored => (fraction | (1 << 52), stored as i32 - 1075),
    }
}

/// A non-negative integer of any length: little-endian limbs, no leading zero limb.
struct Integer(Vec<u32>);

impl Integer {
    fn new(value: u128) -> Integer {
        let mut limbs: Vec<u32> = (0..4).map(|i| (value >> (32 * i)) as u32).collect();
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Integer(limbs)
    }

    fn multiply(&mut self, factor: u32) {
        let mut carry = 0u64;
        for limb in &mut self.0 {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn multiply_by_power_of_five(&mut self, mut power: u32) {
        const STEP: u32 = 13; // 5^13 is the greatest power of five in a limb.
        while power >= STEP {
            self.multiply(5u32.pow(STEP));
            power -= STEP;
        }
        self.multiply(5u32.pow(power));
    }

    fn shift_left(&mut self, bits: u32) {
        self.multiply(1 << (bits % 32));
        let zeros = (bits / 32) as usize;
        self.0.splice(0..0, std::iter::repeat_n(0, zeros));
    }

    fn compare(&self, other: &Integer) -> Ordering {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}
