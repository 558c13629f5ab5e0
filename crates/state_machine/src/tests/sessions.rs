//! Exactly once.

use bson::{Bson, RawBson, doc};

use super::host::{
    Host, delete, deleted, id, insert, places, raw, under_session, update, updated, upsert, write,
};
use crate::{
    Command, CommandError, Image, Operation, Reply, SessionStamp, Statement, StatementResult,
    WriteCommand,
};

fn increment() -> Operation {
    update(doc! { "_id": 1 }, doc! { "$inc": { "n": 1 } }, vec![])
}

#[test]
fn a_retry_is_answered_not_repeated() {
    let mut host = Host::new();
    let command = under_session(
        write(vec![
            insert(doc! { "_id": 1, "n": 0 }),
            increment(),
            upsert(doc! { "_id": 2 }, doc! { "$inc": { "n": 1 } }, None),
            delete(doc! { "_id": 3 }, vec![]),
        ]),
        1,
    );
    let first = host.write(command.clone());
    assert_eq!(first.len(), 4);
    assert_eq!(host.write(command.clone()), first);
    // A restart forgets the cache, not the record.
    host.rotate();
    let mut restarted = Host::on(host.engine.clone());
    assert_eq!(restarted.write(command), first);
    assert_eq!(
        restarted.documents(),
        vec![doc! { "_id": 1, "n": 1 }, doc! { "_id": 2, "n": 1 }]
    );
    restarted.check();
}

#[test]
fn images_are_remembered() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1, "n": 0 }));
    let find_and_modify = Operation::Update {
        filter: raw(doc! { "n": { "$gte": 0 } }),
        update: RawBson::Document(raw(doc! { "$inc": { "n": 1 } })),
        array_filters: Vec::new(),
        candidates: vec![id(1)],
        multi: false,
        upsert: None,
        image: Image::After,
    };
    let command = under_session(write(vec![find_and_modify]), 4);
    let first = host.write(command.clone());
    assert_eq!(host.write(command), first);
    assert_eq!(host.documents(), vec![doc! { "_id": 1, "n": 1 }]);
}

#[test]
fn failed_and_stale_statements_are_executed_again() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1, "n": 0 }));
    let command = under_session(write(vec![increment(), insert(doc! { "_id": 1 })]), 1);
    assert!(matches!(
        host.write(command.clone())[1].1,
        StatementResult::Failed(_)
    ));
    host.one(delete(doc! { "_id": 1 }, vec![]));
    let results = host.write(command);
    assert_eq!(
        results,
        vec![(0, updated(1, 1)), (1, StatementResult::Inserted)]
    );
}

#[test]
fn transaction_numbers_only_rise() {
    let mut host = Host::new();
    host.write(under_session(
        write(vec![insert(doc! { "_id": 1, "n": 0 })]),
        5,
    ));
    let late = Command::Write(under_session(write(vec![increment()]), 4));
    assert_eq!(
        host.refused(&late),
        CommandError::TransactionTooOld {
            given: 4,
            latest: 5
        }
    );
    assert_eq!(
        host.write(under_session(write(vec![increment()]), 6)),
        vec![(0, updated(1, 1))]
    );
    assert_eq!(
        host.write(under_session(
            write(vec![delete(doc! { "_id": 1 }, vec![])]),
            7
        )),
        vec![(0, deleted(1))]
    );
}

#[test]
fn a_bulk_insert_takes_a_few_bytes_however_large() {
    let mut host = Host::new();
    for chunk in 0..5 {
        let statements = (chunk * 1000..(chunk + 1) * 1000)
            .map(|number| Statement {
                statement_id: number,
                operation: insert(doc! { "_id": number }),
            })
            .collect();
        let command = WriteCommand {
            statements,
            ..under_session(write(vec![]), 1)
        };
        host.write(command.clone());
        assert!(
            host.write(command)
                .iter()
                .all(|(_, result)| *result == StatementResult::Inserted)
        );
    }
    let record = host
        .engine
        .get(
            &crate::keyspace::session_key(&[7; 16]),
            host.machine.applied().index,
        )
        .expect("sound")
        .expect("recorded");
    assert!(record.len() < 100, "{} bytes", record.len());
    assert_eq!(host.documents().len(), 5000);
}

#[test]
fn results_that_outgrow_the_record_are_still_found() {
    let mut host = Host::new();
    let upserts = |chunk: i32| WriteCommand {
        statements: (chunk * 1000..(chunk + 1) * 1000)
            .map(|number| Statement {
                statement_id: number,
                operation: upsert(
                    doc! { "k": number },
                    doc! { "$inc": { "n": 1 } },
                    Some(Bson::String(format!("generated id number {number:08}"))),
                ),
            })
            .collect(),
        ..under_session(write(vec![]), 1)
    };
    let first: Vec<_> = (0..3).map(|chunk| host.write(upserts(chunk))).collect();
    let details = |host: &Host| {
        host.contents()
            .iter()
            .filter(|(key, _)| key[0] == crate::keyspace::SESSION_DETAILS)
            .count()
    };
    assert_eq!(details(&host), 3);
    host.rotate();
    let mut host = Host::on(host.engine.clone());
    for chunk in 0..3 {
        assert_eq!(host.write(upserts(chunk)), first[chunk as usize]);
    }
    assert_eq!(host.documents().len(), 3000);
    host.write(under_session(write(vec![insert(doc! { "_id": 1 })]), 2));
    assert_eq!(details(&host), 0);
}

#[test]
fn unused_sessions_expire_in_bounded_steps() {
    let mut host = Host::new();
    for session in 0..10u8 {
        let mut command = write(vec![insert(doc! { "_id": i32::from(session) })]);
        command.now_ms = i64::from(session) * 100;
        command.session = Some(SessionStamp {
            lsid: vec![session; 16],
            txn_number: 1,
        });
        host.write(command);
    }
    let (mut after, mut total) = (Vec::new(), 0);
    loop {
        let reply = host.apply(&Command::ExpireSessions {
            last_used_before_ms: 600,
            after,
            limit: 3,
        });
        let Reply::SessionsExpired { expired, next } = reply else {
            panic!("{reply:?}");
        };
        assert!(expired <= 3);
        total += expired;
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(total, 6);
    let mut retry = write(vec![insert(doc! { "_id": 0 })]);
    retry.session = Some(SessionStamp {
        lsid: vec![0; 16],
        txn_number: 1,
    });
    assert!(matches!(
        host.write(retry)[0].1,
        StatementResult::Failed(CommandError::DuplicateKey { .. })
    ));
    assert_eq!(
        host.snapshot().counts(&places()).expect("exists").documents,
        10
    );
}
