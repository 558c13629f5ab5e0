//! Statements: candidates, staleness, upserts, uniqueness, order.

use bson::{Bson, RawBson, doc};

use super::host::{
    Host, create_index, delete, deleted, id, insert, places, raw, update, updated, upsert, write,
};
use crate::{
    Command, CommandError, Image, Operation, Reply, StatementResult, Upsert, WriteCommand,
};

fn with_three() -> Host {
    let mut host = Host::new();
    host.write(write(vec![
        insert(doc! { "_id": 1, "kind": "a", "n": 0 }),
        insert(doc! { "_id": 2, "kind": "a", "n": 0 }),
        insert(doc! { "_id": 3, "kind": "b", "n": 0 }),
    ]));
    host
}

#[test]
fn an_insert_creates_the_collection_and_counts() {
    let host = with_three();
    let snapshot = host.snapshot();
    let collection = snapshot.collection(&places()).expect("created");
    assert_eq!(collection.indexes.len(), 1);
    assert_eq!(snapshot.counts(&places()).expect("exists").documents, 3);
    let stored = snapshot
        .get(collection.id, id(2.0).as_raw_bson_ref())
        .expect("sound");
    assert!(
        stored.is_some(),
        "numerically equal ids name the same document"
    );
    host.check();
}

#[test]
fn an_equal_id_is_a_duplicate_whatever_its_type() {
    let mut host = with_three();
    let result = host.one(insert(doc! { "_id": 2.0 }));
    let StatementResult::Failed(CommandError::DuplicateKey {
        index,
        key_pattern,
        key_value,
        ..
    }) = &result
    else {
        panic!("{result:?}");
    };
    assert_eq!(index, "_id_");
    assert_eq!(*key_pattern, raw(doc! { "_id": 1 }));
    assert_eq!(*key_value, raw(doc! { "_id": 2.0 }));
    let StatementResult::Failed(error) = result else {
        unreachable!()
    };
    assert_eq!(
        error.to_string(),
        "E11000 duplicate key error collection: atlas.places index: _id_ dup key: { _id: 2.0 }"
    );
}

#[test]
fn ordered_stops_and_unordered_goes_on() {
    let mut host = with_three();
    let command = write(vec![
        insert(doc! { "_id": 4 }),
        insert(doc! { "_id": 1 }),
        insert(doc! { "_id": 5 }),
    ]);
    let unordered = WriteCommand {
        ordered: false,
        ..command.clone()
    };
    let results = host.write(command);
    assert_eq!(results.len(), 2);
    assert_eq!(results[0], (0, StatementResult::Inserted));
    let results = host.write(unordered);
    assert_eq!(results.len(), 3);
    assert!(matches!(results[0].1, StatementResult::Failed(_)));
    assert_eq!(results[2], (2, StatementResult::Inserted));
    assert_eq!(host.documents().len(), 5);
}

#[test]
fn a_candidate_that_no_longer_matches_is_stale() {
    let mut host = with_three();
    let change = || {
        update(
            doc! { "kind": "a" },
            doc! { "$inc": { "n": 1 } },
            vec![id(1)],
        )
    };
    assert_eq!(host.one(change()), updated(1, 1));
    assert_eq!(
        host.one(update(
            doc! { "_id": 1 },
            doc! { "$set": { "kind": "c" } },
            vec![]
        )),
        updated(1, 1)
    );
    assert_eq!(host.one(change()), StatementResult::Stale);
    assert_eq!(
        host.one(delete(doc! { "kind": "a" }, vec![id(1)])),
        StatementResult::Stale
    );
    // The next candidate in line takes its place.
    assert_eq!(
        host.one(delete(doc! { "kind": "a" }, vec![id(1), id(2)])),
        deleted(1)
    );
    // Nothing was planned, so nothing can have become stale.
    assert_eq!(
        host.one(update(
            doc! { "kind": "z" },
            doc! { "$inc": { "n": 1 } },
            vec![]
        )),
        updated(0, 0)
    );
    host.check();
}

#[test]
fn a_filter_that_names_its_ids_is_never_stale() {
    let mut host = with_three();
    let change = doc! { "$inc": { "n": 1 } };
    let absent = doc! { "_id": 9 };
    assert_eq!(
        host.one(update(absent.clone(), change.clone(), vec![id(9)])),
        updated(0, 0)
    );
    assert_eq!(
        host.one(update(
            doc! { "_id": 1, "kind": "z" },
            change.clone(),
            vec![]
        )),
        updated(0, 0)
    );
    assert_eq!(host.one(delete(absent, vec![])), deleted(0));
    let both = Operation::Update {
        filter: raw(doc! { "_id": { "$in": [1, 3, 9] } }),
        update: RawBson::Document(raw(change)),
        array_filters: Vec::new(),
        candidates: Vec::new(),
        multi: true,
        upsert: None,
        image: Image::None,
    };
    assert_eq!(host.one(both), updated(2, 2));
}

#[test]
fn multi_changes_all_that_still_match() {
    let mut host = with_three();
    let all = |filter| Operation::Update {
        filter: raw(filter),
        update: RawBson::Document(raw(doc! { "$set": { "n": 5 } })),
        array_filters: Vec::new(),
        candidates: vec![id(1), id(2), id(3)],
        multi: true,
        upsert: None,
        image: Image::None,
    };
    assert_eq!(host.one(all(doc! { "kind": "a" })), updated(2, 2));
    assert_eq!(host.one(all(doc! { "n": { "$gte": 0 } })), updated(3, 1));
    assert_eq!(host.one(all(doc! { "kind": "z" })), updated(0, 0));
    let gone = Operation::Delete {
        filter: raw(doc! { "kind": "a" }),
        candidates: vec![id(1), id(2), id(3)],
        multi: true,
        image: Image::None,
    };
    assert_eq!(host.one(gone), deleted(2));
    assert_eq!(
        host.documents(),
        vec![doc! { "_id": 3, "kind": "b", "n": 5 }]
    );
    host.check();
}

#[test]
fn upserts_insert_once() {
    let mut host = Host::new();
    let by_id = || upsert(doc! { "_id": 1 }, doc! { "$inc": { "n": 1 } }, None);
    let result = host.one(by_id());
    assert_eq!(
        result,
        StatementResult::Updated {
            matched: 0,
            modified: 0,
            upserted: Some(Bson::Int32(1)),
            image: None,
        }
    );
    assert_eq!(host.one(by_id()), updated(1, 1));
    let generated = upsert(
        doc! { "kind": "x" },
        doc! { "$set": { "n": 2 } },
        Some(Bson::Int32(77)),
    );
    assert!(matches!(
        host.one(generated),
        StatementResult::Updated {
            upserted: Some(Bson::Int32(77)),
            ..
        }
    ));
    assert_eq!(
        host.documents(),
        vec![
            doc! { "_id": 1, "n": 2 },
            doc! { "_id": 77, "kind": "x", "n": 2 }
        ]
    );
    // Candidates were found when planning and none is left: somebody has to look again.
    let stale = Operation::Update {
        filter: raw(doc! { "kind": "y" }),
        update: RawBson::Document(raw(doc! { "$set": { "n": 3 } })),
        array_filters: Vec::new(),
        candidates: vec![id(77)],
        multi: false,
        upsert: Some(Upsert {
            generated_id: Some(Bson::Int32(78)),
        }),
        image: Image::None,
    };
    assert_eq!(host.one(stale), StatementResult::Stale);
}

#[test]
fn images_show_the_document_before_or_after() {
    let mut host = with_three();
    let with_image = |image| Operation::Update {
        filter: raw(doc! { "_id": 1 }),
        update: RawBson::Document(raw(doc! { "$inc": { "n": 1 } })),
        array_filters: Vec::new(),
        candidates: Vec::new(),
        multi: false,
        upsert: None,
        image,
    };
    let image_of = |result| match result {
        StatementResult::Updated { image, .. } | StatementResult::Deleted { image, .. } => image,
        other => panic!("{other:?}"),
    };
    let before = image_of(host.one(with_image(Image::Before)));
    assert_eq!(before, Some(raw(doc! { "_id": 1, "kind": "a", "n": 0 })));
    let after = image_of(host.one(with_image(Image::After)));
    assert_eq!(after, Some(raw(doc! { "_id": 1, "kind": "a", "n": 2 })));
    let removed = image_of(host.one(Operation::Delete {
        filter: raw(doc! { "_id": 1 }),
        candidates: Vec::new(),
        multi: false,
        image: Image::Before,
    }));
    assert_eq!(removed, after);
}

#[test]
fn unique_indexes_hold_within_and_across_commands() {
    let mut host = Host::new();
    host.apply(&create_index(
        doc! { "a": 1, "b": -1 },
        "ab",
        doc! { "unique": true },
    ));
    let results = host.write(write(vec![
        insert(doc! { "_id": 1, "a": 1, "b": "x" }),
        insert(doc! { "_id": 2, "a": 1.0, "b": "x" }),
    ]));
    let (
        _,
        StatementResult::Failed(CommandError::DuplicateKey {
            index, key_value, ..
        }),
    ) = &results[1]
    else {
        panic!("{results:?}");
    };
    assert_eq!(index, "ab");
    assert_eq!(*key_value, raw(doc! { "a": 1.0, "b": "x" }));
    // Leaving the key frees it for the next statement of the same command.
    let results = host.write(write(vec![
        update(doc! { "_id": 1 }, doc! { "$set": { "b": "y" } }, vec![]),
        insert(doc! { "_id": 2, "a": 1, "b": "x" }),
        delete(doc! { "_id": 1 }, vec![]),
        insert(doc! { "_id": 3, "a": 1, "b": "y" }),
        update(doc! { "_id": 3 }, doc! { "$set": { "b": "x" } }, vec![]),
    ]));
    assert_eq!(results.len(), 5);
    assert!(matches!(results[4].1, StatementResult::Failed(_)));
    host.check();
}

#[test]
fn unique_indexes_hold_for_every_element_of_an_array() {
    let mut host = Host::new();
    host.apply(&create_index(
        doc! { "tags": 1 },
        "tags",
        doc! { "unique": true },
    ));
    assert_eq!(
        host.one(insert(doc! { "_id": 1, "tags": ["x", "y", "x"] })),
        StatementResult::Inserted
    );
    let result = host.one(insert(doc! { "_id": 2, "tags": ["z", "y"] }));
    let StatementResult::Failed(CommandError::DuplicateKey { key_value, .. }) = &result else {
        panic!("{result:?}");
    };
    assert_eq!(*key_value, raw(doc! { "tags": "y" }));
    let snapshot = host.snapshot();
    let collection = snapshot.collection(&places()).expect("exists");
    assert!(collection.index("tags").expect("exists").multikey);
    host.check();
}

#[test]
fn a_refused_document_leaves_nothing_behind() {
    let mut host = Host::new();
    host.apply(&create_index(doc! { "a": 1 }, "a", doc! {}));
    host.apply(&create_index(doc! { "b": 1 }, "b", doc! { "unique": true }));
    host.one(insert(doc! { "_id": 1, "a": 1, "b": 1 }));
    let before = host.contents();
    host.one(insert(doc! { "_id": 2, "a": 2, "b": 1 }));
    assert_eq!(host.contents(), before);
    let long = "x".repeat(3000);
    let result = host.one(insert(doc! { "_id": 3, "a": &long, "b": 3 }));
    assert!(matches!(
        result,
        StatementResult::Failed(CommandError::KeyTooLong { .. })
    ));
    let result = host.one(insert(doc! { "_id": &long }));
    assert!(matches!(
        result,
        StatementResult::Failed(CommandError::KeyTooLong { .. })
    ));
    assert_eq!(host.contents(), before);
}

#[test]
fn sparse_indexes_skip_documents_without_the_field() {
    let mut host = Host::new();
    host.apply(&create_index(
        doc! { "email": 1 },
        "email",
        doc! { "unique": true, "sparse": true },
    ));
    for number in 0..3 {
        assert_eq!(
            host.one(insert(doc! { "_id": number })),
            StatementResult::Inserted
        );
    }
    host.one(insert(doc! { "_id": 5, "email": "a" }));
    assert!(matches!(
        host.one(insert(doc! { "_id": 6, "email": "a" })),
        StatementResult::Failed(CommandError::DuplicateKey { .. })
    ));
    host.check();
}

#[test]
fn commands_that_make_no_sense_are_refused_everywhere_alike() {
    let mut host = with_three();
    let before = host.contents();
    let index = host.machine.applied().index;
    let reply = host
        .machine
        .apply(index + 1, 1, b"nonsense")
        .expect("sound");
    assert!(matches!(reply, Reply::Failed(CommandError::Malformed(_))));
    assert!(matches!(
        host.one(insert(doc! { "no_id": 1 })),
        StatementResult::Failed(CommandError::Document(_))
    ));
    assert!(matches!(
        host.one(update(
            doc! { "_id": 1 },
            doc! { "$nonsense": { "n": 1 } },
            vec![]
        )),
        StatementResult::Failed(CommandError::Document(_))
    ));
    assert!(matches!(
        host.one(update(
            doc! { "_id": 1 },
            doc! { "$set": { "_id": 2 } },
            vec![]
        )),
        StatementResult::Failed(CommandError::Document(_))
    ));
    let mut elsewhere = write(vec![insert(doc! { "_id": 1 })]);
    elsewhere.namespace.collection = "system.users".to_owned();
    let results = host.write(elsewhere);
    assert!(matches!(
        results[0].1,
        StatementResult::Failed(CommandError::InvalidNamespace { .. })
    ));
    assert_eq!(host.contents(), before);
}

#[test]
#[should_panic(expected = "without gaps")]
fn a_gap_in_the_log_is_a_bug_of_the_host() {
    let mut host = Host::new();
    let command = Command::Reclaim { limit: 1 }.encode();
    let _ = host.machine.apply(2, 1, &command);
}
