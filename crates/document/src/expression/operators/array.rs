//! Operators over arrays that take a member, a part, or look for something.

use bson::RawArrayBuf;
use bson::raw::{RawArray, RawBson, RawBsonRef};

use super::operands::{boolean, count, fail, null};
use super::{Computed, Operands};
use crate::expression::number::Numeric;
use crate::{DocumentError, order, raw};

/// The greatest number of members `$range` makes.
const RANGE_MEMBERS_MAX: i64 = 4 * 1024 * 1024;

fn array_of(members: RawArrayBuf) -> Computed {
    Ok(Some(RawBson::Array(members)))
}

pub(super) fn size(operands: &Operands<'_>) -> Computed {
    match operands.array(0) {
        Some(array) => count(raw::members(array).count()),
        None => fail(
            17124,
            format!(
                "The argument to $size must be an array, but was of type: {}",
                operands.type_name(0)
            ),
        ),
    }
}

pub(super) fn is_array(operands: &Operands<'_>) -> Computed {
    boolean(operands.array(0).is_some())
}

pub(super) fn contains(operands: &Operands<'_>) -> Computed {
    let Some(array) = operands.array(1) else {
        return fail(
            40081,
            format!(
                "$in requires an array as a second argument, found: {}",
                operands.type_name(1)
            ),
        );
    };
    let sought = operands.value(0);
    boolean(raw::members(array).any(|member| order::compare(member, sought).is_eq()))
}

pub(super) fn element_at(operands: &Operands<'_>) -> Computed {
    if operands.any_nullish() {
        return null();
    }
    let Some(array) = operands.array(0) else {
        return fail(
            28689,
            format!(
                "$arrayElemAt's first argument must be an array, but is {}",
                operands.type_name(0)
            ),
        );
    };
    if operands.number(1).is_none() {
        return fail(
            28690,
            format!(
                "$arrayElemAt's second argument must be a numeric value, but is {}",
                operands.type_name(1)
            ),
        );
    }
    let Some(index) = operands.int32(1) else {
        return fail(
            28691,
            format!(
                "$arrayElemAt's second argument must be representable as a 32-bit integer: {}",
                operands.shown(1)
            ),
        );
    };
    Ok(at(array, i64::from(index)).map(raw::owned))
}

/// The member at `index`, from the end when negative.
fn at(array: &RawArray, index: i64) -> Option<RawBsonRef<'_>> {
    let position = match usize::try_from(index) {
        Ok(position) => position,
        Err(_) => {
            let back = usize::try_from(index.unsigned_abs()).ok()?;
            raw::members(array).count().checked_sub(back)?
        }
    };
    raw::members(array).nth(position)
}

pub(super) fn first(operands: &Operands<'_>) -> Computed {
    end(operands, 0)
}

pub(super) fn last(operands: &Operands<'_>) -> Computed {
    end(operands, -1)
}

fn end(operands: &Operands<'_>, index: i64) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    match operands.array(0) {
        Some(array) => Ok(at(array, index).map(raw::owned)),
        None => fail(
            28689,
            format!(
                "{}'s argument must be an array, but is {}",
                operands.name,
                operands.type_name(0)
            ),
        ),
    }
}

pub(super) fn concat(operands: &Operands<'_>) -> Computed {
    let mut joined = RawArrayBuf::new();
    for index in 0..operands.len() {
        if operands.nullish(index) {
            return null();
        }
        let Some(array) = operands.array(index) else {
            return fail(
                28664,
                format!(
                    "$concatArrays only supports arrays, not {}",
                    operands.type_name(index)
                ),
            );
        };
        for member in raw::members(array) {
            joined.push(member);
        }
    }
    array_of(joined)
}

pub(super) fn reverse(operands: &Operands<'_>) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    let Some(array) = operands.array(0) else {
        return fail(
            34435,
            format!(
                "The argument to $reverseArray must be an array, but was of type: {}",
                operands.type_name(0)
            ),
        );
    };
    let members: Vec<_> = raw::members(array).collect();
    array_of(raw::array_of(members.into_iter().rev()))
}

pub(super) fn index_of(operands: &Operands<'_>) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    let Some(array) = operands.array(0) else {
        return fail(
            40090,
            format!(
                "$indexOfArray requires an array as a first argument, found: {}",
                operands.type_name(0)
            ),
        );
    };
    let start = super::substring::index_operand(operands, 2, "starting")?.unwrap_or(0);
    let end = super::substring::index_operand(operands, 3, "ending")?.unwrap_or(usize::MAX);
    let sought = operands.value(1);
    let found = raw::members(array)
        .enumerate()
        .take(end)
        .skip(start)
        .find(|(_, member)| order::compare(*member, sought).is_eq());
    Ok(Some(RawBson::Int32(
        found.map_or(-1, |(index, _)| index as i32),
    )))
}

pub(super) fn range(operands: &Operands<'_>) -> Computed {
    let start = range_number(operands, 0, "a starting value", (34443, 34444))?;
    let end = range_number(operands, 1, "an ending value", (34445, 34446))?;
    let step = match operands.len() {
        3 => range_number(operands, 2, "a step value", (34447, 34448))?,
        _ => 1,
    };
    if step == 0 {
        return fail(34449, "$range requires a non-zero step value");
    }
    let apart = if step > 0 { end - start } else { start - end };
    let members = if apart <= 0 {
        0
    } else {
        (apart - 1) / step.abs() + 1
    };
    if members > RANGE_MEMBERS_MAX {
        return fail(146, "$range would use too much memory and cannot spill");
    }
    let mut array = RawArrayBuf::new();
    for index in 0..members {
        let member = i32::try_from(start + index * step);
        array.push(member.expect("between two numbers of 32 bits"));
    }
    array_of(array)
}

fn range_number(
    operands: &Operands<'_>,
    index: usize,
    what: &str,
    (not_a_number, not_32_bits): (i32, i32),
) -> Result<i64, DocumentError> {
    if operands.number(index).is_none() {
        return fail(
            not_a_number,
            format!(
                "$range requires a numeric {}, found value of type: {}",
                what.trim_start_matches("an ").trim_start_matches("a "),
                operands.type_name(index)
            ),
        );
    }
    match operands.int32(index) {
        Some(number) => Ok(i64::from(number)),
        None => fail(
            not_32_bits,
            format!(
                "$range requires {what} that can be represented as a 32-bit integer, found value: {}",
                operands.shown(index)
            ),
        ),
    }
}

pub(super) fn slice(operands: &Operands<'_>) -> Computed {
    if operands.any_nullish() {
        return null();
    }
    let Some(array) = operands.array(0) else {
        return fail(
            28724,
            format!(
                "First argument to $slice must be an array, but is of type: {}",
                operands.type_name(0)
            ),
        );
    };
    let second = slice_number(operands, 1, "Second", (28725, 28726))?;
    let length = raw::members(array).count() as i64;
    let (start, taken) = match operands.len() {
        2 if second >= 0 => (0, second),
        2 => ((length + second).max(0), length.min(-second)),
        _ => {
            let third = slice_number(operands, 2, "Third", (28727, 28728))?;
            if third <= 0 {
                return fail(
                    28729,
                    format!("Third argument to $slice must be positive: {third}"),
                );
            }
            let start = if second >= 0 {
                second
            } else {
                (length + second).max(0)
            };
            (start, third)
        }
    };
    let kept = raw::members(array)
        .skip(start as usize)
        .take(taken as usize);
    array_of(raw::array_of(kept))
}

fn slice_number(
    operands: &Operands<'_>,
    index: usize,
    what: &str,
    (not_a_number, not_32_bits): (i32, i32),
) -> Result<i64, DocumentError> {
    if operands.number(index).is_none() {
        return fail(
            not_a_number,
            format!(
                "{what} argument to $slice must be a numeric value, but is of type: {}",
                operands.type_name(index)
            ),
        );
    }
    match operands
        .number(index)
        .and_then(Numeric::as_whole)
        .and_then(|n| i32::try_from(n).ok())
    {
        Some(number) => Ok(i64::from(number)),
        None => fail(
            not_32_bits,
            format!(
                "{what} argument to $slice can't be represented as a 32-bit integer: {}",
                operands.shown(index)
            ),
        ),
    }
}
