//! Documents whose time has passed: found in the entries of indexes with `expireAfterSeconds`, on the leader, and named by
//! their entries in a [`Command::ExpireDocuments`], which checks each again when it is applied.
//!
//! The time comes from the caller; nothing here looks at a clock. An entry is expired when its date, plus the index's
//! seconds, is not after that time. Arrays have an entry per date, so the earliest decides; what is no date never expires.

use std::ops::Bound;
use std::sync::Arc;

use bson::{DateTime, RawBsonRef};
use document::key_encoding::{self, Direction};
use storage_engine::StorageFault;

use crate::catalog::{CollectionEntry, IndexEntry};
use crate::keyspace;
use crate::{Command, Snapshot};

/// The keys of an index's entries that have expired.
pub(crate) struct ExpiredKeys {
    from: Vec<u8>,
    to: Bound<Vec<u8>>,
}

impl ExpiredKeys {
    /// Of `index` at a time in milliseconds since 1970; `None` if nothing in it ever expires.
    pub(crate) fn of(index: &IndexEntry, now_ms: i64) -> Option<ExpiredKeys> {
        let seconds = index.expire_after_seconds?;
        let [(_, direction)] = &index.fields[..] else {
            return None;
        };
        let latest = now_ms.saturating_sub(i64::from(seconds).saturating_mul(1000));
        let (first, last) = match direction {
            Direction::Ascending => (i64::MIN, latest),
            Direction::Descending => (latest, i64::MIN),
        };
        let key = |at_ms| {
            let mut key = keyspace::index_prefix(index.id).to_vec();
            let date = RawBsonRef::DateTime(DateTime::from_millis(at_ms));
            key_encoding::encode(date, *direction, &mut key);
            key
        };
        Some(ExpiredKeys {
            from: key(first),
            to: keyspace::prefix_end(&key(last)),
        })
    }

    pub(crate) fn contain(&self, key: &[u8]) -> bool {
        let before_end = match &self.to {
            Bound::Excluded(end) => key < end.as_slice(),
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Unbounded => true,
        };
        key >= self.from.as_slice() && before_end
    }
}

/// Expired documents of one index, as a command to propose.
#[derive(Debug, PartialEq)]
pub struct ExpiredBatch {
    /// Deletes them.
    pub command: Command,
    /// How many entries it names.
    pub entries: usize,
    /// The last of them: where the search goes on.
    pub last: Vec<u8>,
}

impl Snapshot {
    /// The indexes whose documents expire, with their collections, in order of id. Those still being built are left out.
    pub fn expiring_indexes(&self) -> Vec<(Arc<CollectionEntry>, Arc<IndexEntry>)> {
        let mut expiring = Vec::new();
        for collection in self.catalog().collections() {
            for index in collection.ready_indexes() {
                if index.expire_after_seconds.is_some() {
                    expiring.push((collection.clone(), index.clone()));
                }
            }
        }
        expiring.sort_by_key(|(_, index)| index.id);
        expiring
    }

    /// One of the [`Snapshot::expiring_indexes`].
    pub fn expiring_index(&self, index_id: u32) -> Option<Arc<IndexEntry>> {
        let mut expiring = self.expiring_indexes().into_iter();
        expiring
            .find(|(_, index)| index.id == index_id)
            .map(|(_, index)| index)
    }

    /// The first documents in `index`, after the entry `after`, that have expired by `now_ms`; at most `limit` entries.
    ///
    /// # Errors
    /// This machine's storage.
    pub fn find_expired(
        &self,
        index: &IndexEntry,
        after: Option<&[u8]>,
        now_ms: i64,
        limit: usize,
    ) -> Result<Option<ExpiredBatch>, StorageFault> {
        let Some(expired) = ExpiredKeys::of(index, now_ms) else {
            return Ok(None);
        };
        let from = match after {
            Some(after) if expired.contain(after) => Bound::Excluded(after),
            _ => Bound::Included(expired.from.as_slice()),
        };
        let mut entries = Vec::new();
        let mut last = Vec::new();
        for entry in self
            .range(from, expired.to.as_ref().map(Vec::as_slice))
            .take(limit)
        {
            let (key, _) = entry?;
            last = key.to_vec();
            entries.push(last[keyspace::PREFIX_BYTES..].to_vec());
        }
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(ExpiredBatch {
            entries: entries.len(),
            last,
            command: Command::ExpireDocuments {
                index_id: index.id,
                now_ms,
                entries,
            },
        }))
    }
}
