//! `distinct`: from the documents, or from an index that begins with the path, looking at one entry for each value. Where the
//! entry leaves in doubt what the value is (a key does not tell numbers of different types apart) its document is read.

use std::collections::BTreeSet;
use std::ops::Bound;

use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument};
use document::collation::collated;
use document::key_encoding::{self, Direction};
use document::path::{LeafArrays, Path};
use document::{Collation, DocumentError};

use super::bounds::{self, KeyRange};
use super::candidate;
use super::find::PlannedFind;
use super::interrupt::Interrupt;
use super::planner::{Access, IndexScan};
use super::request::{DistinctRequest, FindRequest, QueryError};
use super::scan::Touched;
use crate::catalog::IndexEntry;
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::{Snapshot, keyspace};

impl Snapshot {
    /// The different values at a path, in the order in which they were first met. Members of an array count one by
    /// one; a missing field is no value. Refused when the values outgrow one document.
    pub fn distinct(&self, request: DistinctRequest) -> Result<RawArrayBuf, QueryError> {
        let path = Path::parse(request.key.as_str());
        if self.is_view(&request.namespace) {
            let mut values = Values::default();
            for row in self.find(request.into_find())? {
                values.add_all(&row?, &path)?;
            }
            return Ok(values.found);
        }
        let planned = self.parse_find(request.into_find())?.plan(self)?;
        let scan = DistinctScan::of(&planned, &path);
        let planned = match &scan {
            Some(scan) => planned.noted_for_distinct(&scan.0),
            None => planned.noted(),
        };
        Ok(self.distinct_values(planned, scan, &path)?.0.found)
    }

    /// The values, and what was looked at for them; `scan` if one that skips is possible.
    pub(super) fn distinct_values(
        &self,
        planned: PlannedFind,
        scan: Option<DistinctScan>,
        path: &Path,
    ) -> Result<(Values, Touched), QueryError> {
        let mut values = Values {
            collation: planned.find.collation.clone(),
            ..Values::default()
        };
        if let Some(scan) = scan {
            let mut skipping = SkippingScan {
                snapshot: self,
                interrupt: planned.find.interrupt.clone(),
                collection_id: planned.collection.as_ref().map_or(0, |found| found.id),
                touched: Touched::default(),
            };
            let outcome = skipping.run(&scan.0, path, &mut values);
            let Touched {
                keys, documents, ..
            } = skipping.touched;
            skipping.interrupt.examined(keys, documents);
            outcome?;
            return Ok((values, skipping.touched));
        }
        let mut rows = planned.rows(self);
        for row in rows.by_ref() {
            values.add_all(&row?, path)?;
        }
        let touched = rows.touched();
        Ok((values, touched))
    }
}

/// A scan of an index that looks at one entry for each value.
pub(super) struct DistinctScan(pub(super) IndexScan);

impl DistinctScan {
    /// Possible where the plan already scans an index that begins with the path and bounds nothing else, or where there
    /// is no filter and some index begins with it.
    pub(super) fn of(planned: &PlannedFind, path: &Path) -> Option<DistinctScan> {
        let begins_with_path = |index: &IndexEntry| {
            !index.is_id()
                && index.kind.is_ordered()
                && index.fields[0].0.as_str() == path.as_str()
                && !path.has_positions()
                && index.collation == planned.find.collation
        };
        match &planned.plan.access {
            Access::Index(scan)
                if begins_with_path(&scan.index)
                    && planned.plan.covers_filter
                    && scan.seeking_fields == 1
                    && scan.check.is_none() =>
            {
                Some(DistinctScan(scan.clone()))
            }
            Access::Collection(_)
                if planned.find.filter.is_always_true() && planned.find.hint.is_none() =>
            {
                let collection = planned.collection.as_ref()?;
                let index = collection.ready_indexes().find(|index| {
                    begins_with_path(index) && !index.hidden && index.partial.is_none()
                })?;
                Some(DistinctScan(candidate::whole(collection, index)))
            }
            _ => None,
        }
    }
}

/// Entries of one value that are passed over one by one before the scan seeks behind all of them.
const PASSED_OVER_MAX: u32 = 16;

struct SkippingScan<'a> {
    snapshot: &'a Snapshot,
    interrupt: Interrupt,
    collection_id: u32,
    touched: Touched,
}

impl SkippingScan<'_> {
    fn run(
        &mut self,
        scan: &IndexScan,
        path: &Path,
        values: &mut Values,
    ) -> Result<(), QueryError> {
        for range in &scan.ranges {
            let (from, to) = match range {
                KeyRange::Point(key) => (key.clone(), bounds::end_of(key)),
                KeyRange::Span(from, to) => (from.clone(), to.clone()),
            };
            let mut next = Some(from);
            while let Some(from) = next.filter(|from| to.as_ref().is_none_or(|to| from < to)) {
                next = self.run_from(scan, &from, to.as_deref(), path, values)?;
            }
        }
        Ok(())
    }

    /// Reads on from a key; where to seek to when the entries of one value are many.
    fn run_from(
        &mut self,
        scan: &IndexScan,
        from: &[u8],
        to: Option<&[u8]>,
        path: &Path,
        values: &mut Values,
    ) -> Result<Option<Vec<u8>>, QueryError> {
        let direction = scan.index.fields[0].1;
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut passed_over = 0;
        for entry in self.snapshot.range(Bound::Included(from), end) {
            let (key, value) = entry?;
            self.touched.keys += 1;
            if self.touched.keys.is_multiple_of(64)
                && let Some(reason) = self.interrupt.reason()
            {
                return Err(QueryError::Interrupted(reason));
            }
            let fields = key.get(keyspace::PREFIX_BYTES..).unwrap_or_default();
            let length = key_encoding::skip(fields, direction).unwrap_or(fields.len());
            let first = &fields[..length];
            if values.has(first, direction) {
                passed_over += 1;
                if passed_over > PASSED_OVER_MAX {
                    return Ok(bounds::end_of(&key[..keyspace::PREFIX_BYTES + length]));
                }
                continue;
            }
            passed_over = 0;
            if let Some(value) = whole_value(&scan.index, first) {
                values.add(value.as_raw_bson_ref())?;
                continue;
            }
            let Some(parts) = keyspace::index_entry_parts(scan.index.unique, &key, &value) else {
                continue;
            };
            let document = keyspace::document_key_from_id_part(self.collection_id, parts.id);
            if let Some(document) = self.snapshot.get_key(&document)? {
                self.touched.documents += 1;
                let document = RawDocument::from_bytes(&document).map_err(DocumentError::from)?;
                values.add_all(document, path)?;
            }
        }
        Ok(None)
    }
}

/// The value that an encoded first field of an index stands for, if it tells.
fn whole_value(index: &IndexEntry, field: &[u8]) -> Option<RawBson> {
    let (_, direction) = index.fields.first()?;
    if index.multikey || index.collation.is_some() {
        return None;
    }
    key_encoding::exact(field, *direction)
}

impl DistinctRequest {
    /// The find whose rows' values are collected.
    pub(super) fn into_find(self) -> FindRequest {
        FindRequest {
            hint: self.hint,
            context: self.context,
            interrupt: self.interrupt,
            ..FindRequest::new(self.namespace, self.filter)
        }
    }
}

/// The different values found.
pub(super) struct Values {
    /// Encoded, so that numerically equal values are the same.
    seen: BTreeSet<Vec<u8>>,
    found: RawArrayBuf,
    collation: Option<Collation>,
}

impl Default for Values {
    fn default() -> Self {
        Values {
            seen: BTreeSet::new(),
            found: RawArrayBuf::new(),
            collation: None,
        }
    }
}

impl Values {
    /// Whether a value with this encoding was found already.
    fn has(&self, encoded: &[u8], direction: Direction) -> bool {
        match direction {
            Direction::Ascending => self.seen.contains(encoded),
            Direction::Descending => {
                let ascending: Vec<u8> = encoded.iter().map(|byte| !byte).collect();
                self.seen.contains(&ascending)
            }
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    fn add_all(&mut self, document: &RawDocument, path: &Path) -> Result<(), DocumentError> {
        let mut result = Ok(());
        path.any(document, LeafArrays::Whole, &mut |value| {
            result = match value {
                None => Ok(()),
                Some(RawBsonRef::Array(members)) => members
                    .into_iter()
                    .map_while(Result::ok)
                    .try_for_each(|value| self.add(value)),
                Some(value) => self.add(value),
            };
            result.is_err()
        });
        result
    }

    fn add(&mut self, value: RawBsonRef<'_>) -> Result<(), DocumentError> {
        let key = key_encoding::id_key(collated(self.collation.as_ref(), value).as_ref());
        if !self.seen.insert(key) {
            return Ok(());
        }
        self.found.push(value);
        if self.found.as_bytes().len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::location(17217, "distinct too big, 16mb cap"));
        }
        Ok(())
    }
}
