//! Parts of strings and positions in them, by bytes and by code points.

use bson::raw::RawBson;

use super::convert::coerce_to_text;
use super::operands::{fail, null, text};
use super::{Computed, Operands};
use crate::DocumentError;
use crate::expression::number::Numeric;

pub(super) fn bytes(operands: &Operands<'_>) -> Computed {
    let name = operands.name;
    let whole = coerce_to_text(operands, 0)?;
    let number = |index: usize, code: i32, what: &str| match operands.number(index) {
        Some(number) => Ok(truncated(number)),
        None => fail(
            code,
            format!(
                "{name}:  {what} must be a numeric type (is BSON type {})",
                operands.type_name(index)
            ),
        ),
    };
    let start = number(1, 16034, "starting index")?;
    let length = number(2, 16035, "length")?;
    let Ok(start) = usize::try_from(start) else {
        return fail(
            50752,
            format!("{name}:  starting index must be non-negative (got: {start})"),
        );
    };
    if start >= whole.len() {
        return text("");
    }
    // A negative length means the rest.
    let end = match usize::try_from(length) {
        Ok(length) => start.saturating_add(length).min(whole.len()),
        Err(_) => whole.len(),
    };
    if !whole.is_char_boundary(start) {
        return fail(
            28656,
            format!("{name}:  Invalid range, starting index is a UTF-8 continuation byte."),
        );
    }
    match whole.get(start..end) {
        Some(part) => text(part),
        None => fail(
            28657,
            format!("{name}:  Invalid range, ending index is in the middle of a UTF-8 character."),
        ),
    }
}

fn truncated(number: Numeric) -> i64 {
    number.as_whole().unwrap_or(number.as_double() as i64)
}

pub(super) fn code_points(operands: &Operands<'_>) -> Computed {
    let whole = coerce_to_text(operands, 0)?;
    let start = code_point_number(operands, 1, "starting index", (34450, 34451))?;
    let length = code_point_number(operands, 2, "length", (34452, 34453))?;
    let Ok(length) = usize::try_from(length) else {
        return fail(
            34454,
            format!("{}: length must be a nonnegative integer.", operands.name),
        );
    };
    let Ok(start) = usize::try_from(start) else {
        return fail(
            34455,
            format!(
                "{}: the starting index must be nonnegative integer.",
                operands.name
            ),
        );
    };
    text(whole.chars().skip(start).take(length).collect::<String>())
}

fn code_point_number(
    operands: &Operands<'_>,
    index: usize,
    what: &str,
    (not_a_number, not_32_bits): (i32, i32),
) -> Result<i32, DocumentError> {
    let name = operands.name;
    if operands.number(index).is_none() {
        return fail(
            not_a_number,
            format!(
                "{name}: {what} must be a numeric type (is BSON type {})",
                operands.type_name(index)
            ),
        );
    }
    match operands.int32(index) {
        Some(number) => Ok(number),
        None => fail(
            not_32_bits,
            format!(
                "{name}: {what} cannot be represented as a 32-bit integral value: {}",
                operands.shown(index)
            ),
        ),
    }
}

/// The optional position of `$indexOf…`; `None` when it is not given.
pub(super) fn index_operand(
    operands: &Operands<'_>,
    index: usize,
    what: &str,
) -> Result<Option<usize>, DocumentError> {
    if operands.len() <= index {
        return Ok(None);
    }
    let Some(position) = operands.int32(index) else {
        return fail(
            40096,
            format!(
                "{} requires an integral {what} index, found a value of type: {}, with value: \"{}\"",
                operands.name,
                operands.type_name(index),
                operands.shown(index)
            ),
        );
    };
    match usize::try_from(position) {
        Ok(position) => Ok(Some(position)),
        Err(_) => fail(
            40097,
            format!(
                "{} requires a nonnegative {what} index, found: {position}",
                operands.name
            ),
        ),
    }
}

pub(super) fn index_of_bytes(operands: &Operands<'_>) -> Computed {
    index_of(
        operands,
        (40091, 40092),
        |text, position| (position <= text.len()).then_some(position),
        |_, offset| offset,
    )
}

pub(super) fn index_of_code_points(operands: &Operands<'_>) -> Computed {
    index_of(
        operands,
        (40093, 40094),
        |text, position| {
            let mut offsets = text.char_indices().map(|(offset, _)| offset);
            offsets
                .nth(position)
                .or_else(|| (text.chars().count() == position).then_some(text.len()))
        },
        |text, offset| text[..offset].chars().count(),
    )
}

/// `to_offset` turns a position into bytes (`None`: behind the end), `to_position` back.
fn index_of(
    operands: &Operands<'_>,
    codes: (i32, i32),
    to_offset: fn(&str, usize) -> Option<usize>,
    to_position: fn(&str, usize) -> usize,
) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    let string = |index: usize, code: i32, position: &str| match operands.text(index) {
        Some(text) => Ok(text),
        None => fail(
            code,
            format!(
                "{} requires a string as the {position} argument, found: {}",
                operands.name,
                operands.type_name(index)
            ),
        ),
    };
    let whole = string(0, codes.0, "first")?;
    let sought = string(1, codes.1, "second")?;
    let start = index_operand(operands, 2, "starting")?.unwrap_or(0);
    let end = index_operand(operands, 3, "ending")?;
    let end = end
        .and_then(|end| to_offset(whole, end))
        .unwrap_or(whole.len());
    let found = to_offset(whole, start)
        .filter(|start| *start <= end)
        .and_then(|start| {
            let within = whole.as_bytes().get(start..end)?;
            let offset = find(within, sought.as_bytes())?;
            Some(to_position(whole, start + offset))
        });
    Ok(Some(RawBson::Int32(
        found.map_or(-1, |position| position as i32),
    )))
}

fn find(within: &[u8], sought: &[u8]) -> Option<usize> {
    if sought.is_empty() {
        return Some(0);
    }
    within
        .windows(sought.len())
        .position(|window| window == sought)
}
