//! Documents that expire: which ones are found, that each is looked at again when the command is applied, and what
//! `expireAfterSeconds` may be.

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};

use super::host::{Host, create_index, delete, insert, places, update};
use crate::{Command, CommandError, ExpiredBatch, IndexSelection, Reply};

const NOW_MS: i64 = 1_000_000;

fn at(ms: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(ms))
}

/// A collection whose index `at` lets documents expire after 10 seconds.
fn host(direction: i32, options: Document) -> Host {
    let mut host = Host::new();
    let mut all = doc! { "expireAfterSeconds": 10 };
    all.extend(options);
    host.apply(&create_index(doc! { "at": direction }, "at", all));
    host
}

fn find(host: &Host, after: Option<&[u8]>, limit: usize) -> Option<ExpiredBatch> {
    let snapshot = host.snapshot();
    let (_, index) = snapshot.expiring_indexes().pop()?;
    snapshot
        .find_expired(&index, after, NOW_MS, limit)
        .expect("the engine is sound")
}

fn expire(host: &mut Host) -> u32 {
    match find(host, None, 1_000) {
        None => 0,
        Some(batch) => apply(host, &batch.command),
    }
}

fn apply(host: &mut Host, command: &Command) -> u32 {
    match host.apply(command) {
        Reply::DocumentsExpired { deleted } => deleted,
        other => panic!("an expiry was answered with {other:?}"),
    }
}

fn ids(host: &Host) -> Vec<i32> {
    let documents = host.documents();
    let ids = documents.iter().map(|document| document.get_i32("_id"));
    ids.collect::<Result<_, _>>().expect("the tests' ids")
}

#[test]
fn dates_that_have_passed_expire_and_nothing_else_does() {
    for (direction, options) in [
        (1, doc! {}),
        (-1, doc! {}),
        (1, doc! { "sparse": true, "hidden": true }),
    ] {
        let mut host = host(direction, options);
        for (id, value) in [
            (1, at(NOW_MS - 10_000)),
            (2, at(NOW_MS - 9_999)),
            (3, at(i64::MIN)),
            (4, at(i64::MAX)),
            (5, Bson::Int32(0)),
            (6, Bson::String("1970-01-01".to_owned())),
            (7, Bson::Null),
            (
                8,
                Bson::Timestamp(bson::Timestamp {
                    time: 1,
                    increment: 1,
                }),
            ),
            (9, Bson::Array(vec![at(NOW_MS * 2), at(5), Bson::Null])),
            (10, Bson::Array(vec![at(NOW_MS * 2), Bson::MinKey])),
            (11, Bson::Array(Vec::new())),
            (12, Bson::Array(vec![at(1), at(2), at(3)])),
        ] {
            host.one(insert(doc! { "_id": id, "at": value }));
        }
        host.one(insert(doc! { "_id": 13 }));
        assert_eq!(expire(&mut host), 4, "{direction}");
        assert_eq!(ids(&host), [2, 4, 5, 6, 7, 8, 10, 11, 13], "{direction}");
        assert_eq!(expire(&mut host), 0);
        host.check();
    }
}

#[test]
fn a_unique_index_expires_as_well() {
    let mut host = host(1, doc! { "unique": true });
    for id in 0..5 {
        host.one(insert(
            doc! { "_id": id, "at": at(i64::from(id) * 300_000) },
        ));
    }
    assert_eq!(expire(&mut host), 4);
    assert_eq!(ids(&host), [4]);
    host.check();
}

/// Between the search and its command anything may be applied.
#[test]
fn each_document_is_looked_at_again() {
    let mut host = host(1, doc! {});
    for id in 1..=4 {
        host.one(insert(doc! { "_id": id, "at": at(id.into()) }));
    }
    let batch = find(&host, None, 100).expect("four have expired");
    assert_eq!(batch.entries, 4);
    let id = |id: i32| vec![super::host::id(id)];
    host.one(update(
        doc! { "_id": 1 },
        doc! { "$set": { "at": at(NOW_MS) } },
        id(1),
    ));
    host.one(update(
        doc! { "_id": 2 },
        doc! { "$unset": { "at": 1 } },
        id(2),
    ));
    host.one(delete(doc! { "_id": 3 }, id(3)));
    host.one(insert(doc! { "_id": 3, "at": at(NOW_MS * 2) }));
    assert_eq!(apply(&mut host, &batch.command), 1);
    assert_eq!(ids(&host), [1, 2, 3]);
    assert_eq!(
        apply(&mut host, &batch.command),
        0,
        "once more changes nothing"
    );
    host.check();
}

#[test]
fn without_its_index_nothing_expires() {
    let mut host = host(1, doc! {});
    host.one(insert(doc! { "_id": 1, "at": at(1) }));
    let batch = find(&host, None, 100).expect("one has expired");
    host.apply(&Command::DropIndexes {
        namespace: places(),
        indexes: IndexSelection::Names(vec!["at".to_owned()]),
    });
    assert_eq!(apply(&mut host, &batch.command), 0);
    // Another index in its place that lets nothing expire has another id.
    host.apply(&create_index(doc! { "at": 1 }, "at", doc! {}));
    assert_eq!(apply(&mut host, &batch.command), 0);
    let other = Command::ExpireDocuments {
        index_id: 2,
        now_ms: NOW_MS,
        entries: vec![Vec::new(), vec![0xff; 9]],
    };
    assert_eq!(apply(&mut host, &other), 0);
    assert_eq!(ids(&host), [1]);
    assert!(host.snapshot().expiring_indexes().is_empty());
}

#[test]
fn a_search_goes_on_where_the_last_one_ended() {
    let mut host = host(1, doc! {});
    for id in 0..25 {
        host.one(insert(doc! { "_id": id, "at": at(i64::from(id / 3)) }));
    }
    let (mut after, mut found) = (None, Vec::new());
    while let Some(batch) = find(&host, after.as_deref(), 10) {
        found.push(batch.entries);
        assert_eq!(apply(&mut host, &batch.command) as usize, batch.entries);
        after = Some(batch.last);
    }
    assert_eq!(found, [10, 10, 5]);
    assert!(ids(&host).is_empty());
    // One that expires earlier than where the search stands is found from the start.
    host.one(insert(doc! { "_id": 1, "at": at(-5) }));
    assert_eq!(find(&host, after.as_deref(), 10), None);
    assert_eq!(expire(&mut host), 1);
    host.check();
}

#[test]
fn the_option_is_checked_as_mongodb_does() {
    let mut host = Host::new();
    for (given, stored) in [
        (Bson::Int32(0), 0),
        (Bson::Int64(7), 7),
        (Bson::Double(3600.9), 3600),
        (Bson::Double(-0.5), 0),
        (Bson::Double(f64::NAN), i32::MAX),
        (Bson::Int64(i64::from(i32::MAX)), i32::MAX),
    ] {
        let name = format!("at{stored}{given:?}").replace(['.', '(', ')', '-'], "_");
        let key = doc! { name.clone(): 1 };
        let options = doc! { "expireAfterSeconds": given.clone() };
        let reply = host.apply(&create_index(key, &name, options));
        assert!(matches!(reply, Reply::Catalog(_)), "{given}: {reply:?}");
        let snapshot = host.snapshot();
        let collection = snapshot.collection(&places()).expect("it was created");
        let index = collection.index(&name).expect("it was created");
        assert_eq!(index.expire_after_seconds, Some(stored));
        assert_eq!(index.spec.get_i32("expireAfterSeconds").ok(), Some(stored));
    }
    for given in [
        Bson::Int32(-1),
        Bson::Int64(1 << 31),
        Bson::Double(f64::INFINITY),
        Bson::Double(-1.0),
        Bson::String("5".to_owned()),
        Bson::Boolean(true),
        Bson::Null,
    ] {
        let options = doc! { "expireAfterSeconds": given.clone() };
        let error = host.refused(&create_index(doc! { "at": 1 }, "at", options));
        assert!(
            matches!(error, CommandError::CannotCreateIndex { .. }),
            "{given}: {error:?}"
        );
    }
    let compound = create_index(
        doc! { "a": 1, "b": 1 },
        "ab",
        doc! { "expireAfterSeconds": 5 },
    );
    let error = host.refused(&compound);
    assert!(
        matches!(error, CommandError::CannotCreateIndex { .. }),
        "{error:?}"
    );
    let of_id = create_index(doc! { "_id": 1 }, "_id_", doc! { "expireAfterSeconds": 5 });
    let error = host.refused(&of_id);
    assert!(
        matches!(error, CommandError::InvalidIndexSpecificationOption { .. }),
        "{error:?}"
    );
}

#[test]
fn another_time_for_the_same_index_is_a_conflict() {
    let mut host = host(1, doc! {});
    host.apply(&create_index(
        doc! { "at": 1 },
        "at",
        doc! { "expireAfterSeconds": 10 },
    ));
    for options in [doc! { "expireAfterSeconds": 11 }, doc! {}] {
        let error = host.refused(&create_index(doc! { "at": 1 }, "at", options));
        assert!(
            matches!(error, CommandError::IndexOptionsConflict { .. }),
            "{error:?}"
        );
    }
}

/// What `collMod` does: the specification says what the index does.
#[test]
fn the_time_can_be_changed() {
    let host = host(-1, doc! { "sparse": true });
    let (_, index) = host.snapshot().expiring_indexes().remove(0);
    let spec = |mut expected: Document, more: Document| {
        expected.extend(more);
        RawDocumentBuf::try_from(&expected).expect("it can be encoded")
    };
    let base = doc! { "v": 2, "key": { "at": -1 }, "name": "at", "sparse": true };
    let longer = index.expiring_after(99);
    assert_eq!(
        longer.spec,
        spec(base.clone(), doc! { "expireAfterSeconds": 99 })
    );
    assert_eq!(longer.expire_after_seconds, Some(99));
    let again = longer.expiring_after(7);
    assert_eq!(again.spec, spec(base, doc! { "expireAfterSeconds": 7 }));
}

#[test]
fn expiry_survives_a_restart() {
    let mut host = host(1, doc! {});
    host.one(insert(doc! { "_id": 1, "at": at(1) }));
    host.rotate();
    let mut again = Host::on(host.durable_copy());
    assert_eq!(expire(&mut again), 1);
    again.check();
}
