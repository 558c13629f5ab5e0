//! The sending side.

use std::collections::BTreeMap;
use std::ops::Bound;

use storage_engine::StorageFault;

use super::{END, VERSION};
use crate::catalog::encode_counts;
use crate::keyspace;
use crate::limits::EXPORT_CHUNK_BYTES_MAX;
use crate::machine::{Applied, encode_applied};
use crate::reader::{CollectionCounts, DocumentScan, Snapshot};

/// An iterator over the chunks of a state, each at most 256 KiB. Keeps the snapshot's version readable while it lives.
pub struct Export {
    snapshot: Snapshot,
    applied: Applied,
    stage: Stage,
    /// Bytes not handed out yet, from `sent` on.
    buffer: Vec<u8>,
    sent: usize,
    counts: BTreeMap<u32, CollectionCounts>,
    entries: u64,
}

/// Key and value.
type Entry = (Vec<u8>, Vec<u8>);

enum Stage {
    Entries(DocumentScan),
    Tail(std::vec::IntoIter<Entry>),
    Done,
}

impl Export {
    /// Exports the state as of `snapshot`; `None` for a snapshot of an index below the applied one, whose term is not
    /// known any more.
    pub fn new(snapshot: Snapshot) -> Option<Export> {
        let (term, membership) = snapshot.position()?;
        let applied = Applied {
            index: snapshot.as_of(),
            term,
            membership: membership.to_vec(),
        };
        let entries = snapshot.range(
            Bound::Included(&[keyspace::CATALOG]),
            Bound::Excluded(&[keyspace::COUNTERS]),
        );
        let mut buffer = Vec::with_capacity(2 * EXPORT_CHUNK_BYTES_MAX);
        buffer.push(VERSION);
        buffer.extend_from_slice(&applied.index.to_le_bytes());
        Some(Export {
            snapshot,
            applied,
            stage: Stage::Entries(entries),
            buffer,
            sent: 0,
            counts: BTreeMap::new(),
            entries: 0,
        })
    }

    /// The position the importer will have.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            let length = u32::try_from(part.len()).expect("keys and values are far below 4 GiB");
            self.buffer.extend_from_slice(&length.to_le_bytes());
            self.buffer.extend_from_slice(part);
        }
        self.entries += 1;
    }

    fn count(&mut self, key: &[u8], value: &[u8]) {
        if key.first() == Some(&keyspace::DOCUMENTS)
            && let Some(id) = keyspace::catalog_id(key)
            && self.snapshot.catalog().collection_by_id(id).is_some()
        {
            let counts = self.counts.entry(id).or_default();
            counts.documents += 1;
            counts.bytes += value.len() as u64;
        }
    }

    /// What is not in the tree as of the snapshot, or not as of this index: counters, next ids, position.
    fn tail(&self) -> Result<Vec<Entry>, StorageFault> {
        let mut tail: Vec<_> = self
            .counts
            .iter()
            .map(|(id, counts)| (keyspace::counters_key(*id), encode_counts(*counts)))
            .collect();
        tail.push((keyspace::applied_key(), encode_applied(&self.applied)));
        if let Some(next_ids) = self.snapshot.get_key(&keyspace::next_ids_key())? {
            tail.push((keyspace::next_ids_key(), next_ids.to_vec()));
        }
        tail.sort();
        Ok(tail)
    }

    /// Moves one entry into the buffer, or the stage on.
    fn step(&mut self) -> Result<(), StorageFault> {
        match &mut self.stage {
            Stage::Entries(entries) => match entries.next() {
                Some(entry) => {
                    let (key, value) = entry?;
                    self.count(&key, &value);
                    self.push(&key, &value);
                }
                None => self.stage = Stage::Tail(self.tail()?.into_iter()),
            },
            Stage::Tail(tail) => match tail.next() {
                Some((key, value)) => self.push(&key, &value),
                None => {
                    self.buffer.extend_from_slice(&END.to_le_bytes());
                    self.buffer.extend_from_slice(&self.entries.to_le_bytes());
                    self.stage = Stage::Done;
                }
            },
            Stage::Done => {}
        }
        Ok(())
    }
}

impl Iterator for Export {
    type Item = Result<Vec<u8>, StorageFault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.buffer.len() - self.sent < EXPORT_CHUNK_BYTES_MAX
            && !matches!(self.stage, Stage::Done)
        {
            if let Err(fault) = self.step() {
                self.stage = Stage::Done;
                self.buffer.clear();
                self.sent = 0;
                return Some(Err(fault));
            }
        }
        let end = self.buffer.len().min(self.sent + EXPORT_CHUNK_BYTES_MAX);
        let chunk = self.buffer[self.sent..end].to_vec();
        self.sent = end;
        if self.sent == self.buffer.len() {
            self.buffer.clear();
            self.sent = 0;
        } else if self.sent >= self.buffer.len() / 2 {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
        (!chunk.is_empty()).then_some(Ok(chunk))
    }
}
