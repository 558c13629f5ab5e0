//! Whether indexes say what the documents say.

use std::collections::BTreeMap;

use bson::RawDocument;
use storage_engine::StorageFault;

use super::{Snapshot, places};
use crate::catalog::{CollectionEntry, IndexEntry, Namespace, damaged};
use crate::keyspace;

/// What [`Snapshot::verify_indexes`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexVerification {
    /// Documents read.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Documents that stand under another key than their `_id`'s, or are no BSON.
    pub misfiled: u64,
    /// Entries expected and found.
    pub entries: u64,
    /// Entries the documents call for that are not there, by index name.
    pub missing: BTreeMap<String, u64>,
    /// Entries no document calls for, by index name.
    pub superfluous: BTreeMap<String, u64>,
    /// Indexes that lack the multikey flag they need.
    pub not_multikey: Vec<String>,
    /// Where it is wrong: the first few places of each kind and index, as sentences.
    pub places: Vec<String>,
}

impl IndexVerification {
    /// Whether every index agrees with the documents.
    pub fn is_sound(&self) -> bool {
        self.misfiled == 0
            && self.missing.is_empty()
            && self.superfluous.is_empty()
            && self.not_multikey.is_empty()
    }
}

impl IndexVerification {
    /// What is wrong, as sentences: how much of each kind, then where.
    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if self.misfiled > 0 {
            errors.push(format!(
                "{} documents are not what their keys say",
                self.misfiled
            ));
        }
        for (index, entries) in &self.missing {
            errors.push(format!(
                "index '{index}' lacks {entries} entries its documents call for"
            ));
        }
        for (index, entries) in &self.superfluous {
            errors.push(format!(
                "index '{index}' has {entries} entries no document calls for"
            ));
        }
        for index in &self.not_multikey {
            errors.push(format!(
                "index '{index}' does not know that it indexes arrays"
            ));
        }
        errors.extend(self.places.iter().cloned());
        errors
    }
}

impl Snapshot {
    /// Compares every ready index of a collection with its documents. `None` if there is no such collection. Reads the
    /// whole collection once per index.
    pub fn verify_indexes(
        &self,
        namespace: &Namespace,
    ) -> Result<Option<IndexVerification>, StorageFault> {
        let Some(collection) = self.collection(namespace) else {
            return Ok(None);
        };
        let mut found = IndexVerification::default();
        for index in collection.ready_indexes() {
            if index.is_id() {
                self.verify_documents(collection, &mut found)?;
            } else {
                self.verify_index(collection, index, &mut found)?;
            }
        }
        Ok(Some(found))
    }

    /// Every key a document calls for is looked up; that no other entry is there then follows from the number.
    fn verify_index(
        &self,
        collection: &CollectionEntry,
        index: &IndexEntry,
        found: &mut IndexVerification,
    ) -> Result<(), StorageFault> {
        let mut present = 0;
        for entry in self.scan(collection.id) {
            let (key, document) = entry?;
            let document = RawDocument::from_bytes(&document)
                .map_err(|error| damaged("verifying an index", error))?;
            let (fields, multikey) = index
                .keys(document)
                .map_err(|error| damaged("verifying an index", error))?;
            if multikey && !index.multikey && !found.not_multikey.contains(&index.name) {
                found.not_multikey.push(index.name.clone());
            }
            let id = keyspace::id_part(&key);
            for fields in fields {
                let entry_key = keyspace::index_entry_key(index.id, index.unique, &fields, id);
                let expected = keyspace::index_entry_value(index.unique, id);
                if self.get_key(&entry_key)?.as_deref() == Some(&expected[..]) {
                    present += 1;
                } else {
                    *found.missing.entry(index.name.clone()).or_default() += 1;
                    places::missing(index, document, &mut found.places);
                }
            }
        }
        let mut entries = 0;
        for entry in self.prefix(&keyspace::index_prefix(index.id)) {
            entry?;
            entries += 1;
        }
        found.entries += present;
        if entries > present {
            found
                .superfluous
                .insert(index.name.clone(), entries - present);
            self.find_superfluous(collection, index, &mut found.places)?;
        }
        Ok(())
    }
}
