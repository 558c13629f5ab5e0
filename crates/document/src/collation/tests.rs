//! What collations see as equal, and in which order.

use bson::{Bson, Document, bson, doc};
use proptest::prelude::*;

use super::Collation;
use crate::context::Context;
use crate::filter::Filter;
use crate::sort::SortSpec;
use crate::testing::{raw, raw_value};
use crate::{order, path};

fn collation(specification: Document) -> Collation {
    Collation::parse(&raw(specification))
        .expect("acceptable")
        .expect("not the simple one")
}

fn order_of(collation: &Collation, left: &str, right: &str) -> std::cmp::Ordering {
    let (left, right) = (raw_value(bson!(left)), raw_value(bson!(right)));
    let (left, right) = (
        collation.of(left.as_raw_bson_ref()).into_owned(),
        collation.of(right.as_raw_bson_ref()).into_owned(),
    );
    order::compare(left.as_raw_bson_ref(), right.as_raw_bson_ref())
}

#[test]
fn strength_says_which_differences_count() {
    for (strength, accents, case) in [(1, true, true), (2, false, true), (3, false, false)] {
        let collation = collation(doc! { "locale": "en", "strength": strength });
        assert_eq!(
            order_of(&collation, "cote", "coté").is_eq(),
            accents,
            "{strength}"
        );
        assert_eq!(
            order_of(&collation, "cote", "COTE").is_eq(),
            case,
            "{strength}"
        );
        assert!(order_of(&collation, "cote", "dote").is_lt());
    }
    let case_level = collation(doc! { "locale": "en", "strength": 1, "caseLevel": true });
    assert!(order_of(&case_level, "cote", "coté").is_eq());
    assert!(order_of(&case_level, "cote", "Cote").is_ne());
}

#[test]
fn languages_and_options_have_their_orders() {
    let numeric = collation(doc! { "locale": "en", "numericOrdering": true });
    assert!(order_of(&numeric, "a2", "a10").is_lt());
    assert!(order_of(&collation(doc! { "locale": "en" }), "a2", "a10").is_gt());
    assert!(order_of(&collation(doc! { "locale": "de" }), "ä", "z").is_lt());
    assert!(order_of(&collation(doc! { "locale": "sv" }), "ä", "z").is_gt());
    let phonebook = collation(doc! { "locale": "de@collation=phonebook" });
    assert!(order_of(&phonebook, "ä", "ad").is_gt());
    let upper = collation(doc! { "locale": "en", "caseFirst": "upper" });
    assert!(order_of(&upper, "A", "a").is_lt());
    assert!(order_of(&collation(doc! { "locale": "en" }), "A", "a").is_gt());
    let shifted = collation(doc! { "locale": "en", "alternate": "shifted", "strength": 2 });
    assert!(order_of(&shifted, "black-bird", "blackbird").is_eq());
    let canadian = collation(doc! { "locale": "fr_CA" });
    assert!(order_of(&canadian, "côte", "coté").is_lt());
    assert!(order_of(&collation(doc! { "locale": "fr" }), "côte", "coté").is_gt());
}

#[test]
fn the_simple_collation_is_none() {
    for simple in [doc! {}, doc! { "locale": "simple" }] {
        assert_eq!(Collation::parse(&raw(simple)).expect("acceptable"), None);
    }
}

#[test]
fn what_is_no_collation_is_refused() {
    for (specification, code) in [
        (doc! { "strength": 2 }, 40414),
        (doc! { "locale": "xx" }, 2),
        (doc! { "locale": 5 }, 14),
        (doc! { "locale": "en", "strength": 6 }, 2),
        (doc! { "locale": "en", "strength": 0 }, 2),
        (doc! { "locale": "en", "caseFirst": "sideways" }, 2),
        (
            doc! { "locale": "en", "caseFirst": "upper", "strength": 2 },
            2,
        ),
        (doc! { "locale": "en", "colour": 1 }, 40415),
        (doc! { "locale": "en", "backwards": true }, 115),
    ] {
        let error = Collation::parse(&raw(specification.clone())).expect_err("no collation");
        assert_eq!(error.kind.code(), code, "{specification}: {error}");
    }
}

#[test]
fn all_options_are_shown() {
    let shown = collation(doc! { "locale": "en", "strength": 2.0 });
    let shown = Document::try_from(shown.document()).expect("sound");
    assert_eq!(shown.get("strength"), Some(&bson!(2)));
    assert_eq!(shown.get("alternate"), Some(&bson!("non-ignorable")));
    assert_eq!(shown.len(), 10);
}

#[test]
fn comparisons_of_filters_follow_the_collation() {
    let english = collation(doc! { "locale": "en", "strength": 2 });
    let context = Context::at(0, 1).with_collation(Some(english));
    let document = raw(doc! { "s": "Straw", "l": ["One", { "x": "TWO" }] });
    for (query, matches) in [
        (doc! { "s": "STRAW" }, true),
        (doc! { "s": { "$ne": "straw" } }, false),
        (doc! { "s": { "$gt": "STRAP" } }, true),
        (doc! { "s": { "$in": ["x", "sTraw"] } }, true),
        (doc! { "s": { "$regex": "^straw" } }, false),
        (doc! { "l": "one" }, true),
        (doc! { "l": { "x": "two" } }, true),
        (doc! { "l": { "$elemMatch": { "x": "two" } } }, true),
        (doc! { "l": { "$all": ["ONE"] } }, true),
        (doc! { "$expr": { "$eq": ["$s", "straw"] } }, true),
        (doc! { "$expr": { "$in": ["oNE", "$l"] } }, true),
    ] {
        let filter = Filter::parse_in(&raw(query.clone()), &context).expect("valid");
        assert_eq!(filter.matches(&document), matches, "{query}");
    }
    // A collation has many strings for one value: none of them names the document.
    let by_id = Filter::parse_in(&raw(doc! { "_id": "a" }), &context).expect("valid");
    assert_eq!(by_id.exact_id(), None);
    let by_id = Filter::parse_in(&raw(doc! { "_id": 7 }), &context).expect("valid");
    assert!(by_id.exact_id().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Index keys, sort keys and comparisons agree, and so do bounds with what matches.
    #[test]
    fn keys_bounds_and_matches_agree(
        strength in 1..4i32,
        words in prop::collection::vec(
            prop::sample::select(vec!["", "a", "A", "á", "ab", "Ab", "b", "Ä", "z", "10", "2", "a-b", "\u{0}"]), 2..6),
        operator in prop::sample::select(vec!["$eq", "$lt", "$lte", "$gt", "$gte", "$ne"]),
    ) {
        let collation = collation(doc! { "locale": "en", "strength": strength, "numericOrdering": true });
        let context = Context::at(0, 1).with_collation(Some(collation.clone()));
        let query = raw(doc! { "s": { operator: words[0] } });
        let filter = Filter::parse_in(&query, &context).expect("valid");
        let fields = [(path::Path::parse("s"), crate::key_encoding::Direction::Ascending)];
        let sort = SortSpec::parse(&raw(doc! { "s": 1 })).expect("valid").with_collation(Some(&collation));
        for word in &words {
            let document = raw(doc! { "s": word });
            let (keys, _) = path::index_keys_in(&document, &fields, false, Some(&collation)).expect("one value");
            prop_assert_eq!(&keys[0], &sort.key(&document).expect("one value"));
            let value = raw_value(Bson::from(*word));
            let seen = collation.of(value.as_raw_bson_ref());
            for bounds in filter.conjunct_bounds() {
                let inside = bounds.intervals.iter().any(|interval| interval.contains(seen.as_ref()));
                prop_assert_eq!(inside, filter.matches(&document));
                prop_assert!(bounds.collated);
            }
        }
    }
}
