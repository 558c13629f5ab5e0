//! What is remembered of plans: when it is used, when it is given up, and that it never grows without end.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Document, doc};
use parking_lot::Mutex;
use state_machine::catalog::PLAN_CACHE_ENTRIES_MAX;
use state_machine::plan::{InsertRequest, WriteOptions, WritePlanner};
use state_machine::query::{
    ExplainRequest, Explained, FindRequest, Interrupt, InterruptReason, Owner, PlanSummary,
    Verbosity,
};
use state_machine::{Command, IndexSelection};
use support::{Database, namespace, raw, rows};

#[derive(Default)]
struct Heard {
    plan: Mutex<String>,
    keys: AtomicU64,
}

impl Owner for Heard {
    fn reason(&self) -> Option<InterruptReason> {
        None
    }

    fn planned(&self, plan: &dyn Fn() -> PlanSummary) {
        *self.plan.lock() = plan().to_string();
    }

    fn examined(&self, keys: u64, _documents: u64) {
        self.keys.fetch_add(keys, Ordering::Relaxed);
    }
}

const BY_A: &str = "IXSCAN { a: 1 }";
const BY_B: &str = "IXSCAN { b: 1 }";

/// Value `n` of `a` or `b` stands in `n` documents, up to 90.
fn skewed() -> Database {
    let mut database = Database::new();
    let mut documents = Vec::new();
    for value in [1, 2, 3, 8, 20, 40, 90] {
        for _ in 0..value {
            let id = documents.len() as i32;
            documents.push(raw(&doc! { "_id": id, "a": value, "b": 0 }));
            documents.push(raw(&doc! { "_id": id + 1, "a": 0, "b": value }));
        }
    }
    let insert = InsertRequest { documents };
    database
        .write(WritePlanner::insert(WriteOptions::new(namespace()), insert))
        .unwrap();
    for (name, key) in [("a", doc! { "a": 1 }), ("b", doc! { "b": 1 })] {
        database
            .create_index(raw(&doc! { "key": key, "name": name }))
            .unwrap();
    }
    database
}

/// The plan of a find and the keys it looked at.
fn find(database: &Database, filter: &Document) -> (String, u64) {
    let heard = Arc::new(Heard::default());
    let request = FindRequest {
        interrupt: Interrupt::of(heard.clone()),
        ..FindRequest::new(namespace(), raw(filter))
    };
    rows(database.reader().snapshot().find(request)).unwrap();
    let plan = heard.plan.lock().clone();
    (plan, heard.keys.load(Ordering::Relaxed))
}

fn both(a: i32, b: i32) -> Document {
    doc! { "a": a, "b": b }
}

/// Index and works of each entry.
fn remembered(database: &Database) -> Vec<(String, i64)> {
    let snapshot = database.reader().snapshot();
    let plans = snapshot.cached_plans(&namespace()).unwrap().unwrap();
    let index = |plan: &Document| {
        let cached = plan.get_document("cachedPlan").unwrap();
        let scan = cached.get_document("inputStage").unwrap();
        scan.get_str("indexName").unwrap().to_owned()
    };
    plans
        .iter()
        .map(|plan| (index(plan), plan.get_i64("works").unwrap()))
        .collect()
}

#[test]
fn what_was_best_is_taken_until_it_does_ten_times_the_work() {
    let database = skewed();
    assert_eq!(find(&database, &both(2, 40)), (BY_A.to_owned(), 2));
    assert_eq!(
        find(&database, &both(8, 3)),
        (BY_A.to_owned(), 8),
        "remembered"
    );
    assert_eq!(remembered(&database), [("a".to_owned(), 2)]);

    database
        .reader()
        .snapshot()
        .forget_plans(&namespace(), None)
        .unwrap();
    assert_eq!(
        find(&database, &both(8, 3)),
        (BY_B.to_owned(), 3),
        "counted again"
    );
    assert_eq!(
        find(&database, &both(2, 20)),
        (BY_B.to_owned(), 20),
        "remembered"
    );
    assert_eq!(
        find(&database, &both(2, 40)),
        (BY_A.to_owned(), 2),
        "forty are too many"
    );
    assert_eq!(remembered(&database), [("a".to_owned(), 2)]);
    assert_eq!(find(&database, &both(20, 8)), (BY_A.to_owned(), 20));
    assert_eq!(find(&database, &both(90, 8)), (BY_B.to_owned(), 8));
    assert_eq!(remembered(&database), [("b".to_owned(), 8)]);
    assert_eq!(
        find(&database, &both(3, 90)),
        (BY_A.to_owned(), 3),
        "ninety are too many"
    );
}

#[test]
fn explain_and_hints_leave_it_alone() {
    let database = skewed();
    let explain = |filter: &Document| {
        let request = ExplainRequest {
            explained: Explained::Find(FindRequest::new(namespace(), raw(filter))),
            verbosity: Verbosity::AllPlansExecution,
        };
        let explained = database.reader().snapshot().explain(request).unwrap();
        explained
            .get_document("executionStats")
            .unwrap()
            .get_i64("totalKeysExamined")
            .unwrap()
    };
    assert_eq!(explain(&both(8, 3)), 3);
    assert_eq!(remembered(&database), []);
    assert_eq!(find(&database, &both(2, 40)).1, 2);
    assert_eq!(explain(&both(8, 3)), 3, "what would be found afresh");
    assert_eq!(remembered(&database), [("a".to_owned(), 2)]);
}

#[test]
fn shapes_are_remembered_apart_and_forgotten_by_shape() {
    let database = skewed();
    let snapshot = database.reader().snapshot();
    find(&database, &both(2, 40));
    find(&database, &doc! { "a": { "$lt": 3, "$gt": 0 }, "b": 40 });
    find(&database, &doc! { "a": 8, "b": { "$in": [1, 3] } });
    assert_eq!(remembered(&database).len(), 3);
    let like = FindRequest::new(namespace(), raw(&doc! { "b": "x", "a": null }));
    snapshot
        .forget_plans(&namespace(), Some(like.clone()))
        .unwrap();
    assert_eq!(remembered(&database).len(), 2);
    snapshot.forget_plans(&namespace(), Some(like)).unwrap();
    assert_eq!(remembered(&database).len(), 2);
}

#[test]
fn a_change_of_the_indexes_begins_anew() {
    let mut database = skewed();
    find(&database, &both(2, 40));
    let before = database.reader().snapshot();
    database
        .create_index(raw(&doc! { "key": { "c": 1 }, "name": "c" }))
        .unwrap();
    assert_eq!(remembered(&database), []);
    assert_eq!(
        before.cached_plans(&namespace()).unwrap().unwrap().len(),
        1,
        "an older snapshot has the older indexes"
    );
    find(&database, &both(2, 40));
    assert_eq!(remembered(&database).len(), 1);
    database.apply(Command::DropIndexes {
        namespace: namespace(),
        indexes: IndexSelection::Names(vec!["c".to_owned()]),
    });
    assert_eq!(remembered(&database), []);
    // The first array in `a` makes it another kind of index.
    find(&database, &both(2, 40));
    let insert = InsertRequest {
        documents: vec![raw(&doc! { "_id": "new", "a": [1, 2] })],
    };
    database
        .write(WritePlanner::insert(WriteOptions::new(namespace()), insert))
        .unwrap();
    assert_eq!(remembered(&database), []);
}

#[test]
fn many_shapes_do_not_grow_it_without_end() {
    let database = skewed();
    for number in 0..PLAN_CACHE_ENTRIES_MAX + 100 {
        let mut filter = both(2, 40);
        filter.insert(format!("other_{number}"), doc! { "$exists": false });
        assert_eq!(find(&database, &filter).0, BY_A);
        assert!(remembered(&database).len() <= PLAN_CACHE_ENTRIES_MAX);
    }
    assert!(remembered(&database).len() > PLAN_CACHE_ENTRIES_MAX / 2);
}
