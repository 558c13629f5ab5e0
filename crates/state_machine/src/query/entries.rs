//! The entries of an index scan, one at a time, and the documents they lead to.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use storage_engine::Slice;

use super::bounds::KeyRange;
use super::key_check::KeyCheck;
use super::planner::IndexScan;
use super::request::{QueryError, ScanDirection};
use crate::reader::DocumentScan;
use crate::{Snapshot, keyspace};

/// A key and a value of the engine.
pub(super) type Entry = (Slice, Slice);

/// A running scan of one index.
pub(super) struct Entries {
    ranges: VecDeque<KeyRange>,
    current: Option<DocumentScan>,
    direction: ScanDirection,
    check: Option<KeyCheck>,
    /// Entries are the documents themselves.
    is_id: bool,
    unique: bool,
    /// Keys of documents that came up already; `None` when none can come up twice.
    seen: Option<BTreeSet<Vec<u8>>>,
}

/// What was found at the next key.
pub(super) enum Looked {
    Entry(Entry),
    /// A key that cannot match.
    Rejected,
    End,
}

/// A document and the part of its key that encodes its `_id`.
pub(super) struct Pointed {
    pub id: Vec<u8>,
    pub document: Slice,
}

impl Entries {
    pub fn new(scan: IndexScan) -> Entries {
        Entries {
            seen: scan.may_repeat().then(BTreeSet::new),
            ranges: scan.ranges.into(),
            current: None,
            direction: scan.direction,
            check: scan.check,
            is_id: scan.index.is_id(),
            unique: scan.index.unique,
        }
    }

    /// Looks at the next key.
    pub fn next(&mut self, snapshot: &Snapshot) -> Result<Looked, QueryError> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(entry) = advance(current, self.direction)? {
                    return Ok(self.checked(entry));
                }
                self.current = None;
            }
            let range = match self.direction {
                ScanDirection::Forward => self.ranges.pop_front(),
                ScanDirection::Backward => self.ranges.pop_back(),
            };
            match range {
                None => return Ok(Looked::End),
                Some(KeyRange::Point(key)) => {
                    if let Some(value) = snapshot.get_key(&key)? {
                        return Ok(Looked::Entry((Slice::from(key), value)));
                    }
                }
                Some(KeyRange::Span(from, to)) => {
                    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    self.current = Some(snapshot.range(Bound::Included(&from), to));
                }
            }
        }
    }

    fn checked(&self, entry: Entry) -> Looked {
        let fields = entry.0.get(keyspace::PREFIX_BYTES..).unwrap_or_default();
        match &self.check {
            Some(check) if !check.accepts(fields) => Looked::Rejected,
            _ => Looked::Entry(entry),
        }
    }

    /// The document an entry points to, unless it was given before. An entry without a document cannot be a row;
    /// verifying the index reports it.
    pub fn document(
        &mut self,
        (key, value): Entry,
        snapshot: &Snapshot,
        collection_id: u32,
    ) -> Result<Option<Pointed>, QueryError> {
        if self.is_id {
            return Ok(Some(Pointed {
                id: keyspace::id_part(&key).to_vec(),
                document: value,
            }));
        }
        let Some(parts) = keyspace::index_entry_parts(self.unique, &key, &value) else {
            return Ok(None);
        };
        let id = parts.id.to_vec();
        if let Some(seen) = &mut self.seen
            && !seen.insert(id.clone())
        {
            return Ok(None);
        }
        let document_key = keyspace::document_key_from_id_part(collection_id, &id);
        let document = snapshot.get_key(&document_key)?;
        Ok(document.map(|document| Pointed { id, document }))
    }
}

pub(super) fn advance(
    scan: &mut DocumentScan,
    direction: ScanDirection,
) -> Result<Option<Entry>, QueryError> {
    let entry = match direction {
        ScanDirection::Forward => scan.next(),
        ScanDirection::Backward => scan.next_back(),
    };
    Ok(entry.transpose()?)
}
