//! One index and what it can do for a conjunction of conditions.
//!
//! Bounds of several conjuncts on one field are intersected only where no document ever had an array along a field of
//! the index; with arrays each conjunct may be satisfied by another element. For the same reason two fields of such an
//! index that share the beginning of their paths are not bounded together.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bson::RawBson;
use document::Collation;
use document::collation::holds_strings;
use document::filter::{Disjunct, Filter, Interval, PathBounds};
use document::key_encoding::Direction;
use document::path::Path;
use document::sort::SortSpec;

use super::bounds;
use super::covering::Covering;
use super::index_kind;
use super::key_check::KeyCheck;
use super::planner::{Access, IndexScan, UnionScan};
use super::request::ScanDirection;
use crate::catalog::{CollectionEntry, IndexEntry, PartialFilter};
use crate::keyspace;

/// Scans that one `$in` is taken apart into at most, so that their orders can be merged.
const EXPLODED_SCANS_MAX: usize = 200;

/// Conditions that all have to hold.
pub(super) struct Conjunction<'a> {
    pub bounds: Vec<PathBounds<'a>>,
    source: Source<'a>,
    /// How strings are compared.
    collation: Option<&'a Collation>,
}

enum Source<'a> {
    Filter(&'a Filter),
    Disjunct(Disjunct<'a>),
}

impl<'a> Conjunction<'a> {
    pub fn of_filter(filter: &'a Filter, collation: Option<&'a Collation>) -> Conjunction<'a> {
        Conjunction {
            bounds: filter.conjunct_bounds(),
            source: Source::Filter(filter),
            collation,
        }
    }

    pub fn of_disjunct(
        disjunct: Disjunct<'a>,
        collation: Option<&'a Collation>,
    ) -> Conjunction<'a> {
        Conjunction {
            bounds: disjunct.conjunct_bounds(),
            source: Source::Disjunct(disjunct),
            collation,
        }
    }

    /// Whether one condition cannot hold.
    pub fn is_void(&self) -> bool {
        self.bounds.iter().any(|bounds| bounds.intervals.is_empty())
    }

    /// Whether an index knows where these bounds lie: strings stand in it by its own collation.
    pub fn suits(&self, bounds: &PathBounds<'_>, index: &IndexEntry) -> bool {
        let end_has_strings = |end: &Bound<RawBson>| match end {
            Bound::Unbounded => false,
            Bound::Included(value) | Bound::Excluded(value) => {
                holds_strings(value.as_raw_bson_ref())
            }
        };
        let has_strings =
            |one: &Interval| end_has_strings(&one.lower) || end_has_strings(&one.upper);
        let wanted = self.collation.filter(|_| bounds.collated);
        index.collation.as_ref() == wanted || !bounds.intervals.iter().any(has_strings)
    }

    fn needs(&self, path: &str) -> bool {
        match &self.source {
            Source::Filter(filter) => filter.needs(path),
            Source::Disjunct(disjunct) => disjunct.needs(path),
        }
    }

    fn lies_in(&self, partial: &PartialFilter) -> bool {
        match &self.source {
            Source::Filter(filter) => partial.is_implied_by(filter),
            Source::Disjunct(disjunct) => partial.is_implied_by_disjunct(disjunct),
        }
    }
}

/// One index and what it can do.
pub(super) struct Candidate {
    pub scan: IndexScan,
    /// Fields fixed to one value or a list of values, from the first on.
    pub point_fields: usize,
    /// Of those, fields fixed to one value.
    single_point_fields: usize,
    /// Whether the whole key of a unique index is fixed.
    pub unique_key: bool,
    /// Whether the field after the points has a range worth seeking.
    pub has_range: bool,
    /// Whether documents that cannot match are left out by the index itself.
    leaves_out: bool,
    pub gives_order: bool,
    /// One scan for each combination of values, whose orders have to be merged.
    exploded: Option<Vec<IndexScan>>,
    /// Whether no other document can match than those its entries lead to.
    sound: bool,
    /// Whether the bounds of every conjunct with bounds are exact and in use.
    pub bounds_all: bool,
    /// How its entries alone give the rows, if they do.
    pub covering: Option<Covering>,
}

impl Candidate {
    pub fn new(
        collection: &CollectionEntry,
        index: &Arc<IndexEntry>,
        conjunction: &Conjunction<'_>,
        sort: Option<&SortSpec>,
    ) -> Candidate {
        let suitable: Vec<&PathBounds<'_>> = conjunction
            .bounds
            .iter()
            .filter(|bounds| conjunction.suits(bounds, index) && index_kind::holds(index, bounds))
            .collect();
        let mut bounds = field_bounds(index, &suitable);
        index_kind::adapt(index, &mut bounds);
        let in_order = index.collation.as_ref() == conjunction.collation;
        let sort = sort.filter(|sort| in_order && !sort.is_by_score());
        let mut scan = index_scan(collection, index, bounds);
        let used = &scan.bounds[..scan.seeking_fields];
        let point_fields = used
            .iter()
            .take_while(|intervals| bounds::are_points(intervals))
            .count();
        let single_point_fields = used
            .iter()
            .take_while(|intervals| bounds::is_single_point(intervals))
            .count();
        let has_range = used
            .get(point_fields)
            .is_some_and(|range| bounds::is_selective(range));
        let order =
            sort.and_then(|sort| index_order(&scan, single_point_fields, point_fields, sort));
        let exploded = order
            .filter(|order| order.exploded_fields > 0)
            .and_then(|order| explode(collection, &scan, order));
        let order = order.filter(|order| order.exploded_fields == 0 || exploded.is_some());
        if let Some(order) = order {
            scan.direction = order.direction;
        }
        let on_index = |conjunct: &PathBounds<'_>| {
            conjunct.exact
                && index_kind::value_fields(index).any(|(_, field)| field == conjunct.path)
        };
        // What is the same in all entries does not make the search any shorter.
        let given = index_kind::given_fields(index);
        Candidate {
            unique_key: index.unique && point_fields == index.fields.len(),
            leaves_out: index.sparse && conjunction.needs(index.fields[0].0.as_str()),
            sound: is_sound(index, conjunction),
            bounds_all: !index.multikey
                && suitable.len() == conjunction.bounds.len()
                && conjunction.bounds.iter().all(on_index),
            scan,
            point_fields: point_fields - given,
            single_point_fields: single_point_fields - given,
            has_range,
            gives_order: order.is_some() && sort.is_some_and(|sort| !sort.is_empty()),
            exploded,
            covering: None,
        }
    }

    /// Whether it may be used, and is of some use.
    pub fn is_eligible(&self) -> bool {
        self.sound && (self.is_bounded() || self.gives_order || self.leaves_out)
    }

    /// Whether it looks at a part of the index only.
    pub fn is_bounded(&self) -> bool {
        self.point_fields > 0 || self.has_range
    }

    /// Greater is better; equal ones keep the order of creation.
    pub fn compare(&self, other: &Candidate, limited: bool) -> Ordering {
        let rank = |candidate: &Candidate| {
            let order_first = limited && candidate.gives_order;
            (
                candidate.unique_key,
                candidate.point_fields,
                candidate.single_point_fields,
                order_first,
                candidate.has_range,
                candidate.gives_order,
                candidate.leaves_out,
                candidate.covering.is_some(),
                Reverse(candidate.scan.index.fields.len()),
            )
        };
        rank(self).cmp(&rank(other))
    }

    /// Lets its entries give the rows, where they have all that is `needed`, and what rows that are not in order yet have
    /// to be sorted by.
    pub fn covering(mut self, needed: &BTreeSet<String>, sort: Option<&SortSpec>) -> Candidate {
        if self.bounds_all && self.exploded.is_none() {
            let sort = sort.filter(|_| !self.gives_order);
            self.covering = Covering::new(&self.scan.index, needed, sort);
        }
        self
    }

    pub fn into_access(self) -> Access {
        if self.scan.bounds.iter().any(Vec::is_empty) {
            return Access::Nothing;
        }
        match self.exploded {
            Some(branches) => Access::Union(UnionScan {
                branches,
                merge: true,
            }),
            None => Access::Index(self.scan),
        }
    }
}

/// False only where [`Candidate::is_eligible`] is sure to be: told without making the candidate.
pub(super) fn may_be_eligible(
    index: &IndexEntry,
    conjunction: &Conjunction<'_>,
    sort: Option<&SortSpec>,
) -> bool {
    let is_bounded = |(path, _): &(Path, Direction)| {
        let mut bounds = conjunction.bounds.iter();
        bounds.any(|bounds| bounds.path == path.as_str())
    };
    sort.is_some()
        || index.sparse
        || !index.kind.is_ordered()
        || index.fields.first().is_none_or(is_bounded)
}

/// A sparse or partial index may be used only where documents that are not in it cannot match.
pub(super) fn is_sound(index: &IndexEntry, conjunction: &Conjunction<'_>) -> bool {
    if let Some(partial) = &index.partial {
        return conjunction.lies_in(partial);
    }
    let mut fields = index.fields.iter();
    !index.sparse || fields.any(|(path, _)| conjunction.needs(path.as_str()))
}

/// The scan of all of an index.
pub(super) fn whole(collection: &CollectionEntry, index: &Arc<IndexEntry>) -> IndexScan {
    let bounds = index.fields.iter().map(|_| bounds::everything()).collect();
    index_scan(collection, index, bounds)
}

pub(super) fn index_scan(
    collection: &CollectionEntry,
    index: &Arc<IndexEntry>,
    bounds: Vec<Vec<Interval>>,
) -> IndexScan {
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
    let (ranges, seeking_fields) = bounds::key_ranges(&prefix, &fields, index.unique);
    IndexScan {
        index: Arc::clone(index),
        check: KeyCheck::new(&fields, seeking_fields),
        bounds,
        ranges,
        direction: ScanDirection::Forward,
        seeking_fields,
    }
}

/// Intervals for every field of the index; everything where the filter says nothing usable.
fn field_bounds(index: &IndexEntry, conjuncts: &[&PathBounds<'_>]) -> Vec<Vec<Interval>> {
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

/// How an index gives an order.
#[derive(Debug, Clone, Copy)]
struct IndexOrder {
    direction: ScanDirection,
    /// This many leading fields have to be fixed to one value each, by a scan for every combination; 0 when they are.
    exploded_fields: usize,
}

/// In which direction a scan gives `sort`, whatever its bounds; `None` if it does not.
pub(super) fn order_of(scan: &IndexScan, sort: &SortSpec) -> Option<ScanDirection> {
    index_order(scan, 0, 0, sort).map(|order| order.direction)
}

/// How the index has to be scanned to give `sort`; `None` if it cannot. `fixed` leading fields hold one value each in
/// every entry scanned, `points` hold a few.
fn index_order(
    scan: &IndexScan,
    fixed: usize,
    points: usize,
    sort: &SortSpec,
) -> Option<IndexOrder> {
    let index = &scan.index;
    let mut direction = None;
    let mut exploded_fields = 0;
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
        while next < points && index.fields[next].0.as_str() != wanted.path {
            if next >= fixed {
                exploded_fields = next + 1;
            }
            next += 1;
        }
        let (field, direction_of_field) = index.fields.get(next)?;
        let is_hashed = index_kind::is_hashed(index, next);
        if field.as_str() != wanted.path || index.multikey || is_hashed {
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
    Some(IndexOrder {
        direction: direction.unwrap_or(ScanDirection::Forward),
        exploded_fields,
    })
}

/// A scan for every combination of the values of the leading fields; `None` if that would be too many.
fn explode(
    collection: &CollectionEntry,
    scan: &IndexScan,
    order: IndexOrder,
) -> Option<Vec<IndexScan>> {
    let mut combinations: Vec<Vec<Interval>> = vec![Vec::new()];
    for intervals in &scan.bounds[..order.exploded_fields] {
        if combinations.len() * intervals.len() > EXPLODED_SCANS_MAX {
            return None;
        }
        let extended = combinations.iter().flat_map(|combination| {
            intervals.iter().map(move |interval| {
                let mut longer = combination.clone();
                longer.push(interval.clone());
                longer
            })
        });
        combinations = extended.collect();
    }
    let rest = &scan.bounds[order.exploded_fields..];
    let scans = combinations.into_iter().map(|combination| {
        let mut bounds: Vec<Vec<Interval>> = combination.into_iter().map(|one| vec![one]).collect();
        bounds.extend_from_slice(rest);
        IndexScan {
            direction: order.direction,
            ..index_scan(collection, &scan.index, bounds)
        }
    });
    Some(scans.collect())
}
