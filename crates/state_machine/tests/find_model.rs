//! Property: whatever indexes there are, a find gives what filtering and sorting all documents gives.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, RawBsonRef, bson, doc};
use document::filter::Filter;
use document::path::{LeafArrays, Path};
use document::sort::SortSpec;
use document::{Collation, Context, key_encoding};
use proptest::prelude::*;
use state_machine::plan::{InsertRequest, WriteOptions, WritePlanner};
use state_machine::query::{
    CountRequest, DistinctRequest, FindRequest, Hint, Interrupt, QueryError,
};
use state_machine::{IndexKind, Snapshot};
use support::{Database, namespace, raw, rows};

fn scalar() -> impl Strategy<Value = Bson> {
    prop_oneof![
        6 => (0..6i32).prop_map(Bson::Int32),
        1 => (0..6i64).prop_map(Bson::Int64),
        2 => (0..12i32).prop_map(|half| Bson::Double(f64::from(half) / 2.0)),
        1 => Just(Bson::Null),
        1 => Just(Bson::Boolean(true)),
        1 => Just(Bson::Double(f64::NAN)),
        2 => prop_oneof![Just("a"), Just("ab"), Just("b"), Just(""), Just("A"), Just("Ab")].prop_map(Bson::from),
    ]
}

/// A field's value: a scalar, an embedded document, or an array of either.
fn value() -> impl Strategy<Value = Bson> {
    let embedded = prop::collection::vec((prop_oneof![Just("x"), Just("y")], scalar()), 0..3)
        .prop_map(|fields| {
            Bson::Document(
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        })
        .boxed();
    let member = prop_oneof![3 => scalar(), 2 => embedded.clone()];
    prop_oneof![
        6 => scalar(),
        2 => embedded,
        2 => prop::collection::vec(member, 0..4).prop_map(Bson::Array),
    ]
}

fn fields() -> impl Strategy<Value = Document> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::btree_map(name, value(), 0..4).prop_map(|fields: BTreeMap<&str, Bson>| {
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

/// Scalars only, so that indexes are not multikey and bounds are intersected.
fn plain_fields() -> impl Strategy<Value = Document> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::btree_map(name, scalar(), 0..4).prop_map(|fields: BTreeMap<&str, Bson>| {
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

fn focused_fields(focus: Focus) -> BoxedStrategy<Document> {
    let number = 0..10i32;
    let numbers = prop::collection::vec(number.clone(), 1..4);
    let pair = (number.clone(), number.clone()).prop_map(|(x, y)| bson!({ "x": x, "y": y }));
    let pairs = prop::collection::vec(pair.clone().boxed(), 1..4);
    let plain = (number.clone(), number.clone()).prop_map(|(a, b)| doc! { "a": a, "b": b });
    match focus {
        Focus::Anything => prop_oneof![fields(), plain_fields()].boxed(),
        Focus::TwoFields => prop_oneof![
            plain,
            (numbers.clone(), number.clone()).prop_map(|(a, b)| doc! { "a": a, "b": b }),
            (number, numbers).prop_map(|(a, b)| doc! { "a": a, "b": b }),
        ]
        .boxed(),
        Focus::BelowOneField => prop_oneof![
            pair.prop_map(|a| doc! { "a": a }),
            pairs.prop_map(|a| doc! { "a": a }),
        ]
        .boxed(),
    }
}

/// Which paths a case is about: few, so that filter, sort, index and arrays meet on the same ones.
#[derive(Debug, Clone, Copy)]
enum Focus {
    Anything,
    TwoFields,
    BelowOneField,
}

fn path(focus: Focus) -> BoxedStrategy<&'static str> {
    match focus {
        Focus::Anything => prop_oneof![
            6 => Just("a"), 6 => Just("b"), 4 => Just("c"), 2 => Just("a.x"), 2 => Just("a.y"),
            1 => Just("a.0"), 1 => Just("_id")
        ]
        .boxed(),
        Focus::TwoFields => prop_oneof![Just("a"), Just("b")].boxed(),
        Focus::BelowOneField => prop_oneof![Just("a.x"), Just("a.y")].boxed(),
    }
}

fn direction() -> impl Strategy<Value = i32> {
    prop_oneof![Just(1), Just(-1)]
}

/// Numbers only, so that conditions and values meet often.
fn close_condition() -> impl Strategy<Value = Bson> {
    let comparison = prop_oneof![Just("$gt"), Just("$gte"), Just("$lt"), Just("$lte")];
    let list = prop::collection::vec(0..10i32, 1..4);
    prop_oneof![
        2 => (0..10i32).prop_map(Bson::Int32),
        4 => (comparison, 0..10i32).prop_map(|(operator, value)| bson!({ operator: value })),
        2 => (0..9i32, 1..6i32).prop_map(|(low, width)| bson!({ "$gt": low, "$lt": low + width })),
        1 => list.prop_map(|list| bson!({ "$in": list })),
        1 => (0..10i32).prop_map(|value| bson!({ "$ne": value })),
    ]
}

fn condition(focus: Focus) -> BoxedStrategy<Bson> {
    match focus {
        Focus::Anything => any_condition().boxed(),
        Focus::TwoFields | Focus::BelowOneField => close_condition().boxed(),
    }
}

fn any_condition() -> impl Strategy<Value = Bson> {
    let comparison = prop_oneof![
        Just("$eq"),
        Just("$ne"),
        Just("$gt"),
        Just("$gte"),
        Just("$lt"),
        Just("$lte")
    ];
    let list = prop::collection::vec(value(), 0..4).boxed();
    prop_oneof![
        3 => value(),
        6 => (comparison.clone(), value()).prop_map(|(operator, value)| Bson::Document(doc! { operator: value })),
        3 => (scalar(), scalar()).prop_map(|(low, high)| bson!({ "$gte": low, "$lt": high })),
        2 => (scalar(), scalar()).prop_map(|(low, high)| bson!({ "$gt": low, "$lte": high })),
        2 => list.clone().prop_map(|list| bson!({ "$in": list })),
        1 => list.prop_map(|list| bson!({ "$nin": list })),
        1 => any::<bool>().prop_map(|exists| bson!({ "$exists": exists })),
        1 => Just(bson!({ "$regex": "^a" })),
        1 => (comparison, scalar()).prop_map(|(operator, value)| bson!({ "$not": { operator: value } })),
    ]
}

fn filter(focus: Focus) -> impl Strategy<Value = Document> {
    let conjunction = prop::collection::vec((path(focus), condition(focus)), 0..3)
        .prop_map(|conditions| {
            conditions
                .into_iter()
                .map(|(path, condition)| (path.to_owned(), condition))
                .collect::<Document>()
        })
        .boxed();
    prop_oneof![
        6 => conjunction.clone(),
        1 => (conjunction.clone(), conjunction.clone()).prop_map(|(l, r)| doc! { "$and": [l, r] }),
        1 => (conjunction.clone(), conjunction.clone()).prop_map(|(l, r)| doc! { "$or": [l, r] }),
        1 => (conjunction.clone(), conjunction).prop_map(|(l, r)| doc! { "$nor": [l, r] }),
    ]
}

/// What a partial index may be limited to.
fn partial_filter(focus: Focus) -> impl Strategy<Value = Document> {
    let comparison = prop_oneof![Just("$gt"), Just("$gte"), Just("$lt"), Just("$lte")];
    let condition = prop_oneof![
        2 => Just(bson!({ "$exists": true })),
        3 => (comparison, 0..6i32).prop_map(|(operator, value)| bson!({ operator: value })),
        1 => scalar(),
    ];
    prop::collection::vec((path(focus), condition), 1..3).prop_map(|conditions| {
        conditions
            .into_iter()
            .map(|(path, condition)| (path.to_owned(), condition))
            .collect()
    })
}

fn pattern(focus: Focus) -> impl Strategy<Value = Document> {
    prop::collection::vec((path(focus), direction()), 1..4).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(path, direction)| (path.to_owned(), Bson::Int32(direction)))
            .collect()
    })
}

#[derive(Debug, Clone)]
struct Case {
    documents: Vec<Document>,
    /// Key pattern and options.
    indexes: Vec<(Document, Document)>,
    finds: Vec<(Document, Option<Document>, u64, Option<u64>)>,
    /// Whether the finds compare without regard to case.
    collated: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let focus = prop_oneof![
        2 => Just(Focus::Anything), 1 => Just(Focus::TwoFields), 1 => Just(Focus::BelowOneField)
    ];
    focus.prop_flat_map(case_about)
}

fn case_about(focus: Focus) -> impl Strategy<Value = Case> {
    let documents = prop_oneof![
        2 => prop::collection::vec(focused_fields(focus), 0..25),
        1 => prop::collection::vec(plain_fields(), 0..25),
    ];
    let index = (
        pattern(focus),
        prop_oneof![
            4 => Just(doc! {}),
            1 => Just(doc! { "sparse": true }),
            2 => Just(doc! { "collation": { "locale": "en", "strength": 2 } }),
            2 => partial_filter(focus).prop_map(|filter| doc! { "partialFilterExpression": filter }),
        ],
    );
    // Of some, one field is hashed.
    let index = (index, prop::option::weighted(0.15, 0..3usize)).prop_map(
        |((mut key, options), hashed): ((Document, Document), Option<usize>)| {
            let fields = key.len();
            if let Some(position) = hashed
                && let Some((_, direction)) = key.iter_mut().nth(position % fields)
            {
                *direction = Bson::from("hashed");
            }
            (key, options)
        },
    );
    // A few are about any path instead.
    let wildcard = prop_oneof![
        Just(doc! { "$**": 1 }),
        Just(doc! { "$**": -1 }),
        Just(doc! { "a.$**": 1 }),
    ];
    let collated = prop_oneof![
        2 => Just(doc! {}),
        1 => Just(doc! { "collation": { "locale": "en", "strength": 2 } }),
    ];
    let index = prop_oneof![6 => index, 1 => (wildcard, collated)];
    let skip = prop_oneof![3 => Just(0), 1 => 0..5u64];
    let find = (
        filter(focus),
        prop::option::of(pattern(focus)),
        skip,
        prop::option::of(1..6u64),
    );
    (
        documents,
        prop::collection::vec(index, 0..4),
        prop::collection::vec(find, 1..8),
        prop_oneof![2 => Just(false), 1 => Just(true)],
    )
        .prop_map(|(documents, indexes, finds, collated)| Case {
            documents,
            indexes,
            finds,
            collated,
        })
}

fn database(case: &Case) -> (Database, Vec<Document>) {
    let mut database = Database::new();
    // Half of the indexes before the documents, the others are built over them.
    let (before, after) = case.indexes.split_at(case.indexes.len() / 2);
    // The same pattern twice, or parallel arrays: refused, and not there.
    let create = |database: &mut Database, number: usize, (key, options): &(Document, Document)| {
        let name = format!("index_{number}");
        let mut spec = doc! { "key": key.clone(), "name": name };
        spec.extend(options.clone());
        let _ = database.create_index(raw(&spec));
    };
    for (number, index) in before.iter().enumerate() {
        create(&mut database, number, index);
    }
    let mut stored = Vec::new();
    for (id, fields) in case.documents.iter().enumerate() {
        let mut document = doc! { "_id": id as i32 };
        document.extend(fields.clone());
        let request = InsertRequest {
            documents: vec![raw(&document)],
        };
        let outcome = database
            .write(WritePlanner::insert(
                WriteOptions::new(namespace()),
                request,
            ))
            .unwrap();
        if outcome.n() == 1 {
            stored.push(document);
        }
    }
    for (number, index) in after.iter().enumerate() {
        create(&mut database, number + before.len(), index);
    }
    (database, stored)
}

/// What requests know.
fn context(collated: bool) -> Context {
    let english = doc! { "locale": "en", "strength": 2 };
    let collation = collated.then(|| Collation::parse(&raw(&english)).unwrap());
    Context::at(0, 1).with_collation(collation.flatten())
}

fn sort_spec(sort: &Option<Document>, collated: bool) -> SortSpec {
    let sort = SortSpec::parse(&raw(&sort.clone().unwrap_or_default())).unwrap();
    sort.with_collation(context(collated).collation())
}

fn find_request(
    find: &(Document, Option<Document>, u64, Option<u64>),
    collated: bool,
) -> FindRequest {
    let (filter, sort, skip, limit) = find;
    FindRequest {
        context: context(collated),
        sort: sort.as_ref().map(raw),
        skip: *skip,
        limit: *limit,
        ..FindRequest::new(namespace(), raw(filter))
    }
}

/// Parallel arrays have no place in an order; whether a plan comes across them differs.
fn is_sortable(stored: &[Document], sort: &Option<Document>) -> bool {
    let sort = sort_spec(sort, false);
    stored
        .iter()
        .all(|document| sort.key(&raw(document)).is_ok())
}

/// Rows may differ from the model's only among equals of the sort.
fn check(
    stored: &[Document],
    find: &(Document, Option<Document>, u64, Option<u64>),
    found: &[Document],
    collated: bool,
) -> Result<(), TestCaseError> {
    let (filter, sort, skip, limit) = find;
    let parsed = Filter::parse_in(&raw(filter), &context(collated)).unwrap();
    let mut expected: Vec<&Document> = stored
        .iter()
        .filter(|document| parsed.matches(&raw(document)))
        .collect();
    let identify = |document: &Document| document.get_i32("_id").unwrap();
    let matching: Vec<i32> = expected.iter().map(|document| identify(document)).collect();
    for document in found {
        prop_assert!(
            matching.contains(&identify(document)),
            "{document} does not match"
        );
        prop_assert!(
            stored
                .iter()
                .any(|stored| stored.to_string() == document.to_string())
        );
    }
    let mut ids: Vec<i32> = found.iter().map(identify).collect();
    ids.sort_unstable();
    ids.dedup();
    prop_assert_eq!(ids.len(), found.len(), "a document came twice");
    let sort = sort_spec(sort, collated);
    let key = |document: &Document| sort.key(&raw(document)).unwrap();
    expected.sort_by_key(|document| key(document));
    let keys: Vec<Vec<u8>> = expected.iter().map(|document| key(document)).collect();
    let window = keys
        .iter()
        .skip(*skip as usize)
        .take(limit.map_or(usize::MAX, |limit| limit as usize));
    let found_keys: Vec<Vec<u8>> = found.iter().map(key).collect();
    prop_assert_eq!(found_keys, window.cloned().collect::<Vec<_>>());
    Ok(())
}

/// An index may be read for its values: they are those that the documents have.
fn check_distinct(
    snapshot: &Snapshot,
    stored: &[Document],
    filter: &Document,
    collated: bool,
) -> Result<(), TestCaseError> {
    let context = context(collated);
    let parsed = Filter::parse_in(&raw(filter), &context).unwrap();
    for key in ["a", "b", "a.x"] {
        let request = DistinctRequest {
            namespace: namespace(),
            key: key.to_owned(),
            filter: raw(filter),
            hint: None,
            context: context.clone(),
            interrupt: Interrupt::never(),
        };
        let key_of = |value: RawBsonRef<'_>| {
            let seen = document::collation::collated(context.collation(), value);
            key_encoding::id_key(seen.as_ref())
        };
        let encoded = |values: &bson::RawArray| -> BTreeSet<Vec<u8>> {
            let values = values.into_iter().map(Result::unwrap);
            values.map(key_of).collect()
        };
        let found = encoded(&snapshot.distinct(request).unwrap());
        let mut expected = BTreeSet::new();
        for document in stored {
            let document = raw(document);
            if parsed.matches(&document) {
                Path::parse(key).any(&document, LeafArrays::Whole, &mut |value| {
                    match value {
                        None => {}
                        Some(RawBsonRef::Array(members)) => expected.extend(encoded(members)),
                        Some(value) => {
                            expected.insert(key_of(value));
                        }
                    }
                    false
                });
            }
        }
        prop_assert_eq!(found, expected, "distinct {}", key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn find_equals_filter_and_sort(case in case()) {
        let (database, stored) = database(&case);
        let snapshot = database.reader().snapshot();
        let indexes: Vec<String> = snapshot
            .collection(&namespace())
            .into_iter()
            .flat_map(|collection| collection.ready_indexes())
            .filter(|index| !index.sparse && index.partial.is_none())
            // Not every filter has a plan with one of these.
            .filter(|index| !matches!(index.kind, IndexKind::Wildcard(_)))
            .map(|index| index.name.clone())
            .collect();
        // The second time with what is remembered of the first.
        for find in case.finds.iter().chain(&case.finds) {
            let request = find_request(find, case.collated);
            let found = match rows(snapshot.find(request.clone())) {
                Ok(found) => found,
                // Not a filter or sort that MongoDB takes: refused before anything is read.
                Err(QueryError::Command(_)) => continue,
                Err(other) => panic!("{other}"),
            };
            if !is_sortable(&stored, &find.1) {
                continue;
            }
            check(&stored, find, &found, case.collated)?;
            for name in &indexes {
                let hinted = FindRequest { hint: Some(Hint::Name(name.clone())), ..request.clone() };
                check(&stored, find, &rows(snapshot.find(hinted)).unwrap(), case.collated)?;
            }
            let count = snapshot.count(CountRequest {
                namespace: namespace(),
                filter: raw(&find.0),
                skip: find.2,
                limit: find.3,
                hint: None,
                context: context(case.collated),
                interrupt: Interrupt::never(),
            });
            prop_assert_eq!(count.unwrap(), found.len() as u64);
            check_distinct(&snapshot, &stored, &find.0, case.collated)?;
        }
    }
}
