use super::*;
use crate::order::compare;
use crate::testing::{any_number, any_value, decimal_text, raw_value};
use bson::bson;
use bson::oid::ObjectId;
use bson::raw::RawBson;
use proptest::prelude::*;

const DIRECTIONS: [Direction; 2] = [Direction::Ascending, Direction::Descending];

fn key(value: &RawBson, direction: Direction) -> Vec<u8> {
    let mut key = Vec::new();
    encode(value.as_raw_bson_ref(), direction, &mut key);
    key
}

fn assert_agrees(left: &RawBson, right: &RawBson) {
    let expected = compare(left.as_raw_bson_ref(), right.as_raw_bson_ref());
    let ascending = key(left, Direction::Ascending).cmp(&key(right, Direction::Ascending));
    let descending = key(left, Direction::Descending).cmp(&key(right, Direction::Descending));
    assert_eq!(ascending, expected, "ascending {left:?} and {right:?}");
    assert_eq!(
        descending,
        expected.reverse(),
        "descending {left:?} and {right:?}"
    );
}

#[test]
fn the_bytes_are_as_documented() {
    let cases: [(RawBson, &[u8]); 7] = [
        (RawBson::Int32(1), &[0x1c, 0x7f, 0xe0, 0, 0, 0, 0, 0, 0]),
        (
            RawBson::Double(-1.0),
            &[0x1a, 0x80, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (RawBson::Null, &[0x10]),
        (
            RawBson::String("a\0b\x01".to_owned()),
            &[0x28, b'a', 1, 1, b'b', 1, 2, 0],
        ),
        (raw_value(bson!([true, []])), &[0x38, 0x51, 0x38, 0, 0]),
        (
            raw_value(bson!({ "x": null })),
            &[0x30, 0x10, b'x', 0, 0x10, 0],
        ),
        (
            RawBson::ObjectId(ObjectId::from_bytes([9; 12])),
            &[0x48, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(key(&value, Direction::Ascending), expected, "{value:?}");
    }
}

#[test]
fn equal_numbers_share_a_key() {
    let one = key(&RawBson::Int32(1), Direction::Ascending);
    for same in [
        RawBson::Int64(1),
        RawBson::Double(1.0),
        decimal_text("1.000"),
    ] {
        assert_eq!(key(&same, Direction::Ascending), one);
    }
    let large = key(&RawBson::Int64(9_007_199_254_740_993), Direction::Ascending);
    assert_eq!(
        key(&decimal_text("9007199254740993"), Direction::Ascending),
        large
    );
}

#[test]
fn numbers_outside_the_range_of_doubles_keep_their_order() {
    let ascending = [
        "-9E6000", "-1E400", "-1E-400", "-1E-401", "0", "1E-401", "1E-400", "1E400", "9E6000",
    ];
    for pair in ascending.windows(2) {
        assert_agrees(&decimal_text(pair[0]), &decimal_text(pair[1]));
    }
}

#[test]
fn truncated_keys_are_not_whole() {
    let value = raw_value(
        bson!({ "a": [1, "text", { "b": 1.5 }], "c": decimal_text("0.1").as_raw_bson_ref().to_bson() }),
    );
    for direction in DIRECTIONS {
        let whole = key(&value, direction);
        for length in 0..whole.len() {
            assert_eq!(skip(&whole[..length], direction), None);
        }
        assert_eq!(skip(&whole, direction), Some(whole.len()));
    }
}

#[test]
fn what_a_key_tells_exactly_comes_back() {
    let exact_ones = [
        RawBson::String("a\0b\x01c\u{e4}".to_owned()),
        RawBson::String(String::new()),
        RawBson::Boolean(true),
        RawBson::Boolean(false),
        RawBson::ObjectId(ObjectId::from_bytes([9; 12])),
        RawBson::DateTime(bson::DateTime::from_millis(-1)),
        RawBson::Timestamp(bson::Timestamp {
            time: 7,
            increment: 9,
        }),
        RawBson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Uuid,
            bytes: vec![0, 255, 1],
        }),
        RawBson::MinKey,
        RawBson::MaxKey,
    ];
    for value in exact_ones {
        for direction in DIRECTIONS {
            assert_eq!(
                exact(&key(&value, direction), direction),
                Some(value.clone())
            );
        }
    }
    for value in [
        RawBson::Int32(1),
        RawBson::Int64(1 << 60),
        RawBson::Double(-0.0),
        RawBson::Double(f64::NAN),
        RawBson::Double(f64::INFINITY),
        decimal_text("0.1"),
        RawBson::Null,
        RawBson::Undefined,
        raw_value(bson!({ "a": "text" })),
        raw_value(bson!(["text"])),
        RawBson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::BinaryOld,
            bytes: vec![1],
        }),
    ] {
        for direction in DIRECTIONS {
            assert_eq!(exact(&key(&value, direction), direction), None, "{value:?}");
        }
    }
}

trait ToBson {
    fn to_bson(self) -> bson::Bson;
}

impl ToBson for RawBsonRef<'_> {
    fn to_bson(self) -> bson::Bson {
        bson::Bson::try_from(self).unwrap()
    }
}

fn any_direction() -> impl Strategy<Value = Direction> {
    proptest::sample::select(DIRECTIONS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn keys_order_like_values(left in any_value(), right in any_value()) {
        assert_agrees(&left, &right);
    }

    #[test]
    fn keys_order_like_numbers(left in any_number(), right in any_number()) {
        assert_agrees(&left, &right);
    }

    #[test]
    fn compound_keys_order_component_by_component(
        components in proptest::collection::vec((any_value(), any_value(), any_direction()), 1..4),
        shared in any_value(),
    ) {
        let mut lefts = vec![(shared.as_raw_bson_ref(), Direction::Descending)];
        let mut rights = lefts.clone();
        let mut expected = std::cmp::Ordering::Equal;
        for (left, right, direction) in &components {
            let (left, right) = (left.as_raw_bson_ref(), right.as_raw_bson_ref());
            lefts.push((left, *direction));
            rights.push((right, *direction));
            expected = expected.then_with(|| match direction {
                Direction::Ascending => compare(left, right),
                Direction::Descending => compare(right, left),
            });
        }
        prop_assert_eq!(encode_compound(lefts).cmp(&encode_compound(rights)), expected);
    }

    #[test]
    fn a_value_ends_where_skip_says(value in any_value(), direction in any_direction(), rest in any::<Vec<u8>>()) {
        let mut bytes = key(&value, direction);
        let length = bytes.len();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(skip(&bytes, direction), Some(length));
    }

    #[test]
    fn a_value_comes_back_as_it_was_or_not_at_all(value in any_value(), direction in any_direction()) {
        // A symbol, out of use, is the string that it equals.
        let expected = match &value {
            RawBson::Symbol(text) => RawBson::String(text.clone()),
            other => other.clone(),
        };
        if let Some(back) = exact(&key(&value, direction), direction) {
            prop_assert_eq!(back, expected);
        }
    }

    #[test]
    fn exact_survives_any_bytes(bytes in any::<Vec<u8>>(), direction in any_direction()) {
        if let Some(back) = exact(&bytes, direction) {
            prop_assert_eq!(key(&back, direction), bytes);
        }
    }

    #[test]
    fn skip_survives_any_bytes(bytes in any::<Vec<u8>>(), direction in any_direction()) {
        if let Some(length) = skip(&bytes, direction) {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn no_key_starts_with_the_bytes_that_bound_ranges(value in any_value(), direction in any_direction()) {
        let first = key(&value, direction)[0];
        prop_assert!(first != 0x00 && first != 0xff);
    }
}
