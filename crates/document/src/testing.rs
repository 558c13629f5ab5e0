//! Random BSON for property tests: few distinct parts, so that values collide, share prefixes and differ late.

use bson::oid::ObjectId;
use bson::raw::{
    CString, RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, RawJavaScriptCodeWithScope,
};
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Decimal128, Regex, Timestamp};
use proptest::prelude::*;

/// Raw bytes of a tree.
pub(crate) fn raw(document: bson::Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&document).expect("test documents have valid names")
}

/// Raw bytes of a tree's value.
pub(crate) fn raw_value(value: bson::Bson) -> RawBson {
    RawBson::try_from(value).expect("test values have valid names")
}

/// Sign, coefficient and exponent as decimal128 bits.
pub(crate) fn decimal(negative: bool, coefficient: u128, exponent: i32) -> Decimal128 {
    assert!(coefficient < 1 << 113);
    let biased = u128::try_from(exponent + 6176).expect("exponent in range");
    Decimal128::from_bytes(
        (u128::from(negative) << 127 | biased << 113 | coefficient).to_le_bytes(),
    )
}

pub(crate) fn decimal_text(text: &str) -> RawBson {
    RawBson::Decimal128(text.parse().expect("a decimal"))
}

/// A DBPointer, which the library offers no way to build.
pub(crate) fn db_pointer(namespace: &str, id: [u8; 12]) -> RawBson {
    let mut element = vec![0x0c, 0];
    element.extend_from_slice(&(namespace.len() as i32 + 1).to_le_bytes());
    element.extend_from_slice(namespace.as_bytes());
    element.push(0);
    element.extend_from_slice(&id);
    let mut bytes = (element.len() as i32 + 5).to_le_bytes().to_vec();
    bytes.extend_from_slice(&element);
    bytes.push(0);
    let document = RawDocument::from_bytes(&bytes).expect("a frame");
    document
        .get("")
        .expect("well-formed")
        .expect("one field")
        .into()
}

pub(crate) fn any_decimal() -> impl Strategy<Value = Decimal128> {
    prop_oneof![
        (any::<bool>(), 0u128..30, -3i32..4).prop_map(|(n, c, e)| decimal(n, c, e)),
        (any::<bool>(), any::<u64>(), -25i32..4).prop_map(|(n, c, e)| decimal(n, c.into(), e)),
        (any::<bool>(), 0..10u128.pow(34), -400i32..400).prop_map(|(n, c, e)| decimal(n, c, e)),
        (any::<bool>(), 0..10u128.pow(34), -6176i32..=6111).prop_map(|(n, c, e)| decimal(n, c, e)),
        any::<[u8; 16]>().prop_map(Decimal128::from_bytes),
        // Doubles written out to the last digit that fits, and their neighbours.
        (any_double(), -1i128..=1).prop_map(|(double, step)| near(double, step)),
    ]
}

/// The double to 17 digits, plus `step` in the last.
fn near(double: f64, step: i128) -> Decimal128 {
    if !double.is_finite() {
        return decimal(false, 0, 0);
    }
    let text = format!("{:.20e}", double.abs());
    let (digits, exponent) = text.split_once('e').expect("scientific notation");
    let coefficient: i128 = digits.replace('.', "").parse().expect("digits");
    let exponent: i32 = exponent.parse().expect("an exponent");
    decimal(
        double < 0.0,
        (coefficient + step).unsigned_abs(),
        exponent - 20,
    )
}

pub(crate) fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-6i32..6).prop_map(|halves| f64::from(halves) / 2.0),
        any::<f64>(),
        any::<i64>().prop_map(|integer| integer as f64),
        proptest::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            0.1,
            9_007_199_254_740_992.0,
            9_007_199_254_740_994.0,
            9_223_372_036_854_775_808.0,
        ]),
    ]
}

pub(crate) fn any_integer() -> impl Strategy<Value = i64> {
    const EXACT: i64 = 1 << 53;
    prop_oneof![
        -4i64..5,
        any::<i64>(),
        (-3i64..4).prop_map(|offset| EXACT + offset),
        (-3i64..4).prop_map(|offset| -EXACT + offset),
        (0i64..4).prop_map(|offset| i64::MAX - offset),
        (0i64..4).prop_map(|offset| i64::MIN + offset),
        (0u32..63, -2i64..3).prop_map(|(bit, offset)| (1i64 << bit).wrapping_add(offset)),
    ]
}

pub(crate) fn any_number() -> impl Strategy<Value = RawBson> {
    prop_oneof![
        any_integer().prop_map(|integer| RawBson::Int32(integer as i32)),
        any_integer().prop_map(RawBson::Int64),
        any_double().prop_map(RawBson::Double),
        any_decimal().prop_map(RawBson::Decimal128),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        proptest::sample::select(vec![
            '\0',
            '\x01',
            '\x02',
            'a',
            'b',
            'é',
            '\u{7f}',
            '\u{10ffff}',
        ]),
        0..4,
    )
    .prop_map(|characters| characters.into_iter().collect())
}

fn any_name() -> impl Strategy<Value = CString> {
    proptest::sample::select(vec!["", "a", "b", "ab", "\x01", "\x02", "0"])
        .prop_map(|name| CString::try_from(name).expect("no NUL"))
}

fn any_id() -> impl Strategy<Value = [u8; 12]> {
    proptest::sample::select(vec![0u8, 1, 0xff]).prop_map(|last| {
        let mut bytes = [7; 12];
        bytes[11] = last;
        bytes
    })
}

fn any_binary() -> impl Strategy<Value = RawBson> {
    let subtype = proptest::sample::select(vec![0u8, 1, 2, 4, 5, 0x80, 0xff]);
    (
        subtype,
        proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 0xff]), 0..6),
    )
        .prop_map(|(subtype, bytes)| {
            RawBson::Binary(Binary {
                subtype: BinarySubtype::from(subtype),
                bytes,
            })
        })
}

pub(crate) fn any_scalar() -> impl Strategy<Value = RawBson> {
    let edges = proptest::sample::select(vec![i64::MIN, -1, 0, 1, i64::MAX]);
    let counts = proptest::sample::select(vec![0u32, 1, 0x8000_0000, u32::MAX]);
    prop_oneof![
        8 => any_number(),
        4 => any_text().prop_map(RawBson::String),
        1 => any_text().prop_map(RawBson::Symbol),
        1 => any_text().prop_map(RawBson::JavaScriptCode),
        2 => proptest::sample::select(vec![
            RawBson::MinKey, RawBson::Undefined, RawBson::Null, RawBson::MaxKey,
            RawBson::Boolean(false), RawBson::Boolean(true),
        ]),
        1 => any_binary(),
        1 => any_id().prop_map(|id| RawBson::ObjectId(ObjectId::from_bytes(id))),
        1 => edges.prop_map(|millis| RawBson::DateTime(DateTime::from_millis(millis))),
        1 => (counts.clone(), counts)
            .prop_map(|(time, increment)| RawBson::Timestamp(Timestamp { time, increment })),
        1 => (any_name(), any_name())
            .prop_map(|(pattern, options)| RawBson::RegularExpression(Regex { pattern, options })),
        1 => (any_text(), any_id()).prop_map(|(namespace, id)| db_pointer(&namespace, id)),
    ]
}

fn document_of(fields: Vec<(CString, RawBson)>) -> RawDocumentBuf {
    fields.into_iter().collect()
}

/// A value of any type.
pub(crate) fn any_value() -> impl Strategy<Value = RawBson> {
    any_scalar().prop_recursive(3, 16, 4, |inner| {
        let fields = proptest::collection::vec((any_name(), inner.clone()), 0..4).boxed();
        prop_oneof![
            fields
                .clone()
                .prop_map(|fields| RawBson::Document(document_of(fields))),
            proptest::collection::vec(inner, 0..4)
                .prop_map(|members| RawBson::Array(members.into_iter().collect::<RawArrayBuf>())),
            (any_text(), fields).prop_map(|(code, fields)| {
                RawBson::JavaScriptCodeWithScope(RawJavaScriptCodeWithScope {
                    code,
                    scope: document_of(fields),
                })
            }),
        ]
    })
}

/// A document with values of any type.
pub(crate) fn any_document() -> impl Strategy<Value = RawDocumentBuf> {
    proptest::collection::vec((any_name(), any_value()), 0..5).prop_map(document_of)
}
