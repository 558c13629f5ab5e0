//! What the kind of an index means for scanning it: in which forms it can be scanned, where the values of a query lie in one
//! that holds something else, and which of its fields tell the values.

use std::ops::Bound;
use std::sync::Arc;

use bson::RawBson;
use document::filter::{Interval, PathBounds};
use document::hashing;
use document::order::{TypeClass, type_class};
use document::{DocumentError, ErrorKind};

use super::bounds;
use super::candidate::Conjunction;
use super::request::QueryError;
use crate::catalog::{CollectionEntry, IndexEntry, IndexKind};

/// The indexes that a conjunction could use.
pub(super) fn usable(
    collection: &CollectionEntry,
    conjunction: &Conjunction<'_>,
) -> Vec<Arc<IndexEntry>> {
    let indexes = collection.ready_indexes().filter(|index| !index.hidden);
    indexes
        .flat_map(|index| forms(index, conjunction))
        .collect()
}

/// The index itself, or a wildcard index over each path that it can be used for; none for a text index.
pub(super) fn forms(
    index: &Arc<IndexEntry>,
    conjunction: &Conjunction<'_>,
) -> Vec<Arc<IndexEntry>> {
    match index.kind {
        IndexKind::Wildcard(_) => {}
        // Only for a search: see `text_search`.
        IndexKind::Text(_) => return Vec::new(),
        _ => return vec![Arc::clone(index)],
    }
    let mut forms: Vec<Arc<IndexEntry>> = Vec::new();
    let suitable = conjunction
        .bounds
        .iter()
        .filter(|bounds| conjunction.suits(bounds, index));
    for bounds in suitable.filter(|bounds| bounds.intervals.iter().all(is_of_one_class)) {
        let is_there = |form: &Arc<IndexEntry>| form.fields[1].0.as_str() == bounds.path;
        if !forms.iter().any(is_there) {
            forms.extend(index.over_path(bounds.path));
        }
    }
    forms
}

/// MongoDB's answer where a hint leaves no plan.
pub(super) fn no_plan() -> QueryError {
    DocumentError::new(
        ErrorKind::NoQueryExecutionPlans,
        "error processing query: planner returned error :: caused by :: hinted index can not be used: no condition of the \
         filter suits it",
    )
    .into()
}

/// Whether these bounds can be looked for in `index`, or in the one that it is a view of.
pub(super) fn holds(index: &IndexEntry, bounds: &PathBounds<'_>) -> bool {
    match &index.kind {
        IndexKind::WildcardPath { path } => {
            path == bounds.path && bounds.intervals.iter().all(is_of_one_class)
        }
        _ => true,
    }
}

/// The path that stands in this field of every entry.
pub(super) fn given_path(index: &IndexEntry, position: usize) -> Option<&str> {
    match &index.kind {
        IndexKind::WildcardPath { path } if position == 0 => Some(path),
        _ => None,
    }
}

/// Leading fields that have one value in every entry a scan of this form looks at.
pub(super) fn given_fields(index: &IndexEntry) -> usize {
    usize::from(matches!(index.kind, IndexKind::WildcardPath { .. }))
}

/// Turns intervals of values into intervals of what the index holds.
pub(super) fn adapt(index: &IndexEntry, bounds: &mut [Vec<Interval>]) {
    match &index.kind {
        IndexKind::Ordered | IndexKind::Wildcard(_) | IndexKind::Text(_) => {}
        IndexKind::Hashed { field } => bounds[*field] = hashes(&bounds[*field]),
        IndexKind::WildcardPath { path } => {
            bounds[0] = vec![Interval::point(RawBson::String(path.clone()))];
        }
    }
}

/// Where the hashes of the values lie, if they are single values; anywhere otherwise.
fn hashes(intervals: &[Interval]) -> Vec<Interval> {
    let hashed = intervals
        .iter()
        .map(|interval| interval.as_point().map(hashing::hash));
    let Some(mut hashed) = hashed.collect::<Option<Vec<i64>>>() else {
        return bounds::everything();
    };
    hashed.sort_unstable();
    hashed.dedup();
    let point = |hash| Interval::point(RawBson::Int64(hash));
    hashed.into_iter().map(point).collect()
}

/// Whether the terms of a text stand in this field.
pub(super) fn is_terms(index: &IndexEntry, position: usize) -> bool {
    matches!(&index.kind, IndexKind::Text(text) if text.terms_at() == position)
}

/// Whether a field's hashes stand in for its values.
pub(super) fn is_hashed(index: &IndexEntry, position: usize) -> bool {
    index.kind == IndexKind::Hashed { field: position }
}

/// The fields whose values the index holds: positions and paths.
pub(super) fn value_fields(index: &IndexEntry) -> impl Iterator<Item = (usize, &str)> {
    let fields = index.fields.iter().enumerate();
    let fields = fields.map(|(position, (path, _))| (position, path.as_str()));
    fields.filter(|(position, _)| !is_hashed(index, *position))
}

/// Whether the interval stays within one class of values, and not one that a wildcard index leaves out: missing fields and
/// embedded documents.
fn is_of_one_class(interval: &Interval) -> bool {
    let (Bound::Included(lower) | Bound::Excluded(lower)) = &interval.lower else {
        return false;
    };
    let class = type_class(lower.as_raw_bson_ref());
    let left_out = matches!(
        class,
        TypeClass::Null
            | TypeClass::Undefined
            | TypeClass::MinKey
            | TypeClass::Object
            | TypeClass::Array
    );
    let ends_within = match &interval.upper {
        Bound::Unbounded => false,
        Bound::Included(upper) => type_class(upper.as_raw_bson_ref()) == class,
        // The least value of the next class ends a class.
        Bound::Excluded(upper) => {
            let next = type_class(upper.as_raw_bson_ref());
            next == class
                || (class == TypeClass::String && next == TypeClass::Object)
                || (class == TypeClass::Binary && next == TypeClass::ObjectId)
        }
    };
    !left_out && ends_within
}
