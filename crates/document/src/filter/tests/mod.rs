mod model;

use super::*;
use crate::error::ErrorKind;
use crate::path::index_values;
use crate::testing::{decimal_text, raw, raw_value};
use bson::raw::{RawBson, RawDocumentBuf};
use bson::{Bson, Document, Regex, bson, doc};
use proptest::prelude::*;
use std::ops::Bound;

fn filter(query: Document) -> Filter {
    Filter::parse(&raw(query)).unwrap()
}

fn regex(pattern: &str) -> Bson {
    Bson::RegularExpression(Regex {
        pattern: pattern.try_into().unwrap(),
        options: "".try_into().unwrap(),
    })
}

fn tree(value: RawBsonRef<'_>) -> Bson {
    Bson::try_from(value).unwrap()
}

#[test]
fn decimals_match_by_value() {
    let document: RawDocumentBuf = [(bson::raw::cstr!("a"), decimal_text("1.50"))]
        .into_iter()
        .collect();
    for (query, expected) in [
        (doc! { "a": 1.5 }, true),
        (doc! { "a": { "$gt": 1 } }, true),
        (doc! { "a": { "$lt": 1.5 } }, false),
        (doc! { "a": { "$in": [1, 1.5] } }, true),
        (doc! { "a": { "$mod": [2, 1] } }, true),
        (doc! { "a": { "$type": "number" } }, true),
        (doc! { "a": { "$type": 19 } }, true),
        (doc! { "a": { "$type": "double" } }, false),
    ] {
        assert_eq!(
            filter(query.clone()).matches(&document),
            expected,
            "{query}"
        );
    }
}

#[test]
fn filters_come_from_untrusted_bytes() {
    // The string's length reaches past the end.
    let bytes = b"\x0f\0\0\0\x02a\0\xff\0\0\0x\0\0\0".to_vec();
    let damaged = RawDocumentBuf::from_bytes(bytes).unwrap();
    assert_eq!(
        Filter::parse(&damaged).unwrap_err().kind,
        ErrorKind::InvalidBson
    );
    let mut deep = doc! { "a": 1 };
    for _ in 0..150 {
        deep = doc! { "$and": [deep] };
    }
    assert_eq!(
        Filter::parse(&raw(deep)).unwrap_err().kind,
        ErrorKind::Overflow
    );
}

#[test]
fn exact_ids_are_found_among_the_conjuncts() {
    let ids = |query| {
        let filter = filter(query);
        let one = filter.exact_id().map(tree);
        (
            one,
            filter
                .exact_ids()
                .map(|ids| ids.into_iter().map(tree).collect::<Vec<_>>()),
        )
    };
    assert_eq!(
        ids(doc! { "_id": 1 }),
        (Some(bson!(1)), Some(vec![bson!(1)]))
    );
    assert_eq!(
        ids(doc! { "x": 2, "$and": [{ "_id": { "$eq": 1 } }] }).0,
        Some(bson!(1))
    );
    assert_eq!(
        ids(doc! { "_id": { "$in": [3, 1, 3.0, 2] } }),
        (None, Some(vec![bson!(1), bson!(2), bson!(3)]))
    );
    assert_eq!(
        ids(doc! { "_id": { "$in": [3, 1], "$eq": 9 } }).0,
        Some(bson!(9))
    );
    assert_eq!(ids(doc! { "_id": { "$in": [] } }), (None, Some(vec![])));
    for query in [
        doc! {},
        doc! { "x": 1 },
        doc! { "_id": { "$gt": 1 } },
        doc! { "_id": { "$ne": 1 } },
        doc! { "_id": { "$in": [1, regex("a")] } },
        doc! { "_id": regex("^a") },
        doc! { "$or": [{ "_id": 1 }, { "_id": 2 }] },
        doc! { "_id.a": 1 },
    ] {
        assert_eq!(ids(query.clone()), (None, None), "{query}");
    }
}

#[test]
fn upserts_take_the_equalities_that_must_hold() {
    let query = doc! {
        "b": 1,
        "a.x": { "$eq": "y" },
        "c": { "$gt": 1 },
        "$and": [{ "d": bson!(null) }, { "$or": [{ "e": { "k": 1 } }] }],
        "$or": [{ "f": 1 }, { "g": 1 }],
        "h": { "$all": [1] },
        "i": { "$in": [1] },
        "j": { "$not": { "$eq": 1 } },
    };
    let filter = filter(query);
    let fields: Vec<_> = filter
        .equality_fields()
        .into_iter()
        .map(|(path, value)| (path, tree(value)))
        .collect();
    assert_eq!(
        fields,
        [
            ("b", bson!(1)),
            ("a.x", bson!("y")),
            ("d", Bson::Null),
            ("e", bson!({ "k": 1 })),
            ("h", bson!(1)),
        ]
    );
}

#[test]
fn a_filter_without_conditions_is_always_true() {
    assert!(filter(doc! {}).is_always_true());
    assert!(filter(doc! { "$comment": "why", "$and": [{}] }).is_always_true());
    assert!(!filter(doc! { "a": { "$exists": true } }).is_always_true());
    assert!(!filter(doc! { "$alwaysFalse": 1 }).is_always_true());
}

#[test]
fn value_filters_take_the_four_forms_of_a_condition() {
    let holds = |condition: Bson, value: Bson| {
        let condition = raw_value(condition);
        let parsed = ValueFilter::parse(condition.as_raw_bson_ref()).unwrap();
        parsed.matches(raw_value(value).as_raw_bson_ref())
    };
    assert!(holds(bson!({ "$gte": 2, "$lt": 5 }), bson!(2)));
    assert!(!holds(bson!({ "$gte": 2, "$lt": 5 }), bson!(5)));
    assert!(holds(
        bson!({ "a": 1, "b": { "$gt": 1 } }),
        bson!({ "a": 1, "b": 2 })
    ));
    assert!(!holds(bson!({ "a": 1 }), bson!(1)));
    assert!(holds(bson!(2), bson!(2.0)));
    assert!(holds(regex("^x"), bson!("xy")));
    // A value is not searched for members.
    assert!(!holds(bson!(2), bson!([2])));
}

fn bounds(query: Document) -> Vec<(String, Vec<Interval>, bool)> {
    filter(query)
        .conjunct_bounds()
        .into_iter()
        .map(|bounds| (bounds.path.to_owned(), bounds.intervals, bounds.exact))
        .collect()
}

#[test]
fn bounds_end_where_the_type_does() {
    let number = |value: f64| RawBson::Double(value);
    let interval = |lower, upper| vec![Interval { lower, upper }];
    let included = Bound::Included::<RawBson>;
    let excluded = Bound::Excluded::<RawBson>;
    let point = |value: Bson| Interval::point(raw_value(value));
    assert_eq!(
        bounds(doc! { "a.b": { "$gt": 1, "$lte": 5 } }),
        [
            (
                "a.b".to_owned(),
                interval(excluded(RawBson::Int32(1)), included(number(f64::INFINITY))),
                true
            ),
            (
                "a.b".to_owned(),
                interval(
                    included(number(f64::NEG_INFINITY)),
                    included(RawBson::Int32(5))
                ),
                true
            ),
        ]
    );
    assert_eq!(
        bounds(doc! { "a": { "$gte": "x" } })[0].1,
        interval(
            included("x".into()),
            excluded(RawBson::Document(RawDocumentBuf::new()))
        )
    );
    assert_eq!(
        bounds(doc! { "a": { "$in": [3, 1, bson!(null), 3.0] } })[0].1,
        [
            point(Bson::Undefined),
            point(Bson::Null),
            point(bson!(1)),
            point(bson!(3))
        ]
    );
    assert_eq!(
        bounds(doc! { "a": [1, 2] }),
        [(
            "a".to_owned(),
            vec![point(bson!(1)), point(bson!([1, 2]))],
            false
        )]
    );
    assert_eq!(
        bounds(doc! { "a": [] })[0].1,
        [point(Bson::Undefined), point(bson!([]))]
    );
    let (_, strings, exact) = bounds(doc! { "a": regex("^ab") }).remove(0);
    assert_eq!(
        strings,
        [
            Interval {
                lower: included("ab".into()),
                upper: excluded("ac".into())
            },
            point(regex("^ab")),
        ]
    );
    assert!(exact);
}

#[test]
fn conditions_that_may_hold_anywhere_have_no_bounds() {
    for query in [
        doc! { "a.b": { "$ne": bson!(null) } },
        doc! { "a": { "$nin": [[1]] } },
        doc! { "a": { "$exists": true } },
        doc! { "a": { "$gt": Bson::MinKey } },
        doc! { "a": { "$gt": [1] } },
        doc! { "a.0": bson!(null) },
        doc! { "$or": [{ "a": 1 }, { "b": 1 }] },
        doc! { "a": { "$lt": f64::NAN } },
    ] {
        assert_eq!(bounds(query.clone()), [], "{query}");
    }
}

#[test]
fn the_opposite_of_a_condition_is_bounded_by_what_lies_outside() {
    let point = |value: Bson| raw_value(value);
    let (_, intervals, exact) = bounds(doc! { "a": { "$nin": [1, 5] } }).remove(0);
    assert!(exact);
    assert_eq!(
        intervals,
        [
            Interval {
                lower: Bound::Unbounded,
                upper: Bound::Excluded(point(bson!(1)))
            },
            Interval {
                lower: Bound::Excluded(point(bson!(1))),
                upper: Bound::Excluded(point(bson!(5)))
            },
            Interval {
                lower: Bound::Excluded(point(bson!(5))),
                upper: Bound::Unbounded
            },
        ]
    );
    // An empty array is not null, and stands as undefined in an index.
    let (_, intervals, exact) = bounds(doc! { "a": { "$ne": bson!(null) } }).remove(0);
    assert!(!exact);
    assert!(intervals.iter().any(|i| i.contains(RawBsonRef::Undefined)));
    assert!(!intervals.iter().any(|i| i.contains(RawBsonRef::Null)));
}

#[test]
fn a_disjunction_is_spread_over_the_other_conditions() {
    let parsed = filter(doc! { "a": 1, "$or": [{ "b": 1 }, { "c": 1, "d": 2 }] });
    let disjuncts = parsed.disjuncts().unwrap();
    let paths = |disjunct: &Disjunct<'_>| -> Vec<String> {
        let bounds = disjunct.conjunct_bounds();
        bounds.iter().map(|bounds| bounds.path.to_owned()).collect()
    };
    assert_eq!(paths(&disjuncts[0]), ["b", "a"]);
    assert_eq!(paths(&disjuncts[1]), ["c", "d", "a"]);
    assert!(disjuncts[1].implies(&filter(
        doc! { "a": { "$gt": 0 }, "d": { "$exists": true } }
    )));
    assert!(!disjuncts[0].implies(&filter(doc! { "d": { "$exists": true } })));
    assert!(filter(doc! { "a": 1, "b": 2 }).disjuncts().is_none());
}

#[test]
fn implications_that_queries_rely_on_are_seen() {
    for (query, implied) in [
        (doc! { "a": 5 }, doc! { "a": { "$gt": 3 } }),
        (
            doc! { "a": { "$gte": 4, "$lt": 6 } },
            doc! { "a": { "$gt": 3 } },
        ),
        (doc! { "a": { "$in": [4, 5] } }, doc! { "a": { "$gte": 4 } }),
        (doc! { "a": 1, "b": 2 }, doc! { "b": 2 }),
        (doc! { "a": "x" }, doc! { "a": { "$exists": true } }),
        (
            doc! { "a": { "$ne": bson!(null) } },
            doc! { "a": { "$exists": true } },
        ),
        (
            doc! { "a": { "$type": "int" } },
            doc! { "a": { "$type": "number" } },
        ),
        (
            doc! { "$or": [{ "a": 1 }, { "a": 2 }] },
            doc! { "a": { "$lte": 2 } },
        ),
        (doc! { "a": 7 }, doc! { "$or": [{ "a": 7 }, { "b": 1 }] }),
        (doc! { "a": bson!(null) }, doc! { "a": bson!(null) }),
        (
            doc! { "a": 1, "b": 9 },
            doc! { "$and": [{ "b": { "$gt": 1 } }, { "a": 1 }] },
        ),
    ] {
        assert!(
            filter(query.clone()).implies(&filter(implied.clone())),
            "{query} {implied}"
        );
    }
    for (query, not_implied) in [
        (doc! {}, doc! { "a": 1 }),
        (doc! { "a": 3 }, doc! { "a": { "$gt": 3 } }),
        (doc! { "a": bson!(null) }, doc! { "a": { "$exists": true } }),
        (
            doc! { "a": { "$ne": 1 } },
            doc! { "a": { "$exists": true } },
        ),
        (doc! { "$or": [{ "a": 1 }, { "b": 2 }] }, doc! { "a": 1 }),
        (doc! { "a": 1.0 }, doc! { "a": { "$type": "double" } }),
    ] {
        assert!(
            !filter(query.clone()).implies(&filter(not_implied.clone())),
            "{query} {not_implied}"
        );
    }
}

#[test]
fn overlapping_intervals_are_merged() {
    let (_, intervals, exact) =
        bounds(doc! { "a": { "$in": [regex("^a"), "abc", "b", regex("^ab."), regex("^b")] } })
            .remove(0);
    assert!(!exact);
    let strings: Vec<_> = intervals
        .iter()
        .filter(|i| i.contains(RawBsonRef::String("abz")))
        .collect();
    assert_eq!(strings.len(), 1);
    assert_eq!(
        *strings[0],
        Interval {
            lower: Bound::Included("a".into()),
            upper: Bound::Excluded("c".into()),
        }
    );
}

/// Whether some index entry of `document` lies inside.
fn is_in_bounds(bounds: &PathBounds<'_>, values: &[RawBsonRef<'_>]) -> bool {
    values.iter().any(|value| {
        bounds
            .intervals
            .iter()
            .any(|interval| interval.contains(*value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn filters_agree_with_the_model(query in model::any_query(), document in model::any_document()) {
        let parsed = Filter::parse(&raw(query.clone())).unwrap();
        prop_assert_eq!(parsed.matches(&raw(document.clone())), model::matches(&query, &document));
    }

    /// No match lies outside the bounds, and exact bounds hold nothing else.
    #[test]
    fn bounds_hold_every_match(query in model::any_query(), document in model::any_document()) {
        let parsed = Filter::parse(&raw(query)).unwrap();
        let document = raw(document);
        let is_match = parsed.matches(&document);
        let bounds = parsed.conjunct_bounds();
        let mut covered = 0;
        for bounds in &bounds {
            let Ok((values, multikey)) = index_values(&document, &Path::parse(bounds.path)) else {
                continue;
            };
            let inside = is_in_bounds(bounds, &values);
            prop_assert!(inside || !is_match, "{:?} not in {:?}", values, bounds);
            covered += usize::from(inside && bounds.exact && !multikey);
            for pair in bounds.intervals.windows(2) {
                let (Bound::Included(end) | Bound::Excluded(end)) = &pair[0].upper else { panic!() };
                let (Bound::Included(start) | Bound::Excluded(start)) = &pair[1].lower else { panic!() };
                prop_assert!(order::compare(end.as_raw_bson_ref(), start.as_raw_bson_ref()).is_le());
            }
        }
        if covered == parsed.conjunct_count() {
            prop_assert!(is_match, "exact bounds cover all conditions: {:?}", bounds);
        }
    }

    #[test]
    fn what_is_implied_holds(
        narrow in model::any_query(),
        wide in model::any_query(),
        documents in prop::collection::vec(model::any_document(), 1..20),
    ) {
        let narrow = Filter::parse(&raw(narrow)).unwrap();
        let wide = Filter::parse(&raw(wide)).unwrap();
        let implied = narrow.implies(&wide);
        for document in documents {
            let document = raw(document);
            if narrow.matches(&document) {
                prop_assert!(!implied || wide.matches(&document));
                for path in ["a", "b", "c"] {
                    prop_assert!(!narrow.needs(path) || document.get(path).unwrap().is_some());
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(query in crate::testing::any_document(), document in crate::testing::any_document()) {
        if let Ok(parsed) = Filter::parse(&query) {
            parsed.matches(&document);
            parsed.conjunct_bounds();
        }
    }
}
