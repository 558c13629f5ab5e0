//! `$bitAnd $bitOr $bitXor $bitNot`: int and long only; one long makes the result a long.

use bson::raw::{RawBson, RawBsonRef};

use super::operands::null;
use super::{Computed, Operands};
use crate::DocumentError;

pub(super) fn and(operands: &Operands<'_>) -> Computed {
    fold(operands, -1, |l, r| l & r)
}

pub(super) fn or(operands: &Operands<'_>) -> Computed {
    fold(operands, 0, |l, r| l | r)
}

pub(super) fn xor(operands: &Operands<'_>) -> Computed {
    fold(operands, 0, |l, r| l ^ r)
}

fn fold(operands: &Operands<'_>, start: i64, function: fn(i64, i64) -> i64) -> Computed {
    let mut wide = false;
    let mut bits = start;
    for index in 0..operands.len() {
        match operands.value(index) {
            RawBsonRef::Int32(integer) => bits = function(bits, i64::from(integer)),
            RawBsonRef::Int64(integer) => {
                wide = true;
                bits = function(bits, integer);
            }
            _ if operands.nullish(index) => return null(),
            _ => {
                return Err(DocumentError::type_mismatch(format!(
                    "{} only supports int and long operands.",
                    operands.name
                )));
            }
        }
    }
    Ok(Some(match i32::try_from(bits) {
        Ok(narrow) if !wide => RawBson::Int32(narrow),
        _ => RawBson::Int64(bits),
    }))
}

pub(super) fn not(operands: &Operands<'_>) -> Computed {
    match operands.value(0) {
        RawBsonRef::Int32(integer) => Ok(Some(RawBson::Int32(!integer))),
        RawBsonRef::Int64(integer) => Ok(Some(RawBson::Int64(!integer))),
        _ if operands.nullish(0) => null(),
        _ => Err(DocumentError::location(
            28765,
            format!(
                "$bitNot only supports int and long, not {}.",
                operands.type_name(0)
            ),
        )),
    }
}
