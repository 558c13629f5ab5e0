//! Which operations count as uses of an index.
#![allow(clippy::unwrap_used)]

mod support;

use bson::{Document, RawBson, doc};
use state_machine::plan::{InsertRequest, UpdateStatement, WriteOptions, WritePlanner};
use state_machine::query::{
    CountRequest, DistinctRequest, ExplainRequest, Explained, FindRequest, Interrupt, Verbosity,
};
use support::{Database, delete, namespace, pipeline, raw, rows, update_one};

/// Forty documents, with indexes on `a` and on `b`.
fn indexed() -> Database {
    Database::with_forty(&[("a", doc! {"a": 1}), ("b", doc! {"b": 1})])
}

/// Uses of `_id_`, `a` and `b`.
fn uses(database: &Database) -> [u64; 3] {
    let snapshot = database.reader().snapshot();
    let collection = snapshot.collection(&namespace()).unwrap();
    ["_id_", "a", "b"].map(|name| collection.index(name).unwrap().usage.operations())
}

fn find(filter: Document) -> FindRequest {
    FindRequest::new(namespace(), raw(&filter))
}

fn distinct(key: &str, filter: Document) -> DistinctRequest {
    DistinctRequest {
        namespace: namespace(),
        key: key.to_owned(),
        filter: raw(&filter),
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: Interrupt::never(),
    }
}

fn count(filter: Document) -> CountRequest {
    CountRequest {
        namespace: namespace(),
        filter: raw(&filter),
        skip: 0,
        limit: None,
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: Interrupt::never(),
    }
}

#[test]
fn every_read_counts_once_for_each_index_of_its_plan() {
    let database = indexed();
    assert_eq!(uses(&database), [0, 0, 0]);
    let snapshot = database.reader().snapshot();
    rows(snapshot.find(find(doc! {"a": 3}))).unwrap();
    assert_eq!(uses(&database), [0, 1, 0]);
    rows(snapshot.find(find(doc! {"_id": 3}))).unwrap();
    rows(snapshot.find(find(doc! {"_id": {"$gt": 30}}))).unwrap();
    assert_eq!(uses(&database), [2, 1, 0]);
    rows(snapshot.find(find(doc! {"c": 3}))).unwrap();
    rows(snapshot.find(find(doc! {}))).unwrap();
    snapshot.count(count(doc! {})).unwrap();
    assert_eq!(uses(&database), [2, 1, 0], "scans of the collection");
    let either = doc! {"$or": [{"a": 1}, {"a": 5, "c": 1}, {"b": 2}]};
    rows(snapshot.find(find(either))).unwrap();
    assert_eq!(uses(&database), [2, 2, 1]);
    snapshot.count(count(doc! {"b": 1})).unwrap();
    snapshot.distinct(distinct("b", doc! {})).unwrap();
    snapshot.distinct(distinct("c", doc! {"b": 3})).unwrap();
    assert_eq!(uses(&database), [2, 2, 4]);
}

#[test]
fn pipelines_count_and_so_does_every_collection_they_join() {
    let database = indexed();
    let snapshot = database.reader().snapshot();
    let matching = doc! {"$match": {"a": 3}};
    rows(snapshot.aggregate(pipeline(std::slice::from_ref(&matching)))).unwrap();
    let counted = [matching.clone(), doc! {"$count": "n"}];
    rows(snapshot.aggregate(pipeline(&counted))).unwrap();
    assert_eq!(uses(&database), [0, 2, 0]);
    let join = doc! {"$lookup": {
        "from": namespace().collection, "localField": "b", "foreignField": "b", "as": "same",
    }};
    rows(snapshot.aggregate(pipeline(&[matching, join]))).unwrap();
    assert_eq!(uses(&database)[1], 3);
    assert!(uses(&database)[2] >= 1, "{:?}", uses(&database));
}

#[test]
fn searches_of_writes_count() {
    let mut database = indexed();
    let update = UpdateStatement {
        multi: true,
        ..update_one(
            &doc! {"a": 3},
            RawBson::Document(raw(&doc! {"$set": {"c": 1}})),
        )
    };
    let planner = WritePlanner::update(WriteOptions::new(namespace()), vec![update]);
    database.write(planner).unwrap();
    let delete = delete(&doc! {"b": 3}, false);
    let planner = WritePlanner::delete(WriteOptions::new(namespace()), vec![delete]);
    database.write(planner).unwrap();
    assert_eq!(uses(&database), [0, 1, 1]);
}

#[test]
fn explaining_is_no_use() {
    let database = indexed();
    for explained in [
        Explained::Find(find(doc! {"a": 3})),
        Explained::Count(count(doc! {"a": 3})),
        Explained::Distinct(distinct("a", doc! {})),
    ] {
        let request = ExplainRequest {
            explained,
            verbosity: Verbosity::ExecutionStats,
        };
        database.reader().snapshot().explain(request).unwrap();
    }
    assert_eq!(uses(&database), [0, 0, 0]);
}

#[test]
fn a_change_of_the_catalog_keeps_the_count_and_the_date() {
    let mut database = indexed();
    database.reader().snapshot().catalog().date_indexes(7);
    rows(database.reader().snapshot().find(find(doc! {"a": 3}))).unwrap();
    // Makes the index multikey: a new entry in a new catalog.
    let documents = vec![raw(&doc! {"_id": 100, "a": [1, 2]})];
    let planner = WritePlanner::insert(WriteOptions::new(namespace()), InsertRequest { documents });
    database.write(planner).unwrap();
    let spec = raw(&doc! {"key": {"c": 1}, "name": "c"});
    database.create_index(spec).unwrap();
    assert_eq!(uses(&database), [0, 1, 0]);
    let snapshot = database.reader().snapshot();
    let collection = snapshot.collection(&namespace()).unwrap();
    let since = |name: &str| collection.index(name).unwrap().usage.since_ms(9);
    assert!(collection.index("a").unwrap().multikey);
    assert_eq!(since("a"), 7);
    assert_eq!(since("c"), 9, "nobody has told it a date before");
    assert_eq!(since("c"), 9);
}
