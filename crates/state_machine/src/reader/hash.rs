//! A hash of what a collection holds, the same on every member at the same log index.

use md5::{Digest, Md5};
use storage_engine::StorageFault;

use super::Snapshot;
use crate::catalog::{CollectionEntry, IndexState, Namespace};

impl Snapshot {
    /// MD5 over the collection's name, its indexes in order of name, and its documents in `_id` order. `None` if there
    /// is no such collection. Reads the whole collection.
    pub fn collection_hash(&self, namespace: &Namespace) -> Result<Option<[u8; 16]>, StorageFault> {
        let Some(collection) = self.collection(namespace) else {
            return Ok(None);
        };
        let mut digest = begin_digest(collection);
        for entry in self.scan(collection.id) {
            let (_, document) = entry?;
            digest.update(&*document);
        }
        Ok(Some(digest.finalize().into()))
    }
}

/// A collection's digest before its first document.
pub(crate) fn begin_digest(collection: &CollectionEntry) -> Md5 {
    let mut digest = Md5::new();
    digest.update(collection.namespace.to_string().as_bytes());
    let mut indexes: Vec<_> = collection.indexes.iter().collect();
    indexes.sort_by(|left, right| left.name.cmp(&right.name));
    for index in indexes {
        digest.update(index.spec.as_bytes());
        digest.update([u8::from(index.state == IndexState::Ready)]);
    }
    digest
}
