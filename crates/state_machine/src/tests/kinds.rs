//! Indexes that hold something else than values in their order: what they refuse, and how they are stored.

use bson::{Bson, doc};

use super::host::{Host, create_index, id, insert, places, raw, update};
use crate::{Command, CommandError, IndexChange, IndexSelection, Reply, StatementResult, keyspace};

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
    assert_eq!(command.encode()[0], 3);
    host.refuses_in_format(2, command);
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

#[test]
fn a_collection_has_one_text_index_and_it_is_stored_as_mongodb_shows_it() {
    let mut host = Host::new();
    let text = create_index(
        doc! { "a": 1, "t": "text", "b": -1 },
        "t",
        doc! { "weights": { "u.v": 2.5 }, "default_language": "fr" },
    );
    check_format(&mut host, &text);
    host.apply(&text);
    let spec = {
        let snapshot = host.snapshot();
        let collection = snapshot.collection(&places()).expect("made");
        collection.index("t").expect("made").spec.clone()
    };
    let shown = doc! {
        "v": 2,
        "key": { "a": 1, "_fts": "text", "_ftsx": 1, "b": -1 },
        "name": "t",
        "weights": { "t": 1, "u.v": 2.5 },
        "default_language": "french",
        "language_override": "language",
        "textIndexVersion": 3,
    };
    assert_eq!(spec, raw(shown.clone()));
    // As a tool would copy it from one server to another.
    let key = shown.get_document("key").expect("shown").clone();
    let options = shown.into_iter();
    let options = options.filter(|(name, _)| !matches!(name.as_str(), "v" | "key" | "name"));
    let options: bson::Document = options.collect();
    let same = host.apply(&create_index(key.clone(), "t", options.clone()));
    assert!(matches!(same, Reply::Catalog(_)), "{same:?}");
    assert!(matches!(
        host.refused(&create_index(key, "other", options)),
        CommandError::IndexOptionsConflict { .. }
    ));
    assert!(matches!(
        host.refused(&create_index(
            doc! { "a": 1, "t": "text", "b": -1 },
            "heavier",
            doc! {}
        )),
        CommandError::IndexOptionsConflict { .. }
    ));
    assert!(matches!(
        host.refused(&create_index(doc! { "t": "text" }, "second", doc! {})),
        CommandError::CannotCreateIndex { .. }
    ));
    assert_eq!(record_version(&host), 3);
    host.one(insert(
        doc! { "_id": 1, "a": 1, "t": "les chats noirs", "u": [{ "v": "chat" }] },
    ));
    assert_eq!(
        failed(&host.one(insert(doc! { "_id": 2, "a": [1], "t": "chats" }))),
        Some(16675)
    );
    assert_eq!(
        failed(&host.one(insert(doc! { "_id": 2, "t": "x", "language": "klingon" }))),
        Some(17262)
    );
    host.one(update(
        doc! {},
        doc! { "$set": { "t": "rien" } },
        vec![id(1)],
    ));
    host.check();
    host.rotate();
    let mut reopened = Host::on(host.durable_copy());
    reopened.check();
    reopened.one(insert(doc! { "_id": 3, "t": "un chat" }));
    reopened.check();
}

#[test]
fn what_a_text_index_cannot_be() {
    let mut host = Host::new();
    let text = |options| create_index(doc! { "t": "text" }, "t", options);
    for options in [
        doc! { "unique": true },
        doc! { "expireAfterSeconds": 5 },
        doc! { "collation": { "locale": "en" } },
        doc! { "weights": { "t": -1 } },
        doc! { "weights": { "t": "heavy" } },
        doc! { "weights": { "$t": 1 } },
    ] {
        let refused = host.refused(&text(options.clone()));
        assert!(
            matches!(refused, CommandError::CannotCreateIndex { .. }),
            "{options}: {refused:?}"
        );
    }
    for (options, expected) in [
        (doc! { "default_language": "klingon" }, 17264),
        (doc! { "language_override": "" }, 17136),
        (doc! { "textIndexVersion": 9 }, 17730),
    ] {
        assert_eq!(code(&host.refused(&text(options))), Some(expected));
    }
    let older = host.refused(&text(doc! { "textIndexVersion": 2 }));
    assert!(
        matches!(older, CommandError::NotSupported { .. }),
        "{older:?}"
    );
}

#[test]
fn a_write_whose_search_has_lost_its_index_is_refused() {
    let mut host = Host::new();
    host.apply(&create_index(doc! { "t": "text" }, "t", doc! {}));
    host.one(insert(doc! { "_id": 1, "t": "tea" }));
    let change = |n: i32| {
        let filter = doc! { "$text": { "$search": "teas" } };
        update(filter, doc! { "$set": { "n": n } }, vec![id(1)])
    };
    let changed = host.one(change(1));
    assert!(
        matches!(changed, StatementResult::Updated { modified: 1, .. }),
        "{changed:?}"
    );
    host.apply(&Command::DropIndexes {
        namespace: places(),
        indexes: IndexSelection::All,
    });
    assert_eq!(failed(&host.one(change(2))), Some(27));
}
