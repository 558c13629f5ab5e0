use super::*;
use crate::testing::{
    any_decimal, any_double, any_integer, any_number, any_value, db_pointer, decimal, decimal_text,
    raw_value,
};
use bson::oid::ObjectId;
use bson::raw::RawBson;
use bson::spec::BinarySubtype;
use bson::{
    Binary, Bson, DateTime, Decimal128, JavaScriptCodeWithScope, Regex, Timestamp, bson, doc,
};
use proptest::prelude::*;

fn order(left: &RawBson, right: &RawBson) -> Ordering {
    compare(left.as_raw_bson_ref(), right.as_raw_bson_ref())
}

/// Each value is below all later ones.
fn assert_ascending(values: &[RawBson]) {
    for (i, left) in values.iter().enumerate() {
        for (j, right) in values.iter().enumerate() {
            assert_eq!(order(left, right), i.cmp(&j), "{left:?} and {right:?}");
        }
    }
}

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype,
        bytes: bytes.to_vec(),
    })
}

fn regex(pattern: &str, options: &str) -> Bson {
    Bson::RegularExpression(Regex {
        pattern: pattern.try_into().unwrap(),
        options: options.try_into().unwrap(),
    })
}

#[test]
fn types_order_by_class() {
    let scope = |scope| JavaScriptCodeWithScope {
        code: "f".to_owned(),
        scope,
    };
    let mut values: Vec<RawBson> = [
        Bson::MinKey,
        Bson::Undefined,
        Bson::Null,
        Bson::Double(f64::NAN),
        Bson::Double(f64::NEG_INFINITY),
        Bson::Int32(-1),
        Bson::Int64(0),
        Bson::Double(0.5),
        Bson::Double(f64::INFINITY),
        bson!(""),
        Bson::Symbol("a".to_owned()),
        bson!("a\0"),
        bson!("b"),
        bson!({}),
        bson!({ "b": 1 }),
        bson!({ "a": "x" }),
        bson!([]),
        bson!([1]),
        bson!([1, 2]),
        bson!([2]),
        binary(BinarySubtype::Generic, &[]),
        binary(BinarySubtype::Generic, &[9]),
        binary(BinarySubtype::Uuid, &[1]),
        binary(BinarySubtype::Generic, &[0, 0]),
        // Its length on the wire is 5.
        binary(BinarySubtype::BinaryOld, &[0]),
        Bson::ObjectId(ObjectId::from_bytes([1; 12])),
        Bson::ObjectId(ObjectId::from_bytes([2; 12])),
        bson!(false),
        bson!(true),
        Bson::DateTime(DateTime::from_millis(-5)),
        Bson::DateTime(DateTime::from_millis(5)),
        Bson::Timestamp(Timestamp {
            time: 1,
            increment: u32::MAX,
        }),
        Bson::Timestamp(Timestamp {
            time: 0x8000_0000,
            increment: 0,
        }),
        regex("a", "i"),
        regex("b", ""),
    ]
    .into_iter()
    .map(raw_value)
    .collect();
    values.push(db_pointer("z", [0; 12]));
    values.push(db_pointer("aa", [0; 12]));
    values.push(db_pointer("aa", [1; 12]));
    values.push(raw_value(Bson::JavaScriptCode("f".to_owned())));
    values.push(raw_value(Bson::JavaScriptCodeWithScope(scope(doc! {}))));
    values.push(raw_value(Bson::JavaScriptCodeWithScope(scope(
        doc! { "x": 1 },
    ))));
    values.push(RawBson::MaxKey);
    assert_ascending(&values);
}

#[test]
fn numbers_order_across_types_by_exact_value() {
    assert_ascending(&[
        decimal_text("NaN"),
        RawBson::Double(f64::NEG_INFINITY),
        decimal_text("-1E400"),
        RawBson::Double(f64::MIN),
        RawBson::Int64(i64::MIN),
        RawBson::Int64(-9_007_199_254_740_993),
        RawBson::Double(-9_007_199_254_740_992.0),
        decimal_text("-0.1"),
        decimal_text("-1E-6000"),
        RawBson::Int32(0),
        decimal_text("1E-6000"),
        RawBson::Double(f64::from_bits(1)),
        decimal_text("0.1"),
        // The double is 0.1000000000000000055…
        RawBson::Double(0.1),
        RawBson::Int32(1),
        decimal_text("1.000000000000000000000000000000001"),
        RawBson::Double(9_007_199_254_740_992.0),
        RawBson::Int64(9_007_199_254_740_993),
        RawBson::Int64(i64::MAX),
        decimal_text("9223372036854775807.5"),
        RawBson::Double(9_223_372_036_854_775_808.0),
        RawBson::Double(f64::MAX),
        decimal_text("1E400"),
        decimal_text("1E6000"),
        RawBson::Double(f64::INFINITY),
    ]);
}

#[test]
fn equal_numbers_of_different_types_are_equal() {
    for group in [
        vec![
            RawBson::Int32(1),
            RawBson::Int64(1),
            RawBson::Double(1.0),
            decimal_text("1"),
            decimal_text("1.00"),
        ],
        vec![
            RawBson::Int32(0),
            RawBson::Double(-0.0),
            decimal_text("-0"),
            decimal_text("0E+100"),
            // Above the greatest significand: not canonical, hence zero.
            RawBson::Decimal128(decimal(false, 10u128.pow(34), 0)),
            RawBson::Decimal128(Decimal128::from_bytes((0x6u128 << 124).to_le_bytes())),
        ],
        vec![RawBson::Double(f64::NAN), decimal_text("NaN")],
        vec![RawBson::Double(f64::INFINITY), decimal_text("Infinity")],
        vec![
            RawBson::Double(f64::NEG_INFINITY),
            decimal_text("-Infinity"),
        ],
        vec![
            RawBson::Double(0.5),
            decimal_text("0.5"),
            decimal_text("5000E-4"),
        ],
        vec![
            RawBson::Int64(i64::MIN),
            RawBson::Double(-9_223_372_036_854_775_808.0),
        ],
    ] {
        for left in &group {
            for right in &group {
                assert_eq!(
                    order(left, right),
                    Ordering::Equal,
                    "{left:?} and {right:?}"
                );
            }
        }
    }
}

#[test]
fn missing_sorts_as_null() {
    assert_eq!(
        compare_missing_as_null(None, Some(RawBsonRef::Null)),
        Ordering::Equal
    );
    assert_eq!(
        compare_missing_as_null(None, Some(RawBsonRef::Undefined)),
        Ordering::Greater
    );
    assert_eq!(
        compare_missing_as_null(Some(RawBsonRef::Int32(0)), None),
        Ordering::Greater
    );
}

#[test]
fn truncation_to_int64_keeps_the_integral_part() {
    let cases = [
        (decimal_text("12.99"), Some(12)),
        (decimal_text("-12.99"), Some(-12)),
        (decimal_text("1E-6000"), Some(0)),
        (decimal_text("9223372036854775807"), Some(i64::MAX)),
        (decimal_text("-9223372036854775808"), Some(i64::MIN)),
        (decimal_text("9223372036854775808"), None),
        (decimal_text("1E40"), None),
        (decimal_text("NaN"), None),
        (RawBson::Double(-1.5), Some(-1)),
        (RawBson::Double(f64::NAN), None),
        (RawBson::Double(9.3e18), None),
    ];
    for (value, expected) in cases {
        let number = Number::of(value.as_raw_bson_ref()).unwrap();
        assert_eq!(number.truncate_to_i64(), expected, "{value:?}");
    }
}

/// The model: a number written out in full, as sign, integral digits and fraction, then compared as text.
#[derive(Debug)]
enum Written {
    NaN,
    Infinite(bool),
    Digits {
        negative: bool,
        integral: String,
        fraction: String,
    },
}

impl Written {
    fn new(text: &str) -> Written {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (integral, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let integral = integral.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let is_zero = integral.is_empty() && fraction.is_empty();
        Written::Digits {
            negative: negative && !is_zero,
            integral,
            fraction,
        }
    }

    fn of(value: &RawBson) -> Written {
        match value {
            RawBson::Int32(integer) => Written::new(&integer.to_string()),
            RawBson::Int64(integer) => Written::new(&integer.to_string()),
            RawBson::Double(double) if double.is_nan() => Written::NaN,
            RawBson::Double(double) if double.is_infinite() => Written::Infinite(*double < 0.0),
            RawBson::Double(double) => Written::new(&format!("{double:.1080}")),
            RawBson::Decimal128(decimal) => Written::of_decimal(&decimal.to_string()),
            other => panic!("{other:?} is not a number"),
        }
    }

    /// From the library's own reading of the bits: `-1.5E+3`.
    fn of_decimal(text: &str) -> Written {
        match text {
            "NaN" | "-NaN" => return Written::NaN,
            "Infinity" => return Written::Infinite(false),
            "-Infinity" => return Written::Infinite(true),
            _ => {}
        }
        let (digits, exponent) = text.split_once('E').unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap();
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", digits),
        };
        let (integral, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{integral}{fraction}");
        let point = integral.len() as i32 + exponent;
        let written = if point <= 0 {
            format!("{sign}0.{}{all}", "0".repeat(-point as usize))
        } else if point as usize >= all.len() {
            format!("{sign}{all}{}", "0".repeat(point as usize - all.len()))
        } else {
            format!(
                "{sign}{}.{}",
                &all[..point as usize],
                &all[point as usize..]
            )
        };
        Written::new(&written)
    }

    /// NaN, then the sign, then the length and text of the magnitude.
    fn compare(&self, other: &Written) -> Ordering {
        let class = |written: &Written| match written {
            Written::NaN => 0,
            Written::Infinite(true) => 1,
            Written::Digits { negative: true, .. } => 2,
            Written::Digits { .. } => 3,
            Written::Infinite(false) => 4,
        };
        class(self)
            .cmp(&class(other))
            .then_with(|| match (self, other) {
                (
                    Written::Digits {
                        negative,
                        integral: li,
                        fraction: lf,
                    },
                    Written::Digits {
                        integral: ri,
                        fraction: rf,
                        ..
                    },
                ) => {
                    let magnitudes = li
                        .len()
                        .cmp(&ri.len())
                        .then_with(|| li.cmp(ri))
                        .then_with(|| lf.cmp(rf));
                    if *negative {
                        magnitudes.reverse()
                    } else {
                        magnitudes
                    }
                }
                _ => Ordering::Equal,
            })
    }
}

fn is_canonical(value: &RawBson) -> bool {
    match value {
        // The library shows the digits of non-canonical significands as they stand.
        RawBson::Decimal128(decimal) => {
            let bits = u128::from_le_bytes(decimal.bytes());
            bits & ((1 << 113) - 1) < 10u128.pow(34) && (bits >> 125) & 3 != 3
        }
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn numbers_order_like_their_digits(left in any_number(), right in any_number()) {
        prop_assume!(is_canonical(&left) && is_canonical(&right));
        prop_assert_eq!(order(&left, &right), Written::of(&left).compare(&Written::of(&right)));
    }

    #[test]
    fn decimals_order_like_their_digits_beside_doubles(left in any_decimal(), right in any_double()) {
        let (left, right) = (RawBson::Decimal128(left), RawBson::Double(right));
        prop_assume!(is_canonical(&left));
        prop_assert_eq!(order(&left, &right), Written::of(&left).compare(&Written::of(&right)));
    }

    #[test]
    fn integers_order_like_their_digits_beside_doubles(left in any_integer(), right in any_double()) {
        let (left, right) = (RawBson::Int64(left), RawBson::Double(right));
        prop_assert_eq!(order(&left, &right), Written::of(&left).compare(&Written::of(&right)));
    }

    #[test]
    fn the_order_is_antisymmetric(left in any_value(), right in any_value()) {
        prop_assert_eq!(order(&left, &right), order(&right, &left).reverse());
        prop_assert_eq!(order(&left, &left), Ordering::Equal);
    }
}
