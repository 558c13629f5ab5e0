//! What the owner of a read hears of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Document, doc};
use parking_lot::Mutex;
use state_machine::query::{
    CountRequest, DistinctRequest, FindRequest, Interrupt, InterruptReason, Owner, PlanSummary,
};
use support::{Database, namespace, raw, rows};

#[derive(Default)]
struct Heard {
    plans: Mutex<Vec<String>>,
    keys: AtomicU64,
    documents: AtomicU64,
}

impl Owner for Heard {
    fn reason(&self) -> Option<InterruptReason> {
        None
    }

    fn planned(&self, plan: &dyn Fn() -> PlanSummary) {
        self.plans.lock().push(plan().to_string());
    }

    fn examined(&self, keys: u64, documents: u64) {
        self.keys.fetch_add(keys, Ordering::Relaxed);
        self.documents.fetch_add(documents, Ordering::Relaxed);
    }
}

impl Heard {
    fn all(&self) -> (String, u64, u64) {
        (
            self.plans.lock().join("; "),
            self.keys.load(Ordering::Relaxed),
            self.documents.load(Ordering::Relaxed),
        )
    }
}

fn indexed() -> Database {
    Database::with_forty(&[("a", doc! {"a": 1}), ("b", doc! {"b": -1, "c": 1})])
}

/// What is heard of a find that is read to its end.
fn of_find(database: &Database, filter: Document) -> (String, u64, u64) {
    let heard = Arc::new(Heard::default());
    let request = FindRequest {
        interrupt: Interrupt::of(heard.clone()),
        ..FindRequest::new(namespace(), raw(&filter))
    };
    rows(database.reader().snapshot().find(request)).unwrap();
    heard.all()
}

#[test]
fn finds_say_their_plan_and_what_they_looked_at() {
    let database = indexed();
    for (filter, plan, keys, documents) in [
        (doc! {"a": 3}, "IXSCAN { a: 1 }", 4, 4),
        (doc! {"b": 3}, "IXSCAN { b: -1, c: 1 }", 10, 10),
        (doc! {"a": 3, "c": 1}, "IXSCAN { a: 1 }", 4, 4),
        (doc! {"_id": 3}, "IDHACK", 1, 1),
        (doc! {"c": 3}, "COLLSCAN", 0, 40),
        (doc! {"a": {"$in": []}}, "EOF", 0, 0),
        (
            doc! {"$or": [{"a": 3, "c": 1}, {"b": 2}, {"a": 4, "c": 2}]},
            "IXSCAN { a: 1 }, IXSCAN { b: -1, c: 1 }",
            18,
            18,
        ),
    ] {
        let expected = (plan.to_owned(), keys, documents);
        assert_eq!(of_find(&database, filter.clone()), expected, "{filter}");
    }
}

#[test]
fn rows_that_were_given_are_told_before_the_next_is_asked_for() {
    let database = indexed();
    let heard = Arc::new(Heard::default());
    let request = FindRequest {
        interrupt: Interrupt::of(heard.clone()),
        ..FindRequest::new(namespace(), raw(&doc! {}))
    };
    let mut cursor = database.reader().snapshot().find(request).unwrap();
    assert_eq!(heard.all(), ("COLLSCAN".to_owned(), 0, 0));
    cursor.next().unwrap().unwrap();
    assert_eq!(heard.all().2, 1);
    cursor.next().unwrap().unwrap();
    assert_eq!(heard.all().2, 2);
}

#[test]
fn counts_and_distinct_values_are_told_too() {
    let database = indexed();
    let snapshot = database.reader().snapshot();
    let heard = Arc::new(Heard::default());
    let count = CountRequest {
        namespace: namespace(),
        filter: raw(&doc! {"a": 3}),
        skip: 0,
        limit: None,
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: Interrupt::of(heard.clone()),
    };
    snapshot.count(count).unwrap();
    assert_eq!(heard.all(), ("COUNT_SCAN { a: 1 }".to_owned(), 4, 0));
    let heard = Arc::new(Heard::default());
    let distinct = DistinctRequest {
        namespace: namespace(),
        key: "a".to_owned(),
        filter: raw(&doc! {}),
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: Interrupt::of(heard.clone()),
    };
    snapshot.distinct(distinct).unwrap();
    let (plan, keys, documents) = heard.all();
    assert_eq!((plan.as_str(), documents), ("DISTINCT_SCAN { a: 1 }", 10));
    assert!(keys >= 10, "{keys}");
}
