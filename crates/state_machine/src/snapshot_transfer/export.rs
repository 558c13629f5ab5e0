//! The sending side.

use std::ops::Bound;

use storage_engine::StorageFault;

use super::chunk::{self, push_entry};
use super::progress::Progress;
use crate::catalog::encode_counts;
use crate::keyspace;
use crate::limits::EXPORT_CHUNK_BYTES_MAX;
use crate::machine::{Applied, encode_applied};
use crate::reader::{CollectionCounts, DocumentScan, Snapshot};

/// An iterator over the chunks of a state, of about 256 KiB before they are compressed. Keeps the snapshot's version
/// readable while it lives.
pub struct Export {
    snapshot: Snapshot,
    applied: Applied,
    stage: Stage,
    /// Everything handed out, this chunk included.
    progress: Progress,
    plain: Vec<u8>,
    /// Entries in `plain`.
    count: u32,
}

/// Key and value.
type Entry = (Vec<u8>, Vec<u8>);

enum Stage {
    Start,
    Entries(DocumentScan),
    Tail(std::vec::IntoIter<Entry>),
    End,
    Done,
}

impl Export {
    /// Exports the state as of the applied index; `None` for a snapshot of an earlier one, whose term and membership it
    /// does not know: see [`Export::at`].
    pub fn new(snapshot: Snapshot) -> Option<Export> {
        let (term, membership) = snapshot.position()?;
        let applied = Applied {
            index: snapshot.as_of(),
            term,
            membership: membership.to_vec(),
        };
        Some(Export::at(snapshot, applied))
    }

    /// Exports the state as of the applied index without the members it had: for another cluster. `None` as for
    /// [`Export::new`].
    pub fn without_members(snapshot: Snapshot) -> Option<Export> {
        let (term, _) = snapshot.position()?;
        let applied = Applied {
            index: snapshot.as_of(),
            term,
            membership: Vec::new(),
        };
        Some(Export::at(snapshot, applied))
    }

    /// Exports the state as of an index whose position the caller has kept. Panics if it is another index's.
    pub fn at(snapshot: Snapshot, applied: Applied) -> Export {
        assert_eq!(
            snapshot.as_of(),
            applied.index,
            "a position belongs to its own index"
        );
        let progress = Progress {
            index: applied.index,
            ..Progress::default()
        };
        Export {
            snapshot,
            applied,
            stage: Stage::Start,
            progress,
            plain: Vec::new(),
            count: 0,
        }
    }

    /// Begins where an importer of the same snapshot has come to.
    pub fn after(mut self, progress: Progress) -> Export {
        assert_eq!(
            progress.index, self.applied.index,
            "progress belongs to its own snapshot"
        );
        self.progress = progress;
        self.stage = Stage::Start;
        self
    }

    /// The position the importer will have.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    fn entries_left(&self) -> DocumentScan {
        let after = self.progress.after.as_slice();
        let from = match after {
            [] => Bound::Included(&[keyspace::SEQUENCES][..]),
            after => Bound::Excluded(after),
        };
        // In the tail nothing is left to scan, and bounds must not cross.
        if after.first() >= Some(&keyspace::COUNTERS) {
            return Box::new(std::iter::empty());
        }
        let to = [keyspace::COUNTERS];
        self.snapshot.range(from, Bound::Excluded(&to))
    }

    /// What is not in the tree as of the snapshot, or not as of this index: counters, next ids, position.
    fn tail(&self) -> Result<Vec<Entry>, StorageFault> {
        let uncounted = encode_counts(CollectionCounts::default());
        let collections = self.snapshot.catalog().collections();
        let mut tail: Vec<_> = collections
            .map(|collection| (keyspace::counters_key(collection.id), uncounted.clone()))
            .collect();
        tail.push((keyspace::applied_key(), encode_applied(&self.applied)));
        if let Some(next_ids) = self.snapshot.get_key(&keyspace::next_ids_key())? {
            tail.push((keyspace::next_ids_key(), next_ids.to_vec()));
        }
        tail.retain(|(key, _)| *key > self.progress.after);
        tail.sort();
        Ok(tail)
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        let start = self.plain.len();
        push_entry(&mut self.plain, key, value);
        self.progress.add(key, &self.plain[start..]);
        self.count += 1;
    }

    /// Adds one entry to the chunk, or moves the stage on.
    fn step(&mut self) -> Result<(), StorageFault> {
        match &mut self.stage {
            Stage::Start => self.stage = Stage::Entries(self.entries_left()),
            Stage::Entries(entries) => match entries.next() {
                Some(entry) => {
                    let (key, value) = entry?;
                    self.push(&key, &value);
                }
                None => self.stage = Stage::Tail(self.tail()?.into_iter()),
            },
            Stage::Tail(tail) => match tail.next() {
                Some((key, value)) => self.push(&key, &value),
                None => self.stage = Stage::End,
            },
            Stage::End | Stage::Done => {}
        }
        Ok(())
    }

    fn end_mark(&self) -> Vec<u8> {
        let Progress {
            entries, digest, ..
        } = self.progress;
        chunk::encode_last(self.applied.index, entries, digest)
    }
}

impl Iterator for Export {
    type Item = Result<Vec<u8>, StorageFault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.plain.len() < EXPORT_CHUNK_BYTES_MAX
            && !matches!(self.stage, Stage::End | Stage::Done)
        {
            if let Err(fault) = self.step() {
                self.stage = Stage::Done;
                self.plain.clear();
                return Some(Err(fault));
            }
        }
        if !self.plain.is_empty() {
            let chunk = chunk::encode_entries(self.applied.index, self.count, &self.plain);
            self.plain.clear();
            self.count = 0;
            return Some(Ok(chunk));
        }
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::End => Some(Ok(self.end_mark())),
            _ => None,
        }
    }
}
