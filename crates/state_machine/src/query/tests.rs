//! Intervals and key ranges; plans and rows are tested from outside, against a model and golden scripts.

use std::ops::Bound::{Excluded, Included, Unbounded};

use bson::{RawBson, RawBsonRef, rawdoc};
use document::filter::Interval;
use document::key_encoding::{Direction, encode_compound};

use super::bounds::{self, KeyRange};
use super::{Hint, Interrupt, InterruptReason, ScanDirection};

fn interval(lower: std::ops::Bound<i32>, upper: std::ops::Bound<i32>) -> Interval {
    Interval {
        lower: lower.map(RawBson::Int32),
        upper: upper.map(RawBson::Int32),
    }
}

fn point(value: i32) -> Interval {
    interval(Included(value), Included(value))
}

fn key(values: &[i32], directions: &[Direction]) -> Vec<u8> {
    let values = values.iter().map(|value| RawBsonRef::Int32(*value));
    encode_compound(values.zip(directions.iter().copied()))
}

#[test]
fn intersections_keep_what_both_allow() {
    let left = [
        interval(Unbounded, Excluded(3)),
        interval(Excluded(3), Included(10)),
    ];
    let right = [
        interval(Included(1), Included(3)),
        interval(Included(10), Unbounded),
    ];
    let common = bounds::intersect(&left, &right);
    assert_eq!(common, [interval(Included(1), Excluded(3)), point(10)]);
    assert_eq!(bounds::intersect(&[point(1)], &[point(2)]), []);
    assert_eq!(bounds::intersect(&left, &bounds::everything()), left);
}

#[test]
fn key_ranges_hold_exactly_the_keys_of_their_values() {
    use Direction::{Ascending, Descending};
    let fields = [
        [point(1), point(4)].to_vec(),
        [interval(Excluded(2), Included(5))].to_vec(),
    ];
    for directions in [
        [Ascending, Ascending],
        [Ascending, Descending],
        [Descending, Descending],
    ] {
        let bounded: Vec<(Direction, &[Interval])> = directions
            .iter()
            .copied()
            .zip(fields.iter().map(Vec::as_slice))
            .collect();
        let (ranges, used) = bounds::key_ranges(&[], &bounded, false);
        assert_eq!((ranges.len(), used), (2, 2));
        for first in 0..6 {
            for second in 0..8 {
                // An entry's key goes on after the fields.
                let mut entry = key(&[first, second], &directions);
                entry.push(7);
                let inside = ranges.iter().any(|range| match range {
                    KeyRange::Point(point) => *point == entry,
                    KeyRange::Span(from, to) => {
                        *from <= entry && to.as_ref().is_none_or(|to| entry < *to)
                    }
                });
                let wanted = [1, 4].contains(&first) && (3..=5).contains(&second);
                assert_eq!(inside, wanted, "{first} {second} {directions:?}");
            }
        }
    }
}

#[test]
fn a_whole_key_of_a_unique_index_is_one_entry() {
    let fields = [point(1)];
    let bounded = [(Direction::Ascending, fields.as_slice())];
    let expected = key(&[1], &[Direction::Ascending]);
    let (ranges, _) = bounds::key_ranges(&[], &bounded, true);
    assert_eq!(ranges, [KeyRange::Point(expected)]);
}

#[test]
fn too_many_combinations_leave_later_fields_out() {
    let many: Vec<Interval> = (0..100).map(point).collect();
    let fields = [(Direction::Ascending, many.as_slice()); 3];
    let (ranges, used) = bounds::key_ranges(&[], &fields, false);
    assert_eq!((ranges.len(), used), (100, 1));
}

#[test]
fn intervals_without_ends_are_not_worth_seeking() {
    assert!(!bounds::is_selective(&bounds::everything()));
    assert!(!bounds::is_selective(&[
        interval(Unbounded, Excluded(3)),
        interval(Excluded(3), Unbounded)
    ]));
    assert!(bounds::is_selective(&[interval(Unbounded, Excluded(3))]));
}

#[test]
fn hints_are_names_patterns_or_the_natural_order() {
    let parse = |hint: RawBson| Hint::parse(hint.as_raw_bson_ref());
    assert_eq!(
        parse(RawBson::String("a_1".into())),
        Ok(Some(Hint::Name("a_1".into())))
    );
    assert_eq!(parse(rawdoc! {}.into()), Ok(None));
    let pattern = rawdoc! { "a": 1 };
    assert_eq!(
        parse(pattern.clone().into()),
        Ok(Some(Hint::KeyPattern(pattern)))
    );
    let backward = Hint::Natural(ScanDirection::Backward);
    assert_eq!(parse(rawdoc! { "$natural": -1 }.into()), Ok(Some(backward)));
    assert!(parse(rawdoc! { "$natural": 2 }.into()).is_err());
    assert!(parse(RawBson::Int32(1)).is_err());
}

#[test]
fn an_interrupt_asks_its_owner() {
    assert_eq!(Interrupt::never().reason(), None);
    let killed = Interrupt::new(|| Some(InterruptReason::Killed));
    assert_eq!(killed.reason(), Some(InterruptReason::Killed));
}
