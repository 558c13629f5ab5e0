//! Where indexes and documents disagree: names for what [`super::IndexVerification`] counts, and data that nothing leads to.

use std::collections::BTreeSet;
use std::ops::Bound;

use bson::{Bson, RawDocument};
use storage_engine::StorageFault;

use super::{IndexVerification, Snapshot};
use crate::catalog::{CollectionEntry, IndexEntry};
use crate::keyspace::{self, DroppedSpace};

/// Places named of one kind.
const PLACES_MAX: usize = 5;

fn name(place: String, of_kind: &str, places: &mut Vec<String>) {
    let so_far = places.iter().filter(|place| place.contains(of_kind));
    if so_far.count() < PLACES_MAX {
        places.push(place);
    }
}

fn id_of(document: &RawDocument) -> String {
    let id = document.get("_id").ok().flatten();
    let id = id.and_then(|id| Bson::try_from(id).ok());
    id.map_or("(without _id)".to_owned(), |id| id.to_string())
}

/// Names a document that lacks an entry in an index.
pub(super) fn missing(index: &IndexEntry, document: &RawDocument, places: &mut Vec<String>) {
    let kind = format!("index '{}' lacks an entry", index.name);
    name(
        format!("{kind} of the document with _id {}", id_of(document)),
        &kind,
        places,
    );
}

impl Snapshot {
    /// Whether every document stands under the key of its `_id`.
    pub(super) fn verify_documents(
        &self,
        collection: &CollectionEntry,
        found: &mut IndexVerification,
    ) -> Result<(), StorageFault> {
        for entry in self.scan(collection.id) {
            let (key, bytes) = entry?;
            found.documents += 1;
            found.bytes += bytes.len() as u64;
            let document = RawDocument::from_bytes(&bytes).ok();
            let id = document.and_then(|document| document.get("_id").ok().flatten());
            if id.is_some_and(|id| keyspace::document_key(collection.id, id)[..] == key[..]) {
                continue;
            }
            found.misfiled += 1;
            let what = document.map_or("something that is no BSON".to_owned(), |document| {
                format!("the document with _id {}", id_of(document))
            });
            let kind = "stands under a key that is not its own";
            name(
                format!("{what} {kind}: {}", digits(&key)),
                kind,
                &mut found.places,
            );
        }
        Ok(())
    }

    /// Names entries of an index that no document calls for.
    pub(super) fn find_superfluous(
        &self,
        collection: &CollectionEntry,
        index: &IndexEntry,
        places: &mut Vec<String>,
    ) -> Result<(), StorageFault> {
        let kind = format!("index '{}' has an entry", index.name);
        let mut named = 0;
        for entry in self.prefix(&keyspace::index_prefix(index.id)) {
            let (key, value) = entry?;
            let Some(why) = self.why_superfluous(collection, index, &key, &value)? else {
                continue;
            };
            name(format!("{kind} {why}"), &kind, places);
            named += 1;
            if named == PLACES_MAX {
                break;
            }
        }
        Ok(())
    }

    fn why_superfluous(
        &self,
        collection: &CollectionEntry,
        index: &IndexEntry,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<String>, StorageFault> {
        let Some(parts) = keyspace::index_entry_parts(index.unique, key, value) else {
            return Ok(Some(format!("that cannot be read: {}", digits(key))));
        };
        let document_key = keyspace::document_key_from_id_part(collection.id, parts.id);
        let Some(bytes) = self.get_key(&document_key)? else {
            return Ok(Some(format!(
                "of a document that is not there: its _id is encoded as {}",
                digits(parts.id)
            )));
        };
        let document = RawDocument::from_bytes(&bytes).ok();
        let keys = document
            .and_then(|document| index.keys(document).ok())
            .map_or(Vec::new(), |(keys, _)| keys);
        let called_for = keys.iter().any(|fields| fields[..] == *parts.fields);
        Ok((!called_for).then(|| {
            let id = document.map_or(String::new(), id_of);
            format!("that the document with _id {id} does not call for")
        }))
    }

    /// Ids of collections and indexes that have data though neither the catalog knows them nor are they waiting to be
    /// reclaimed, as sentences.
    pub fn stray_data(&self) -> Result<Vec<String>, StorageFault> {
        let (mut collections, mut indexes) = (BTreeSet::new(), BTreeSet::new());
        for collection in self.catalog().collections() {
            collections.insert(collection.id);
            indexes.extend(collection.indexes.iter().map(|index| index.id));
        }
        for entry in self.prefix(&[keyspace::DROPPED]) {
            match keyspace::dropped_of_key(&entry?.0) {
                Some(DroppedSpace::Collection(id)) => drop(collections.insert(id)),
                Some(DroppedSpace::Index(id)) => drop(indexes.insert(id)),
                None => {}
            }
        }
        let mut strays = Vec::new();
        for (space, known, what) in [
            (
                keyspace::DOCUMENTS,
                collections,
                "documents of a collection",
            ),
            (keyspace::INDEX_ENTRIES, indexes, "entries of an index"),
        ] {
            for id in self.ids_in(space)? {
                if !known.contains(&id) {
                    strays.push(format!("there are {what} that nothing knows (id {id})"));
                }
            }
        }
        Ok(strays)
    }

    /// The ids that keys of a space have, without reading the keys between.
    fn ids_in(&self, space: u8) -> Result<Vec<u32>, StorageFault> {
        let mut ids = Vec::new();
        let mut from = Bound::Included(vec![space]);
        let end = [space + 1];
        loop {
            let start = from.as_ref().map(Vec::as_slice);
            let Some(entry) = self.range(start, Bound::Excluded(&end)).next() else {
                return Ok(ids);
            };
            let Some(id) = keyspace::catalog_id(&entry?.0) else {
                return Ok(ids);
            };
            ids.push(id);
            let Some(next) = id.checked_add(1) else {
                return Ok(ids);
            };
            from = Bound::Included([&[space][..], &next.to_be_bytes()].concat());
        }
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
