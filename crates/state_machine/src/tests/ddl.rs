//! Commands on the catalog.

use bson::doc;

use super::host::{Host, create_index, insert, places, raw, write};
use crate::{
    CatalogReply, Command, CommandError, IndexSelection, Namespace, Reply, StatementResult,
};

fn create(namespace: Namespace) -> Command {
    Command::CreateCollection {
        namespace,
        options: raw(doc! {}),
    }
}

fn rename(to: Namespace, drop_target: bool) -> Command {
    Command::RenameCollection {
        from: places(),
        to,
        drop_target,
    }
}

fn drop_indexes(indexes: IndexSelection) -> Command {
    Command::DropIndexes {
        namespace: places(),
        indexes,
    }
}

#[test]
fn databases_exist_while_they_have_collections() {
    let mut host = Host::new();
    host.apply(&create(Namespace::new("b", "one")));
    host.apply(&create(Namespace::new("a", "two")));
    host.apply(&create(Namespace::new("a", "one")));
    let snapshot = host.snapshot();
    assert_eq!(snapshot.catalog().databases(), ["a", "b"]);
    let names: Vec<_> = snapshot
        .catalog()
        .collections_of("a")
        .map(|collection| collection.namespace.collection.clone())
        .collect();
    assert_eq!(names, ["one", "two"]);
    let reply = host.apply(&Command::DropDatabase {
        database: "a".to_owned(),
    });
    assert_eq!(
        reply,
        Reply::Catalog(CatalogReply::DatabaseDropped { collections: 2 })
    );
    assert_eq!(host.snapshot().catalog().databases(), ["b"]);
    assert_eq!(
        snapshot.catalog().databases(),
        ["a", "b"],
        "a snapshot does not change"
    );
}

#[test]
fn creating_again_is_fine_only_with_the_same_options() {
    let mut host = Host::new();
    host.apply(&create(places()));
    assert_eq!(
        host.apply(&create(places())),
        Reply::Catalog(CatalogReply::Created)
    );
    let other = Command::CreateCollection {
        namespace: places(),
        options: raw(doc! { "capped": true }),
    };
    assert_eq!(
        host.refused(&other),
        CommandError::NamespaceExists {
            namespace: places()
        }
    );
}

#[test]
fn names_are_checked() {
    let mut host = Host::new();
    let long = "x".repeat(300);
    for (database, collection) in [
        ("", "c"),
        ("d", ""),
        ("d.e", "c"),
        ("d", "a$b"),
        ("d", ".c"),
        ("d", "c."),
        ("d", "system.indexes"),
        ("d", "a\0b"),
        ("d", long.as_str()),
        (long.as_str(), "c"),
    ] {
        assert!(
            matches!(
                host.refused(&create(Namespace::new(database, collection))),
                CommandError::InvalidNamespace { .. }
            ),
            "{database:?}.{collection:?}"
        );
    }
    assert_eq!(
        host.apply(&create(Namespace::new("d", "a.b-c"))),
        Reply::Catalog(CatalogReply::Created)
    );
}

#[test]
fn dropped_data_is_reclaimed_and_ids_are_not_reused() {
    let mut host = Host::new();
    host.apply(&create_index(doc! { "a": 1 }, "a", doc! {}));
    let first = host.snapshot().collection(&places()).expect("exists").id;
    for number in 0..50 {
        host.one(insert(doc! { "_id": number, "a": number }));
    }
    assert_eq!(host.machine.reader().background_command(), None);
    let before = host.snapshot();
    host.apply(&Command::DropCollection {
        namespace: places(),
    });
    assert_eq!(
        host.refused(&Command::DropCollection {
            namespace: places()
        }),
        CommandError::NamespaceNotFound {
            namespace: places()
        }
    );
    host.one(insert(doc! { "_id": 1 }));
    assert_ne!(
        host.snapshot().collection(&places()).expect("exists").id,
        first
    );
    assert!(host.machine.reader().background_command().is_some());
    let mut steps = 0;
    while host.apply(&Command::Reclaim { limit: 9 }) == (Reply::Reclaimed { more: true }) {
        steps += 1;
        assert!(host.machine.reader().background_command().is_some());
    }
    assert!(steps >= 10);
    assert_eq!(host.machine.reader().background_command(), None);
    assert_eq!(host.documents().len(), 1);
    // Two records of the catalog and one document.
    assert_eq!(host.contents().len(), 3, "{:?}", host.contents());
    assert_eq!(super::host::documents(&before, &places()).len(), 50);
}

#[test]
fn renaming_keeps_the_data() {
    let mut host = Host::new();
    host.one(insert(doc! { "_id": 1 }));
    let target = Namespace::new("atlas", "towns");
    host.apply(&create(target.clone()));
    let uuid = host.snapshot().collection(&places()).expect("exists").uuid;
    assert_eq!(
        host.refused(&rename(target.clone(), false)),
        CommandError::NamespaceExists {
            namespace: target.clone()
        }
    );
    assert!(matches!(
        host.refused(&rename(Namespace::new("other", "towns"), false)),
        CommandError::NotSupported { .. }
    ));
    assert_eq!(
        host.apply(&rename(target.clone(), true)),
        Reply::Catalog(CatalogReply::Renamed)
    );
    let snapshot = host.snapshot();
    assert!(snapshot.collection(&places()).is_none());
    assert_eq!(snapshot.collection(&target).expect("exists").uuid, uuid);
    assert_eq!(snapshot.counts(&target).expect("exists").documents, 1);
    host.check();
}

#[test]
fn creating_an_index_again_is_idempotent_and_conflicts_are_told_apart() {
    let mut host = Host::new();
    let reply = host.apply(&create_index(doc! { "a": 1 }, "a_1", doc! {}));
    assert_eq!(
        reply,
        Reply::Catalog(CatalogReply::IndexesCreated {
            created_collection: true,
            indexes_before: 1,
            indexes_after: 2,
            building: vec![],
        })
    );
    let reply = host.apply(&create_index(doc! { "a": 1.0 }, "a_1", doc! { "v": 2 }));
    assert_eq!(
        reply,
        Reply::Catalog(CatalogReply::IndexesCreated {
            created_collection: false,
            indexes_before: 2,
            indexes_after: 2,
            building: vec![],
        })
    );
    let mut refused = |key, name, options| host.refused(&create_index(key, name, options));
    assert!(matches!(
        refused(doc! { "b": 1 }, "a_1", doc! {}),
        CommandError::IndexKeySpecsConflict { .. }
    ));
    assert!(matches!(
        refused(doc! { "a": 1 }, "a_1", doc! { "unique": true }),
        CommandError::IndexKeySpecsConflict { .. }
    ));
    assert!(matches!(
        refused(doc! { "a": 1 }, "a_1", doc! { "hidden": true }),
        CommandError::IndexOptionsConflict { .. }
    ));
    assert!(matches!(
        refused(doc! { "a": 1 }, "other", doc! {}),
        CommandError::IndexOptionsConflict { .. }
    ));
    assert!(matches!(
        refused(doc! { "a": 1 }, "_id_", doc! {}),
        CommandError::CannotCreateIndex { .. }
    ));
    host.apply(&create_index(doc! { "_id": 1 }, "_id_", doc! {}));
    assert_eq!(
        host.snapshot()
            .collection(&places())
            .expect("exists")
            .indexes
            .len(),
        2
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let mut host = Host::new();
    for (key, options, named) in [
        (doc! { "a": "2d" }, doc! {}, "2d"),
        (doc! { "a": "2dsphere" }, doc! {}, "2dsphere"),
        (doc! { "a": 1, "$**": 1 }, doc! {}, "wildcard"),
    ] {
        let error = host.refused(&create_index(key, "x", options));
        assert!(
            matches!(error, CommandError::NotSupported { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(matches!(
        host.refused(&create_index(doc! { "a": 1 }, "x", doc! { "speed": 5 })),
        CommandError::InvalidIndexSpecificationOption { .. }
    ));
    assert!(matches!(
        host.refused(&create_index(doc! { "a": 0 }, "x", doc! {})),
        CommandError::CannotCreateIndex { .. }
    ));
    assert!(
        host.snapshot().collection(&places()).is_none(),
        "nothing of it stays"
    );
}

#[test]
fn a_partial_index_holds_the_documents_of_its_filter_and_no_others() {
    let mut host = Host::new();
    let adults = doc! { "partialFilterExpression": { "age": { "$gte": 18 } }, "unique": true };
    host.apply(&create_index(doc! { "name": 1 }, "name_1", adults.clone()));
    for (id, age) in [(1, 3), (2, 4), (3, 30)] {
        host.one(insert(doc! { "_id": id, "name": "x", "age": age }));
    }
    let second = host.one(insert(doc! { "_id": 4, "name": "x", "age": 18 }));
    assert!(matches!(
        second,
        StatementResult::Failed(CommandError::DuplicateKey { .. })
    ));
    let entries = |host: &Host| {
        let contents = host.contents();
        let is_entry = |(key, _): &&(Vec<u8>, Vec<u8>)| key[0] == crate::keyspace::INDEX_ENTRIES;
        contents.iter().filter(is_entry).count()
    };
    assert_eq!(entries(&host), 1);
    host.check();
    // The same again is the same; a different filter is a different index, under a name of its own.
    host.apply(&create_index(doc! { "name": 1 }, "name_1", adults));
    let children = doc! { "partialFilterExpression": { "age": { "$lt": 18 } } };
    assert!(matches!(
        host.refused(&create_index(
            doc! { "name": 1 },
            "name_1",
            children.clone()
        )),
        CommandError::IndexKeySpecsConflict { .. }
    ));
    let reply = host.apply(&create_index(doc! { "name": 1 }, "children", children));
    assert!(matches!(reply, Reply::Catalog(_)), "{reply:?}");
    host.check();
}

#[test]
fn a_command_of_the_first_format_knows_no_partial_index() {
    let mut host = Host::new();
    let partial = doc! { "partialFilterExpression": { "a": 1 } };
    let command = create_index(doc! { "a": 1 }, "a_1", partial);
    assert_eq!(command.encode()[0], 2);
    host.refuses_in_format(1, &command);
}

#[test]
fn the_bytes_of_indexes_are_estimated() {
    let mut host = Host::new();
    host.apply(&create_index(doc! { "n": 1 }, "n", doc! {}));
    let estimate = |host: &Host| {
        let snapshot = host.snapshot();
        let collection = snapshot.collection(&places()).expect("it exists");
        let exact: usize = snapshot
            .prefix(&crate::keyspace::index_prefix(1))
            .map(|entry| entry.expect("the engine is sound"))
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let estimated = snapshot.estimated_index_bytes(collection);
        (estimated.expect("the engine is sound"), exact as u64)
    };
    assert_eq!(estimate(&host), (0, 0));
    for id in 0..60 {
        host.one(insert(doc! { "_id": id, "n": id }));
    }
    let (estimated, exact) = estimate(&host);
    assert!(
        exact > 0 && estimated == exact,
        "few entries are all counted"
    );
    for id in 60..1000 {
        host.one(insert(doc! { "_id": id, "n": id }));
    }
    let (estimated, exact) = estimate(&host);
    assert!(
        estimated.abs_diff(exact) < exact / 10,
        "{estimated} for {exact}"
    );
}

#[test]
fn a_collection_has_at_most_64_indexes() {
    let mut host = Host::new();
    for number in 0..63 {
        let name = format!("f{number}");
        let mut key = bson::Document::new();
        key.insert(&name, 1);
        let reply = host.apply(&create_index(key, &name, doc! {}));
        assert!(matches!(reply, Reply::Catalog(_)), "{reply:?}");
    }
    assert!(matches!(
        host.refused(&create_index(doc! { "one_more": 1 }, "one_more", doc! {})),
        CommandError::CannotCreateIndex { .. }
    ));
}

#[test]
fn indexes_are_dropped_by_name_key_or_all() {
    let mut host = Host::new();
    for name in ["a", "b", "c", "d"] {
        let mut key = bson::Document::new();
        key.insert(name, -1);
        host.apply(&create_index(key, name, doc! {}));
    }
    host.write(write(vec![insert(doc! { "_id": 1, "a": 1, "b": 2 })]));
    let names = |host: &Host| -> Vec<String> {
        let snapshot = host.snapshot();
        let collection = snapshot.collection(&places()).expect("exists");
        collection
            .indexes
            .iter()
            .map(|index| index.name.clone())
            .collect()
    };
    assert!(matches!(
        host.refused(&drop_indexes(IndexSelection::Names(vec![
            "_id_".to_owned()
        ]))),
        CommandError::InvalidOptions { .. }
    ));
    assert!(matches!(
        host.refused(&drop_indexes(IndexSelection::Names(vec![
            "a".to_owned(),
            "z".to_owned()
        ]))),
        CommandError::IndexNotFound { .. }
    ));
    assert_eq!(names(&host).len(), 5);
    host.apply(&drop_indexes(IndexSelection::Names(vec!["a".to_owned()])));
    host.apply(&drop_indexes(IndexSelection::Key(raw(doc! { "c": -1 }))));
    assert_eq!(names(&host), ["_id_", "b", "d"]);
    host.apply(&drop_indexes(IndexSelection::All));
    assert_eq!(names(&host), ["_id_"]);
    while host.apply(&Command::Reclaim { limit: 1 }) == (Reply::Reclaimed { more: true }) {}
    assert!(
        !host
            .contents()
            .iter()
            .any(|(key, _)| key[0] == crate::keyspace::INDEX_ENTRIES),
        "their entries are gone"
    );
    assert_eq!(
        host.one(insert(doc! { "_id": 2 })),
        StatementResult::Inserted
    );
    host.check();
}
