//! Runs a plan's access: gives the stored documents that match, in the order of the access, one at a time.

use bson::RawDocumentBuf;
use document::filter::Filter;
use document::sort::SortSpec;
use storage_engine::Slice;

use super::covering::Covering;
use super::entries::{Entries, Looked, advance};
use super::interrupt::Interrupt;
use super::intersection::{self, Intersection, Met};
use super::planner::Access;
use super::request::{QueryError, ScanDirection};
use super::row::Row;
use super::union::{Stepped, Union};
use crate::reader::DocumentScan;
use crate::{Snapshot, keyspace};

/// Keys looked at between two questions to the interrupt.
const STEPS_PER_CHECK: u32 = 64;

/// What a scan has touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Touched {
    pub keys: u64,
    pub documents: u64,
    /// Documents that matched.
    pub matched: u64,
}

/// A running access.
pub(super) struct Scan {
    snapshot: Snapshot,
    collection_id: u32,
    /// `None` when every document found matches.
    filter: Option<Filter>,
    /// Set where entries give rows, which then match.
    covering: Option<Covering>,
    source: Source,
    interrupt: Interrupt,
    steps: u32,
    pub touched: Touched,
    /// What the owner has been told of that.
    told: Touched,
}

enum Source {
    Finished,
    Id(Vec<u8>),
    Documents(DocumentScan, ScanDirection),
    Entries(Box<Entries>),
    Union(Union),
    Intersection(Box<Intersection>),
}

/// What one step of a scan came to.
pub(super) enum Advance {
    /// A document that matches.
    Row(Row),
    /// More steps are needed.
    Nothing,
    End,
}

/// What one step of a scan found.
enum Found {
    Document(Slice),
    /// A row that was made of an entry.
    Covered(RawDocumentBuf),
    /// An entry that leads to no row.
    Skipped,
    End,
}

impl Scan {
    pub fn new(
        snapshot: &Snapshot,
        collection_id: u32,
        access: Access,
        sort: Option<&SortSpec>,
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
            Access::Index(scan) => Source::Entries(Box::new(Entries::new(scan))),
            Access::Union(scan) => Source::Union(Union::new(scan, sort)),
            Access::Intersection(scan) => Source::Intersection(Box::new(Intersection::new(scan))),
        };
        Scan {
            snapshot: snapshot.clone(),
            collection_id,
            filter: (!filter.is_always_true()).then_some(filter),
            covering: None,
            source,
            interrupt,
            steps: 0,
            touched: Touched::default(),
            told: Touched::default(),
        }
    }

    /// The same with rows made of entries, as far as they tell. Right only for an access that covers its filter.
    pub fn covered_by(mut self, covering: Option<Covering>) -> Scan {
        self.covering = covering;
        self
    }

    /// How many entries the access has, at most `limit`, without looking at documents. Right only for a plan that
    /// covers its filter.
    pub fn count_entries(&mut self, limit: u64) -> Result<u64, QueryError> {
        let counted = self.count_up_to(limit);
        self.tell();
        counted
    }

    fn count_up_to(&mut self, limit: u64) -> Result<u64, QueryError> {
        let mut count = 0;
        while count < limit {
            self.check()?;
            let more = match &mut self.source {
                Source::Finished | Source::Union(_) | Source::Intersection(_) => false,
                Source::Id(key) => {
                    let found = self.snapshot.get_key(key)?.is_some();
                    self.source = Source::Finished;
                    found
                }
                Source::Documents(documents, _) => documents.next().transpose()?.is_some(),
                Source::Entries(entries) => match entries.next(&self.snapshot)? {
                    Looked::Entry(_) => true,
                    Looked::Rejected => {
                        self.touched.keys += 1;
                        continue;
                    }
                    Looked::End => false,
                },
            };
            if !more {
                break;
            }
            self.touched.keys += 1;
            count += 1;
        }
        Ok(count)
    }

    /// Tells the owner what was touched since it was told last.
    fn tell(&mut self) {
        let keys = self.touched.keys - self.told.keys;
        let documents = self.touched.documents - self.told.documents;
        self.told = self.touched;
        self.interrupt.examined(keys, documents);
    }

    /// The next document that matches.
    pub fn next_row(&mut self) -> Result<Option<Row>, QueryError> {
        let row = self.next_match();
        self.tell();
        row
    }

    fn next_match(&mut self) -> Result<Option<Row>, QueryError> {
        loop {
            match self.advance()? {
                Advance::Row(row) => return Ok(Some(row)),
                Advance::Nothing => {}
                Advance::End => return Ok(None),
            }
        }
    }

    /// Looks at one key or document.
    pub fn advance(&mut self) -> Result<Advance, QueryError> {
        let advanced = self.try_advance();
        if advanced.is_err() {
            self.source = Source::Finished;
        }
        advanced
    }

    fn try_advance(&mut self) -> Result<Advance, QueryError> {
        let document = match self.step()? {
            Found::Document(document) => document,
            Found::Covered(row) => {
                self.touched.matched += 1;
                return Ok(Advance::Row(Row::from(row)));
            }
            Found::Skipped => return Ok(Advance::Nothing),
            Found::End => return Ok(Advance::End),
        };
        let row = Row::stored(document)?;
        let matches = match &self.filter {
            None => true,
            Some(filter) => filter.try_matches(&row)?,
        };
        if !matches {
            return Ok(Advance::Nothing);
        }
        self.touched.matched += 1;
        Ok(Advance::Row(match &self.covering {
            Some(covering) => Row::from(covering.of_document(&row)),
            None => row,
        }))
    }

    /// Asks the interrupt every few times; for whoever gives the rows after they were scanned.
    pub fn check(&mut self) -> Result<(), QueryError> {
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
                Looked::Entry(entry) => {
                    self.touched.keys += 1;
                    let covering = self.covering.as_ref();
                    if let Some(row) = covering.and_then(|covering| covering.of_entry(&entry)) {
                        return Ok(Found::Covered(row));
                    }
                    let pointed = entries.document(entry, &self.snapshot, self.collection_id)?;
                    pointed.map_or(Found::Skipped, |pointed| Found::Document(pointed.document))
                }
                Looked::Rejected => {
                    self.touched.keys += 1;
                    Found::Skipped
                }
                Looked::End => Found::End,
            },
            Source::Intersection(intersection) => {
                let before = intersection.keys;
                let met = intersection.step(&self.snapshot)?;
                self.touched.keys += intersection.keys - before;
                match met {
                    Met::Document(id) => {
                        let document =
                            intersection::document(&self.snapshot, self.collection_id, &id)?;
                        document.map_or(Found::Skipped, Found::Document)
                    }
                    Met::Nothing => Found::Skipped,
                    Met::End => Found::End,
                }
            }
            Source::Union(union) => {
                let step = union.step(&self.snapshot, self.collection_id, &mut self.touched)?;
                return Ok(match step {
                    Stepped::Document(document) => Found::Document(document),
                    Stepped::Nothing => Found::Skipped,
                    Stepped::End => Found::End,
                });
            }
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
        self.next_row().transpose()
    }
}
