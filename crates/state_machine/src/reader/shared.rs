//! What the apply thread and the readers share.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use storage_engine::Engine;

use crate::catalog::{Catalog, IndexState};
use crate::command::Command;
use crate::limits::{INDEX_BUILD_CHUNK_MAX, READABLE_WINDOW, RECLAIM_KEYS_MAX};

/// What changes as one with every applied entry.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) membership: Arc<[u8]>,
    pub(crate) catalog: Arc<Catalog>,
    /// The log index since which `catalog` holds.
    pub(crate) catalog_since: u64,
    pub(crate) reclaim_pending: bool,
}

/// Versions in use.
#[derive(Default)]
pub(crate) struct Registry {
    /// Version and number of snapshots on it.
    pub(crate) readers: BTreeMap<u64, usize>,
    /// The oldest version still readable.
    pub(crate) oldest: u64,
}

pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) published: RwLock<Published>,
    pub(crate) registry: Mutex<Registry>,
}

impl Shared {
    pub(crate) fn new(engine: Arc<dyn Engine>, published: Published) -> Self {
        let registry = Registry {
            readers: BTreeMap::new(),
            oldest: published.index,
        };
        Shared {
            engine,
            published: RwLock::new(published),
            registry: Mutex::new(registry),
        }
    }

    pub(crate) fn applied_index(&self) -> u64 {
        self.published.read().index
    }

    pub(crate) fn readable_since(&self) -> (usize, u64) {
        let registry = self.registry.lock();
        (registry.readers.values().sum(), registry.oldest)
    }

    /// Lets the engine drop what neither a snapshot nor the readable window needs. Called by the apply thread.
    pub(crate) fn release_old_versions(&self, applied: u64) {
        self.release_before(applied.saturating_sub(READABLE_WINDOW));
    }

    /// Lets the engine drop what no snapshot below the applied index needs.
    pub(crate) fn release_all_old_versions(&self) {
        let published = self.published.read();
        self.release_before(published.index);
    }

    fn release_before(&self, window: u64) {
        let mut registry = self.registry.lock();
        let oldest = match registry.readers.first_key_value() {
            Some((version, _)) => window.min(*version),
            None => window,
        };
        if oldest > registry.oldest {
            registry.oldest = oldest;
            self.engine.set_oldest_reader(oldest);
        }
    }

    pub(crate) fn background_command(&self) -> Option<Command> {
        let published = self.published.read();
        let building = published.catalog.building_indexes().next();
        if let Some((index_id, collection)) = building {
            let complete = collection.indexes.iter().any(|index| {
                index.id == index_id
                    && matches!(index.state, IndexState::Building { complete: true, .. })
            });
            return Some(if complete {
                Command::IndexBuildFinish { index_id }
            } else {
                Command::IndexBuildChunk {
                    index_id,
                    limit: INDEX_BUILD_CHUNK_MAX,
                }
            });
        }
        published.reclaim_pending.then_some(Command::Reclaim {
            limit: RECLAIM_KEYS_MAX,
        })
    }
}
