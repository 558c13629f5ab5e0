//! Indexes that hold something else than values in their order: what they refuse, and how they are stored.

use bson::{Bson, doc};

use super::host::{Host, create_index, id, insert, places, raw, update};
use crate::{Command, CommandError, IndexChange, Reply, StatementResult, keyspace};

/// The code of a refusal that MongoDB knows by number.
fn code(error: &CommandError) -> Option<i32> {
    match error {
        CommandError::Document(error) => Some(error.kind.code()),
        _ => None,
    }
}

fn failed(result: &StatementResult) -> Option<i32> {
    match result {
        StatementResult::Failed(error) => code(error),
        _ => None,
    }
}

fn expire(name: &str) -> Command {
    Command::ModifyCollection {
        namespace: places(),
        changes: raw(doc! {}),
        index: Some(IndexChange {
            name: name.to_owned(),
            hidden: None,
            expire_after_seconds: Some(5),
        }),
    }
}

/// The first byte of the collection's record.
fn record_version(host: &Host) -> u8 {
    let records = host.contents().into_iter();
    let mut records = records.filter(|(key, _)| key[0] == keyspace::CATALOG);
    records.next().expect("there is a collection").1[0]
}

/// A command that asks for an index of another kind is refused where it claims to be of the second format.
fn check_format(host: &mut Host, command: &Command) {
    let mut bytes = command.encode();
    assert_eq!(bytes[0], 3);
    bytes[0] = 2;
    let index = host.machine.applied().index + 1;
    let reply = host.machine.apply(index, 1, &bytes).expect("no fault");
    assert!(
        matches!(reply, Reply::Failed(CommandError::Malformed(_))),
        "{reply:?}"
    );
}

#[test]
fn a_hashed_index_takes_no_arrays_and_knows_no_order() {
    let mut host = Host::new();
    let hashed = create_index(doc! { "a": "hashed", "b": 1 }, "a", doc! {});
    check_format(&mut host, &hashed);
    host.apply(&create_index(doc! { "b": 1 }, "b", doc! {}));
    assert_eq!(record_version(&host), 1);
    host.apply(&hashed);
    assert_eq!(record_version(&host), 3);
    assert_eq!(
        host.one(insert(doc! { "_id": 1, "a": 1.0 })),
        StatementResult::Inserted
    );
    for array in [doc! { "_id": 2, "a": [] }, doc! { "_id": 2, "b": [1] }] {
        assert_eq!(failed(&host.one(insert(array))), Some(16766));
    }
    let to_array = update(doc! {}, doc! { "$set": { "a": [1] } }, vec![id(1)]);
    assert_eq!(failed(&host.one(to_array)), Some(16766));
    let number = host.one(update(doc! {}, doc! { "$set": { "a": 2 } }, vec![id(1)]));
    assert!(
        matches!(number, StatementResult::Updated { modified: 1, .. }),
        "{number:?}"
    );
    assert!(matches!(
        host.refused(&expire("a")),
        CommandError::InvalidOptions { .. }
    ));
    let unique = create_index(doc! { "c": "hashed" }, "c", doc! { "unique": true });
    assert_eq!(code(&host.refused(&unique)), Some(16764));
    let expiring = create_index(
        doc! { "c": "hashed" },
        "c",
        doc! { "expireAfterSeconds": 1 },
    );
    assert!(matches!(
        host.refused(&expiring),
        CommandError::CannotCreateIndex { .. }
    ));
    host.check();
}

#[test]
fn a_build_of_a_hashed_index_fails_at_an_array() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1, "a": [Bson::Null] }));
    host.apply(&create_index(doc! { "a": "hashed" }, "a", doc! {}));
    let step = host
        .snapshot()
        .catalog()
        .building_indexes()
        .next()
        .map(|(index, _)| index);
    let error = host.refused(&Command::IndexBuildChunk {
        index_id: step.expect("it is being built"),
        limit: 10,
    });
    assert_eq!(code(&error), Some(16766));
    host.check();
}

#[test]
fn a_wildcard_index_follows_every_path_and_is_told_by_its_key() {
    let mut host = Host::new();
    let wildcard = create_index(doc! { "$**": 1 }, "w", doc! {});
    check_format(&mut host, &wildcard);
    let projection = doc! { "wildcardProjection": { "b": 0 } };
    check_format(
        &mut host,
        &create_index(doc! { "a": 1 }, "p", projection.clone()),
    );
    host.one(insert(
        doc! { "_id": 1, "a": [{ "b": 1 }, { "b": [2, 3] }], "c": {} },
    ));
    host.apply(&wildcard);
    host.apply(&create_index(doc! { "$**": -1 }, "but_b", projection));
    while let Some(step) = host.machine.reader().background_command() {
        host.apply(&step);
    }
    assert_eq!(record_version(&host), 3);
    host.check();
    host.one(insert(doc! { "_id": 2, "a": { "b": { "c": "deep" } } }));
    host.one(update(
        doc! {},
        doc! { "$set": { "a": 1 }, "$unset": { "c": 1 } },
        vec![id(1)],
    ));
    host.check();
    assert!(matches!(
        host.refused(&expire("w")),
        CommandError::InvalidOptions { .. }
    ));
    for options in [doc! { "unique": true }, doc! { "expireAfterSeconds": 5 }] {
        let refused = host.refused(&create_index(doc! { "x.$**": 1 }, "x", options));
        assert!(
            matches!(refused, CommandError::CannotCreateIndex { .. }),
            "{refused:?}"
        );
    }
    host.rotate();
    let reopened = Host::on(host.durable_copy());
    reopened.check();
}
