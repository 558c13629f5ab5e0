//! Number arithmetic: decimals against integers and against known roundings.

use bson::Decimal128;
use proptest::prelude::*;

use super::Expression;
use super::decimal::{self, Rounding};
use super::number::Numeric;
use crate::Context;
use crate::order::Decimal;

fn parse(text: &str) -> Decimal {
    Decimal::from_bits(text.parse::<Decimal128>().expect("a decimal"))
}

fn show(decimal: Decimal) -> String {
    decimal::to_bits(decimal).to_string()
}

fn finite(coefficient: i128, exponent: i32) -> Decimal {
    Decimal::Finite {
        negative: coefficient < 0,
        coefficient: coefficient.unsigned_abs(),
        exponent,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn sums_and_products_that_fit_are_exact(
        left in -1_000_000_000_000i64..1_000_000_000_000,
        right in -1_000_000_000_000i64..1_000_000_000_000,
        left_exponent in -8i32..8,
        right_exponent in -8i32..8,
    ) {
        let (l, r) = (finite(left.into(), left_exponent), finite(right.into(), right_exponent));
        let lowest = left_exponent.min(right_exponent);
        let scaled = |value: i64, exponent: i32| {
            i128::from(value) * 10i128.pow((exponent - lowest).unsigned_abs())
        };
        let sum = scaled(left, left_exponent) + scaled(right, right_exponent);
        prop_assert_eq!(decimal::add(l, r).compare(&finite(sum, lowest)), std::cmp::Ordering::Equal);
        let product = i128::from(left) * i128::from(right);
        let expected = finite(product, left_exponent + right_exponent);
        prop_assert_eq!(decimal::multiply(l, r).compare(&expected), std::cmp::Ordering::Equal);
    }

    #[test]
    fn dividing_a_product_gives_the_factor_back(left in 1i64.., right in 1i64..1_000_000) {
        let (l, r) = (finite(left.into(), 0), finite(right.into(), -3));
        let quotient = decimal::divide(decimal::multiply(l, r), r);
        prop_assert_eq!(quotient.compare(&l), std::cmp::Ordering::Equal);
    }

    #[test]
    fn bits_survive(coefficient in 0u128..10u128.pow(34), exponent in -6176i32..=6111, negative: bool) {
        let decimal = Decimal::Finite { negative, coefficient, exponent };
        prop_assert_eq!(Decimal::from_bits(decimal::to_bits(decimal)), decimal);
    }

    #[test]
    fn integers_promote_only_when_they_must(left: i32, right: i32) {
        let sum = Numeric::Int32(left).add(Numeric::Int32(right)).expect("no overflow of int64");
        let exact = i64::from(left) + i64::from(right);
        prop_assert_eq!(sum.as_integer(), Some(exact));
        prop_assert_eq!(matches!(sum, Numeric::Int32(_)), i32::try_from(exact).is_ok());
    }

    #[test]
    fn doubles_keep_fifteen_digits(double in -1e30f64..1e30) {
        let decimal = Numeric::Decimal(decimal::from_double(double, 15));
        prop_assert!((decimal.as_double() - double).abs() <= double.abs() * 1e-14);
    }
}

#[test]
fn decimals_round_half_to_even_at_34_digits() {
    let nines = "9999999999999999999999999999999999";
    assert_eq!(
        show(decimal::add(parse(nines), parse("1"))),
        "1.000000000000000000000000000000000E+34"
    );
    assert_eq!(
        show(decimal::add(parse(nines), parse("0.5"))),
        "1.000000000000000000000000000000000E+34"
    );
    assert_eq!(show(decimal::add(parse(nines), parse("0.4"))), nines);
    let even = "1000000000000000000000000000000002";
    assert_eq!(show(decimal::add(parse(even), parse("0.5"))), even);
    assert_eq!(
        show(decimal::add(parse(even), parse("0.50000001"))),
        "1000000000000000000000000000000003"
    );
    assert_eq!(
        show(decimal::add(parse("1E+100"), parse("1"))),
        "1.000000000000000000000000000000000E+100"
    );
    assert_eq!(
        show(decimal::add(parse("1E+100"), parse("-1"))),
        "1.000000000000000000000000000000000E+100"
    );
    assert_eq!(
        show(decimal::divide(parse("2"), parse("3"))),
        "0.6666666666666666666666666666666667"
    );
    assert_eq!(show(decimal::divide(parse("1"), parse("8"))), "0.125");
    assert_eq!(show(decimal::divide(parse("100"), parse("10"))), "10");
    assert_eq!(show(decimal::multiply(parse("1.20"), parse("3"))), "3.60");
    assert_eq!(show(decimal::add(parse("1.10"), parse("-1.10"))), "0.00");
}

#[test]
fn the_edges_of_decimals() {
    let greatest = parse("9.999999999999999999999999999999999E+6144");
    assert_eq!(show(decimal::add(greatest, greatest)), "Infinity");
    assert_eq!(show(decimal::multiply(greatest, parse("-10"))), "-Infinity");
    assert_eq!(
        show(decimal::multiply(parse("1E-6176"), parse("0.1"))),
        "0E-6176"
    );
    assert_eq!(
        show(decimal::multiply(parse("1E-6176"), parse("0.9"))),
        "1E-6176"
    );
    assert_eq!(
        show(decimal::add(parse("Infinity"), parse("-Infinity"))),
        "NaN"
    );
    assert_eq!(
        show(decimal::add(parse("Infinity"), parse("1"))),
        "Infinity"
    );
    assert_eq!(
        show(decimal::multiply(parse("Infinity"), parse("0"))),
        "NaN"
    );
    assert_eq!(show(decimal::divide(parse("0"), parse("0"))), "NaN");
    assert_eq!(show(decimal::divide(parse("1"), parse("0"))), "Infinity");
    assert_eq!(
        show(decimal::from_double(f64::NEG_INFINITY, 15)),
        "-Infinity"
    );
    assert_eq!(show(decimal::from_double(0.1, 15)), "0.100000000000000");
    assert_eq!(show(decimal::from_double(1e22, 15)), "1.00000000000000E+22");
}

#[test]
fn whole_numbers_of_all_types_are_recognised() {
    assert_eq!(Numeric::Double(3.0).as_whole(), Some(3));
    assert_eq!(Numeric::Double(3.5).as_whole(), None);
    assert_eq!(Numeric::Double(1e19).as_whole(), None);
    assert_eq!(Numeric::Double(f64::NAN).as_whole(), None);
    assert_eq!(Numeric::Decimal(parse("-1.0")).as_whole(), Some(-1));
    assert_eq!(Numeric::Decimal(parse("1E+3")).as_whole(), Some(1000));
    assert_eq!(Numeric::Decimal(parse("1E+30")).as_whole(), None);
    assert_eq!(Numeric::Decimal(parse("0.5")).as_whole(), None);
}

fn integer_of(decimal: Decimal) -> i128 {
    match decimal {
        Decimal::Finite {
            negative,
            coefficient,
            exponent: 0,
        } => {
            let magnitude = coefficient as i128;
            if negative { -magnitude } else { magnitude }
        }
        other => panic!("not a whole number: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decimal_remainders_are_those_of_scaled_integers(
        left: i64,
        right in 1i64..1_000_000,
        left_exponent in -6i32..6,
        right_exponent in -6i32..6,
    ) {
        let lowest = left_exponent.min(right_exponent);
        let scaled = |value: i64, exponent: i32| {
            i128::from(value) * 10i128.pow((exponent - lowest).unsigned_abs())
        };
        let rest = scaled(left, left_exponent) % scaled(right, right_exponent);
        let found = decimal::remainder(
            finite(left.into(), left_exponent),
            finite(right.into(), right_exponent),
        );
        prop_assert_eq!(found.compare(&finite(rest, lowest)), std::cmp::Ordering::Equal);
    }

    #[test]
    fn rounding_drops_digits(value in -1_000_000_000i64..1_000_000_000, places in 0i32..8) {
        let scale = 10i128.pow(places.unsigned_abs());
        let (value, decimal) = (i128::from(value), finite(value.into(), -places));
        let floor = value.div_euclid(scale);
        prop_assert_eq!(integer_of(decimal::round_to(decimal, 0, Rounding::Down)), floor);
        let ceiling = floor + i128::from(value.rem_euclid(scale) != 0);
        prop_assert_eq!(integer_of(decimal::round_to(decimal, 0, Rounding::Up)), ceiling);
        let toward_zero = value / scale;
        prop_assert_eq!(integer_of(decimal::round_to(decimal, 0, Rounding::TowardsZero)), toward_zero);
        let nearest = integer_of(decimal::round_to(decimal, 0, Rounding::HalfEven));
        let apart = (nearest * scale - value).abs() * 2;
        prop_assert!(apart < scale || apart == scale && nearest % 2 == 0);
    }

    #[test]
    fn roots_multiply_back(root in 1i64..1_000_000_000, exponent in -40i32..40) {
        let root = finite(root.into(), exponent);
        let found = decimal::square_root(decimal::multiply(root, root));
        prop_assert_eq!(found.compare(&root), std::cmp::Ordering::Equal);
    }

    #[test]
    fn strings_by_code_points_are_those_of_characters(
        text in "[aé€𝄞]{0,8}",
        start in 0usize..10,
        length in 0usize..10,
        sought in "[aé€𝄞]{1,2}",
    ) {
        let context = Context::none();
        let evaluate = |expression: bson::Document| {
            let raw = bson::RawDocumentBuf::try_from(&expression).expect("valid names");
            let specification = bson::raw::RawBsonRef::Document(&raw);
            let parsed = Expression::parse(specification, &context).expect("valid");
            let nothing = bson::RawDocumentBuf::new();
            let value = parsed.evaluate(&nothing).expect("no error").expect("a value");
            bson::Bson::try_from(value.into_owned()).expect("well-formed")
        };
        let part: String = text.chars().skip(start).take(length).collect();
        prop_assert_eq!(
            evaluate(bson::doc! { "$substrCP": [&text, start as i32, length as i32] }),
            bson::Bson::String(part)
        );
        let characters: Vec<char> = text.chars().collect();
        let wanted: Vec<char> = sought.chars().collect();
        let position = (start..characters.len())
            .find(|at| characters[*at..].starts_with(&wanted))
            .map_or(-1, |at| at as i32);
        prop_assert_eq!(
            evaluate(bson::doc! { "$indexOfCP": [&text, &sought, start as i32] }),
            bson::Bson::Int32(position)
        );
    }
}
