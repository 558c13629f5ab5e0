//! Reads the chunks of a state without keeping it: checks each as an import does, counts, and computes the same hash of each
//! collection that [`crate::Snapshot::collection_hash`] gives for it.
//!
//! Works in one pass because the catalog comes before the documents, and documents come in the order of their collections.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::chunk::{self, Content, each_entry};
use super::import::ImportError;
use super::progress::Progress;
use crate::catalog::{Namespace, decode_collection};
use crate::keyspace;
use crate::machine::decode_applied;
use crate::reader::{CollectionCounts, begin_digest};

/// A collection in a surveyed state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionSummary {
    /// Its name.
    pub namespace: Namespace,
    /// What it holds.
    pub counts: CollectionCounts,
    /// As [`crate::Snapshot::collection_hash`].
    pub hash: [u8; 16],
}

/// A pass over the chunks of an [`super::Export`], in order.
pub struct Survey {
    progress: Progress,
    collections: BTreeMap<u32, Tally>,
    /// Of all documents so far, those of dropped collections left out.
    total: CollectionCounts,
    positioned: bool,
    ended: bool,
}

struct Tally {
    namespace: Namespace,
    counts: CollectionCounts,
    digest: Md5,
}

impl Survey {
    /// Of the state at `index`.
    pub fn new(index: u64) -> Survey {
        Survey {
            progress: Progress {
                index,
                ..Progress::default()
            },
            collections: BTreeMap::new(),
            total: CollectionCounts::default(),
            positioned: false,
            ended: false,
        }
    }

    /// Takes the next chunk. After an error the survey is of no more use.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), ImportError> {
        let content = chunk::open(self.progress.index, chunk)?;
        if self.ended {
            return Err(ImportError::Incomplete("it goes on after its end mark"));
        }
        match content {
            Content::Entries { count, plain } => each_entry(count, &plain, |key, value, entry| {
                self.take(key, value, entry)
            }),
            Content::Last { entries, digest } => {
                if entries != self.progress.entries || digest != self.progress.digest {
                    return Err(ImportError::Content {
                        announced: entries,
                        received: self.progress.entries,
                    });
                }
                if !self.positioned {
                    return Err(ImportError::Position);
                }
                self.ended = true;
                Ok(())
            }
        }
    }

    /// Whether the end mark has come: nothing may follow.
    pub fn is_whole(&self) -> bool {
        self.ended
    }

    /// Documents so far, and their bytes.
    pub fn total(&self) -> CollectionCounts {
        self.total
    }

    /// The collections, in order of name.
    pub fn finish(self) -> Result<Vec<CollectionSummary>, ImportError> {
        if !self.ended {
            return Err(ImportError::Incomplete("it ends before its end mark"));
        }
        let summaries = self
            .collections
            .into_values()
            .map(|tally| CollectionSummary {
                namespace: tally.namespace,
                counts: tally.counts,
                hash: tally.digest.finalize().into(),
            });
        let mut summaries: Vec<_> = summaries.collect();
        summaries.sort_by(|left, right| left.namespace.cmp(&right.namespace));
        Ok(summaries)
    }

    fn take(&mut self, key: &[u8], value: &[u8], entry: &[u8]) -> Result<(), ImportError> {
        if key <= self.progress.after.as_slice() {
            return Err(ImportError::Order);
        }
        self.progress.add(key, entry);
        match (key.first(), keyspace::catalog_id(key)) {
            (Some(&keyspace::CATALOG), Some(id)) => {
                let collection = decode_collection(id, value, CollectionCounts::default())?;
                let tally = Tally {
                    digest: begin_digest(&collection),
                    namespace: collection.namespace,
                    counts: CollectionCounts::default(),
                };
                self.collections.insert(id, tally);
            }
            (Some(&keyspace::DOCUMENTS), Some(id)) => {
                // Without a tally: of a dropped collection, still to be reclaimed.
                if let Some(tally) = self.collections.get_mut(&id) {
                    tally.digest.update(value);
                    for counts in [&mut tally.counts, &mut self.total] {
                        counts.documents += 1;
                        counts.bytes += value.len() as u64;
                    }
                }
            }
            _ => {}
        }
        if key == keyspace::applied_key() {
            if decode_applied(value)?.index != self.progress.index {
                return Err(ImportError::Position);
            }
            self.positioned = true;
        }
        Ok(())
    }
}
