//! Cursors: what they show while writes go on, and how they stop.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bson::{Document, doc};
use state_machine::plan::{InsertRequest, WriteOptions, WritePlanner};
use state_machine::query::{
    AggregateRequest, CountRequest, FindRequest, Interrupt, InterruptReason, QueryError,
};
use support::{Database, namespace, raw, rows};

fn filled(count: i32) -> Database {
    let mut database = Database::new();
    let documents = (0..count)
        .map(|id| raw(&doc! {"_id": id, "a": count - id}))
        .collect();
    let planner = WritePlanner::insert(WriteOptions::new(namespace()), InsertRequest { documents });
    database.write(planner).unwrap();
    database
}

fn all() -> FindRequest {
    FindRequest::new(namespace(), raw(&doc! {}))
}

#[test]
fn a_cursor_shows_the_state_it_was_opened_on() {
    let mut database = filled(300);
    let mut cursor = database.reader().snapshot().find(all()).unwrap();
    assert_eq!(cursor.by_ref().take(10).count(), 10);
    let everything = support::delete(&doc! {}, true);
    let planner = WritePlanner::delete(WriteOptions::new(namespace()), vec![everything]);
    database.write(planner).unwrap();
    assert_eq!(cursor.count(), 290);
    assert_eq!(
        rows(database.reader().snapshot().find(all())).unwrap(),
        Vec::<Document>::new()
    );
}

#[test]
fn a_missing_collection_is_empty() {
    let database = Database::new();
    let snapshot = database.reader().snapshot();
    assert_eq!(rows(snapshot.find(all())).unwrap(), Vec::<Document>::new());
    let count = CountRequest {
        namespace: namespace(),
        filter: raw(&doc! {}),
        skip: 0,
        limit: None,
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: Interrupt::never(),
    };
    assert_eq!(snapshot.count(count).unwrap(), 0);
}

#[test]
fn errors_of_the_request_come_at_once() {
    let database = Database::new();
    let snapshot = database.reader().snapshot();
    for request in [
        FindRequest::new(namespace(), raw(&doc! {"a": {"$nonsense": 1}})),
        FindRequest {
            sort: Some(raw(&doc! {"a": 7})),
            ..all()
        },
        FindRequest {
            projection: Some(raw(&doc! {"a": 1, "b": 0})),
            ..all()
        },
    ] {
        assert!(matches!(
            snapshot.find(request),
            Err(QueryError::Command(_))
        ));
    }
}

/// Stops after it was asked this often.
fn after(questions: u32) -> Interrupt {
    let asked = AtomicU32::new(0);
    Interrupt::new(move || {
        (asked.fetch_add(1, Ordering::Relaxed) >= questions).then_some(InterruptReason::TimeLimit)
    })
}

fn is_interrupted<T>(result: &Result<T, QueryError>) -> bool {
    matches!(
        result,
        Err(QueryError::Interrupted(InterruptReason::TimeLimit))
    )
}

#[test]
fn an_interrupt_stops_scans_sorts_counts_and_pipelines() {
    let database = filled(1_000);
    let snapshot = database.reader().snapshot();
    let nothing = raw(&doc! {"missing": 1});
    let scan = FindRequest {
        interrupt: after(3),
        ..FindRequest::new(namespace(), nothing.clone())
    };
    assert!(is_interrupted(&rows(snapshot.find(scan))));
    let sort = FindRequest {
        interrupt: after(3),
        sort: Some(raw(&doc! {"a": 1})),
        ..all()
    };
    assert!(is_interrupted(&rows(snapshot.find(sort))));
    let count = CountRequest {
        namespace: namespace(),
        filter: nothing,
        skip: 0,
        limit: None,
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: after(3),
    };
    assert!(is_interrupted(&snapshot.count(count)));
    let group = doc! {"$group": {"_id": "$a"}};
    let pipeline = AggregateRequest {
        namespace: namespace(),
        pipeline: [raw(&group)]
            .into_iter()
            .map(bson::RawBson::Document)
            .collect(),
        hint: None,
        context: document::Context::at(0, 1),
        interrupt: after(3),
    };
    assert!(is_interrupted(&rows(snapshot.aggregate(pipeline))));
}

#[test]
fn a_killed_cursor_gives_its_error_once_and_then_nothing() {
    let database = filled(1_000);
    let killed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&killed);
    let interrupt = Interrupt::new(move || {
        flag.load(Ordering::Relaxed)
            .then_some(InterruptReason::Killed)
    });
    let mut cursor = database
        .reader()
        .snapshot()
        .find(FindRequest { interrupt, ..all() })
        .unwrap();
    assert!(cursor.next().unwrap().is_ok());
    killed.store(true, Ordering::Relaxed);
    let error = cursor.by_ref().find_map(Result::err).unwrap();
    assert!(matches!(
        error,
        QueryError::Interrupted(InterruptReason::Killed)
    ));
    assert!(cursor.next().is_none());
}

#[test]
fn cursors_and_planners_may_change_threads() {
    fn is_send<T: Send>() {}
    is_send::<state_machine::query::FindCursor>();
    is_send::<WritePlanner>();
}
