//! Specifications, records, and the catalog as a value.

use std::sync::Arc;

use bson::{Document, RawDocumentBuf, doc};
use document::key_encoding::Direction;
use storage_engine::{Engine, MemoryEngine};

use super::{
    Catalog, CountsChange, IndexEntry, IndexState, Namespace, describe, encode_collection,
    encode_counts, encode_next_ids, load, new_collection, parse_index_spec,
};
use crate::keyspace;
use crate::reader::CollectionCounts;

fn raw(document: Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&document).expect("it can be encoded")
}

fn index(id: u32, key: Document, name: &str, state: IndexState) -> IndexEntry {
    parse_index_spec(&raw(doc! { "key": key, "name": name, "unique": true }))
        .expect("acceptable")
        .into_entry(id, state)
}

#[test]
fn a_specification_becomes_fields_and_is_listed_in_order() {
    let spec = doc! { "v": 2, "unique": 1, "key": { "a.b": 1, "c": -1.0 }, "name": "x", "sparse": true, "background": 1, "dropDups": true };
    let entry = parse_index_spec(&raw(spec))
        .expect("acceptable")
        .into_entry(4, IndexState::Ready);
    let fields: Vec<_> = entry
        .fields
        .iter()
        .map(|(path, direction)| (path.as_str(), *direction))
        .collect();
    assert_eq!(
        fields,
        [("a.b", Direction::Ascending), ("c", Direction::Descending)]
    );
    let expected = doc! { "v": 2, "key": { "a.b": 1, "c": -1.0 }, "name": "x", "unique": true, "sparse": true, "background": true };
    assert_eq!(entry.spec, raw(expected));
}

#[test]
fn malformed_specifications_are_refused() {
    for spec in [
        doc! {},
        doc! { "key": { "a": 1 } },
        doc! { "name": "a" },
        doc! { "key": {}, "name": "a" },
        doc! { "key": { "a": 1 }, "name": "" },
        doc! { "key": { "a": 1 }, "name": 5 },
        doc! { "key": { "a": true }, "name": "a" },
        doc! { "key": { "a..b": 1 }, "name": "a" },
        doc! { "key": { "$a": 1 }, "name": "a" },
        doc! { "key": { "a": 1 }, "name": "a", "unique": "yes" },
        doc! { "key": [1], "name": "a" },
    ] {
        assert!(parse_index_spec(&raw(spec.clone())).is_err(), "{spec}");
    }
}

#[test]
fn a_catalog_is_read_as_it_was_written() {
    let mut catalog = Catalog::empty();
    let id = catalog.take_collection_id();
    let building = IndexState::Building {
        scanned: Some(vec![3, 0, 255]),
        complete: false,
    };
    let collection = new_collection(id, Namespace::new("d", "c"), raw(doc! { "x": 1 }), (7, 2))
        .with_index(index(
            catalog.take_index_id(),
            doc! { "a": 1 },
            "a",
            IndexState::Ready,
        ))
        .with_index(IndexEntry {
            multikey: true,
            ..index(catalog.take_index_id(), doc! { "b": -1 }, "b", building)
        });
    catalog.put(Arc::new(collection.clone()));
    let counts = CollectionCounts {
        documents: 5,
        bytes: 600,
    };
    let engine = MemoryEngine::new();
    engine.write(
        7,
        &[
            (
                keyspace::catalog_key(id),
                Some(encode_collection(&collection)),
            ),
            (keyspace::counters_key(id), Some(encode_counts(counts))),
            (keyspace::next_ids_key(), Some(encode_next_ids(&catalog))),
        ],
    );
    let read = load(&engine, 7).expect("sound");
    assert_eq!((read.next_collection_id, read.next_index_id), (2, 3));
    let found = read.collection_by_id(id).expect("written");
    assert_eq!(encode_collection(found), encode_collection(&collection));
    assert_eq!(found.counters.get(), counts);
    assert_eq!(found.uuid, collection.uuid);
    let building: Vec<u32> = read.building_indexes().map(|(index, _)| index).collect();
    assert_eq!(building, [2]);
    let before = load(&engine, 6).expect("sound");
    assert_eq!(before.collections().count(), 0);
}

#[test]
fn a_damaged_record_is_a_fault_that_says_so() {
    let engine = MemoryEngine::new();
    engine.write(1, &[(keyspace::catalog_key(1), Some(vec![1, 2, 3]))]);
    let fault = load(&engine, 1).expect_err("damaged");
    assert!(fault.to_string().contains("reading the catalog"), "{fault}");
}

#[test]
fn counters_never_go_below_nothing() {
    let collection = new_collection(1, Namespace::new("d", "c"), raw(doc! {}), (1, 1));
    collection.counters.change(CountsChange {
        documents: 3,
        bytes: 10,
    });
    collection.counters.change(CountsChange {
        documents: -4,
        bytes: -4,
    });
    assert_eq!(
        collection.counters.get(),
        CollectionCounts {
            documents: 0,
            bytes: 6
        }
    );
}

#[test]
fn messages_show_documents_in_the_shells_notation() {
    let document = doc! { "a": 1, "b": "x\"y", "c": { "d": 2.0 }, "e": null, "f": [1, "z"] };
    assert_eq!(
        describe(&raw(document)),
        r#"{ a: 1, b: "x\"y", c: { d: 2.0 }, e: null, f: [1, "z"] }"#
    );
}
