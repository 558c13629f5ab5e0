//! Property: whatever was written when, a search finds through its index what looking at all documents finds, in the order of
//! their scores.
#![allow(clippy::unwrap_used)]

mod support;

use bson::{Bson, Document, RawBson, doc};
use document::Context;
use document::filter::Filter;
use proptest::prelude::*;
use state_machine::IndexKind;
use state_machine::plan::{InsertRequest, WriteOptions, WritePlanner};
use state_machine::query::FindRequest;
use support::{Database, namespace, raw, rows};

const WORDS: &[&str] = &[
    "red",
    "Red",
    "wine",
    "wines",
    "running",
    "ran",
    "the",
    "Café",
    "cafe",
    "don't",
    "pre-market",
    "x_y",
    "и",
];

fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(WORDS), 0..6).prop_map(|words| words.join(" "))
}

fn document() -> impl Strategy<Value = Document> {
    let note = prop_oneof![
        3 => words().prop_map(Bson::from),
        1 => prop::collection::vec(words(), 0..3).prop_map(Bson::from),
        1 => words().prop_map(|text| Bson::from(doc! { "deep": text })),
        1 => Just(Bson::Int32(5)),
    ];
    let language = prop_oneof![4 => Just(None), 1 => Just(Some("none")), 1 => Just(Some("fr"))];
    (words(), prop::option::of(note), language, 0..3i32).prop_map(
        |(title, note, language, kind)| {
            let mut document = doc! { "title": title, "kind": kind };
            if let Some(note) = note {
                document.insert("note", note);
            }
            if let Some(language) = language {
                document.insert("language", language);
            }
            document
        },
    )
}

fn search() -> impl Strategy<Value = Document> {
    let word = || prop::sample::select(WORDS);
    let part = prop_oneof![
        4 => word().prop_map(str::to_owned),
        1 => word().prop_map(|word| format!("-{word}")),
        1 => (word(), word()).prop_map(|(one, other)| format!("\"{one} {other}\"")),
        1 => word().prop_map(|word| format!("-\"{word}\"")),
    ];
    (prop::collection::vec(part, 1..4), any::<bool>(), any::<bool>()).prop_map(|(parts, case, marks)| {
        doc! { "$search": parts.join(" "), "$caseSensitive": case, "$diacriticSensitive": marks }
    })
}

fn key() -> impl Strategy<Value = (Document, Document)> {
    prop_oneof![
        Just((doc! { "title": "text" }, doc! {})),
        Just((
            doc! { "title": "text", "note": "text" },
            doc! { "weights": { "note": 7 } }
        )),
        Just((
            doc! { "$**": "text", "kind": 1 },
            doc! { "default_language": "none" }
        )),
        Just((
            doc! { "title": "text" },
            doc! { "partialFilterExpression": { "kind": { "$gte": 1 } } }
        )),
    ]
}

fn write(database: &mut Database, planner: WritePlanner) {
    database.write(planner).unwrap();
}

fn options() -> WriteOptions {
    WriteOptions::new(namespace())
}

fn insert(database: &mut Database, documents: &[Document], first: usize) {
    let documents = documents.iter().enumerate().map(|(at, fields)| {
        let mut document = doc! { "_id": (first + at) as i32 };
        document.extend(fields.clone());
        raw(&document)
    });
    let documents = documents.collect();
    write(
        database,
        WritePlanner::insert(options(), InsertRequest { documents }),
    );
}

fn check(database: &Database, search: &Document) -> Result<(), TestCaseError> {
    let snapshot = database.reader().snapshot();
    let verified = snapshot.verify_indexes(&namespace()).unwrap().unwrap();
    prop_assert!(verified.is_sound(), "{verified:?}");
    let collection = snapshot.collection(&namespace()).unwrap();
    let IndexKind::Text(text) = &collection.index("t").unwrap().kind else {
        panic!("it is a text index");
    };
    let filter = doc! { "$text": search.clone(), "kind": { "$gte": 1 } };
    let context = Context::at(0, 1).with_text(Some(text.rules().clone()));
    let parsed = Filter::parse_in(&raw(&filter), &context).unwrap();
    let score = |document: &Document| {
        let found = parsed
            .text()
            .unwrap()
            .search()
            .unwrap()
            .score(&raw(document));
        found.unwrap()
    };
    let stored = rows(snapshot.find(FindRequest::new(namespace(), raw(&doc! {})))).unwrap();
    let matching: Vec<&Document> = stored
        .iter()
        .filter(|one| parsed.matches(&raw(one)))
        .collect();
    let request = FindRequest {
        sort: Some(raw(&doc! { "s": { "$meta": "textScore" } })),
        projection: Some(raw(&doc! { "s": { "$meta": "textScore" } })),
        ..FindRequest::new(namespace(), raw(&filter))
    };
    let found = rows(snapshot.find(request)).unwrap();
    let ids = |documents: &mut dyn Iterator<Item = &Document>| {
        let mut ids: Vec<i32> = documents.map(|one| one.get_i32("_id").unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    prop_assert_eq!(ids(&mut found.iter()), ids(&mut matching.iter().copied()));
    let scores: Vec<f64> = found.iter().map(|one| one.get_f64("s").unwrap()).collect();
    prop_assert!(
        scores.is_sorted_by(|left, right| left >= right),
        "{scores:?}"
    );
    for one in &found {
        let id = one.get_i32("_id").unwrap();
        let whole = matching
            .iter()
            .find(|other| other.get_i32("_id").unwrap() == id);
        prop_assert_eq!(one.get_f64("s").unwrap(), score(whole.unwrap()));
        prop_assert!(score(whole.unwrap()) > 0.0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_what_looking_at_all_documents_finds(
        key in key(),
        before in prop::collection::vec(document(), 0..8),
        after in prop::collection::vec(document(), 0..8),
        changed in prop::collection::vec((0..8i32, words()), 0..4),
        gone in prop::collection::vec(0..16i32, 0..3),
        searches in prop::collection::vec(search(), 1..6),
    ) {
        let mut database = Database::new();
        insert(&mut database, &before, 0);
        let (key, more) = key;
        let mut spec = doc! { "key": key, "name": "t" };
        spec.extend(more);
        database.create_index(raw(&spec)).unwrap();
        insert(&mut database, &after, 8);
        for (id, title) in changed {
            let update = RawBson::Document(raw(&doc! { "$set": { "title": title } }));
            let statement = support::update_one(&doc! { "_id": id }, update);
            write(&mut database, WritePlanner::update(options(), vec![statement]));
        }
        for id in gone {
            let statement = support::delete(&doc! { "_id": id }, false);
            write(&mut database, WritePlanner::delete(options(), vec![statement]));
        }
        for search in &searches {
            check(&database, search)?;
        }
    }
}
