//! Chooses how the documents of a find are reached.
//!
//! Candidates are the exact `_id`, every ready index, and the scan of the collection. They are ranked by what
//! they are sure to save, not by statistics: the whole key of a unique index, then more leading fields fixed to
//! points, then a range, then an order that makes sorting unnecessary (which goes before a range when the
//! number of rows is limited), then the scan.
//!
//! Bounds of several conjuncts on one field are intersected only where no document ever had an array along a field of
//! the index; with arrays each conjunct may be satisfied by another element. For the same reason two fields of such an
//! index that share the beginning of their paths are not bounded together.

use std::cmp::Ordering;
use std::sync::Arc;

use bson::{RawBson, RawBsonRef, RawDocument};
use document::filter::{Filter, Interval, PathBounds};
use document::key_encoding::Direction;
use document::sort::SortSpec;
use document::{DocumentError, order};

use super::bounds::{self, KeyRange};
use super::request::{Hint, ScanDirection};
use crate::catalog::{CollectionEntry, IndexEntry};
use crate::{CommandError, keyspace};

/// How documents are reached, and what is left to do with them.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub access: Access,
    /// Whether rows have to be sorted after they were found.
    pub must_sort: bool,
    /// Whether the access finds matches only, so that counting needs no documents.
    pub covers_filter: bool,
}

/// How documents are reached.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// Nothing can match.
    Nothing,
    /// The document with this `_id`.
    Id(RawBson),
    /// All documents in the order of their `_id`s.
    Collection(ScanDirection),
    /// Documents that entries of an index point to.
    Index(IndexScan),
}

/// A scan of parts of an index.
#[derive(Debug, Clone)]
pub(super) struct IndexScan {
    pub index: Arc<IndexEntry>,
    /// Intervals per field of the index, as far as they are known.
    pub bounds: Vec<Vec<Interval>>,
    /// The keys they come to, ascending.
    pub ranges: Vec<KeyRange>,
    pub direction: ScanDirection,
    /// Fields the ranges take into account.
    pub bounded_fields: usize,
}

impl IndexScan {
    /// Whether one document may come up more than once.
    pub fn may_repeat(&self) -> bool {
        self.index.multikey
    }
}

/// What a find wants, as far as choosing a plan is concerned.
pub(super) struct Wanted<'a> {
    pub filter: &'a Filter,
    /// The filter as it was written.
    pub filter_document: &'a RawDocument,
    pub sort: Option<&'a SortSpec>,
    pub limited: bool,
    pub hint: Option<&'a Hint>,
}

/// The plan for `wanted`. Fails only for a hint that names no usable index.
pub(super) fn choose(
    collection: &CollectionEntry,
    wanted: &Wanted<'_>,
) -> Result<Plan, CommandError> {
    if let Some(plan) = plan_by_id(wanted) {
        return Ok(plan);
    }
    let conjuncts = wanted.filter.conjunct_bounds();
    let is_void = |conjunct: &PathBounds<'_>| conjunct.intervals.is_empty();
    match wanted.hint {
        Some(Hint::Natural(direction)) => return Ok(collection_scan(wanted, *direction)),
        Some(hint) => {
            let index = hinted_index(collection, hint)?;
            return Ok(Candidate::new(collection, index, &conjuncts, wanted).into_plan(wanted));
        }
        None if conjuncts.iter().any(is_void) => return Ok(nothing()),
        None => {}
    }
    if let Some(direction) = wanted.sort.and_then(SortSpec::natural) {
        let direction = match direction {
            Direction::Ascending => ScanDirection::Forward,
            Direction::Descending => ScanDirection::Backward,
        };
        return Ok(collection_scan(wanted, direction));
    }
    let mut best: Option<Candidate> = None;
    for index in collection.ready_indexes().filter(|index| !index.hidden) {
        let candidate = Candidate::new(collection, index, &conjuncts, wanted);
        if candidate.is_sound()
            && candidate.is_useful()
            && best
                .as_ref()
                .is_none_or(|best| candidate.compare(best, wanted.limited).is_gt())
        {
            best = Some(candidate);
        }
    }
    Ok(match best {
        Some(candidate) => candidate.into_plan(wanted),
        None => collection_scan(wanted, ScanDirection::Forward),
    })
}

/// The most frequent find of all, so nothing else is worked out before it.
fn plan_by_id(wanted: &Wanted<'_>) -> Option<Plan> {
    if wanted.hint.is_some() {
        return None;
    }
    Some(Plan {
        access: Access::Id(wanted.filter.exact_id()?.into()),
        must_sort: false,
        covers_filter: conjunct_count(wanted.filter_document) == Some(1),
    })
}

fn nothing() -> Plan {
    Plan {
        access: Access::Nothing,
        must_sort: false,
        covers_filter: true,
    }
}

fn collection_scan(wanted: &Wanted<'_>, direction: ScanDirection) -> Plan {
    Plan {
        access: Access::Collection(direction),
        must_sort: wants_order(wanted.sort),
        covers_filter: wanted.filter.is_always_true(),
    }
}

fn wants_order(sort: Option<&SortSpec>) -> bool {
    sort.is_some_and(|sort| !sort.is_empty())
}

fn hinted_index<'a>(
    collection: &'a CollectionEntry,
    hint: &Hint,
) -> Result<&'a Arc<IndexEntry>, CommandError> {
    let is_meant = |index: &&Arc<IndexEntry>| match hint {
        Hint::Name(name) => index.name == *name,
        Hint::KeyPattern(pattern) => {
            order::compare_documents(&index.key, pattern) == Ordering::Equal
        }
        Hint::Natural(_) => false,
    };
    let usable = collection.ready_indexes().filter(|index| !index.hidden);
    let mut found = usable.filter(is_meant);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (None, _) => Err(DocumentError::bad_value(
            "hint provided does not correspond to an existing index",
        )
        .into()),
        (Some(_), Some(_)) => Err(DocumentError::bad_value(
            "hint matched several indexes, which differ in their options: hint by index name",
        )
        .into()),
    }
}

/// One index and what it can do for a find.
struct Candidate {
    scan: IndexScan,
    /// Fields fixed to one value or a list of values, from the first on.
    point_fields: usize,
    /// Of those, fields fixed to one value.
    single_point_fields: usize,
    /// Whether the whole key of a unique index is fixed.
    unique_key: bool,
    /// Whether the field after the points has a range worth seeking.
    has_range: bool,
    gives_order: bool,
    covers_filter: bool,
}

impl Candidate {
    fn new(
        collection: &CollectionEntry,
        index: &Arc<IndexEntry>,
        conjuncts: &[PathBounds<'_>],
        wanted: &Wanted<'_>,
    ) -> Candidate {
        let bounds = field_bounds(index, conjuncts);
        let fields: Vec<(Direction, &[Interval])> = index
            .fields
            .iter()
            .zip(&bounds)
            .map(|((_, direction), intervals)| (*direction, intervals.as_slice()))
            .collect();
        let prefix = if index.is_id() {
            keyspace::documents_prefix(collection.id)
        } else {
            keyspace::index_prefix(index.id)
        };
        let (ranges, bounded_fields) = bounds::key_ranges(&prefix, &fields, index.unique);
        let is_points = |intervals: &&Vec<Interval>| bounds::are_points(intervals);
        let used = &bounds[..bounded_fields];
        let point_fields = used.iter().take_while(is_points).count();
        let single_point_fields = used
            .iter()
            .take_while(|intervals| bounds::is_single_point(intervals))
            .count();
        let has_range = used
            .get(point_fields)
            .is_some_and(|range| bounds::is_selective(range));
        let order = wanted
            .sort
            .and_then(|sort| index_order(index, &bounds, single_point_fields, sort));
        let covers_filter = !index.multikey
            && covers(wanted.filter_document, conjuncts, |path| {
                index.fields[..bounded_fields]
                    .iter()
                    .any(|(field, _)| field.as_str() == path)
            });
        Candidate {
            unique_key: index.unique && point_fields == index.fields.len(),
            scan: IndexScan {
                index: Arc::clone(index),
                bounds,
                ranges,
                direction: order.unwrap_or(ScanDirection::Forward),
                bounded_fields,
            },
            point_fields,
            single_point_fields,
            has_range,
            gives_order: order.is_some() && wants_order(wanted.sort),
            covers_filter,
        }
    }

    /// A sparse index may be used only where documents that are not in it cannot match.
    fn is_sound(&self) -> bool {
        !self.scan.index.sparse
            || self
                .scan
                .bounds
                .iter()
                .any(|intervals| !bounds::contains(intervals, RawBsonRef::Null))
    }

    fn is_useful(&self) -> bool {
        self.point_fields > 0 || self.has_range || self.gives_order
    }

    /// Greater is better; equal ones keep the order of creation.
    fn compare(&self, other: &Candidate, limited: bool) -> Ordering {
        let rank = |candidate: &Candidate| {
            let order_first = limited && candidate.gives_order;
            (
                candidate.unique_key,
                candidate.point_fields,
                candidate.single_point_fields,
                order_first,
                candidate.has_range,
                candidate.gives_order,
                std::cmp::Reverse(candidate.scan.index.fields.len()),
            )
        };
        rank(self).cmp(&rank(other))
    }

    fn into_plan(self, wanted: &Wanted<'_>) -> Plan {
        if self.scan.bounds.iter().any(Vec::is_empty) {
            return nothing();
        }
        Plan {
            must_sort: wants_order(wanted.sort) && !self.gives_order,
            covers_filter: self.covers_filter,
            access: Access::Index(self.scan),
        }
    }
}

/// Intervals for every field of the index; everything where the filter says nothing usable.
fn field_bounds(index: &IndexEntry, conjuncts: &[PathBounds<'_>]) -> Vec<Vec<Interval>> {
    let mut all: Vec<Vec<Interval>> = Vec::with_capacity(index.fields.len());
    let mut arrays_bounded: Vec<&str> = Vec::new();
    for (field, _) in &index.fields {
        let on_field = conjuncts
            .iter()
            .filter(|conjunct| conjunct.path == field.as_str());
        let mut on_field = on_field.peekable();
        if on_field.peek().is_none() {
            all.push(bounds::everything());
            continue;
        }
        if !index.multikey {
            let everything = bounds::everything();
            all.push(on_field.fold(everything, |common, conjunct| {
                bounds::intersect(&common, &conjunct.intervals)
            }));
            continue;
        }
        let root = field.components().next().unwrap_or_default();
        if arrays_bounded.contains(&root) {
            all.push(bounds::everything());
            continue;
        }
        arrays_bounded.push(root);
        let best = on_field.min_by_key(|conjunct| {
            let intervals = &conjunct.intervals;
            (
                !bounds::is_single_point(intervals),
                !bounds::are_points(intervals),
                !bounds::is_selective(intervals),
            )
        });
        all.push(best.map_or_else(bounds::everything, |conjunct| conjunct.intervals.clone()));
    }
    all
}

/// In which direction the index has to be scanned to give `sort`; `None` if it cannot. `fixed` leading fields hold one
/// value each in every entry scanned.
fn index_order(
    index: &IndexEntry,
    bounds: &[Vec<Interval>],
    fixed: usize,
    sort: &SortSpec,
) -> Option<ScanDirection> {
    let is_fixed = |position: usize| position < fixed && bounds::is_single_point(&bounds[position]);
    let mut direction = None;
    let mut next = 0;
    for wanted in sort.fields() {
        let fixed_field = (0..fixed)
            .find(|&position| index.fields[position].0.as_str() == wanted.path && !index.multikey);
        if fixed_field.is_some() {
            continue;
        }
        if index.is_id() && next == index.fields.len() {
            break; // the order by `_id` has no ties
        }
        while next < index.fields.len() && is_fixed(next) {
            next += 1;
        }
        let (field, direction_of_field) = index.fields.get(next)?;
        if field.as_str() != wanted.path || index.multikey {
            return None;
        }
        let needed = if *direction_of_field == wanted.direction {
            ScanDirection::Forward
        } else {
            ScanDirection::Backward
        };
        if *direction.get_or_insert(needed) != needed {
            return None;
        }
        next += 1;
    }
    Some(direction.unwrap_or(ScanDirection::Forward))
}

/// Whether the bounds say all that the filter says: it is a plain conjunction, every condition gave bounds, the bounds
/// are exact, and their paths are in use.
fn covers(
    filter: &RawDocument,
    conjuncts: &[PathBounds<'_>],
    is_used: impl Fn(&str) -> bool,
) -> bool {
    let usable = |conjunct: &PathBounds<'_>| conjunct.exact && is_used(conjunct.path);
    conjunct_count(filter) == Some(conjuncts.len()) && conjuncts.iter().all(usable)
}

/// How many conditions a plain conjunction has; `None` if it is something else.
fn conjunct_count(filter: &RawDocument) -> Option<usize> {
    let mut count = 0;
    for field in filter.iter() {
        let (path, condition) = field.ok()?;
        if path.as_str().starts_with('$') {
            return None;
        }
        count += match condition {
            RawBsonRef::Document(operators) if has_operators(operators) => operators.iter().count(),
            _ => 1,
        };
    }
    Some(count)
}

fn has_operators(condition: &RawDocument) -> bool {
    matches!(condition.iter().next(), Some(Ok((name, _))) if name.as_str().starts_with('$'))
}
