//! One document in, changed or out, with all its index entries: checked first, written only if every check passes.

use bson::{RawBsonRef, RawDocument};
use document::collation::collated;
use document::path::{Path, index_tuples};
use document::{DocumentError, key_encoding};

use super::overlay::Overlay;
use super::{OrFault, Stop};
use crate::catalog::{CollectionEntry, IndexEntry, duplicate_key};
use crate::error::CommandError;
use crate::keyspace;
use crate::limits::{DOCUMENT_BYTES_MAX, INDEX_ENTRIES_PER_DOCUMENT_MAX, KEY_BYTES_MAX};

type Edit = (Vec<u8>, Option<Vec<u8>>);

/// The key of a document by its `_id`.
pub(super) fn key_of(collection: &CollectionEntry, id: RawBsonRef<'_>) -> Result<Vec<u8>, Stop> {
    let key = keyspace::document_key(collection.id, id);
    if key.len() > KEY_BYTES_MAX {
        return Err(too_long(collection, &collection.indexes[0], key.len()));
    }
    Ok(key)
}

/// The `_id` of a document.
pub(super) fn id_of(document: &RawDocument) -> Result<RawBsonRef<'_>, DocumentError> {
    document
        .get("_id")?
        .ok_or_else(|| DocumentError::bad_value("a document to be stored has no _id"))
}

/// Puts a new document in.
pub(super) fn insert(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    document: Vec<u8>,
) -> Result<(), Stop> {
    let raw = RawDocument::from_bytes(&document).map_err(DocumentError::from)?;
    let id = id_of(raw)?;
    let key = key_of(collection, id)?;
    if overlay.get(&key).or_fault()?.is_some() {
        return Err(duplicate_key(&collection.namespace, &collection.indexes[0], &[id]).into());
    }
    check_size(raw)?;
    change_entries(overlay, collection, &key, None, Some(raw))?;
    overlay.count(collection.id, 1, document.len() as i64);
    overlay.put(key, document);
    Ok(())
}

/// Puts `new` in the place of `old`, which has the same `_id`.
pub(super) fn replace(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    key: &[u8],
    old: &RawDocument,
    new: Vec<u8>,
) -> Result<(), Stop> {
    let raw = RawDocument::from_bytes(&new).map_err(DocumentError::from)?;
    if key_of(collection, id_of(raw)?)? != key {
        return Err(DocumentError::new(
            document::ErrorKind::ImmutableField,
            "Performing an update on the path '_id' would modify the immutable field '_id'",
        )
        .into());
    }
    check_size(raw)?;
    change_entries(overlay, collection, key, Some(old), Some(raw))?;
    let grown = new.len() as i64 - old.as_bytes().len() as i64;
    overlay.count(collection.id, 0, grown);
    overlay.put(key.to_vec(), new);
    Ok(())
}

/// Takes a document out.
pub(super) fn remove(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    key: &[u8],
    old: &RawDocument,
) -> Result<(), Stop> {
    change_entries(overlay, collection, key, Some(old), None)?;
    overlay.count(collection.id, -1, -(old.as_bytes().len() as i64));
    overlay.delete(key.to_vec());
    Ok(())
}

fn check_size(document: &RawDocument) -> Result<(), DocumentError> {
    let bytes = document.as_bytes().len();
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::new(
            document::ErrorKind::BsonObjectTooLarge,
            format!("Resulting document after update is larger than {DOCUMENT_BYTES_MAX}: {bytes}"),
        ));
    }
    Ok(())
}

fn change_entries(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    key: &[u8],
    old: Option<&RawDocument>,
    new: Option<&RawDocument>,
) -> Result<(), Stop> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut newly_multikey = Vec::new();
    for index in collection.indexes.iter().filter(|index| !index.is_id()) {
        let (added, multikey) = match new {
            Some(new) => index.keys(new)?,
            None => (Vec::new(), false),
        };
        // A document that came before a building index may have no keys in it at all.
        let removed = old
            .and_then(|old| index.keys(old).ok())
            .map(|(keys, _)| keys)
            .unwrap_or_default();
        if multikey && !index.multikey {
            newly_multikey.push(index.id);
        }
        let id = keyspace::id_part(key);
        for fields in difference(&removed, &added) {
            let entry = keyspace::index_entry_key(index.id, index.unique, fields, id);
            if owns_entry(overlay, index, &entry, id)? {
                edits.push((entry, None));
            }
        }
        if added.len() > INDEX_ENTRIES_PER_DOCUMENT_MAX {
            return Err(DocumentError::bad_value(format!(
                "one document may have at most {INDEX_ENTRIES_PER_DOCUMENT_MAX} keys in index {}",
                index.name
            ))
            .into());
        }
        for fields in difference(&added, &removed) {
            edits.push(entry_for(overlay, collection, index, fields, key, new)?);
        }
    }
    write_edits(overlay, collection.id, edits, &newly_multikey);
    Ok(())
}

fn write_edits(
    overlay: &mut Overlay<'_>,
    collection_id: u32,
    edits: Vec<Edit>,
    newly_multikey: &[u32],
) {
    for (entry, value) in edits {
        match value {
            Some(value) => overlay.put(entry, value),
            None => overlay.delete(entry),
        }
    }
    for index_id in newly_multikey {
        set_multikey(overlay, collection_id, *index_id);
    }
}

/// The entry of one key of a document, after checking its length and that no other document has it.
pub(super) fn entry_for(
    overlay: &Overlay<'_>,
    collection: &CollectionEntry,
    index: &IndexEntry,
    fields: &[u8],
    key: &[u8],
    document: Option<&RawDocument>,
) -> Result<Edit, Stop> {
    let id = keyspace::id_part(key);
    let entry = keyspace::index_entry_key(index.id, index.unique, fields, id);
    if fields.len() > KEY_BYTES_MAX {
        return Err(too_long(collection, index, fields.len()));
    }
    let value = keyspace::index_entry_value(index.unique, id);
    if index.unique
        && let Some(holder) = overlay.get(&entry).or_fault()?
        && *holder != *value
    {
        return Err(collision(collection, index, fields, document).into());
    }
    Ok((entry, Some(value)))
}

/// While a unique index is being built, an entry may belong to another document than the one that leaves: the build
/// will then fail when it reaches that one, but must not lose the entry before.
fn owns_entry(
    overlay: &Overlay<'_>,
    index: &IndexEntry,
    entry: &[u8],
    id: &[u8],
) -> Result<bool, Stop> {
    if !index.unique || index.is_ready() {
        return Ok(true);
    }
    let holder = overlay.get(entry).or_fault()?;
    Ok(holder.is_some_and(|holder| *holder == *id))
}

pub(super) fn set_multikey(overlay: &mut Overlay<'_>, collection_id: u32, index_id: u32) {
    // Looked up anew: the caller's entry may be older than an earlier change of this command.
    let Some(collection) = overlay.catalog().collection_by_id(collection_id).cloned() else {
        return;
    };
    if let Some(index) = collection.index_by_id(index_id)
        && !index.multikey
    {
        let changed = IndexEntry {
            multikey: true,
            ..IndexEntry::clone(index)
        };
        overlay.put_collection(collection.with_index(changed));
    }
}

/// Members of the sorted `left` that are not in the sorted `right`.
fn difference<'k>(left: &'k [Vec<u8>], right: &[Vec<u8>]) -> impl Iterator<Item = &'k Vec<u8>> {
    let mut right = right.iter().peekable();
    left.iter().filter(move |key| {
        while right.next_if(|other| other < key).is_some() {}
        right.peek() != Some(key)
    })
}

fn collision(
    collection: &CollectionEntry,
    index: &IndexEntry,
    fields: &[u8],
    document: Option<&RawDocument>,
) -> CommandError {
    let paths: Vec<&Path> = index.fields.iter().map(|(path, _)| path).collect();
    let tuples = document
        .and_then(|document| index_tuples(document, &paths).ok())
        .map(|(tuples, _)| tuples)
        .unwrap_or_default();
    let values = tuples
        .into_iter()
        .find(|values| {
            let mut key = Vec::new();
            for (value, (_, direction)) in values.iter().zip(&index.fields) {
                let value = collated(index.collation.as_ref(), *value);
                key_encoding::encode(value.as_ref(), *direction, &mut key);
            }
            key == fields
        })
        .unwrap_or_default();
    duplicate_key(&collection.namespace, index, &values)
}

fn too_long(collection: &CollectionEntry, index: &IndexEntry, bytes: usize) -> Stop {
    CommandError::KeyTooLong {
        namespace: collection.namespace.clone(),
        index: index.name.clone(),
        bytes,
    }
    .into()
}
