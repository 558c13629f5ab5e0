//! One command's writes over the engine as of the previous log index. A key touched twice is written once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use storage_engine::{Engine, Slice, StorageFault};

use super::Effect;
use crate::catalog::{
    Catalog, CollectionEntry, CountsChange, Namespace, encode_collection, encode_next_ids,
};
use crate::keyspace::{self, DroppedSpace};
use crate::reply::Reply;

pub(super) struct Overlay<'a> {
    engine: &'a dyn Engine,
    /// Log index and term of the command.
    pub(super) position: (u64, u64),
    base: Arc<Catalog>,
    changed: Option<Catalog>,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    counts: BTreeMap<u32, CountsChange>,
    reclaim_pending: Option<bool>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(engine: &'a dyn Engine, base: Arc<Catalog>, position: (u64, u64)) -> Self {
        Overlay {
            engine,
            position,
            base,
            changed: None,
            writes: BTreeMap::new(),
            counts: BTreeMap::new(),
            reclaim_pending: None,
        }
    }

    fn as_of(&self) -> u64 {
        self.position.0 - 1
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>, StorageFault> {
        match self.writes.get(key) {
            Some(Some(value)) => Ok(Some(Slice::from(value.as_slice()))),
            Some(None) => Ok(None),
            None => self.engine.get(key, self.as_of()),
        }
    }

    /// Keys and values between the bounds *without* this command's own writes.
    pub(super) fn range_before(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl Iterator<Item = Result<(Slice, Slice), StorageFault>> + use<> {
        self.engine.range(from, to, self.as_of())
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    pub(super) fn count(&mut self, collection_id: u32, documents: i64, bytes: i64) {
        let change = self.counts.entry(collection_id).or_default();
        change.documents += documents;
        change.bytes += bytes;
    }

    pub(super) fn catalog(&self) -> &Catalog {
        self.changed.as_ref().unwrap_or(&self.base)
    }

    pub(super) fn catalog_mut(&mut self) -> &mut Catalog {
        self.changed.get_or_insert_with(|| (*self.base).clone())
    }

    pub(super) fn collection(&self, namespace: &Namespace) -> Option<Arc<CollectionEntry>> {
        self.catalog().collection(namespace).cloned()
    }

    pub(super) fn put_collection(&mut self, collection: CollectionEntry) -> Arc<CollectionEntry> {
        let collection = Arc::new(collection);
        self.put(
            keyspace::catalog_key(collection.id),
            encode_collection(&collection),
        );
        self.catalog_mut().put(collection.clone());
        collection
    }

    /// Forgets a collection; its data waits for `Reclaim`.
    pub(super) fn drop_collection(&mut self, collection: &CollectionEntry) {
        self.catalog_mut().remove(collection.id);
        self.delete(keyspace::catalog_key(collection.id));
        if collection.rules.sequence.is_some() {
            self.delete(keyspace::sequence_key(collection.id));
        }
        self.mark_dropped(DroppedSpace::Collection(collection.id));
        for index in collection.indexes.iter().filter(|index| !index.is_id()) {
            self.mark_dropped(DroppedSpace::Index(index.id));
        }
        // Marks the counters as changed, so that they are deleted with the next rotation.
        self.count(collection.id, 0, 0);
    }

    pub(super) fn mark_dropped(&mut self, space: DroppedSpace) {
        self.put(keyspace::dropped_key(space), Vec::new());
        self.reclaim_pending = Some(true);
    }

    pub(super) fn set_reclaim_pending(&mut self, pending: bool) {
        self.reclaim_pending = Some(pending);
    }

    pub(super) fn finish(mut self, reply: Reply) -> Effect {
        if let Some(changed) = &self.changed {
            let ids = (changed.next_collection_id, changed.next_index_id);
            if ids != (self.base.next_collection_id, self.base.next_index_id) {
                let record = encode_next_ids(changed);
                self.writes.insert(keyspace::next_ids_key(), Some(record));
            }
        }
        Effect {
            reply,
            batch: self.writes.into_iter().collect(),
            catalog: self.changed,
            counts: self.counts,
            reclaim_pending: self.reclaim_pending,
        }
    }
}
