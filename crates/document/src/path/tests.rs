use super::*;
use crate::error::ErrorKind;
use crate::key_encoding::{Direction, encode_compound, skip};
use crate::testing::{any_document, raw};
use bson::{Bson, bson, doc};
use proptest::prelude::*;

/// What matching visits; None is a missing value.
fn visited(path: &str, document: bson::Document, leaf_arrays: LeafArrays) -> Vec<Option<Bson>> {
    let document = raw(document);
    let mut values = Vec::new();
    Path::parse(path).any(&document, leaf_arrays, &mut |value| {
        values.push(value.map(|value| Bson::try_from(value).unwrap()));
        false
    });
    values
}

fn traversed(path: &str, document: bson::Document) -> Vec<Option<Bson>> {
    visited(path, document, LeafArrays::Traverse)
}

fn some(values: impl IntoIterator<Item = Bson>) -> Vec<Option<Bson>> {
    values.into_iter().map(Some).collect()
}

#[test]
fn a_field_is_its_value_or_missing() {
    assert_eq!(traversed("a", doc! { "x": 0, "a": 1 }), some([bson!(1)]));
    assert_eq!(traversed("b", doc! { "a": 1 }), [None]);
    assert_eq!(traversed("a.b", doc! { "a": { "b": 2 } }), some([bson!(2)]));
    assert_eq!(traversed("a.b", doc! { "a": 4 }), [None]);
    assert_eq!(traversed("a.b", doc! { "a.b": 4 }), [None]);
    assert_eq!(traversed("", doc! { "": 4 }), some([bson!(4)]));
    assert_eq!(traversed("a.", doc! { "a": { "": 4 } }), some([bson!(4)]));
}

#[test]
fn an_array_at_the_end_shows_its_members_and_then_itself() {
    let document = doc! { "a": [1, [2]] };
    assert_eq!(
        traversed("a", document.clone()),
        some([bson!(1), bson!([2]), bson!([1, [2]])])
    );
    assert_eq!(
        visited("a", document, LeafArrays::Whole),
        some([bson!([1, [2]])])
    );
    assert_eq!(traversed("a", doc! { "a": [] }), some([bson!([])]));
}

#[test]
fn an_array_on_the_way_shows_its_documents_only() {
    let document = doc! { "a": [{ "b": 1 }, 2, {}, { "b": [3, 4] }, [{ "b": 5 }]] };
    assert_eq!(
        traversed("a.b", document),
        [
            Some(bson!(1)),
            None,
            Some(bson!(3)),
            Some(bson!(4)),
            Some(bson!([3, 4]))
        ]
    );
    assert_eq!(traversed("a.b", doc! { "a": [1, 2] }), []);
    assert_eq!(traversed("a.b", doc! { "a": [] }), []);
}

#[test]
fn a_number_names_a_member_or_a_field() {
    assert_eq!(traversed("a.1", doc! { "a": [5, 7] }), some([bson!(7)]));
    assert_eq!(traversed("a.01", doc! { "a": [5, 7] }), []);
    assert_eq!(traversed("a.2", doc! { "a": [5, 7] }), []);
    assert_eq!(traversed("a.1", doc! { "a": { "1": 7 } }), some([bson!(7)]));
    // A member that is an array is not entered.
    assert_eq!(
        traversed("a.0", doc! { "a": [[1, 2]] }),
        some([bson!([1, 2])])
    );
    assert_eq!(traversed("a.0.1", doc! { "a": [[1, 2]] }), some([bson!(2)]));
    assert_eq!(
        traversed("a.1", doc! { "a": [5, { "1": 4 }] }),
        some([bson!(4), bson!({ "1": 4 })])
    );
    assert_eq!(
        traversed("a.0.b", doc! { "a": [{ "b": 4 }] }),
        [None, Some(bson!(4))]
    );
    assert_eq!(
        traversed("a.0.b", doc! { "a": [[{ "b": 4 }]] }),
        some([bson!(4)])
    );
}

#[test]
fn get_enters_documents_only() {
    let document = raw(doc! { "a": { "b": 1, "c": [{ "d": 1 }] } });
    assert_eq!(
        Path::parse("a.b").get(&document),
        Some(RawBsonRef::Int32(1))
    );
    assert_eq!(Path::parse("a.c.d").get(&document), None);
    assert_eq!(Path::parse("a.x").get(&document), None);
}

/// The tuples an index over `paths` holds for `document`.
fn tuples(paths: &[&str], document: bson::Document) -> (Vec<Vec<Bson>>, bool) {
    let document = raw(document);
    let paths: Vec<Path> = paths.iter().map(|path| Path::parse(*path)).collect();
    let (tuples, multikey) = index_tuples(&document, &paths.iter().collect::<Vec<_>>()).unwrap();
    let tuples = tuples
        .into_iter()
        .map(|tuple| {
            tuple
                .into_iter()
                .map(|value| Bson::try_from(value).unwrap())
                .collect()
        })
        .collect();
    (tuples, multikey)
}

#[test]
fn an_index_holds_members_of_arrays() {
    let one = |path, document| {
        let (tuples, multikey) = tuples(&[path], document);
        (tuples.concat(), multikey)
    };
    assert_eq!(one("a", doc! { "a": 1 }), (vec![bson!(1)], false));
    assert_eq!(one("a", doc! {}), (vec![Bson::Null], false));
    assert_eq!(one("a.b", doc! { "a": 1 }), (vec![Bson::Null], false));
    assert_eq!(
        one("a", doc! { "a": [1, [2]] }),
        (vec![bson!(1), bson!([2])], true)
    );
    assert_eq!(one("a", doc! { "a": [] }), (vec![Bson::Undefined], true));
    assert_eq!(one("a.b", doc! { "a": [] }), (vec![Bson::Null], true));
    assert_eq!(
        one("a.b", doc! { "a": [{ "b": 1 }, 2, { "b": [3, 4] }, {}] }),
        (
            vec![bson!(1), Bson::Null, bson!(3), bson!(4), Bson::Null],
            true
        )
    );
    assert_eq!(one("a.1", doc! { "a": [5, 7] }), (vec![bson!(7)], true));
    assert_eq!(one("a.9", doc! { "a": [5, 7] }), (vec![Bson::Null], true));
    assert_eq!(
        one("a.0.b", doc! { "a": [{ "b": 1 }, { "b": 2 }] }),
        (vec![bson!(1)], true)
    );
}

#[test]
fn paths_through_one_array_expand_together() {
    let document = doc! { "a": [{ "b": 1, "c": 2 }, { "b": 3 }, 4], "d": "x" };
    assert_eq!(
        tuples(&["a.b", "d", "a.c"], document).0,
        [
            vec![bson!(1), bson!("x"), bson!(2)],
            vec![bson!(3), bson!("x"), Bson::Null],
            vec![Bson::Null, bson!("x"), Bson::Null],
        ]
    );
    assert_eq!(
        tuples(&["a", "a.b"], doc! { "a": [{ "b": 1 }] }).0,
        [vec![bson!({ "b": 1 }), bson!(1)]]
    );
    assert_eq!(
        tuples(&["a", "a.b"], doc! { "a": [] }).0,
        [vec![Bson::Undefined, Bson::Null]]
    );
    assert_eq!(
        tuples(
            &["a.b", "a.c"],
            doc! { "a": [{ "b": [1, 2], "c": 3 }, { "b": 4, "c": [5, 6] }] }
        )
        .0,
        [
            [bson!(1), bson!(3)],
            [bson!(2), bson!(3)],
            [bson!(4), bson!(5)],
            [bson!(4), bson!(6)],
        ]
    );
}

#[test]
fn two_arrays_in_one_key_are_refused() {
    let fields = [
        (Path::parse("a"), Direction::Ascending),
        (Path::parse("x.b"), Direction::Ascending),
    ];
    let error = index_keys(&raw(doc! { "a": [1], "x": { "b": [2] } }), &fields, false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::CannotIndexParallelArrays);
    assert_eq!(error.message, "cannot index parallel arrays [b] [a]");
    // Equal arrays are not the same array.
    assert!(index_keys(&raw(doc! { "a": [1], "x": { "b": [1] } }), &fields, false).is_err());
    let nested = [
        (Path::parse("a.b"), Direction::Ascending),
        (Path::parse("a.c"), Direction::Ascending),
    ];
    let document = raw(doc! { "a": [{ "b": [1], "c": [2] }] });
    assert!(index_keys(&document, &nested, false).is_err());
}

#[test]
fn a_number_that_names_both_a_member_and_a_field_is_refused() {
    let fields = [(Path::parse("a.0"), Direction::Ascending)];
    let error = index_keys(&raw(doc! { "a": [{ "0": 1 }] }), &fields, false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Location(16746));
}

#[test]
fn keys_are_sorted_and_distinct_and_sparse_indexes_leave_out_the_absent() {
    let fields = [
        (Path::parse("a"), Direction::Descending),
        (Path::parse("b"), Direction::Ascending),
    ];
    let (keys, multikey) =
        index_keys(&raw(doc! { "a": [1, 2, 1.0], "b": 9 }), &fields, true).unwrap();
    let key = |a: i32| {
        encode_compound([
            (RawBsonRef::Int32(a), Direction::Descending),
            (RawBsonRef::Int32(9), Direction::Ascending),
        ])
    };
    assert_eq!(keys, [key(2), key(1)]);
    assert!(multikey);
    let absent = raw(doc! { "c": 1 });
    assert_eq!(index_keys(&absent, &fields, true).unwrap(), (vec![], false));
    assert_eq!(index_keys(&absent, &fields, false).unwrap().0.len(), 1);
    let null = raw(doc! { "a": null });
    assert_eq!(index_keys(&null, &fields, true).unwrap().0.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn compound_keys_hold_the_keys_of_their_parts(
        document in any_document(),
        paths in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "a.b", "a.a", "b.0", "a.b.a"]), 1..4),
    ) {
        let fields: Vec<_> = paths.iter().map(|path| (Path::parse(*path), Direction::Ascending)).collect();
        let Ok((keys, _)) = index_keys(&document, &fields, false) else {
            return Ok(());
        };
        prop_assert!(!keys.is_empty());
        for (position, field) in fields.iter().enumerate() {
            let (single, _) = index_keys(&document, std::slice::from_ref(field), false).unwrap();
            let mut parts: Vec<Vec<u8>> = keys
                .iter()
                .map(|key| {
                    let mut rest = key.as_slice();
                    for _ in 0..position {
                        rest = &rest[skip(rest, Direction::Ascending).unwrap()..];
                    }
                    rest[..skip(rest, Direction::Ascending).unwrap()].to_vec()
                })
                .collect();
            parts.sort();
            parts.dedup();
            // A field takes part whole where another field enters the array it shares.
            for part in &parts {
                prop_assert!(single.contains(part));
            }
            prop_assert_eq!(parts.len(), single.len());
        }
    }
}
