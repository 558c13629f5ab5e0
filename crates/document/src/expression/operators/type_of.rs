//! `$type $isNumber $bsonSize $binarySize $tsSecond $tsIncrement`: about a value rather than of it.

use bson::raw::{RawBson, RawBsonRef};

use super::operands::{boolean, count, fail, null, text};
use super::{Computed, Operands};

pub(super) fn type_of(operands: &Operands<'_>) -> Computed {
    text(operands.type_name(0))
}

pub(super) fn is_number(operands: &Operands<'_>) -> Computed {
    boolean(operands.number(0).is_some())
}

pub(super) fn bson_size(operands: &Operands<'_>) -> Computed {
    match operands.value(0) {
        RawBsonRef::Document(object) => count(object.as_bytes().len()),
        _ if operands.nullish(0) => null(),
        _ => fail(
            31393,
            format!(
                "$bsonSize requires a document input, found: {}",
                operands.type_name(0)
            ),
        ),
    }
}

pub(super) fn binary_size(operands: &Operands<'_>) -> Computed {
    match operands.value(0) {
        RawBsonRef::String(text) => count(text.len()),
        RawBsonRef::Binary(binary) => count(binary.bytes.len()),
        _ if operands.nullish(0) => null(),
        _ => fail(
            51276,
            format!(
                "$binarySize requires a string or BinData argument, found: {}",
                operands.type_name(0)
            ),
        ),
    }
}

pub(super) fn ts_second(operands: &Operands<'_>) -> Computed {
    timestamp(operands, 5_687_301, |timestamp| timestamp.time)
}

pub(super) fn ts_increment(operands: &Operands<'_>) -> Computed {
    timestamp(operands, 5_687_302, |timestamp| timestamp.increment)
}

fn timestamp(operands: &Operands<'_>, code: i32, part: fn(bson::Timestamp) -> u32) -> Computed {
    match operands.value(0) {
        RawBsonRef::Timestamp(timestamp) => Ok(Some(RawBson::Int64(i64::from(part(timestamp))))),
        _ if operands.nullish(0) => null(),
        _ => fail(
            code,
            format!(
                "Argument to {} must be a timestamp, but is {}",
                operands.name,
                operands.type_name(0)
            ),
        ),
    }
}
