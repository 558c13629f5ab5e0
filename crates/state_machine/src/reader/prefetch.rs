//! What applying a command will read of documents, said before it is applied.
//!
//! A guess: commands before it may change what it reads. Nothing but memory depends on it.

use document::Context;
use document::filter::Filter;

use super::Shared;
use crate::catalog::CollectionEntry;
use crate::command::{Command, Operation};
use crate::keyspace::document_key;
use crate::limits::KEY_BYTES_MAX;

/// Keys of the documents that the statements of an encoded command name by their `_id`s; of those that are to be inserted,
/// too: whether they are there already is looked up.
pub(super) fn keys(shared: &Shared, command: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    // What cannot be read is refused when it is applied.
    let Ok(Command::Write(write)) = Command::decode(command) else {
        return keys;
    };
    let catalog = shared.published.read().catalog.clone();
    if let Some(collection) = catalog.collection(&write.namespace) {
        for statement in &write.statements {
            collect(collection, &statement.operation, &mut keys);
        }
    }
    keys
}

fn collect(collection: &CollectionEntry, operation: &Operation, keys: &mut Vec<Vec<u8>>) {
    let mut add = |id| {
        let key = document_key(collection.id, id);
        if key.len() <= KEY_BYTES_MAX {
            keys.push(key);
        }
    };
    let (filter, candidates) = match operation {
        Operation::Insert { document } => {
            if let Ok(Some(id)) = document.get("_id") {
                add(id);
            }
            return;
        }
        Operation::Update {
            filter, candidates, ..
        }
        | Operation::Delete {
            filter, candidates, ..
        } => (filter, candidates),
    };
    if !candidates.is_empty() {
        candidates.iter().for_each(|id| add(id.as_raw_bson_ref()));
        return;
    }
    let context = Context::checking().without_random();
    if let Ok(filter) = Filter::parse_in(filter, &context) {
        filter.exact_ids().into_iter().flatten().for_each(add);
    }
}
