//! Arrays as sets: members are equal when they compare as equal, order and repetition do not count.

use std::collections::BTreeMap;

use bson::RawArrayBuf;
use bson::raw::{RawArray, RawBson, RawBsonRef};

use super::operands::{boolean, fail, null};
use super::{Computed, Operands};
use crate::DocumentError;
use crate::expression::Value;
use crate::key_encoding::{self, Direction};
use crate::raw;

/// Members by their key, ascending.
type Set<'a> = BTreeMap<Vec<u8>, RawBsonRef<'a>>;

fn key(member: RawBsonRef<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    key_encoding::encode(member, Direction::Ascending, &mut key);
    key
}

fn set(array: &RawArray) -> Set<'_> {
    let mut set = Set::new();
    for member in raw::members(array) {
        set.entry(key(member)).or_insert(member);
    }
    set
}

fn of_set(set: Set<'_>) -> Computed {
    Ok(Some(RawBson::Array(raw::array_of(set.into_values()))))
}

pub(super) fn union(operands: &Operands<'_>) -> Computed {
    let mut all = Set::new();
    for index in 0..operands.len() {
        if operands.nullish(index) {
            return null();
        }
        let Some(array) = operands.array(index) else {
            return fail(
                17043,
                format!(
                    "All operands of $setUnion must be arrays. One argument is of type: {}",
                    operands.type_name(index)
                ),
            );
        };
        for member in raw::members(array) {
            all.entry(key(member)).or_insert(member);
        }
    }
    of_set(all)
}

pub(super) fn intersection(operands: &Operands<'_>) -> Computed {
    let mut common: Option<Set<'_>> = None;
    for index in 0..operands.len() {
        if operands.nullish(index) {
            return null();
        }
        let Some(array) = operands.array(index) else {
            return fail(
                17047,
                format!(
                    "All operands of $setIntersection must be arrays. One argument is of type: {}",
                    operands.type_name(index)
                ),
            );
        };
        let members = set(array);
        match &mut common {
            None => common = Some(members),
            Some(common) => common.retain(|key, _| members.contains_key(key)),
        }
    }
    of_set(common.unwrap_or_default())
}

/// Two arrays of an operator that takes exactly two.
fn both<'o>(
    operands: &'o Operands<'_>,
    codes: [i32; 2],
) -> Result<(&'o RawArray, &'o RawArray), DocumentError> {
    let array = |index: usize, position: &str| match operands.array(index) {
        Some(array) => Ok(array),
        None => fail(
            codes[index],
            format!(
                "both operands of {} must be arrays. {position} argument is of type: {}",
                operands.name,
                operands.type_name(index)
            ),
        ),
    };
    Ok((array(0, "First")?, array(1, "Second")?))
}

pub(super) fn difference(operands: &Operands<'_>) -> Computed {
    if operands.any_nullish() {
        return null();
    }
    let (from, without) = both(operands, [17048, 17049])?;
    let mut seen = set(without);
    let mut left = RawArrayBuf::new();
    for member in raw::members(from) {
        if seen.insert(key(member), member).is_none() {
            left.push(member);
        }
    }
    Ok(Some(RawBson::Array(left)))
}

pub(super) fn is_subset(operands: &Operands<'_>) -> Computed {
    let (part, whole) = both(operands, [17046, 17042])?;
    let whole = set(whole);
    boolean(raw::members(part).all(|member| whole.contains_key(&key(member))))
}

pub(super) fn equals(operands: &Operands<'_>) -> Computed {
    let mut first: Option<Set<'_>> = None;
    let mut equal = true;
    for index in 0..operands.len() {
        let Some(array) = operands.array(index) else {
            return fail(
                17044,
                format!(
                    "All operands of $setEquals must be arrays. {}-th argument is of type: {}",
                    index + 1,
                    operands.type_name(index)
                ),
            );
        };
        let members = set(array);
        match &first {
            None => first = Some(members),
            Some(first) => equal &= first.keys().eq(members.keys()),
        }
    }
    boolean(equal)
}

pub(super) fn any_true(operands: &Operands<'_>) -> Computed {
    let array = members_of(operands, 17041)?;
    boolean(raw::members(array).any(|member| Value::Borrowed(member).is_true()))
}

pub(super) fn all_true(operands: &Operands<'_>) -> Computed {
    let array = members_of(operands, 17040)?;
    boolean(raw::members(array).all(|member| Value::Borrowed(member).is_true()))
}

fn members_of<'o>(operands: &'o Operands<'_>, code: i32) -> Result<&'o RawArray, DocumentError> {
    match operands.array(0) {
        Some(array) => Ok(array),
        None => fail(
            code,
            format!(
                "{}'s argument must be an array, but is {}",
                operands.name,
                operands.type_name(0)
            ),
        ),
    }
}
