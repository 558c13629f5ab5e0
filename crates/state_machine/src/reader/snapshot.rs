//! The state as of one log index.

use std::ops::Bound;
use std::sync::Arc;

use bson::RawBsonRef;
use storage_engine::{Slice, StorageFault};

use super::{CollectionCounts, Shared};
use crate::catalog::{Catalog, CollectionEntry, Namespace, load};
use crate::keyspace;

/// Keys and values in key order, from either end.
pub type DocumentScan =
    Box<dyn DoubleEndedIterator<Item = Result<(Slice, Slice), StorageFault>> + Send>;

/// Keeps a version readable while any clone of a snapshot lives.
struct Registration {
    shared: Arc<Shared>,
    version: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registry = self.shared.registry.lock();
        if let Some(count) = registry.readers.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                registry.readers.remove(&self.version);
            }
        }
    }
}

/// Keeps a version readable; read it with [`super::Reader::snapshot_at`].
pub struct Retained {
    #[allow(dead_code, reason = "held for its drop")]
    registration: Registration,
}

impl Retained {
    pub(super) fn new(shared: &Arc<Shared>, version: u64) -> Retained {
        let mut registry = shared.registry.lock();
        *registry.readers.entry(version).or_default() += 1;
        registry.oldest = registry.oldest.min(version);
        Retained {
            registration: Registration {
                shared: shared.clone(),
                version,
            },
        }
    }
}

impl std::fmt::Debug for Retained {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Retained")
            .field("version", &self.registration.version)
            .finish_non_exhaustive()
    }
}

/// The state as of one log index. Cheap to clone; the version stays readable while a clone lives.
#[derive(Clone)]
pub struct Snapshot {
    registration: Arc<Registration>,
    catalog: Arc<Catalog>,
    position: Option<(u64, Arc<[u8]>)>,
}

impl Snapshot {
    pub(super) fn latest(shared: &Arc<Shared>) -> Snapshot {
        let (version, catalog, position) = {
            let published = shared.published.read();
            // Under the publication lock, so that the version cannot fall out of the window in between.
            *shared
                .registry
                .lock()
                .readers
                .entry(published.index)
                .or_default() += 1;
            (
                published.index,
                published.catalog.clone(),
                (published.term, published.membership.clone()),
            )
        };
        Snapshot {
            registration: Arc::new(Registration {
                shared: shared.clone(),
                version,
            }),
            catalog,
            position: Some(position),
        }
    }

    pub(super) fn at(shared: &Arc<Shared>, index: u64) -> Result<Option<Snapshot>, StorageFault> {
        let current = {
            let published = shared.published.read();
            let mut registry = shared.registry.lock();
            if index > published.index || index < registry.oldest {
                return Ok(None);
            }
            *registry.readers.entry(index).or_default() += 1;
            (index >= published.catalog_since).then(|| published.catalog.clone())
        };
        let registration = Arc::new(Registration {
            shared: shared.clone(),
            version: index,
        });
        let catalog = match current {
            Some(catalog) => catalog,
            None => Arc::new(load(&*shared.engine, index)?),
        };
        Ok(Some(Snapshot {
            registration,
            catalog,
            position: None,
        }))
    }

    /// The log index this shows.
    pub fn as_of(&self) -> u64 {
        self.registration.version
    }

    /// Term and membership of the entry at [`Snapshot::as_of`]; known for snapshots of the applied index only.
    pub(crate) fn position(&self) -> Option<(u64, &[u8])> {
        let (term, membership) = self.position.as_ref()?;
        Some((*term, membership))
    }

    /// The collections and indexes.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The collection of this name.
    pub fn collection(&self, namespace: &Namespace) -> Option<&Arc<CollectionEntry>> {
        self.catalog.collection(namespace)
    }

    /// The document with this `_id`, as raw BSON.
    pub fn get(
        &self,
        collection_id: u32,
        id: RawBsonRef<'_>,
    ) -> Result<Option<Slice>, StorageFault> {
        self.get_key(&keyspace::document_key(collection_id, id))
    }

    /// The value at a key of [`crate::keyspace`].
    pub fn get_key(&self, key: &[u8]) -> Result<Option<Slice>, StorageFault> {
        self.registration.shared.engine.get(key, self.as_of())
    }

    /// Keys and values between two keys of [`crate::keyspace`].
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> DocumentScan {
        self.registration
            .shared
            .engine
            .range(from, to, self.as_of())
    }

    /// All documents of a collection in `_id` order.
    pub fn scan(&self, collection_id: u32) -> DocumentScan {
        self.prefix(&keyspace::documents_prefix(collection_id))
    }

    /// Everything whose key starts with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> DocumentScan {
        let end = keyspace::prefix_end(prefix);
        self.range(Bound::Included(prefix), end.as_ref().map(Vec::as_slice))
    }

    /// How much a collection holds *now* (not as of the snapshot), without reading it: what is published, which is
    /// never older than this snapshot. `None` if it does not exist in this snapshot.
    pub fn counts(&self, namespace: &Namespace) -> Option<CollectionCounts> {
        let collection = self.collection(namespace)?;
        let _published = self.registration.shared.published.read();
        Some(collection.counters.get())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Snapshot")
            .field("as_of", &self.as_of())
            .finish_non_exhaustive()
    }
}
