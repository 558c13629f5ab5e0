//! What can be said about sizes without reading everything.

use storage_engine::StorageFault;

use super::Snapshot;
use crate::catalog::CollectionEntry;
use crate::keyspace;

/// Entries that are looked at per index.
const SAMPLE: usize = 100;

impl Snapshot {
    /// About how many bytes the entries of a collection's indexes have, before compression: the mean of the first entries of
    /// each, times the number of documents. Exact for small ones; too high for sparse indexes, too low for indexed arrays.
    /// `_id_` has no entries of its own.
    ///
    /// # Errors
    /// This machine's storage.
    pub fn estimated_index_bytes(&self, collection: &CollectionEntry) -> Result<u64, StorageFault> {
        let counts = self.counts(&collection.namespace).unwrap_or_default();
        let mut total = 0;
        for index in collection.indexes.iter().filter(|index| !index.is_id()) {
            let (mut count, mut bytes) = (0, 0);
            for entry in self.prefix(&keyspace::index_prefix(index.id)).take(SAMPLE) {
                let (key, value) = entry?;
                count += 1;
                bytes += (key.len() + value.len()) as u64;
            }
            total += match count {
                0 => 0,
                _ if count < SAMPLE as u64 => bytes,
                _ => bytes * counts.documents.max(count) / count,
            };
        }
        Ok(total)
    }
}
