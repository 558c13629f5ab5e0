//! Conditions on the fields of an index behind those that the ranges of a scan take into account: tested on the keys, so
//! that documents are read only for entries that can match.

use std::ops::Bound;

use document::filter::Interval;
use document::key_encoding::{self, Direction};

use super::bounds;

/// Encoded values from one end to the other, in the order of keys.
type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// What the fields of a key have to lie in.
#[derive(Debug, Clone)]
pub(super) struct KeyCheck {
    /// Per field: its direction and, if it is checked, its ranges.
    fields: Vec<(Direction, Option<Vec<Range>>)>,
}

impl KeyCheck {
    /// For all fields from `first` on; `None` when there is nothing to check.
    pub fn new(fields: &[(Direction, &[Interval])], first: usize) -> Option<KeyCheck> {
        let everything = bounds::everything();
        let is_checked =
            |position: usize| position >= first && fields[position].1 != everything.as_slice();
        let last = (0..fields.len()).rev().find(|at| is_checked(*at))?;
        let checked = fields[..=last].iter().enumerate();
        Some(KeyCheck {
            fields: checked
                .map(|(position, (direction, intervals))| {
                    let ranges = || intervals.iter().map(|one| range(one, *direction)).collect();
                    (*direction, is_checked(position).then(ranges))
                })
                .collect(),
        })
    }

    /// Whether the encoded fields of an entry lie inside.
    pub fn accepts(&self, mut key: &[u8]) -> bool {
        for (direction, ranges) in &self.fields {
            let Some(length) = key_encoding::skip(key, *direction) else {
                return true; // not to be judged here: the document will tell
            };
            let (field, rest) = key.split_at(length);
            let inside = |ranges: &Vec<Range>| ranges.iter().any(|range| holds(range, field));
            if !ranges.as_ref().is_none_or(inside) {
                return false;
            }
            key = rest;
        }
        true
    }
}

fn range(interval: &Interval, direction: Direction) -> Range {
    let encoded = |end: &Bound<bson::RawBson>| {
        end.as_ref().map(|value| {
            let mut key = Vec::new();
            key_encoding::encode(value.as_raw_bson_ref(), direction, &mut key);
            key
        })
    };
    match direction {
        Direction::Ascending => (encoded(&interval.lower), encoded(&interval.upper)),
        Direction::Descending => (encoded(&interval.upper), encoded(&interval.lower)),
    }
}

fn holds((from, to): &Range, field: &[u8]) -> bool {
    let after = match from {
        Bound::Unbounded => true,
        Bound::Included(from) => field >= from.as_slice(),
        Bound::Excluded(from) => field > from.as_slice(),
    };
    after
        && match to {
            Bound::Unbounded => true,
            Bound::Included(to) => field <= to.as_slice(),
            Bound::Excluded(to) => field < to.as_slice(),
        }
}
