//! Runs a plan's access: gives the stored documents that match, in the order of the access, one at a time.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use document::filter::Filter;
use storage_engine::Slice;

use super::bounds::KeyRange;
use super::interrupt::Interrupt;
use super::planner::{Access, IndexScan};
use super::request::{QueryError, ScanDirection};
use super::row::Row;
use crate::reader::DocumentScan;
use crate::{Snapshot, keyspace};

/// Keys looked at between two questions to the interrupt.
const STEPS_PER_CHECK: u32 = 64;

/// What a scan has touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Touched {
    pub keys: u64,
    pub documents: u64,
}

/// A running access.
pub(super) struct Scan {
    snapshot: Snapshot,
    collection_id: u32,
    /// `None` when every document found matches.
    filter: Option<Filter>,
    source: Source,
    interrupt: Interrupt,
    steps: u32,
    pub touched: Touched,
}

enum Source {
    Finished,
    Id(Vec<u8>),
    Documents(DocumentScan, ScanDirection),
    Entries(Entries),
}

/// A key and a value of the engine.
type Entry = (Slice, Slice);

struct Entries {
    ranges: VecDeque<KeyRange>,
    current: Option<DocumentScan>,
    direction: ScanDirection,
    /// Entries are the documents themselves.
    is_id: bool,
    unique: bool,
    /// Keys of documents that came up already; `None` when none can come up twice.
    seen: Option<BTreeSet<Vec<u8>>>,
}

/// What one step of a scan found.
enum Found {
    Document(Slice),
    /// An entry that leads to no row.
    Skipped,
    End,
}

impl Scan {
    pub fn new(
        snapshot: &Snapshot,
        collection_id: u32,
        access: Access,
        filter: Filter,
        interrupt: Interrupt,
    ) -> Scan {
        let source = match access {
            Access::Nothing => Source::Finished,
            Access::Id(id) => {
                Source::Id(keyspace::document_key(collection_id, id.as_raw_bson_ref()))
            }
            Access::Collection(direction) => {
                Source::Documents(snapshot.scan(collection_id), direction)
            }
            Access::Index(scan) => Source::Entries(Entries::new(scan)),
        };
        Scan {
            snapshot: snapshot.clone(),
            collection_id,
            filter: (!filter.is_always_true()).then_some(filter),
            source,
            interrupt,
            steps: 0,
            touched: Touched::default(),
        }
    }

    /// How many entries the access has, at most `limit`, without looking at documents. Right only for a plan that
    /// covers its filter.
    pub fn count_entries(&mut self, limit: u64) -> Result<u64, QueryError> {
        let mut count = 0;
        while count < limit {
            self.check()?;
            let more = match &mut self.source {
                Source::Finished => false,
                Source::Id(key) => {
                    let found = self.snapshot.get_key(key)?.is_some();
                    self.source = Source::Finished;
                    found
                }
                Source::Documents(documents, _) => documents.next().transpose()?.is_some(),
                Source::Entries(entries) => entries.next(&self.snapshot)?.is_some(),
            };
            if !more {
                break;
            }
            self.touched.keys += 1;
            count += 1;
        }
        Ok(count)
    }

    fn check(&mut self) -> Result<(), QueryError> {
        if self.steps.is_multiple_of(STEPS_PER_CHECK)
            && let Some(reason) = self.interrupt.reason()
        {
            return Err(QueryError::Interrupted(reason));
        }
        self.steps = self.steps.wrapping_add(1);
        Ok(())
    }

    fn step(&mut self) -> Result<Found, QueryError> {
        self.check()?;
        let found = match &mut self.source {
            Source::Finished => Found::End,
            Source::Id(key) => {
                let document = self.snapshot.get_key(key)?;
                self.source = Source::Finished;
                self.touched.keys += 1;
                document.map_or(Found::End, Found::Document)
            }
            Source::Documents(documents, direction) => match advance(documents, *direction)? {
                Some((_, document)) => Found::Document(document),
                None => Found::End,
            },
            Source::Entries(entries) => match entries.next(&self.snapshot)? {
                Some(entry) => {
                    self.touched.keys += 1;
                    entries.document(entry, &self.snapshot, self.collection_id)?
                }
                None => Found::End,
            },
        };
        if matches!(found, Found::Document(_)) {
            self.touched.documents += 1;
        }
        Ok(found)
    }
}

impl Iterator for Scan {
    type Item = Result<Row, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let document = match self.step() {
                Ok(Found::Document(document)) => document,
                Ok(Found::Skipped) => continue,
                Ok(Found::End) => return None,
                Err(error) => {
                    self.source = Source::Finished;
                    return Some(Err(error));
                }
            };
            let row = match Row::stored(document) {
                Ok(row) => row,
                Err(error) => return Some(Err(error.into())),
            };
            let matches = match &self.filter {
                None => Ok(true),
                Some(filter) => filter.try_matches(&row),
            };
            match matches {
                Ok(true) => return Some(Ok(row)),
                Ok(false) => {}
                Err(error) => {
                    self.source = Source::Finished;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}

impl Entries {
    fn new(scan: IndexScan) -> Entries {
        Entries {
            seen: scan.may_repeat().then(BTreeSet::new),
            ranges: scan.ranges.into(),
            current: None,
            direction: scan.direction,
            is_id: scan.index.is_id(),
            unique: scan.index.unique,
        }
    }

    fn next(&mut self, snapshot: &Snapshot) -> Result<Option<Entry>, QueryError> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(entry) = advance(current, self.direction)? {
                    return Ok(Some(entry));
                }
                self.current = None;
            }
            let range = match self.direction {
                ScanDirection::Forward => self.ranges.pop_front(),
                ScanDirection::Backward => self.ranges.pop_back(),
            };
            match range {
                None => return Ok(None),
                Some(KeyRange::Point(key)) => {
                    if let Some(value) = snapshot.get_key(&key)? {
                        return Ok(Some((Slice::from(key), value)));
                    }
                }
                Some(KeyRange::Span(from, to)) => {
                    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    self.current = Some(snapshot.range(Bound::Included(&from), to));
                }
            }
        }
    }

    /// The document an entry points to, unless it was given before. An entry without a document cannot be a row;
    /// verifying the index reports it.
    fn document(
        &mut self,
        (key, value): Entry,
        snapshot: &Snapshot,
        collection_id: u32,
    ) -> Result<Found, QueryError> {
        if self.is_id {
            return Ok(Found::Document(value));
        }
        let Some(parts) = keyspace::index_entry_parts(self.unique, &key, &value) else {
            return Ok(Found::Skipped);
        };
        if let Some(seen) = &mut self.seen
            && !seen.insert(parts.id.to_vec())
        {
            return Ok(Found::Skipped);
        }
        let document_key = keyspace::document_key_from_id_part(collection_id, parts.id);
        let document = snapshot.get_key(&document_key)?;
        Ok(document.map_or(Found::Skipped, Found::Document))
    }
}

fn advance(scan: &mut DocumentScan, direction: ScanDirection) -> Result<Option<Entry>, QueryError> {
    let entry = match direction {
        ScanDirection::Forward => scan.next(),
        ScanDirection::Backward => scan.next_back(),
    };
    Ok(entry.transpose()?)
}
