//! What a command is expected to look up.

use bson::{doc, rawdoc};

use super::host::{Host, delete, id, insert, places, update, write};
use crate::keyspace::document_key;
use crate::{Command, Operation};

/// Keys that applying this is expected to look up, of a collection that is there.
fn keys(operations: Vec<Operation>) -> Vec<Vec<u8>> {
    let mut host = Host::new();
    host.write(write(vec![insert(doc! { "_id": 1 })]));
    let command = Command::Write(write(operations)).encode();
    host.machine.reader().keys_to_apply(&command)
}

fn keys_of(ids: &[i32]) -> Vec<Vec<u8>> {
    let mut host = Host::new();
    host.write(write(vec![insert(doc! { "_id": 1 })]));
    let snapshot = host.machine.reader().snapshot();
    let collection = snapshot.collection(&places()).expect("it is there").id;
    let key = |id: &i32| document_key(collection, bson::raw::RawBsonRef::Int32(*id));
    ids.iter().map(key).collect()
}

#[test]
fn documents_that_a_command_names_are_known_before_it_is_applied() {
    let set = || doc! { "$set": { "x": 1 } };
    for (operation, ids) in [
        (insert(doc! { "_id": 2, "x": 1 }), &[2][..]),
        (update(doc! { "_id": 3, "x": 1 }, set(), vec![]), &[3]),
        (update(doc! { "x": 1 }, set(), vec![id(4), id(5)]), &[4, 5]),
        (delete(doc! { "_id": { "$in": [6, 7] } }, vec![]), &[6, 7]),
        (delete(doc! { "_id": { "$gt": 6 } }, vec![]), &[]),
        (delete(doc! { "x": 1 }, vec![]), &[]),
        (delete(doc! { "$nonsense": 1 }, vec![]), &[]),
    ] {
        let text = format!("{operation:?}");
        assert_eq!(keys(vec![operation]), keys_of(ids), "{text}");
    }
    let several = vec![insert(doc! { "_id": 2 }), delete(doc! { "_id": 1 }, vec![])];
    assert_eq!(keys(several), keys_of(&[2, 1]));
}

#[test]
fn of_what_cannot_be_applied_nothing_is_expected() {
    let host = Host::new();
    let reader = host.machine.reader();
    // The collection is not there.
    let command = Command::Write(write(vec![insert(doc! { "_id": 2 })]));
    assert!(reader.keys_to_apply(&command.encode()).is_empty());
    assert!(reader.keys_to_apply(b"nonsense").is_empty());
    let create = Command::CreateCollection {
        namespace: places(),
        options: rawdoc! {},
    };
    assert!(reader.keys_to_apply(&create.encode()).is_empty());
}

#[test]
fn a_key_may_be_looked_up_whether_it_is_there_or_not() {
    let mut host = Host::new();
    host.write(write(vec![insert(doc! { "_id": 1 })]));
    let reader = host.machine.reader();
    for key in keys_of(&[1, 2]) {
        reader.prefetch(&key).expect("memory has no faults");
    }
}
