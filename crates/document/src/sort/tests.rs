//! Sort keys against comparing values; the bounded sorter against sorting all.

use std::cmp::Ordering;

use bson::{Bson, Document, RawBson, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::{SortSpec, Sorter};
use crate::spill::Share;
use crate::{ErrorKind, order};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("names without NUL")
}

fn compare(left: &Bson, right: &Bson) -> Ordering {
    let raw = |value: &Bson| RawBson::try_from(value.clone()).expect("names without NUL");
    order::compare(raw(left).as_raw_bson_ref(), raw(right).as_raw_bson_ref())
}

/// What a value sorts as: the lowest or highest member of an array.
fn representative(value: Option<&Bson>, descending: bool) -> Bson {
    let pick = |left: Bson, right: &Bson| match (compare(right, &left), descending) {
        (Ordering::Less, false) | (Ordering::Greater, true) => right.clone(),
        _ => left,
    };
    match value {
        None => Bson::Null,
        Some(Bson::Array(members)) => match members.split_first() {
            None => Bson::Undefined,
            Some((first, rest)) => rest.iter().fold(first.clone(), pick),
        },
        Some(value) => value.clone(),
    }
}

fn scalars() -> impl Strategy<Value = Bson> {
    prop_oneof![
        (-3i32..3).prop_map(Bson::Int32),
        (-3i64..3).prop_map(Bson::Int64),
        (-6i32..6).prop_map(|half| Bson::Double(f64::from(half) / 2.0)),
        "[a-c]{0,2}".prop_map(Bson::String),
        Just(Bson::Null),
        any::<bool>().prop_map(Bson::Boolean),
        (-3i32..3).prop_map(|n| Bson::Document(doc! { "k": n })),
    ]
}

fn fields() -> impl Strategy<Value = Option<Bson>> {
    prop_oneof![
        scalars().prop_map(Some),
        prop::collection::vec(scalars(), 0..4).prop_map(|members| Some(Bson::Array(members))),
        Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn keys_order_as_representatives_do(
        left in (fields(), scalars()),
        right in (fields(), scalars()),
        descending in any::<(bool, bool)>(),
    ) {
        let direction = |descending| if descending { -1 } else { 1 };
        let spec = doc! { "a": direction(descending.0), "b": direction(descending.1) };
        let spec = SortSpec::parse(&raw(&spec)).expect("valid");
        let document = |(a, b): &(Option<Bson>, Bson)| {
            let mut document = Document::new();
            if let Some(a) = a {
                document.insert("a", a.clone());
            }
            document.insert("b", b.clone());
            raw(&document)
        };
        let (left_document, right_document) = (document(&left), document(&right));
        let flip = |ordering: Ordering, descending| if descending { ordering.reverse() } else { ordering };
        let of_a = compare(
            &representative(left.0.as_ref(), descending.0),
            &representative(right.0.as_ref(), descending.0),
        );
        let expected = flip(of_a, descending.0)
            .then_with(|| flip(compare(&left.1, &right.1), descending.1));
        let left_key = spec.key(&left_document).expect("one array");
        let right_key = spec.key(&right_document).expect("one array");
        prop_assert_eq!(left_key.cmp(&right_key), expected);
        prop_assert_eq!(spec.compare(&left_document, &right_document), expected);
    }

    #[test]
    fn a_bounded_sorter_keeps_the_first_ones(
        keys in prop::collection::vec(0u8..6, 0..40),
        limit in 0usize..12,
    ) {
        let sorted = |limit| {
            let mut sorter = Sorter::new(limit);
            for (arrival, key) in keys.iter().enumerate() {
                sorter.push(vec![*key], arrival, 8).expect("within the limit");
            }
            sorter.finish()
        };
        let all = sorted(None);
        let mut expected: Vec<usize> = (0..keys.len()).collect();
        expected.sort_by_key(|arrival| keys[*arrival]);
        prop_assert_eq!(&all, &expected);
        prop_assert_eq!(sorted(Some(limit)), &all[..limit.min(all.len())]);
    }
}

#[test]
fn a_sorter_stops_at_its_memory_limit_but_counts_only_what_it_keeps() {
    let mut all = Sorter::within(None, Share::new(None, 10_000));
    let refused = (0..100u8).find_map(|key| all.push(vec![key], (), 1_000).err());
    let error = refused.expect("100 kB do not fit");
    assert_eq!(
        error.kind,
        ErrorKind::QueryExceededMemoryLimitNoDiskUseAllowed
    );
    let mut first = Sorter::within(Some(2), Share::new(None, 10_000));
    for key in (0..100u8).rev() {
        first.push(vec![key], key, 1_000).expect("two rows fit");
    }
    assert_eq!(first.finish(), [0, 1]);
}

#[test]
fn parallel_arrays_have_no_key_but_still_an_order() {
    let spec = SortSpec::parse(&raw(&doc! { "a": 1, "b": 1 })).expect("valid");
    let left = raw(&doc! { "a": [2, 1], "b": [4, 3] });
    let right = raw(&doc! { "a": [1, 2], "b": [3, 5] });
    assert!(spec.key(&left).is_err());
    assert_eq!(spec.compare(&left, &right), Ordering::Equal);
}

#[test]
fn natural_stands_alone() {
    let spec = SortSpec::parse(&raw(&doc! { "$natural": -1 })).expect("valid");
    assert!(spec.is_empty() && spec.natural().is_some());
    assert!(SortSpec::parse(&raw(&doc! { "$natural": 1, "a": 1 })).is_err());
}
