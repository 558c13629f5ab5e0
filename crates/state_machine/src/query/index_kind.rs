//! What the kind of an index means for scanning it: where the values of a query lie in one that holds something else, and
//! which of its fields tell the values.

use bson::RawBson;
use document::filter::Interval;
use document::hashing;

use super::bounds;
use crate::catalog::{IndexEntry, IndexKind};

/// Turns intervals of values into intervals of what the index holds.
pub(super) fn adapt(index: &IndexEntry, bounds: &mut [Vec<Interval>]) {
    match index.kind {
        IndexKind::Ordered => {}
        IndexKind::Hashed { field } => bounds[field] = hashes(&bounds[field]),
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
