//! How one catalog becomes the next. Pure: what is written to the engine is the caller's.

use std::sync::Arc;

use bson::RawDocumentBuf;
use md5::{Digest, Md5};

use super::{
    Catalog, CollectionEntry, CountersCell, IndexEntry, IndexRequest, IndexState, Namespace, Rules,
    collation,
};

impl Catalog {
    /// An empty catalog.
    pub(crate) fn empty() -> Catalog {
        Catalog {
            next_collection_id: 1,
            // 0 is `_id_` of every collection.
            next_index_id: 1,
            ..Catalog::default()
        }
    }

    /// Puts a collection in, replacing the one with its id (under its old name, if that changed).
    pub(crate) fn put(&mut self, collection: Arc<CollectionEntry>) {
        self.remove(collection.id);
        for index in &collection.indexes {
            if !index.is_ready() {
                self.building.insert(index.id, collection.id);
            }
        }
        self.names
            .insert(collection.id, collection.namespace.clone());
        self.collections
            .insert(collection.namespace.clone(), collection);
    }

    /// Takes a collection out.
    pub(crate) fn remove(&mut self, collection_id: u32) {
        if let Some(namespace) = self.names.remove(&collection_id) {
            let removed = self.collections.remove(&namespace);
            for index in removed.iter().flat_map(|collection| &collection.indexes) {
                self.building.remove(&index.id);
            }
        }
    }

    pub(crate) fn take_collection_id(&mut self) -> u32 {
        let id = self.next_collection_id;
        self.next_collection_id += 1;
        id
    }

    pub(crate) fn take_index_id(&mut self) -> u32 {
        let id = self.next_index_id;
        self.next_index_id += 1;
        id
    }
}

/// A collection with `_id_` alone. Its uuid follows from where in the log it was created.
pub(crate) fn new_collection(
    id: u32,
    namespace: Namespace,
    options: RawDocumentBuf,
    (index, term): (u64, u64),
) -> CollectionEntry {
    let mut digest = Md5::new();
    digest.update(namespace.to_string().as_bytes());
    digest.update(id.to_be_bytes());
    digest.update(index.to_be_bytes());
    digest.update(term.to_be_bytes());
    let mut uuid: [u8; 16] = digest.finalize().into();
    // Version 8 (vendor-defined content) and the variant of RFC 9562.
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    let id_index = IndexRequest::of_id().into_entry(0, IndexState::Ready);
    CollectionEntry {
        id,
        namespace,
        uuid,
        rules: Arc::new(Rules::of(&options)),
        collation: collation::of_options(&options),
        options,
        indexes: vec![Arc::new(id_index)],
        counters: Arc::new(CountersCell::default()),
        plan_cache: Arc::default(),
    }
}

impl CollectionEntry {
    /// This collection with one index replaced (by id) or added.
    pub(crate) fn with_index(&self, index: IndexEntry) -> CollectionEntry {
        let mut changed = self.clone();
        changed.plan_cache = Arc::default();
        let place = changed
            .indexes
            .iter()
            .position(|existing| existing.id == index.id);
        match place {
            Some(place) => changed.indexes[place] = Arc::new(index),
            None => changed.indexes.push(Arc::new(index)),
        }
        changed
    }

    /// This collection with other options.
    pub(crate) fn with_options(&self, options: RawDocumentBuf) -> CollectionEntry {
        CollectionEntry {
            rules: Arc::new(Rules::of(&options)),
            options,
            ..self.clone()
        }
    }

    /// This collection without one index.
    pub(crate) fn without_index(&self, index_id: u32) -> CollectionEntry {
        let mut changed = self.clone();
        changed.plan_cache = Arc::default();
        changed.indexes.retain(|index| index.id != index_id);
        changed
    }

    /// The index with this id.
    pub(crate) fn index_by_id(&self, index_id: u32) -> Option<&Arc<IndexEntry>> {
        self.indexes.iter().find(|index| index.id == index_id)
    }
}
