//! Property: a find or a pipeline that entries of an index can answer gives what the documents give, with the types they
//! have there, null apart from missing; and with all values exact in the entries it reads no documents.
#![allow(clippy::unwrap_used)]

mod support;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, bson, doc};
use proptest::prelude::*;
use state_machine::plan::{InsertRequest, WriteOptions, WritePlanner};
use state_machine::query::{
    AggregateRequest, ExplainRequest, Explained, FindRequest, Hint, ScanDirection, Verbosity,
};
use state_machine::{Reader, Snapshot};
use support::{Database, namespace, raw, rows};

/// Values that an entry tells exactly.
fn exact() -> impl Strategy<Value = Bson> {
    prop_oneof![
        4 => prop_oneof![Just("a"), Just("ab"), Just("b"), Just(""), Just("a\u{0}b")].prop_map(Bson::from),
        1 => any::<bool>().prop_map(Bson::Boolean),
        1 => (-2..3i64).prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        1 => (0..3u8).prop_map(|byte| Bson::ObjectId(ObjectId::from_bytes([byte; 12]))),
    ]
}

/// Values some of which an entry leaves in doubt.
fn doubtful() -> impl Strategy<Value = Bson> {
    prop_oneof![
        4 => exact(),
        1 => (0..3i32).prop_map(Bson::Int32),
        1 => (0..3i64).prop_map(Bson::Int64),
        1 => (0..3i32).prop_map(|number| Bson::Double(f64::from(number))),
        1 => Just(Bson::Double(-0.0)),
        1 => Just(Bson::Double(f64::NAN)),
        1 => Just(Bson::Null),
        1 => Just(bson!({ "x": "a" })),
    ]
}

#[derive(Debug, Clone)]
struct Query {
    filter: Document,
    sort: Option<Document>,
    projection: Document,
}

#[derive(Debug, Clone)]
struct Case {
    documents: Vec<Document>,
    indexes: Vec<(Document, Document)>,
    queries: Vec<Query>,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a"), 3 => Just("b"), 1 => Just("c"), 1 => Just("_id")]
}

fn pattern() -> impl Strategy<Value = Document> {
    let field = (name(), prop_oneof![Just(1), Just(-1)]);
    prop::collection::vec(field, 1..4).prop_map(|fields| {
        let fields = fields.into_iter();
        fields
            .map(|(name, sign)| (name.to_owned(), Bson::Int32(sign)))
            .collect()
    })
}

fn condition() -> impl Strategy<Value = Bson> {
    let comparison = prop_oneof![
        Just("$gt"),
        Just("$gte"),
        Just("$lt"),
        Just("$lte"),
        Just("$ne")
    ];
    prop_oneof![
        2 => doubtful(),
        3 => (comparison, exact()).prop_map(|(operator, value)| bson!({ operator: value })),
        1 => prop::collection::vec(doubtful().boxed(), 1..4).prop_map(|list| bson!({ "$in": list })),
        1 => any::<bool>().prop_map(|exists| bson!({ "$exists": exists })),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let filter = prop::collection::vec((name(), condition()), 0..3).prop_map(|conditions| {
        let conditions = conditions.into_iter();
        conditions
            .map(|(name, condition)| (name.to_owned(), condition))
            .collect::<Document>()
    });
    let projection =
        (prop::collection::vec(name(), 1..3), any::<bool>()).prop_map(|(names, id)| {
            let mut projection: Document = names
                .into_iter()
                .map(|name| (name.to_owned(), Bson::Int32(1)))
                .collect();
            if !id && projection.keys().any(|name| name != "_id") {
                projection.insert("_id", 0);
            }
            projection
        });
    (filter, prop::option::of(pattern()), projection).prop_map(|(filter, sort, projection)| Query {
        filter,
        sort,
        projection,
    })
}

fn case(values: impl Strategy<Value = Bson>) -> impl Strategy<Value = Case> {
    let field = (prop_oneof![Just("b"), Just("a"), Just("c")], values);
    // Fields in any order: rows are compared by name.
    let document = prop::collection::vec(field, 0..4).prop_map(|fields| {
        let fields = fields.into_iter();
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Document>()
    });
    let options = prop_oneof![
        4 => Just(doc! {}),
        1 => Just(doc! { "sparse": true }),
        1 => Just(doc! { "unique": true }),
        1 => Just(doc! { "collation": { "locale": "en", "strength": 2 } }),
        1 => Just(doc! { "partialFilterExpression": { "a": { "$gte": "a" } } }),
    ];
    (
        prop::collection::vec(document, 0..20),
        prop::collection::vec((pattern(), options), 1..4),
        prop::collection::vec(query(), 1..8),
    )
        .prop_map(|(documents, indexes, queries)| Case {
            documents,
            indexes,
            queries,
        })
}

fn database(case: &Case) -> Database {
    let mut database = Database::new();
    for (id, fields) in case.documents.iter().enumerate() {
        // `_id`s that an entry tells exactly, and some that it does not.
        let id = match id % 5 {
            0 => Bson::Int32(id as i32),
            _ => Bson::String(format!("id {id}")),
        };
        let mut document = doc! { "_id": id };
        document.extend(fields.clone());
        let insert = InsertRequest {
            documents: vec![raw(&document)],
        };
        database
            .write(WritePlanner::insert(WriteOptions::new(namespace()), insert))
            .unwrap();
    }
    for (number, (key, options)) in case.indexes.iter().enumerate() {
        let mut spec = doc! { "key": key.clone(), "name": format!("index_{number}") };
        spec.extend(options.clone());
        // Duplicates, or the same pattern twice: refused, and not there.
        let _ = database.create_index(raw(&spec));
    }
    database
}

/// A row as text, its fields in the order of their names.
fn text(row: &Document) -> String {
    let mut fields: Vec<String> = row
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    fields.sort_unstable();
    fields.join(", ")
}

fn sorted(found: &[Document]) -> Vec<String> {
    let mut texts: Vec<String> = found.iter().map(text).collect();
    texts.sort_unstable();
    texts
}

fn find(query: &Query, hint: Option<Hint>) -> FindRequest {
    FindRequest {
        sort: query.sort.as_ref().map(raw),
        projection: Some(raw(&query.projection)),
        hint,
        ..FindRequest::new(namespace(), raw(&query.filter))
    }
}

fn pipeline(query: &Query, hint: Option<Hint>, last: &Document) -> AggregateRequest {
    let mut stages = vec![doc! { "$match": query.filter.clone() }];
    if let Some(sort) = &query.sort {
        stages.push(doc! { "$sort": sort.clone() });
    }
    stages.push(last.clone());
    AggregateRequest {
        hint,
        ..support::pipeline(&stages)
    }
}

/// The scan of the collection, which no index has a part in.
fn natural() -> Option<Hint> {
    Some(Hint::Natural(ScanDirection::Forward))
}

fn check(snapshot: &Snapshot, query: &Query) -> Result<(), TestCaseError> {
    let expected = rows(snapshot.find(find(query, natural()))).unwrap();
    let mut hints: Vec<Option<Hint>> = vec![None];
    let collection = snapshot.collection(&namespace());
    for index in collection
        .into_iter()
        .flat_map(|collection| collection.ready_indexes())
    {
        if !index.sparse && index.partial.is_none() {
            hints.push(Some(Hint::Name(index.name.clone())));
        }
    }
    let grouped = doc! { "$group": {
        "_id": { "$ifNull": ["$a", "none"] }, "n": { "$sum": 1 }, "all": { "$addToSet": "$b" },
    } };
    let projected = doc! { "$project": { "a": 1, "v": { "$type": "$b" } } };
    for hint in hints {
        let found = rows(snapshot.find(find(query, hint.clone()))).unwrap();
        prop_assert_eq!(sorted(&found), sorted(&expected), "{:?}", hint);
        if let Some(sort) = &query.sort
            && sort
                .keys()
                .all(|name| query.projection.get_i32(name).is_ok_and(|one| one == 1))
        {
            let keys = |found: &[Document]| -> Vec<String> {
                let values = |row: &Document| {
                    format!(
                        "{:?}",
                        sort.keys()
                            .map(|name| comparable(row.get(name)))
                            .collect::<Vec<_>>()
                    )
                };
                found.iter().map(values).collect()
            };
            prop_assert_eq!(keys(&found), keys(&expected), "{:?}", hint);
        }
        let stages = [
            doc! { "$project": query.projection.clone() },
            projected.clone(),
        ];
        for stage in stages {
            let found = rows(snapshot.aggregate(pipeline(query, hint.clone(), &stage))).unwrap();
            let expected = rows(snapshot.aggregate(pipeline(query, natural(), &stage))).unwrap();
            prop_assert_eq!(sorted(&found), sorted(&expected), "{:?} {}", hint, stage);
        }
        // Which of several equal values a group shows depends on the order of the documents: their number does not.
        let count = |request| -> Vec<(String, i32)> {
            let rows = rows(snapshot.aggregate(request)).unwrap();
            rows.iter()
                .map(|row| {
                    let all = row.get_array("all").unwrap().len();
                    (
                        format!("{:?} {all}", comparable(row.get("_id"))),
                        row.get_i32("n").unwrap(),
                    )
                })
                .collect()
        };
        let found = count(pipeline(query, hint.clone(), &grouped));
        let expected = count(pipeline(query, natural(), &grouped));
        prop_assert_eq!(found, expected, "{:?} grouped", hint);
    }
    Ok(())
}

/// Numbers that compare as equal are one; a missing value is as null.
fn comparable(value: Option<&Bson>) -> String {
    match value {
        None | Some(Bson::Null) => "null".to_owned(),
        Some(Bson::Int32(number)) => format!("{:?}", f64::from(*number)),
        Some(Bson::Int64(number)) => format!("{:?}", *number as f64),
        Some(Bson::Double(number)) => format!("{:?}", number + 0.0),
        Some(other) => format!("{other:?}"),
    }
}

/// Whether the rows are made of entries, and how many documents were read all the same.
fn covered(reader: &Reader, query: &Query) -> (bool, i64) {
    let explained = reader
        .snapshot()
        .explain(ExplainRequest {
            explained: Explained::Find(find(query, None)),
            verbosity: Verbosity::ExecutionStats,
        })
        .unwrap();
    let planner = explained.get_document("queryPlanner").unwrap();
    let mut stage = planner.get_document("winningPlan").unwrap();
    let mut is_covered = false;
    loop {
        is_covered |= stage
            .get_str("stage")
            .is_ok_and(|name| name == "PROJECTION_COVERED");
        match stage.get_document("inputStage") {
            Ok(input) => stage = input,
            Err(_) => break,
        }
    }
    let statistics = explained.get_document("executionStats").unwrap();
    (is_covered, statistics.get_i64("totalDocsExamined").unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn covered_rows_are_those_of_the_documents(case in case(doubtful())) {
        let database = database(&case);
        let snapshot = database.reader().snapshot();
        for query in &case.queries {
            check(&snapshot, query)?;
        }
    }
}

#[test]
fn exact_values_are_read_off_the_entries() {
    let documents = (0..20).map(|number| {
        let text = format!("{}", number % 4);
        doc! { "b": DateTime::from_millis(number), "a": text }
    });
    let case = Case {
        documents: documents.collect(),
        indexes: vec![(doc! { "a": 1, "b": -1 }, doc! {})],
        queries: Vec::new(),
    };
    let mut database = database(&case);
    let query = Query {
        filter: doc! { "a": { "$gte": "2" } },
        sort: Some(doc! { "a": 1, "b": -1 }),
        projection: doc! { "a": 1, "b": 1, "_id": 0 },
    };
    let of = |filter: Document, projection: Document| Query {
        filter,
        projection,
        ..query.clone()
    };
    assert_eq!(covered(&database.reader(), &query), (true, 0));
    let found = rows(database.reader().snapshot().find(find(&query, None))).unwrap();
    assert_eq!(found.len(), 10);
    assert_eq!(found[0], doc! { "a": "2", "b": DateTime::from_millis(18) });

    let with_id = of(query.filter.clone(), doc! { "b": 1 });
    assert_eq!(
        covered(&database.reader(), &with_id),
        (true, 2),
        "the ids that are numbers"
    );
    let more = of(query.filter.clone(), doc! { "c": 1, "_id": 0 });
    assert_eq!(
        covered(&database.reader(), &more),
        (false, 10),
        "not in the index"
    );
    let tested = of(doc! { "a": { "$regex": "2" } }, query.projection.clone());
    assert!(
        !covered(&database.reader(), &tested).0,
        "the index does not tell what matches"
    );

    // Null or missing, and a number: their documents are read, and no other.
    for fields in [
        doc! { "a": "3", "b": null },
        doc! { "a": "3" },
        doc! { "a": "3", "b": 7 },
    ] {
        let insert = InsertRequest {
            documents: vec![raw(&fields)],
        };
        database
            .write(WritePlanner::insert(WriteOptions::new(namespace()), insert))
            .unwrap();
    }
    assert_eq!(covered(&database.reader(), &query), (true, 3));
    let found = rows(database.reader().snapshot().find(find(&query, None))).unwrap();
    let last: Vec<&Document> = found.iter().rev().take(2).rev().collect();
    let mut nulls = [doc! { "a": "3", "b": null }, doc! { "a": "3" }];
    nulls.sort_by_key(|row| last.iter().position(|found| *found == row));
    assert_eq!(last, nulls.iter().collect::<Vec<_>>());
    assert!(found.contains(&doc! { "a": "3", "b": 7 }));

    // With the first array nothing can be told any more.
    let insert = InsertRequest {
        documents: vec![raw(&doc! { "a": ["2", "3"] })],
    };
    database
        .write(WritePlanner::insert(WriteOptions::new(namespace()), insert))
        .unwrap();
    assert!(!covered(&database.reader(), &query).0);
}
