//! Intervals of index values.
//!
//! Comparison operators match within one class of types only, so their intervals end where the class does: at
//! the least value of the class on one side and before the least of the next on the other.

use crate::order::{self, Number, TypeClass, type_class};
use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Timestamp};
use std::cmp::Ordering;
use std::ops::Bound;

/// A contiguous range of values in `order::compare`.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Where it starts.
    pub lower: Bound<RawBson>,
    /// Where it ends.
    pub upper: Bound<RawBson>,
}

/// Where the values that satisfy a predicate stand in an index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexBounds {
    /// Ascending and disjoint.
    pub intervals: Vec<Interval>,
    /// Without arrays in the way, the values in the intervals all satisfy the predicate.
    pub exact: bool,
}

impl Interval {
    /// Just `value`.
    pub fn point(value: RawBson) -> Interval {
        Interval {
            lower: Bound::Included(value.clone()),
            upper: Bound::Included(value),
        }
    }

    /// Whether `value` lies inside.
    pub fn contains(&self, value: RawBsonRef<'_>) -> bool {
        let above = match &self.lower {
            Bound::Unbounded => true,
            Bound::Included(lower) => order::compare(value, lower.as_raw_bson_ref()).is_ge(),
            Bound::Excluded(lower) => order::compare(value, lower.as_raw_bson_ref()).is_gt(),
        };
        above
            && match &self.upper {
                Bound::Unbounded => true,
                Bound::Included(upper) => order::compare(value, upper.as_raw_bson_ref()).is_le(),
                Bound::Excluded(upper) => order::compare(value, upper.as_raw_bson_ref()).is_lt(),
            }
    }

    /// Whether it is a single value.
    pub fn as_point(&self) -> Option<RawBsonRef<'_>> {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower), Bound::Included(upper)) => {
                let (lower, upper) = (lower.as_raw_bson_ref(), upper.as_raw_bson_ref());
                order::compare(lower, upper).is_eq().then_some(lower)
            }
            _ => None,
        }
    }
}

/// The index entries of values equal to `value`. An array is looked up by its first member (undefined if it has
/// none), as an index holds its members, and as a whole, as it may be a member itself.
pub(super) fn equal_to(value: RawBsonRef<'_>) -> IndexBounds {
    match value {
        RawBsonRef::Null => IndexBounds {
            intervals: vec![
                Interval::point(RawBson::Undefined),
                Interval::point(RawBson::Null),
            ],
            exact: true,
        },
        RawBsonRef::Array(array) => {
            let first = array.into_iter().next().and_then(Result::ok);
            let first = Interval::point(first.unwrap_or(RawBsonRef::Undefined).into());
            union(vec![first, Interval::point(value.into())], false)
        }
        _ => IndexBounds {
            intervals: vec![Interval::point(value.into())],
            exact: true,
        },
    }
}

/// Sorts and merges.
pub(super) fn union(mut intervals: Vec<Interval>, exact: bool) -> IndexBounds {
    intervals.sort_by(|l, r| compare_lower(&l.lower, &r.lower));
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for next in intervals {
        match merged.last_mut() {
            Some(last) if touches(&last.upper, &next.lower) => {
                if compare_upper(&last.upper, &next.upper).is_lt() {
                    last.upper = next.upper;
                }
            }
            _ => merged.push(next),
        }
    }
    IndexBounds {
        intervals: merged,
        exact,
    }
}

/// Where a document has an index value that does not satisfy a predicate with these bounds: a superset. `None` if it may
/// be none. `below_arrays`: the path may lead through arrays, whose members an index shows as null where it ends early,
/// though a filter does not look at them.
pub(super) fn outside(bounds: IndexBounds, below_arrays: bool) -> Option<IndexBounds> {
    let holds_null = |interval: &Interval| interval.contains(RawBsonRef::Null);
    if !bounds.exact {
        return None;
    }
    let has_null = bounds.intervals.iter().any(holds_null);
    if has_null && below_arrays {
        return None;
    }
    let mut intervals = Vec::with_capacity(bounds.intervals.len() + 1);
    let mut lower = Bound::Unbounded;
    for interval in bounds.intervals {
        let upper = flip(interval.lower);
        if !is_void(&lower, &upper) {
            intervals.push(Interval { lower, upper });
        }
        lower = flip(interval.upper);
        if lower == Bound::Unbounded {
            return Some(union(intervals, false));
        }
    }
    intervals.push(Interval {
        lower,
        upper: Bound::Unbounded,
    });
    if has_null {
        // An empty array stands as undefined, and is not null.
        intervals.push(Interval::point(RawBson::Undefined));
    }
    Some(union(intervals, !has_null))
}

fn flip(end: Bound<RawBson>) -> Bound<RawBson> {
    match end {
        Bound::Included(value) => Bound::Excluded(value),
        Bound::Excluded(value) => Bound::Included(value),
        Bound::Unbounded => Bound::Unbounded,
    }
}

fn is_void(lower: &Bound<RawBson>, upper: &Bound<RawBson>) -> bool {
    match (value_of(lower), value_of(upper)) {
        (Some(from), Some(to)) => match order::compare(from, to) {
            Ordering::Less => false,
            Ordering::Equal => !matches!((lower, upper), (Bound::Included(_), Bound::Included(_))),
            Ordering::Greater => true,
        },
        // A first interval without a beginning leaves nothing below it.
        (None, None) => true,
        _ => false,
    }
}

/// Whether every value of `inner` lies in `outer`; both ascending and disjoint.
pub(super) fn lie_in(inner: &[Interval], outer: &[Interval]) -> bool {
    inner.iter().all(|inner| {
        outer.iter().any(|outer| {
            compare_lower(&outer.lower, &inner.lower).is_le()
                && compare_upper(&inner.upper, &outer.upper).is_le()
        })
    })
}

fn compare_lower(left: &Bound<RawBson>, right: &Bound<RawBson>) -> Ordering {
    compare_bounds(left, right, Ordering::Less)
}

fn compare_upper(left: &Bound<RawBson>, right: &Bound<RawBson>) -> Ordering {
    compare_bounds(left, right, Ordering::Greater)
}

/// `unbounded` is where an open end lies; an excluded value lies on the other side of the same value included.
fn compare_bounds(left: &Bound<RawBson>, right: &Bound<RawBson>, unbounded: Ordering) -> Ordering {
    match (value_of(left), value_of(right)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => unbounded,
        (Some(_), None) => unbounded.reverse(),
        (Some(l), Some(r)) => order::compare(l, r).then_with(|| {
            match (
                matches!(left, Bound::Excluded(_)),
                matches!(right, Bound::Excluded(_)),
            ) {
                (true, false) => unbounded.reverse(),
                (false, true) => unbounded,
                _ => Ordering::Equal,
            }
        }),
    }
}

/// Whether an interval that starts at `lower` overlaps or continues one that starts before it and ends at `upper`.
fn touches(upper: &Bound<RawBson>, lower: &Bound<RawBson>) -> bool {
    match (value_of(upper), value_of(lower)) {
        (Some(end), Some(start)) => match order::compare(end, start) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => {
                matches!(upper, Bound::Included(_)) || matches!(lower, Bound::Included(_))
            }
        },
        _ => true,
    }
}

fn value_of(bound: &Bound<RawBson>) -> Option<RawBsonRef<'_>> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(value) | Bound::Excluded(value) => Some(value.as_raw_bson_ref()),
    }
}

/// From the start of the class of `value` to `value`.
pub(super) fn below(value: RawBsonRef<'_>, inclusive: bool) -> Option<IndexBounds> {
    let (start, _) = class_range(value)?;
    Some(IndexBounds {
        intervals: vec![Interval {
            lower: start,
            upper: end_at(value, inclusive),
        }],
        exact: true,
    })
}

/// From `value` to the end of its class.
pub(super) fn above(value: RawBsonRef<'_>, inclusive: bool) -> Option<IndexBounds> {
    let (_, end) = class_range(value)?;
    Some(IndexBounds {
        intervals: vec![Interval {
            lower: end_at(value, inclusive),
            upper: end,
        }],
        exact: true,
    })
}

fn end_at(value: RawBsonRef<'_>, inclusive: bool) -> Bound<RawBson> {
    if inclusive {
        Bound::Included(value.into())
    } else {
        Bound::Excluded(value.into())
    }
}

/// Strings that start with `prefix`.
pub(super) fn strings_with_prefix(prefix: &str) -> Interval {
    Interval {
        lower: Bound::Included(RawBson::String(prefix.to_owned())),
        upper: match prefix_end(prefix) {
            Some(end) => Bound::Excluded(RawBson::String(end)),
            None => Bound::Excluded(RawBson::Document(RawDocumentBuf::new())),
        },
    }
}

/// The least string above all that start with `prefix`.
fn prefix_end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// The bounds of a class, without NaN among the numbers, which satisfies no inequality. None for classes that are
/// not worth the trouble or that arrays make inexact in both directions.
fn class_range(value: RawBsonRef<'_>) -> Option<(Bound<RawBson>, Bound<RawBson>)> {
    use Bound::{Excluded, Included};
    let (least, end) = match type_class(value) {
        TypeClass::Number if Number::of(value)?.is_nan() => {
            (f64::NAN.into(), Included(f64::NAN.into()))
        }
        TypeClass::Number => (f64::NEG_INFINITY.into(), Included(f64::INFINITY.into())),
        TypeClass::String => (String::new().into(), Excluded(RawDocumentBuf::new().into())),
        TypeClass::Object => (
            RawDocumentBuf::new().into(),
            Excluded(RawArrayBuf::new().into()),
        ),
        TypeClass::Binary => (
            RawBson::Binary(Binary {
                subtype: BinarySubtype::Generic,
                bytes: Vec::new(),
            }),
            Excluded(ObjectId::from_bytes([0; 12]).into()),
        ),
        TypeClass::ObjectId => (
            ObjectId::from_bytes([0; 12]).into(),
            Included(ObjectId::from_bytes([0xff; 12]).into()),
        ),
        TypeClass::Boolean => (false.into(), Included(true.into())),
        TypeClass::DateTime => (
            DateTime::from_millis(i64::MIN).into(),
            Included(DateTime::from_millis(i64::MAX).into()),
        ),
        TypeClass::Timestamp => (
            RawBson::Timestamp(Timestamp {
                time: 0,
                increment: 0,
            }),
            Included(RawBson::Timestamp(Timestamp {
                time: u32::MAX,
                increment: u32::MAX,
            })),
        ),
        _ => return None,
    };
    Some((Included(least), end))
}
