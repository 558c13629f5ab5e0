//! A running sum of numbers of all types, with MongoDB's promotion.
//!
//! Integers add up exactly; doubles with a compensation term, so that rounding errors do not pile up; decimals as
//! decimals. The widest type seen decides the type of the result; integers that leave int64 become a double.

use bson::raw::RawBson;

use crate::expression::decimal;
use crate::expression::number::Numeric;
use crate::order::Decimal;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Widest {
    Int32,
    Int64,
    Double,
    Decimal,
}

#[derive(Debug)]
pub(crate) struct Total {
    widest: Widest,
    integers: i128,
    doubles: CompensatedSum,
    decimals: Decimal,
}

impl Total {
    pub fn new() -> Total {
        Total {
            widest: Widest::Int32,
            integers: 0,
            doubles: CompensatedSum::default(),
            decimals: Decimal::from_integer(0),
        }
    }

    pub fn add(&mut self, number: Numeric) {
        let width = match number {
            Numeric::Int32(integer) => {
                self.integers += i128::from(integer);
                Widest::Int32
            }
            Numeric::Int64(integer) => {
                self.integers += i128::from(integer);
                Widest::Int64
            }
            Numeric::Double(double) => {
                self.doubles.add(double);
                Widest::Double
            }
            Numeric::Decimal(decimal) => {
                self.decimals = decimal::add(self.decimals, decimal);
                Widest::Decimal
            }
        };
        self.widest = self.widest.max(width);
    }

    /// The sum in the widest type seen.
    pub fn sum(&self) -> Numeric {
        match self.widest {
            Widest::Int32 | Widest::Int64 => match i64::try_from(self.integers) {
                Ok(sum) => match i32::try_from(sum) {
                    Ok(sum) if self.widest == Widest::Int32 => Numeric::Int32(sum),
                    _ => Numeric::Int64(sum),
                },
                Err(_) => Numeric::Double(self.integers as f64),
            },
            Widest::Double => Numeric::Double(self.as_double()),
            Widest::Decimal => Numeric::Decimal(self.as_decimal()),
        }
    }

    /// The sum over `count`: a decimal if one took part, else a double.
    pub fn average(&self, count: u64) -> RawBson {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        match self.widest {
            Widest::Decimal => {
                let average = decimal::divide(self.as_decimal(), Decimal::from_integer(count));
                Numeric::Decimal(average).into()
            }
            _ => RawBson::Double(self.as_double() / count as f64),
        }
    }

    fn as_double(&self) -> f64 {
        let mut sum = self.doubles;
        // In two halves that a double holds exactly, as far as 106 bits go.
        let high = self.integers as f64;
        sum.add(high);
        sum.add((self.integers - high as i128) as f64);
        sum.value()
    }

    fn as_decimal(&self) -> Decimal {
        /// Digits that a sum of doubles keeps when it joins decimals.
        const SUM_DIGITS: usize = 34;
        let integers = integer_to_decimal(self.integers);
        let doubles = self.doubles;
        let mut total = decimal::add(self.decimals, integers);
        if doubles.used {
            total = decimal::add(total, decimal::from_double(doubles.sum, SUM_DIGITS));
            if doubles.sum.is_finite() {
                total = decimal::add(total, decimal::from_double(doubles.carry, SUM_DIGITS));
            }
        }
        total
    }
}

/// Exact up to 34 digits, which 2^64 additions of int64 do not exceed by much; beyond, through halves.
fn integer_to_decimal(integer: i128) -> Decimal {
    const HALF: i128 = 1_000_000_000_000_000_000;
    let high = Decimal::from_integer((integer / HALF) as i64);
    let low = Decimal::from_integer((integer % HALF) as i64);
    let scale = Decimal::from_integer(HALF as i64);
    decimal::add(decimal::multiply(high, scale), low)
}

/// Sum of doubles together with what rounding lost (Knuth's two-sum).
#[derive(Debug, Clone, Copy, Default)]
struct CompensatedSum {
    sum: f64,
    carry: f64,
    used: bool,
}

impl CompensatedSum {
    fn add(&mut self, double: f64) {
        let sum = self.sum + double;
        let from_double = sum - self.sum;
        let from_sum = sum - from_double;
        let lost = (self.sum - from_sum) + (double - from_double);
        self.sum = sum;
        self.carry += lost;
        self.used = true;
    }

    fn value(&self) -> f64 {
        if self.sum.is_finite() {
            self.sum + self.carry
        } else {
            // The carry of infinities is NaN and says nothing.
            self.sum
        }
    }
}
