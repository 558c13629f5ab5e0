//! `$arrayElemAt $in $isArray $size`.

use bson::raw::{RawArray, RawBson, RawBsonRef};

use super::{Computed, Operands, type_name};
use crate::expression::Value;
use crate::expression::number::Numeric;
use crate::expression::value::is_nullish;
use crate::{DocumentError, display, order, raw};

fn as_array<'v>(operand: &'v Option<Value<'_>>) -> Option<&'v RawArray> {
    operand.as_ref().and_then(|value| value.as_ref().as_array())
}

pub(super) fn size(operands: &Operands<'_>) -> Computed {
    let array = as_array(&operands[0]).ok_or_else(|| {
        DocumentError::location(
            17124,
            format!(
                "The argument to $size must be an array, but was of type: {}",
                type_name(&operands[0])
            ),
        )
    })?;
    let count = i32::try_from(raw::members(array).count()).unwrap_or(i32::MAX);
    Ok(Some(RawBson::Int32(count)))
}

pub(super) fn is_array(operands: &Operands<'_>) -> Computed {
    Ok(Some(RawBson::Boolean(as_array(&operands[0]).is_some())))
}

pub(super) fn contains(operands: &Operands<'_>) -> Computed {
    let array = as_array(&operands[1]).ok_or_else(|| {
        DocumentError::location(
            40081,
            format!(
                "$in requires an array as a second argument, found: {}",
                type_name(&operands[1])
            ),
        )
    })?;
    let found = operands[0].as_ref().is_some_and(|sought| {
        raw::members(array).any(|member| order::compare(member, sought.as_ref()).is_eq())
    });
    Ok(Some(RawBson::Boolean(found)))
}

pub(super) fn element_at(operands: &Operands<'_>) -> Computed {
    if operands.iter().any(is_nullish) {
        return Ok(Some(RawBson::Null));
    }
    let array = as_array(&operands[0]).ok_or_else(|| {
        DocumentError::location(
            28689,
            format!(
                "$arrayElemAt's first argument must be an array, but is {}",
                type_name(&operands[0])
            ),
        )
    })?;
    let index = operands[1]
        .as_ref()
        .map_or(RawBsonRef::Null, |value| value.as_ref());
    let number = Numeric::of(index).ok_or_else(|| {
        DocumentError::location(
            28690,
            format!(
                "$arrayElemAt's second argument must be a numeric value, but is {}",
                type_name(&operands[1])
            ),
        )
    })?;
    let index = number.as_whole().ok_or_else(|| {
        DocumentError::location(
            28691,
            format!(
                "$arrayElemAt's second argument must be representable as a 32-bit integer: {}",
                display::value(index)
            ),
        )
    })?;
    let mut members = raw::members(array);
    let member = if index >= 0 {
        usize::try_from(index)
            .ok()
            .and_then(|index| members.nth(index))
    } else {
        let all: Vec<RawBsonRef<'_>> = members.collect();
        usize::try_from(index.unsigned_abs())
            .ok()
            .and_then(|back| all.len().checked_sub(back))
            .map(|at| all[at])
    };
    Ok(member.map(raw::owned))
}
