//! From intervals of values to ranges of keys.
//!
//! Intervals come from the filter, ascending and disjoint, in the total order of BSON values. Keys order exactly as
//! the values they encode, and no encoded value is a prefix of another, so everything that starts with the key of a
//! value belongs to that value.

use std::cmp::Ordering;
use std::ops::Bound;

use bson::RawBson;
use document::filter::Interval;
use document::key_encoding::{self, Direction};
use document::order;

use crate::keyspace::prefix_end;

/// Key combinations an index scan may seek to for its leading fields, beyond what one `$in` asks for by itself.
const POINT_COMBINATIONS_MAX: usize = 1_000;

/// Keys to look at, in ascending order and disjoint within a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyRange {
    /// The one entry with exactly this key.
    Point(Vec<u8>),
    /// All entries from the first key up to, not including, the second; `None` has no end.
    Span(Vec<u8>, Option<Vec<u8>>),
}

/// The interval that holds every value.
pub(super) fn everything() -> Vec<Interval> {
    vec![Interval {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    }]
}

/// The value of an interval that holds only one.
fn point(interval: &Interval) -> Option<&RawBson> {
    match (&interval.lower, &interval.upper) {
        (Bound::Included(lower), Bound::Included(upper))
            if order::compare(lower.as_raw_bson_ref(), upper.as_raw_bson_ref())
                == Ordering::Equal =>
        {
            Some(lower)
        }
        _ => None,
    }
}

/// Whether all intervals are single values.
pub(super) fn are_points(intervals: &[Interval]) -> bool {
    intervals.iter().all(|interval| point(interval).is_some())
}

/// Whether the intervals are one single value.
pub(super) fn is_single_point(intervals: &[Interval]) -> bool {
    matches!(intervals, [interval] if point(interval).is_some())
}

/// Whether some values are below, and some above, all that the intervals hold: worth seeking for. `{$ne: 1}` is not.
pub(super) fn is_selective(intervals: &[Interval]) -> bool {
    let lowest = intervals.first().is_none_or(|first| match &first.lower {
        Bound::Unbounded | Bound::Included(RawBson::MinKey) => false,
        Bound::Included(_) | Bound::Excluded(_) => true,
    });
    let highest = intervals.last().is_none_or(|last| match &last.upper {
        Bound::Unbounded | Bound::Included(RawBson::MaxKey) => false,
        Bound::Included(_) | Bound::Excluded(_) => true,
    });
    lowest || highest
}

/// What two lists of intervals have in common.
pub(super) fn intersect(left: &[Interval], right: &[Interval]) -> Vec<Interval> {
    let (mut lefts, mut rights) = (left.iter().peekable(), right.iter().peekable());
    let mut common = Vec::new();
    while let (Some(l), Some(r)) = (lefts.peek(), rights.peek()) {
        let both = Interval {
            lower: later_lower(&l.lower, &r.lower).clone(),
            upper: earlier_upper(&l.upper, &r.upper).clone(),
        };
        if compare_uppers(&l.upper, &r.upper).is_le() {
            lefts.next();
        } else {
            rights.next();
        }
        if !is_void(&both) {
            common.push(both);
        }
    }
    common
}

fn is_void(interval: &Interval) -> bool {
    match (&interval.lower, &interval.upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => {
            order::compare(lower.as_raw_bson_ref(), upper.as_raw_bson_ref()).is_gt()
        }
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => order::compare(lower.as_raw_bson_ref(), upper.as_raw_bson_ref()).is_ge(),
    }
}

fn later_lower<'a>(left: &'a Bound<RawBson>, right: &'a Bound<RawBson>) -> &'a Bound<RawBson> {
    let ordering = match (left, right) {
        (Bound::Unbounded, _) => Ordering::Less,
        (_, Bound::Unbounded) => Ordering::Greater,
        (Bound::Included(l) | Bound::Excluded(l), Bound::Included(r) | Bound::Excluded(r)) => {
            let excluded = |bound: &Bound<RawBson>| matches!(bound, Bound::Excluded(_));
            order::compare(l.as_raw_bson_ref(), r.as_raw_bson_ref())
                .then(excluded(left).cmp(&excluded(right)))
        }
    };
    if ordering.is_ge() { left } else { right }
}

fn earlier_upper<'a>(left: &'a Bound<RawBson>, right: &'a Bound<RawBson>) -> &'a Bound<RawBson> {
    if compare_uppers(left, right).is_le() {
        left
    } else {
        right
    }
}

fn compare_uppers(left: &Bound<RawBson>, right: &Bound<RawBson>) -> Ordering {
    match (left, right) {
        (Bound::Unbounded, Bound::Unbounded) => Ordering::Equal,
        (Bound::Unbounded, _) => Ordering::Greater,
        (_, Bound::Unbounded) => Ordering::Less,
        (Bound::Included(l) | Bound::Excluded(l), Bound::Included(r) | Bound::Excluded(r)) => {
            let included = |bound: &Bound<RawBson>| matches!(bound, Bound::Included(_));
            order::compare(l.as_raw_bson_ref(), r.as_raw_bson_ref())
                .then(included(left).cmp(&included(right)))
        }
    }
}

/// The key ranges of a scan, and how many leading fields they take into account: points field by field, then the
/// intervals of one more field. `unique` says that a key of all fields has no suffix.
pub(super) fn key_ranges(
    prefix: &[u8],
    fields: &[(Direction, &[Interval])],
    unique: bool,
) -> (Vec<KeyRange>, usize) {
    let mut prefixes = vec![prefix.to_vec()];
    let mut used = 0;
    for (direction, intervals) in fields {
        let combinations = prefixes.len() * intervals.len();
        let fits = prefixes.len() == 1 || combinations <= POINT_COMBINATIONS_MAX;
        if !fits {
            break;
        }
        if !are_points(intervals) {
            let spans = interval_spans(&prefixes, *direction, intervals);
            return (spans, used + 1);
        }
        prefixes = extend_by_points(&prefixes, *direction, intervals);
        used += 1;
    }
    let whole = unique && used == fields.len();
    let ranges = prefixes.into_iter().map(|key| {
        if whole {
            KeyRange::Point(key)
        } else {
            let end = end_of(&key);
            KeyRange::Span(key, end)
        }
    });
    (ranges.collect(), used)
}

fn extend_by_points(
    prefixes: &[Vec<u8>],
    direction: Direction,
    intervals: &[Interval],
) -> Vec<Vec<u8>> {
    let mut encoded: Vec<Vec<u8>> = intervals
        .iter()
        .filter_map(point)
        .map(|value| encode(value, direction))
        .collect();
    encoded.sort();
    encoded.dedup();
    let mut extended = Vec::with_capacity(prefixes.len() * encoded.len());
    for prefix in prefixes {
        extended.extend(
            encoded
                .iter()
                .map(|value| [prefix.as_slice(), value].concat()),
        );
    }
    extended
}

fn interval_spans(
    prefixes: &[Vec<u8>],
    direction: Direction,
    intervals: &[Interval],
) -> Vec<KeyRange> {
    let mut spans = Vec::with_capacity(prefixes.len() * intervals.len());
    for prefix in prefixes {
        let in_key_order: Vec<&Interval> = match direction {
            Direction::Ascending => intervals.iter().collect(),
            Direction::Descending => intervals.iter().rev().collect(),
        };
        for interval in in_key_order {
            let (first, last) = match direction {
                Direction::Ascending => (&interval.lower, &interval.upper),
                Direction::Descending => (&interval.upper, &interval.lower),
            };
            let from = match first {
                Bound::Unbounded => Some(prefix.clone()),
                Bound::Included(value) => Some(extend(prefix, value, direction)),
                Bound::Excluded(value) => end_of(&extend(prefix, value, direction)),
            };
            let to = match last {
                Bound::Unbounded => end_of(prefix),
                Bound::Included(value) => end_of(&extend(prefix, value, direction)),
                Bound::Excluded(value) => Some(extend(prefix, value, direction)),
            };
            if let Some(from) = from
                && to.as_ref().is_none_or(|to| from < *to)
            {
                spans.push(KeyRange::Span(from, to));
            }
        }
    }
    spans
}

fn encode(value: &RawBson, direction: Direction) -> Vec<u8> {
    let mut key = Vec::new();
    key_encoding::encode(value.as_raw_bson_ref(), direction, &mut key);
    key
}

fn extend(prefix: &[u8], value: &RawBson, direction: Direction) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key_encoding::encode(value.as_raw_bson_ref(), direction, &mut key);
    key
}

/// The first key after all that start with `key`.
pub(super) fn end_of(key: &[u8]) -> Option<Vec<u8>> {
    match prefix_end(key) {
        Bound::Excluded(end) | Bound::Included(end) => Some(end),
        Bound::Unbounded => None,
    }
}
