//! Numbers in keys: see the table in the module above.
//!
//! The magnitude is cut down, never rounded, to a double: values that share the cut double lie at or above it,
//! so "exact" sorts first among them and the others follow by their own digits.

use super::tag;
use crate::order::{CanonicalMagnitude, Decimal, Signum};
use bson::Decimal128;

/// Integers up to here, of either sign, are doubles.
const EXACT_INTEGER_MAX: u64 = 1 << 53;
/// Lifts every decimal exponent above zero: the least is -6176.
const EXPONENT_OFFSET: i32 = 1 << 14;
/// 10^34 needs 113 bits.
pub(super) const DIGIT_BYTES: usize = 15;
/// What follows the cut double if it is not the whole truth.
pub(super) const TAIL_BYTES: usize = 2 + DIGIT_BYTES;

pub(super) fn encode_integer(integer: i64, key: &mut Vec<u8>) {
    let magnitude = integer.unsigned_abs();
    if integer == 0 {
        key.push(tag::ZERO);
    } else if magnitude <= EXACT_INTEGER_MAX {
        encode_magnitude(integer < 0, magnitude as f64, None, key);
    } else {
        // Keep the 53 leading bits; generated 64-bit ids are common enough to spare them the general way.
        let dropped = 64 - magnitude.leading_zeros() - f64::MANTISSA_DIGITS;
        let cut = magnitude >> dropped << dropped;
        let tail = if cut == magnitude {
            None
        } else {
            Decimal::from_integer(integer).magnitude()
        };
        encode_magnitude(integer < 0, cut as f64, tail, key);
    }
}

pub(super) fn encode_double(double: f64, key: &mut Vec<u8>) {
    if double.is_nan() {
        key.push(tag::NAN);
    } else if double == 0.0 {
        key.push(tag::ZERO);
    } else if double.is_infinite() {
        key.push(infinity_tag(double < 0.0));
    } else {
        encode_magnitude(double < 0.0, double.abs(), None, key);
    }
}

pub(super) fn encode_decimal(decimal: Decimal128, key: &mut Vec<u8>) {
    match Decimal::from_bits(decimal) {
        Decimal::NaN => key.push(tag::NAN),
        Decimal::Infinity { negative } => key.push(infinity_tag(negative)),
        finite => encode_finite(&finite, key),
    }
}

fn infinity_tag(negative: bool) -> u8 {
    if negative {
        tag::NEGATIVE_INFINITY
    } else {
        tag::POSITIVE_INFINITY
    }
}

fn encode_finite(decimal: &Decimal, key: &mut Vec<u8>) {
    let (Some((cut, exact)), Some(magnitude)) = (decimal.truncate_to_double(), decimal.magnitude())
    else {
        key.push(tag::ZERO);
        return;
    };
    let tail = if exact { None } else { Some(magnitude) };
    encode_magnitude(decimal.signum() == Signum::Negative, cut, tail, key);
}

fn encode_magnitude(negative: bool, cut: f64, tail: Option<CanonicalMagnitude>, key: &mut Vec<u8>) {
    key.push(if negative {
        tag::NEGATIVE
    } else {
        tag::POSITIVE
    });
    let start = key.len();
    // The sign bit of a magnitude is clear, so the shift loses nothing.
    let head = (cut.to_bits() << 1) | u64::from(tail.is_some());
    key.extend_from_slice(&head.to_be_bytes());
    if let Some(CanonicalMagnitude {
        leading_exponent,
        digits,
    }) = tail
    {
        let exponent = u16::try_from(leading_exponent + EXPONENT_OFFSET)
            .expect("decimal exponents lie within ±6211");
        key.extend_from_slice(&exponent.to_be_bytes());
        key.extend_from_slice(&digits.to_be_bytes()[16 - DIGIT_BYTES..]);
    }
    if negative {
        for byte in &mut key[start..] {
            *byte = !*byte;
        }
    }
}
