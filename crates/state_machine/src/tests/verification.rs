//! What a verification finds when indexes, documents and catalog do not agree: planted straight into the engine.

use bson::{doc, rawdoc};

use super::host::{Host, create_index, insert, places};
use crate::{IndexVerification, keyspace};

fn host() -> Host {
    let mut host = Host::new();
    host.apply(&create_index(doc! { "a": 1 }, "a", doc! {}));
    host.apply(&create_index(doc! { "u": 1 }, "u", doc! { "unique": true }));
    for id in 0..20i32 {
        host.one(insert(doc! { "_id": id, "a": id % 3, "u": 100 + id }));
    }
    host
}

fn verify(host: &Host) -> IndexVerification {
    let found = host.snapshot().verify_indexes(&places());
    found.expect("readable").expect("it is there")
}

fn collection(host: &Host) -> (u32, u32) {
    let snapshot = host.snapshot();
    let collection = snapshot.collection(&places()).expect("it is there");
    (collection.id, collection.index("a").expect("made").id)
}

/// Writes past the state machine, at the applied index.
fn plant(host: &Host, key: Vec<u8>, value: Option<Vec<u8>>) {
    let index = host.machine.applied().index;
    host.engine.write(index, &[(key, value)]);
}

fn entry_of_index_a(host: &Host, number: usize) -> (Vec<u8>, Vec<u8>) {
    let (_, index) = collection(host);
    let snapshot = host.snapshot();
    let entry = snapshot.prefix(&keyspace::index_prefix(index)).nth(number);
    let (key, value) = entry.expect("so many").expect("readable");
    (key.to_vec(), value.to_vec())
}

#[test]
fn a_sound_state_has_nothing_to_name() {
    let host = host();
    let found = verify(&host);
    assert!(found.is_sound() && found.places.is_empty(), "{found:?}");
    assert_eq!(found.entries, 40);
    let counts = host.snapshot().counts(&places()).expect("it is there");
    assert_eq!(
        (found.documents, found.bytes),
        (counts.documents, counts.bytes)
    );
    assert!(host.snapshot().stray_data().expect("readable").is_empty());
}

#[test]
fn a_missing_entry_is_named_with_its_document() {
    let host = host();
    // The entries are in order of a, then _id: the first of a = 0 is of document 0, the second of 3.
    let (key, _) = entry_of_index_a(&host, 1);
    plant(&host, key, None);
    let found = verify(&host);
    assert!(!found.is_sound());
    assert_eq!(found.missing.get("a"), Some(&1));
    assert_eq!(
        found.places,
        ["index 'a' lacks an entry of the document with _id 3"]
    );
}

#[test]
fn a_superfluous_entry_is_named() {
    let host = host();
    let (id, index) = collection(&host);
    let part = keyspace::id_part(&keyspace::document_key(
        id,
        rawdoc! { "_id": 5 }
            .get("_id")
            .expect("sound")
            .expect("there"),
    ))
    .to_vec();
    let (key, value) = entry_of_index_a(&host, 0);
    let fields = keyspace::index_entry_parts(false, &key, &value).expect("an entry");
    // Document 5 has a = 2.
    let planted = keyspace::index_entry_key(index, false, fields.fields, &part);
    plant(
        &host,
        planted,
        Some(keyspace::index_entry_value(false, &part)),
    );
    let found = verify(&host);
    assert_eq!(found.superfluous.get("a"), Some(&1));
    assert_eq!(
        found.places,
        ["index 'a' has an entry that the document with _id 5 does not call for"]
    );
}

#[test]
fn entries_of_a_lost_document_are_named() {
    let host = host();
    let (id, _) = collection(&host);
    let seven = rawdoc! { "_id": 7 };
    let key = keyspace::document_key(id, seven.get("_id").expect("sound").expect("there"));
    plant(&host, key, None);
    let found = verify(&host);
    assert_eq!(found.documents, 19);
    assert_eq!(found.superfluous.len(), 2, "{found:?}");
    assert!(
        found
            .places
            .iter()
            .all(|place| place.contains("a document that is not there")),
        "{found:?}"
    );
}

#[test]
fn a_document_under_a_foreign_key_and_stray_data_are_named() {
    let host = host();
    let (id, _) = collection(&host);
    let other = rawdoc! { "_id": 700 };
    let key = keyspace::document_key(id, other.get("_id").expect("sound").expect("there"));
    plant(&host, key, Some(rawdoc! { "_id": 701 }.into_bytes()));
    let found = verify(&host);
    assert_eq!(found.misfiled, 1);
    assert!(found.places[0].contains("_id 701"), "{found:?}");
    let mut stray = keyspace::index_prefix(4_711).to_vec();
    stray.push(1);
    plant(&host, stray, Some(Vec::new()));
    let strays = host.snapshot().stray_data().expect("readable");
    assert_eq!(
        strays,
        ["there are entries of an index that nothing knows (id 4711)"]
    );
}
