//! Several index scans as one: one after the other, or merged where each is in the wanted order. A document that more
//! than one of them leads to comes once.

use std::collections::BTreeSet;

use bson::RawDocument;
use document::DocumentError;
use document::sort::SortSpec;
use storage_engine::Slice;

use super::entries::{Entries, Looked, Pointed};
use super::planner::UnionScan;
use super::request::QueryError;
use super::scan::Touched;
use crate::Snapshot;

/// A running union.
pub(super) struct Union {
    branches: Vec<Branch>,
    /// The order in which they are merged; `None` takes them one after the other.
    merge: Option<SortSpec>,
    /// Ids of documents that were given already.
    seen: BTreeSet<Vec<u8>>,
}

struct Branch {
    entries: Entries,
    /// Its next document, with its sort key; only where branches are merged.
    head: Option<(Vec<u8>, Pointed)>,
    ended: bool,
}

/// What one step came to.
pub(super) enum Stepped {
    Document(Slice),
    /// More steps are needed.
    Nothing,
    End,
}

impl Union {
    pub fn new(scan: UnionScan, sort: Option<&SortSpec>) -> Union {
        let branches = scan.branches.into_iter().map(|scan| Branch {
            entries: Entries::new(scan),
            head: None,
            ended: false,
        });
        Union {
            branches: branches.collect(),
            merge: sort.filter(|_| scan.merge).cloned(),
            seen: BTreeSet::new(),
        }
    }

    /// Looks at one key at most.
    pub fn step(
        &mut self,
        snapshot: &Snapshot,
        collection_id: u32,
        touched: &mut Touched,
    ) -> Result<Stepped, QueryError> {
        let is_waiting = |branch: &&mut Branch| !branch.ended && branch.head.is_none();
        if let Some(branch) = self.branches.iter_mut().find(is_waiting) {
            let Some(pointed) = branch.advance(snapshot, collection_id, touched)? else {
                return Ok(Stepped::Nothing);
            };
            return match &self.merge {
                None => Ok(self.give(pointed)),
                Some(sort) => {
                    let document =
                        RawDocument::from_bytes(&pointed.document).map_err(DocumentError::from)?;
                    branch.head = Some((sort.key(document)?, pointed));
                    Ok(Stepped::Nothing)
                }
            };
        }
        // Every branch shows its next document, or has none.
        let heads = self
            .branches
            .iter_mut()
            .filter(|branch| branch.head.is_some());
        let least = heads.min_by(|left, right| {
            let key = |branch: &Branch| branch.head.as_ref().map(|(key, _)| key.clone());
            key(left).cmp(&key(right))
        });
        match least.and_then(|branch| branch.head.take()) {
            Some((_, pointed)) => Ok(self.give(pointed)),
            None => Ok(Stepped::End),
        }
    }

    fn give(&mut self, pointed: Pointed) -> Stepped {
        match self.seen.insert(pointed.id) {
            true => Stepped::Document(pointed.document),
            false => Stepped::Nothing,
        }
    }
}

impl Branch {
    fn advance(
        &mut self,
        snapshot: &Snapshot,
        collection_id: u32,
        touched: &mut Touched,
    ) -> Result<Option<Pointed>, QueryError> {
        match self.entries.next(snapshot)? {
            Looked::End => {
                self.ended = true;
                Ok(None)
            }
            Looked::Rejected => {
                touched.keys += 1;
                Ok(None)
            }
            Looked::Entry(entry) => {
                touched.keys += 1;
                let pointed = self.entries.document(entry, snapshot, collection_id)?;
                touched.documents += u64::from(pointed.is_some());
                Ok(pointed)
            }
        }
    }
}
