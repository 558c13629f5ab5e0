//! The documents that two indexes both lead to, where each holds its one value in the order of `_id`s: the two are read side
//! by side, and where one is far ahead the other seeks. Nothing is kept in memory.
//!
//! It pays where both conditions hold for many documents and few of them are the same: keys are read in the place of documents.
//! Whether that is so is tried out on the first keys; in doubt the better of the two indexes is used alone.

use std::cmp::Ordering;
use std::ops::Bound;

use storage_engine::Slice;

use super::bounds::KeyRange;
use super::candidate::Candidate;
use super::entries::advance;
use super::planner::IndexScan;
use super::request::{QueryError, ScanDirection};
use crate::reader::DocumentScan;
use crate::{Snapshot, keyspace};

/// Entries of one side that are passed over one by one before it seeks.
const PASSED_OVER_MAX: u32 = 16;
/// Keys that are looked at to find out whether it pays.
const TRIED_KEYS_MAX: u64 = 400;
/// What reading a document, or seeking, costs beside a key.
const READ_COST: u64 = 4;
/// How many times cheaper it has to be.
const GAIN_MIN: u64 = 2;

/// Two scans whose entries are in the order of their `_id`s.
#[derive(Debug, Clone)]
pub(super) struct IntersectionScan {
    pub sides: [IndexScan; 2],
}

/// The best of the candidates and another one that can be read at its side, if it pays. The best is known to have many
/// keys.
pub(super) fn worthwhile(
    snapshot: &Snapshot,
    candidates: &[Candidate],
) -> Result<Option<IntersectionScan>, QueryError> {
    let Some((best, others)) = candidates.split_first() else {
        return Ok(None);
    };
    if !is_in_id_order(&best.scan) || best.gives_order || best.covering.is_some() {
        return Ok(None);
    }
    let differs = |other: &&Candidate| {
        let fields = &best.scan.index.fields;
        let mut theirs = other.scan.index.fields.iter();
        is_in_id_order(&other.scan)
            && theirs.all(|(path, _)| fields.iter().all(|(known, _)| known != path))
    };
    let Some(other) = others.iter().find(differs) else {
        return Ok(None);
    };
    let scan = IntersectionScan {
        sides: [best.scan.clone(), other.scan.clone()],
    };
    Ok(pays(snapshot, &scan)?.then_some(scan))
}

/// Whether all entries of the scan have one and the same key but for the `_id` at its end.
fn is_in_id_order(scan: &IndexScan) -> bool {
    let index = &scan.index;
    !index.unique
        && index.kind.is_ordered()
        && !index.is_id()
        && scan.seeking_fields == index.fields.len()
        && scan
            .bounds
            .iter()
            .all(|one| super::bounds::is_single_point(one))
        && matches!(scan.ranges[..], [KeyRange::Span(..)])
}

fn pays(snapshot: &Snapshot, scan: &IntersectionScan) -> Result<bool, QueryError> {
    let mut trial = Intersection::new(scan.clone());
    let mut found = 0;
    while trial.keys < TRIED_KEYS_MAX {
        match trial.step(snapshot)? {
            Met::Document(_) => found += 1,
            Met::Nothing => {}
            Met::End => break,
        }
    }
    let alone = trial.sides[0].keys * (1 + READ_COST);
    let together = trial.keys + (trial.seeks + found) * READ_COST;
    Ok(together * GAIN_MIN < alone)
}

/// A running intersection.
pub(super) struct Intersection {
    sides: [Side; 2],
    /// Keys looked at.
    pub keys: u64,
    seeks: u64,
}

struct Side {
    /// What all keys begin with; the `_id` follows.
    prefix: Vec<u8>,
    end: Option<Vec<u8>>,
    entries: Option<DocumentScan>,
    /// The key it stands at.
    head: Option<Slice>,
    keys: u64,
    passed_over: u32,
}

/// What one step came to.
pub(super) enum Met {
    /// The part of a document's key that encodes its `_id`.
    Document(Vec<u8>),
    /// More steps are needed.
    Nothing,
    End,
}

impl Intersection {
    pub fn new(scan: IntersectionScan) -> Intersection {
        Intersection {
            sides: scan.sides.map(Side::new),
            keys: 0,
            seeks: 0,
        }
    }

    /// Looks at one key at most.
    pub fn step(&mut self, snapshot: &Snapshot) -> Result<Met, QueryError> {
        if let Some(waiting) = self.sides.iter_mut().find(|side| side.head.is_none()) {
            if !waiting.advance(snapshot)? {
                return Ok(Met::End);
            }
            self.keys += 1;
            return Ok(Met::Nothing);
        }
        let [left, right] = &mut self.sides;
        match left.id().cmp(right.id()) {
            Ordering::Equal => {
                let id = left.id().to_vec();
                for side in [left, right] {
                    side.head = None;
                    side.passed_over = 0;
                }
                return Ok(Met::Document(id));
            }
            Ordering::Less => self.seeks += u64::from(left.pass_over(snapshot, right)),
            Ordering::Greater => self.seeks += u64::from(right.pass_over(snapshot, left)),
        }
        Ok(Met::Nothing)
    }
}

impl Side {
    fn new(scan: IndexScan) -> Side {
        let (prefix, end) = match scan.ranges.into_iter().next() {
            Some(KeyRange::Span(from, to)) => (from, to),
            Some(KeyRange::Point(key)) => (key.clone(), super::bounds::end_of(&key)),
            None => (Vec::new(), Some(Vec::new())),
        };
        Side {
            prefix,
            end,
            entries: None,
            head: None,
            keys: 0,
            passed_over: 0,
        }
    }

    /// The `_id` it stands at.
    fn id(&self) -> &[u8] {
        let head = self.head.as_deref().unwrap_or_default();
        head.get(self.prefix.len()..).unwrap_or_default()
    }

    fn advance(&mut self, snapshot: &Snapshot) -> Result<bool, QueryError> {
        let entries = match &mut self.entries {
            Some(entries) => entries,
            none => none.insert(snapshot.range(Bound::Included(&self.prefix), upto(&self.end))),
        };
        let Some((key, _)) = advance(entries, ScanDirection::Forward)? else {
            return Ok(false);
        };
        self.keys += 1;
        self.head = Some(key);
        Ok(true)
    }

    /// Leaves the key it stands at, which is before that of `ahead`; whether it did so by seeking.
    fn pass_over(&mut self, snapshot: &Snapshot, ahead: &Side) -> bool {
        self.passed_over += 1;
        self.head = None;
        let seeks = self.passed_over > PASSED_OVER_MAX;
        if seeks {
            let from = [self.prefix.as_slice(), ahead.id()].concat();
            self.entries = Some(snapshot.range(Bound::Included(&from), upto(&self.end)));
            self.passed_over = 0;
        }
        seeks
    }
}

fn upto(end: &Option<Vec<u8>>) -> Bound<&[u8]> {
    end.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
}

/// The document with this `_id`; an entry without one cannot be a row, and verifying the index reports it.
pub(super) fn document(
    snapshot: &Snapshot,
    collection_id: u32,
    id: &[u8],
) -> Result<Option<Slice>, QueryError> {
    Ok(snapshot.get_key(&keyspace::document_key_from_id_part(collection_id, id))?)
}
