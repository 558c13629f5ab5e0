//! Pipelines over several collections: all of them as of one state.
#![allow(clippy::unwrap_used)]

mod support;

use bson::raw::RawArrayBuf;
use bson::{Document, doc};
use document::Context;
use state_machine::Namespace;
use state_machine::plan::{InsertRequest, WriteOptions, WritePlanner};
use state_machine::query::{AggregateRequest, Interrupt};
use support::{Database, namespace, raw, rows};

fn other() -> Namespace {
    Namespace::new(&namespace().database, "other")
}

fn database() -> Database {
    let mut database = Database::new();
    let mut insert = |namespace: Namespace, documents: Vec<Document>| {
        let documents = documents.iter().map(raw).collect();
        let request = InsertRequest { documents };
        let planner = WritePlanner::insert(WriteOptions::new(namespace), request);
        database.write(planner).unwrap();
    };
    insert(
        namespace(),
        vec![
            doc! {"_id": 1, "k": "a"},
            doc! {"_id": 2, "k": ["a", "b"]},
            doc! {"_id": 3},
        ],
    );
    insert(
        other(),
        vec![
            doc! {"_id": "x", "k": "a", "n": 1, "next": "y"},
            doc! {"_id": "y", "k": ["b"], "n": 5, "next": ["z", "x"]},
            doc! {"_id": "z", "k": null, "n": 9},
        ],
    );
    database
}

fn run(database: &Database, stages: &[Document]) -> Result<Vec<Document>, String> {
    let mut pipeline = RawArrayBuf::new();
    for stage in stages {
        pipeline.push(raw(stage));
    }
    let request = AggregateRequest {
        namespace: namespace(),
        pipeline,
        hint: None,
        context: Context::at(0, 1),
        interrupt: Interrupt::never(),
    };
    rows(database.reader().snapshot().aggregate(request)).map_err(|error| error.to_string())
}

fn ids(rows: &[Document], field: &str) -> Vec<Vec<String>> {
    rows.iter()
        .map(|row| {
            let found = row.get_array(field).unwrap();
            found
                .iter()
                .map(|found| {
                    found
                        .as_document()
                        .unwrap()
                        .get_str("_id")
                        .unwrap()
                        .to_owned()
                })
                .collect()
        })
        .collect()
}

#[test]
fn lookup_joins_equal_values_and_members() {
    let lookup =
        doc! {"$lookup": {"from": "other", "localField": "k", "foreignField": "k", "as": "o"}};
    let rows = run(&database(), &[lookup]).unwrap();
    // A missing local field is null, and equal to null and missing foreign ones.
    assert_eq!(ids(&rows, "o"), [vec!["x"], vec!["x", "y"], vec!["z"]]);
}

#[test]
fn lookup_runs_a_pipeline_with_variables() {
    let lookup = doc! {"$lookup": {
        "from": "other",
        "let": {"low": {"$multiply": ["$_id", 3]}},
        "pipeline": [
            {"$match": {"$expr": {"$gt": ["$n", "$$low"]}}},
            {"$lookup": {"from": "other", "localField": "next", "foreignField": "_id", "as": "inner"}},
        ],
        "as": "o",
    }};
    let rows = run(&database(), &[lookup]).unwrap();
    assert_eq!(ids(&rows, "o"), [vec!["y", "z"], vec!["z"], vec![]]);
    let inner = rows[0].get_array("o").unwrap()[0].as_document().unwrap();
    assert_eq!(ids(std::slice::from_ref(inner), "inner"), [["x", "z"]]);
}

#[test]
fn graph_lookup_follows_references_once() {
    let lookup = |max_depth: Option<i32>| {
        let mut options = doc! {
            "from": "other", "startWith": "x", "connectFromField": "next", "connectToField": "_id",
            "as": "o", "depthField": "depth",
        };
        options.extend(max_depth.map(|depth| ("maxDepth".to_owned(), depth.into())));
        run(
            &database(),
            &[doc! {"$limit": 1}, doc! {"$graphLookup": options}],
        )
        .unwrap()
    };
    let all = lookup(None);
    assert_eq!(ids(&all, "o"), [["x", "y", "z"]]);
    let depths: Vec<i64> = all[0]
        .get_array("o")
        .unwrap()
        .iter()
        .map(|found| found.as_document().unwrap().get_i64("depth").unwrap())
        .collect();
    assert_eq!(depths, [0, 1, 2]);
    assert_eq!(ids(&lookup(Some(0)), "o"), [["x"]]);
}

#[test]
fn union_with_adds_another_collection() {
    let stages = [
        doc! {"$unionWith": {"coll": "other", "pipeline": [{"$match": {"n": {"$gt": 1}}}]}},
        doc! {"$group": {"_id": null, "count": {"$sum": 1}}},
    ];
    let rows = run(&database(), &stages).unwrap();
    assert_eq!(rows, [doc! {"_id": null, "count": 5}]);
    let missing = run(&database(), &[doc! {"$unionWith": "nowhere"}]).unwrap();
    assert_eq!(missing.len(), 3);
}

#[test]
fn errors_in_the_other_collection_are_the_pipelines_own() {
    let lookup = doc! {"$lookup": {
        "from": "other", "pipeline": [{"$project": {"v": {"$divide": ["$n", 0]}}}], "as": "o",
    }};
    assert_eq!(
        run(&database(), &[lookup]).unwrap_err(),
        "can't $divide by zero"
    );
    let malformed = doc! {"$lookup": {"from": "other", "pipeline": [{"$nope": 1}], "as": "o"}};
    assert_eq!(
        run(&database(), &[malformed]).unwrap_err(),
        "Unrecognized pipeline stage name: '$nope'"
    );
}
