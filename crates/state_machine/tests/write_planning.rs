//! The planning loop against competing writes, retries, batches and chunks.
#![allow(clippy::unwrap_used)]

mod support;

use bson::{Bson, Document, RawBson, doc};
use state_machine::plan::{
    DeleteStatement, FindAndModifyOperation, FindAndModifyRequest, InsertRequest, StatementOutcome,
    UpdateStatement, WriteOptions, WritePlanner,
};
use state_machine::query::{FindRequest, QueryError};
use state_machine::{CommandError, Operation, SessionStamp};
use support::{Database, namespace, raw, rows};

fn options() -> WriteOptions {
    WriteOptions::new(namespace())
}

fn retryable(txn_number: i64) -> WriteOptions {
    WriteOptions {
        session: Some(SessionStamp {
            lsid: vec![7; 16],
            txn_number,
        }),
        ..options()
    }
}

fn insert(documents: &[Document]) -> WritePlanner {
    let documents = documents.iter().map(raw).collect();
    WritePlanner::insert(options(), InsertRequest { documents })
}

fn update(filter: Document, update: Document) -> UpdateStatement {
    support::update_one(&filter, RawBson::Document(raw(&update)))
}

fn delete(filter: Document, multi: bool) -> DeleteStatement {
    support::delete(&filter, multi)
}

fn find(database: &Database, filter: Document) -> Vec<Document> {
    let request = FindRequest::new(namespace(), raw(&filter));
    rows(database.reader().snapshot().find(request)).unwrap()
}

fn with_documents(documents: &[Document]) -> Database {
    let mut database = Database::new();
    let outcome = database.write(insert(documents)).unwrap();
    assert_eq!(outcome.n(), documents.len() as u64);
    database.commands.clear();
    database
}

fn updated(matched: u64, modified: u64) -> StatementOutcome {
    StatementOutcome::Updated {
        matched,
        modified,
        upserted: None,
    }
}

#[test]
fn a_stale_plan_is_made_again() {
    let mut database = with_documents(&[doc! {"_id": 1, "a": 1}, doc! {"_id": 2, "a": 1}]);
    let planner = WritePlanner::update(
        options(),
        vec![update(doc! {"a": 1}, doc! {"$set": {"won": true}})],
    );
    let outcome = database
        .write_with(planner, |database, proposed| {
            if proposed == 0 {
                database
                    .write(WritePlanner::delete(options(), vec![delete(doc! {}, true)]))
                    .unwrap();
                database.write(insert(&[doc! {"_id": 3, "a": 1}])).unwrap();
            }
        })
        .unwrap();
    assert_eq!(outcome.statements, [updated(1, 1)]);
    assert_eq!(
        find(&database, doc! {"won": true}),
        [doc! {"_id": 3, "a": 1, "won": true}]
    );
}

#[test]
fn a_lost_candidate_is_replaced_by_the_next_one() {
    let mut database = with_documents(&[doc! {"_id": 1, "a": 1}, doc! {"_id": 2, "a": 1}]);
    let planner = WritePlanner::delete(options(), vec![delete(doc! {"a": 1}, false)]);
    let mut commands = 0;
    let outcome = database
        .write_with(planner, |database, proposed| {
            commands = proposed + 1;
            let steal = update(doc! {"_id": 1}, doc! {"$set": {"a": 2}});
            database
                .write(WritePlanner::update(options(), vec![steal]))
                .unwrap();
        })
        .unwrap();
    assert_eq!((outcome.n(), commands), (1, 1));
    assert_eq!(find(&database, doc! {}), [doc! {"_id": 1, "a": 2}]);
}

#[test]
fn nothing_left_after_a_stale_plan_is_no_match() {
    let mut database = with_documents(&[doc! {"_id": 1, "a": 1}]);
    let planner = WritePlanner::update(
        options(),
        vec![update(doc! {"a": 1}, doc! {"$set": {"b": 1}})],
    );
    let outcome = database
        .write_with(planner, |database, _| {
            database
                .write(WritePlanner::delete(options(), vec![delete(doc! {}, true)]))
                .unwrap();
        })
        .unwrap();
    assert_eq!(outcome.statements, [updated(0, 0)]);
}

#[test]
fn many_documents_go_in_chunks() {
    let documents: Vec<Document> = (0..2_500).map(|id| doc! {"_id": id, "a": id % 2}).collect();
    let mut database = with_documents(&documents);
    let statement = UpdateStatement {
        multi: true,
        ..update(doc! {"_id": {"$gte": 0}}, doc! {"$inc": {"a": 10}})
    };
    let outcome = database
        .write(WritePlanner::update(options(), vec![statement]))
        .unwrap();
    assert_eq!(outcome.statements, [updated(2_500, 2_500)]);
    let sizes: Vec<usize> = database
        .commands
        .iter()
        .map(|command| match &command.statements[0].operation {
            Operation::Update { candidates, .. } => candidates.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
    assert_eq!(find(&database, doc! {"a": {"$gte": 10}}).len(), 2_500);
    let outcome = database
        .write(WritePlanner::delete(
            options(),
            vec![delete(doc! {"a": 11}, true)],
        ))
        .unwrap();
    assert_eq!(outcome.n(), 1_250);
}

#[test]
fn an_upsert_that_loses_a_race_updates_the_winner() {
    for multi in [false, true] {
        let mut database = Database::new();
        database
            .create_index(raw(&doc! {"key": {"k": 1}, "name": "k_1", "unique": true}))
            .unwrap();
        let statement = UpdateStatement {
            upsert: true,
            multi,
            ..update(doc! {"k": 1}, doc! {"$inc": {"n": 1}})
        };
        let planner = WritePlanner::update(options(), vec![statement]);
        let outcome = database
            .write_with(planner, |database, proposed| {
                if proposed == 0 {
                    database
                        .write(insert(&[doc! {"_id": 1, "k": 1, "n": 5}]))
                        .unwrap();
                }
            })
            .unwrap();
        assert_eq!(outcome.statements, [updated(1, 1)]);
        assert_eq!(find(&database, doc! {}), [doc! {"_id": 1, "k": 1, "n": 6}]);
    }
}

#[test]
fn an_upsert_whose_update_collides_fails() {
    let mut database = with_documents(&[doc! {"_id": 1, "k": 1}]);
    database
        .create_index(raw(&doc! {"key": {"k": 1}, "name": "k_1", "unique": true}))
        .unwrap();
    let statement = UpdateStatement {
        upsert: true,
        ..update(doc! {"z": 1}, doc! {"$set": {"k": 1}})
    };
    let outcome = database
        .write(WritePlanner::update(options(), vec![statement]))
        .unwrap();
    let errors: Vec<_> = outcome.errors().collect();
    assert!(matches!(
        errors[..],
        [(0, CommandError::DuplicateKey { .. })]
    ));
}

#[test]
fn upserts_report_the_id() {
    let mut database = Database::new();
    let upsert = |filter| UpdateStatement {
        upsert: true,
        ..update(filter, doc! {"$set": {"b": 1}})
    };
    let statements = vec![
        upsert(doc! {"a": 1}),
        upsert(doc! {"_id": 5}),
        upsert(doc! {"a": 1}),
    ];
    let outcome = database
        .write(WritePlanner::update(options(), statements))
        .unwrap();
    let upserted: Vec<(usize, &Bson)> = outcome.upserted().collect();
    assert!(matches!(
        upserted[..],
        [(0, Bson::ObjectId(_)), (1, Bson::Int32(5))]
    ));
    assert_eq!((outcome.n(), outcome.modified()), (3, 0));
    assert_eq!(find(&database, doc! {}).len(), 2);
}

#[test]
fn statements_see_the_effects_of_earlier_ones() {
    let mut database = with_documents(&[doc! {"_id": 1, "a": 1}]);
    let statements = vec![
        update(doc! {"a": 1}, doc! {"$set": {"a": 2}}),
        update(doc! {"_id": 1}, doc! {"$inc": {"n": 1}}),
        update(doc! {"a": 2}, doc! {"$set": {"a": 3}}),
        update(doc! {"a": 1}, doc! {"$set": {"a": 4}}),
    ];
    let outcome = database
        .write(WritePlanner::update(options(), statements))
        .unwrap();
    assert_eq!(
        outcome.statements,
        [updated(1, 1), updated(1, 1), updated(1, 1), updated(0, 0)]
    );
    assert_eq!(find(&database, doc! {}), [doc! {"_id": 1, "a": 3, "n": 1}]);
    // The searched one and the direct one after it share a command; the one that finds nothing needs none.
    let sizes: Vec<usize> = database
        .commands
        .iter()
        .map(|command| command.statements.len())
        .collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn an_ordered_write_stops_at_a_failure_and_an_unordered_one_goes_on() {
    let documents = [doc! {"_id": 1}, doc! {"_id": 1}, doc! {"_id": 2}];
    for (ordered, n, statements) in [(true, 1, 2), (false, 2, 3)] {
        let mut database = Database::new();
        let options = WriteOptions {
            ordered,
            ..options()
        };
        let request = InsertRequest {
            documents: documents.iter().map(raw).collect(),
        };
        let outcome = database
            .write(WritePlanner::insert(options, request))
            .unwrap();
        assert_eq!((outcome.n(), outcome.statements.len()), (n, statements));
        assert_eq!(
            outcome.errors().map(|(index, _)| index).collect::<Vec<_>>(),
            [1]
        );
    }
}

#[test]
fn what_cannot_run_is_refused_in_its_place() {
    let statements = || {
        vec![
            update(doc! {"_id": 1}, doc! {"$set": {"a": 1}}),
            update(doc! {"_id": 1}, doc! {"$nonsense": {"a": 1}}),
            update(doc! {"_id": 1}, doc! {"$set": {"b": 1}}),
        ]
    };
    for (ordered, expected) in [
        (true, doc! {"_id": 1, "a": 1}),
        (false, doc! {"_id": 1, "a": 1, "b": 1}),
    ] {
        let mut database = with_documents(&[doc! {"_id": 1}]);
        let options = WriteOptions {
            ordered,
            ..options()
        };
        let outcome = database
            .write(WritePlanner::update(options, statements()))
            .unwrap();
        let errors: Vec<_> = outcome.errors().collect();
        assert!(matches!(errors[..], [(1, CommandError::Document(_))]));
        assert_eq!(find(&database, doc! {}), [expected]);
        for command in &database.commands {
            for statement in &command.statements {
                assert_ne!(
                    statement.statement_id, 1,
                    "the refused statement was proposed"
                );
            }
        }
    }
}

#[test]
fn inserts_share_a_command_and_get_ids() {
    let mut database = Database::new();
    let documents = [
        doc! {"a": 1},
        doc! {"a": 2, "_id": 9},
        doc! {"_id": 3, "a": 3},
    ];
    let outcome = database.write(insert(&documents)).unwrap();
    assert_eq!(outcome.n(), 3);
    assert_eq!(database.commands.len(), 1);
    for document in find(&database, doc! {}) {
        assert_eq!(document.keys().next().unwrap(), "_id");
    }
}

#[test]
fn large_inserts_are_split_by_size() {
    let mut database = Database::new();
    let text = "x".repeat(1 << 20);
    let documents: Vec<Document> = (0..10).map(|id| doc! {"_id": id, "text": &text}).collect();
    let outcome = database.write(insert(&documents)).unwrap();
    assert_eq!(outcome.n(), 10);
    let sizes: Vec<usize> = database
        .commands
        .iter()
        .map(|command| command.statements.len())
        .collect();
    assert_eq!(sizes, [4, 4, 2]);
}

#[test]
fn a_retried_write_is_answered_not_repeated() {
    let mut database = with_documents(&[doc! {"_id": 1, "a": 1}]);
    let statements = || {
        vec![
            update(doc! {"a": 1}, doc! {"$set": {"a": 2}, "$inc": {"n": 1}}),
            update(doc! {"_id": 1}, doc! {"$inc": {"m": 1}}),
        ]
    };
    let first = database
        .write(WritePlanner::update(retryable(1), statements()))
        .unwrap();
    assert_eq!(first.statements, [updated(1, 1), updated(1, 1)]);
    let again = database
        .write(WritePlanner::update(retryable(1), statements()))
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(
        find(&database, doc! {}),
        [doc! {"_id": 1, "a": 2, "n": 1, "m": 1}]
    );
}

#[test]
fn a_retried_find_and_modify_gives_the_same_document() {
    let mut database = with_documents(&[doc! {"_id": 1, "a": 1, "b": 5}]);
    let request = || FindAndModifyRequest {
        filter: raw(&doc! {"a": 1}),
        sort: Some(raw(&doc! {"b": 1})),
        projection: Some(raw(&doc! {"b": 1})),
        operation: FindAndModifyOperation::Remove,
        hint: None,
        collation: None,
    };
    let first = database
        .write(WritePlanner::find_and_modify(retryable(1), request()))
        .unwrap();
    assert_eq!(first.value, Some(raw(&doc! {"_id": 1, "b": 5})));
    let again = database
        .write(WritePlanner::find_and_modify(retryable(1), request()))
        .unwrap();
    assert_eq!(again, first);
}

#[test]
fn retryable_writes_of_many_documents_are_refused() {
    let mut database = with_documents(&[doc! {"_id": 1}]);
    let planner = WritePlanner::delete(retryable(1), vec![delete(doc! {}, true)]);
    let outcome = database.write(planner).unwrap();
    assert_eq!(outcome.errors().count(), 1);
    assert_eq!(find(&database, doc! {}).len(), 1);
}

#[test]
fn an_old_transaction_number_ends_the_write() {
    let mut database = Database::new();
    let write = |txn_number| {
        let statement = update(doc! {"_id": 1}, doc! {"$inc": {"n": 1}});
        WritePlanner::update(retryable(txn_number), vec![statement])
    };
    database.write(write(5)).unwrap();
    let error = database.write(write(4)).unwrap_err();
    assert!(matches!(
        error,
        QueryError::Command(CommandError::TransactionTooOld { .. })
    ));
}
