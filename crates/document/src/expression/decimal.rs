//! decimal128 arithmetic (IEEE 754-2008, round half to even, 34 digits): what `$inc`, `$mul`, sums, averages and
//! arithmetic expressions need. Exact intermediate results as decimal digits, rounded once at the end.

use bson::Decimal128;

use crate::order::Decimal;

/// Digits of a significand.
const DIGITS_MAX: usize = 34;
/// One above the greatest significand.
const COEFFICIENT_END: u128 = 10u128.pow(DIGITS_MAX as u32);
const EXPONENT_MIN: i32 = -6176;
const EXPONENT_MAX: i32 = 6111;
/// Operands further apart than this cannot change each other's rounded digits except by direction.
const ALIGNMENT_MAX: i32 = 2 * DIGITS_MAX as i32 + 4;

/// The bits of `decimal`.
pub(crate) fn to_bits(decimal: Decimal) -> Decimal128 {
    let (negative, body) = match decimal {
        Decimal::NaN => (false, 0x1f << 122),
        Decimal::Infinity { negative } => (negative, 0x1e << 122),
        Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } => {
            assert!(coefficient < COEFFICIENT_END);
            assert!((EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent));
            let biased = u128::from((exponent - EXPONENT_MIN).unsigned_abs());
            (negative, biased << 113 | coefficient)
        }
    };
    Decimal128::from_bytes((u128::from(negative) << 127 | body).to_le_bytes())
}

/// A double rounded to `digits` significant digits, as MongoDB converts doubles (15 digits for single values).
pub(crate) fn from_double(double: f64, digits: usize) -> Decimal {
    if double.is_nan() {
        return Decimal::NaN;
    }
    if double.is_infinite() {
        return Decimal::Infinity {
            negative: double < 0.0,
        };
    }
    if double == 0.0 {
        return zero(double.is_sign_negative(), 0);
    }
    let text = format!("{:.*e}", digits - 1, double.abs());
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let coefficient = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let exponent: i32 = exponent.parse().expect("the exponent is an integer");
    Decimal::Finite {
        negative: double < 0.0,
        coefficient,
        exponent: exponent + 1 - digits as i32,
    }
}

/// left + right.
pub(crate) fn add(left: Decimal, right: Decimal) -> Decimal {
    let (
        Decimal::Finite {
            negative: left_negative,
            coefficient: left_coefficient,
            exponent: left_exponent,
        },
        Decimal::Finite {
            negative: right_negative,
            coefficient: right_coefficient,
            exponent: right_exponent,
        },
    ) = (left, right)
    else {
        return add_special(left, right);
    };
    if left_exponent < right_exponent {
        return add(right, left);
    }
    let apart = left_exponent - right_exponent;
    if left_coefficient == 0 || right_coefficient == 0 {
        return add_to_zero(left, right, right_exponent);
    }
    let mut high = digits_of(left_coefficient);
    let (mut low, exponent) = if apart > ALIGNMENT_MAX {
        // Only the side of the exact result the rest lies on matters.
        shift_up(&mut high, ALIGNMENT_MAX as usize);
        (vec![1], left_exponent - ALIGNMENT_MAX)
    } else {
        shift_up(&mut high, apart as usize);
        (digits_of(right_coefficient), right_exponent)
    };
    if left_negative == right_negative {
        add_digits(&mut high, &low);
        return round(left_negative, high, exponent, exponent);
    }
    if compare_digits(&high, &low) == std::cmp::Ordering::Less {
        std::mem::swap(&mut high, &mut low);
        subtract_digits(&mut high, &low);
        return round(right_negative, high, exponent, exponent);
    }
    subtract_digits(&mut high, &low);
    if high.is_empty() {
        return zero(false, exponent);
    }
    round(left_negative, high, exponent, exponent)
}

/// −decimal.
pub(crate) fn negate(decimal: Decimal) -> Decimal {
    match decimal {
        Decimal::NaN => Decimal::NaN,
        Decimal::Infinity { negative } => Decimal::Infinity {
            negative: !negative,
        },
        Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } => Decimal::Finite {
            negative: !negative,
            coefficient,
            exponent,
        },
    }
}

/// left × right.
pub(crate) fn multiply(left: Decimal, right: Decimal) -> Decimal {
    let negative = is_negative(left) != is_negative(right);
    match (left, right) {
        (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
        (Decimal::Infinity { .. }, other) | (other, Decimal::Infinity { .. }) => {
            if is_zero(other) {
                Decimal::NaN
            } else {
                Decimal::Infinity { negative }
            }
        }
        (
            Decimal::Finite {
                coefficient: left_coefficient,
                exponent: left_exponent,
                ..
            },
            Decimal::Finite {
                coefficient: right_coefficient,
                exponent: right_exponent,
                ..
            },
        ) => {
            let exponent = left_exponent + right_exponent;
            let product =
                multiply_digits(&digits_of(left_coefficient), &digits_of(right_coefficient));
            round(negative, product, exponent, exponent)
        }
    }
}

/// left ÷ right; a finite number by zero is infinite, zero by zero NaN.
pub(crate) fn divide(left: Decimal, right: Decimal) -> Decimal {
    let negative = is_negative(left) != is_negative(right);
    match (left, right) {
        (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
        (Decimal::Infinity { .. }, Decimal::Infinity { .. }) => Decimal::NaN,
        (Decimal::Infinity { .. }, _) => Decimal::Infinity { negative },
        (_, Decimal::Infinity { .. }) => zero(negative, EXPONENT_MIN),
        (
            Decimal::Finite {
                coefficient: dividend,
                exponent: dividend_exponent,
                ..
            },
            Decimal::Finite {
                coefficient: divisor,
                exponent: divisor_exponent,
                ..
            },
        ) => {
            if divisor == 0 {
                return if dividend == 0 {
                    Decimal::NaN
                } else {
                    Decimal::Infinity { negative }
                };
            }
            let preferred = dividend_exponent - divisor_exponent;
            divide_finite(negative, dividend, divisor, preferred)
        }
    }
}

/// The remainder of left ÷ right with the sign of left; NaN where there is none.
pub(crate) fn remainder(left: Decimal, right: Decimal) -> Decimal {
    let (
        Decimal::Finite {
            negative,
            coefficient: dividend,
            exponent: dividend_exponent,
        },
        Decimal::Finite {
            coefficient: divisor,
            exponent: divisor_exponent,
            ..
        },
    ) = (left, right)
    else {
        return match (left, right) {
            (Decimal::Finite { .. }, Decimal::Infinity { .. }) => left,
            _ => Decimal::NaN,
        };
    };
    if divisor == 0 {
        return Decimal::NaN;
    }
    let finite = |coefficient, exponent| Decimal::Finite {
        negative,
        coefficient,
        exponent,
    };
    let apart = dividend_exponent - divisor_exponent;
    if apart >= 0 {
        let scale = power_of_ten_modulo(apart.unsigned_abs(), divisor);
        let rest = multiply_modulo(dividend % divisor, scale, divisor);
        return finite(rest, divisor_exponent);
    }
    let scaled = 10u128
        .checked_pow(apart.unsigned_abs())
        .and_then(|scale| divisor.checked_mul(scale));
    match scaled {
        Some(scaled) => finite(dividend % scaled, dividend_exponent),
        None => left,
    }
}

fn power_of_ten_modulo(power: u32, modulus: u128) -> u128 {
    (0..power).fold(1 % modulus, |scale, _| multiply_modulo(scale, 10, modulus))
}

/// left × right modulo `modulus`, which is below 2^127.
fn multiply_modulo(mut left: u128, mut right: u128, modulus: u128) -> u128 {
    let mut product = 0;
    left %= modulus;
    while right > 0 {
        if right & 1 == 1 {
            product = (product + left) % modulus;
        }
        left = (left << 1) % modulus;
        right >>= 1;
    }
    product
}

/// What to do with the digits that rounding drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    HalfEven,
    TowardsZero,
    Down,
    Up,
}

/// The decimal with at most `places` digits behind the point (before it when negative).
pub(crate) fn round_to(decimal: Decimal, places: i32, rounding: Rounding) -> Decimal {
    let Decimal::Finite {
        negative,
        coefficient,
        exponent,
    } = decimal
    else {
        return decimal;
    };
    let dropped = -places - exponent;
    if dropped <= 0 {
        return decimal;
    }
    let (kept, rest, half) = match 10u128.checked_pow(dropped.unsigned_abs()) {
        Some(scale) => (coefficient / scale, coefficient % scale, scale / 2),
        None => (0, coefficient, u128::MAX),
    };
    let up = match rounding {
        Rounding::HalfEven => rest > half || rest == half && kept % 2 == 1,
        Rounding::TowardsZero => false,
        Rounding::Down => negative && rest > 0,
        Rounding::Up => !negative && rest > 0,
    };
    let kept = kept + u128::from(up);
    round(negative, digits_of(kept), -places, -places)
}

/// The square root of a decimal that is not negative, correct to the last digit but one.
pub(crate) fn square_root(decimal: Decimal) -> Decimal {
    let Decimal::Finite {
        coefficient,
        exponent,
        ..
    } = decimal
    else {
        return decimal;
    };
    if coefficient == 0 {
        return zero(false, exponent / 2);
    }
    // An even exponent halves; the significand is within the range of doubles.
    let odd = exponent.rem_euclid(2);
    let significand = Decimal::Finite {
        negative: false,
        coefficient,
        exponent: odd,
    };
    let estimate = (coefficient as f64 * 10f64.powi(odd)).sqrt();
    let half = Decimal::Finite {
        negative: false,
        coefficient: 5,
        exponent: -1,
    };
    let mut root = from_double(estimate, 17);
    for _ in 0..3 {
        root = multiply(add(root, divide(significand, root)), half);
    }
    let root = normalized(root);
    match root {
        Decimal::Finite {
            negative,
            coefficient,
            exponent: root_exponent,
        } => Decimal::Finite {
            negative,
            coefficient,
            exponent: root_exponent + (exponent - odd) / 2,
        },
        other => other,
    }
}

/// Without trailing zeros behind the point.
pub(crate) fn normalized(decimal: Decimal) -> Decimal {
    let Decimal::Finite {
        negative,
        mut coefficient,
        mut exponent,
    } = decimal
    else {
        return decimal;
    };
    while exponent < 0 && coefficient != 0 && coefficient.is_multiple_of(10) {
        coefficient /= 10;
        exponent += 1;
    }
    Decimal::Finite {
        negative,
        coefficient,
        exponent,
    }
}

fn divide_finite(negative: bool, dividend: u128, divisor: u128, preferred: i32) -> Decimal {
    let mut quotient: Vec<u8> = digits_of(dividend / divisor);
    quotient.reverse();
    let mut remainder = dividend % divisor;
    let mut exponent = preferred;
    // Two digits more than are kept, so that the last one can stand for all that follow.
    while remainder != 0 && quotient.len() < DIGITS_MAX + 2 {
        remainder *= 10;
        let digit = (remainder / divisor) as u8;
        remainder %= divisor;
        if !(quotient.is_empty() && digit == 0) {
            quotient.push(digit);
        }
        exponent -= 1;
    }
    if remainder != 0 {
        quotient.push(1);
        exponent -= 1;
    }
    quotient.reverse();
    round(negative, quotient, exponent, preferred)
}

fn add_special(left: Decimal, right: Decimal) -> Decimal {
    match (left, right) {
        (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
        (Decimal::Infinity { negative: l }, Decimal::Infinity { negative: r }) if l != r => {
            Decimal::NaN
        }
        (infinity @ Decimal::Infinity { .. }, _) | (_, infinity) => infinity,
    }
}

/// One operand is zero: the other one, written with the lower exponent where its digits have room.
fn add_to_zero(left: Decimal, right: Decimal, preferred: i32) -> Decimal {
    let (nonzero, other) = if is_zero(left) {
        (right, left)
    } else {
        (left, right)
    };
    match nonzero {
        Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } if coefficient != 0 => round(negative, digits_of(coefficient), exponent, preferred),
        _ => zero(is_negative(nonzero) && is_negative(other), preferred),
    }
}

fn is_negative(decimal: Decimal) -> bool {
    match decimal {
        Decimal::NaN => false,
        Decimal::Infinity { negative } | Decimal::Finite { negative, .. } => negative,
    }
}

/// Whether `decimal` is a zero of either sign.
pub(crate) fn is_zero(decimal: Decimal) -> bool {
    matches!(decimal, Decimal::Finite { coefficient: 0, .. })
}

fn zero(negative: bool, exponent: i32) -> Decimal {
    Decimal::Finite {
        negative,
        coefficient: 0,
        exponent: exponent.clamp(EXPONENT_MIN, EXPONENT_MAX),
    }
}

/// The nearest decimal128 to digits × 10^exponent, half to even, with an exponent as near to `preferred` as the
/// digits allow.
fn round(negative: bool, mut digits: Vec<u8>, mut exponent: i32, preferred: i32) -> Decimal {
    trim(&mut digits);
    if digits.is_empty() {
        return zero(negative, preferred);
    }
    let surplus = (digits.len() as i32 - DIGITS_MAX as i32).max(EXPONENT_MIN - exponent);
    if surplus > 0 {
        drop_low_digits(&mut digits, surplus as usize);
        exponent += surplus;
        if digits.len() > DIGITS_MAX {
            // All nines went up to a power of ten.
            digits.remove(0);
            exponent += 1;
        }
        if digits.is_empty() {
            return zero(negative, exponent);
        }
    }
    while exponent < preferred && digits[0] == 0 {
        digits.remove(0);
        exponent += 1;
    }
    let target = preferred.clamp(EXPONENT_MIN, EXPONENT_MAX);
    while exponent > target && digits.len() < DIGITS_MAX {
        digits.insert(0, 0);
        exponent -= 1;
    }
    if exponent > EXPONENT_MAX {
        return Decimal::Infinity { negative };
    }
    let coefficient = digits
        .iter()
        .rev()
        .fold(0u128, |sum, digit| sum * 10 + u128::from(*digit));
    Decimal::Finite {
        negative,
        coefficient,
        exponent,
    }
}

/// Drops `count` digits at the low end, rounding half to even.
fn drop_low_digits(digits: &mut Vec<u8>, count: usize) {
    if count > digits.len() {
        digits.clear();
        return;
    }
    let dropped: Vec<u8> = digits.drain(..count).collect();
    let (half, below) = dropped.split_last().expect("at least one digit is dropped");
    let odd = digits.first().is_some_and(|digit| digit % 2 == 1);
    let up = *half > 5 || *half == 5 && (odd || below.iter().any(|digit| *digit != 0));
    if up {
        add_digits(digits, &[1]);
    }
}

// Numbers as decimal digits, the lowest first, without leading zeros at the high end.

fn digits_of(mut number: u128) -> Vec<u8> {
    let mut digits = Vec::with_capacity(DIGITS_MAX + 1);
    while number > 0 {
        digits.push((number % 10) as u8);
        number /= 10;
    }
    digits
}

fn trim(digits: &mut Vec<u8>) {
    while digits.last() == Some(&0) {
        digits.pop();
    }
}

fn shift_up(digits: &mut Vec<u8>, places: usize) {
    digits.splice(0..0, std::iter::repeat_n(0, places));
}

fn add_digits(sum: &mut Vec<u8>, addend: &[u8]) {
    let mut carry = 0;
    let mut place = 0;
    while place < addend.len() || carry > 0 {
        if place == sum.len() {
            sum.push(0);
        }
        let digit = sum[place] + addend.get(place).copied().unwrap_or(0) + carry;
        sum[place] = digit % 10;
        carry = digit / 10;
        place += 1;
    }
}

/// `from` ≥ `subtrahend`.
fn subtract_digits(from: &mut Vec<u8>, subtrahend: &[u8]) {
    let mut borrow = 0;
    for (place, digit) in from.iter_mut().enumerate() {
        let take = subtrahend.get(place).copied().unwrap_or(0) + borrow;
        borrow = u8::from(*digit < take);
        *digit = *digit + 10 * borrow - take;
    }
    assert_eq!(borrow, 0, "the subtrahend is not greater");
    trim(from);
}

fn compare_digits(left: &[u8], right: &[u8]) -> std::cmp::Ordering {
    left.len()
        .cmp(&right.len())
        .then_with(|| left.iter().rev().cmp(right.iter().rev()))
}

fn multiply_digits(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut product = vec![0u32; left.len() + right.len() + 1];
    for (l, left_digit) in left.iter().enumerate() {
        for (r, right_digit) in right.iter().enumerate() {
            product[l + r] += u32::from(*left_digit) * u32::from(*right_digit);
        }
    }
    let mut carry = 0;
    product
        .into_iter()
        .map(|digit| {
            let total = digit + carry;
            carry = total / 10;
            (total % 10) as u8
        })
        .collect()
}
