//! Date expressions. A date is an instant in milliseconds; a BSON timestamp and an ObjectId stand for the instant
//! inside them. Zones come from data built into the program, so all members of one version agree.

pub(crate) mod arithmetic;
pub(crate) mod civil;
pub(crate) mod format;
pub(crate) mod parse;
pub(crate) mod parts;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod zone;

use bson::raw::RawBsonRef;

pub(super) use arithmetic::{ADD, DIFF, TRUNC, add, difference, subtract, truncate};
pub(super) use parts::{FROM_PARTS, TO_PARTS, from_parts, to_parts};
pub(super) use text::{FROM_STRING, TO_STRING, from_string, to_string};

use super::operands::fail;
use crate::{DocumentError, display};

/// The instant in a value, if its type has one.
pub(crate) fn instant_of(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::DateTime(date) => Some(date.timestamp_millis()),
        RawBsonRef::Timestamp(timestamp) => Some(i64::from(timestamp.time) * 1000),
        RawBsonRef::ObjectId(id) => Some(id.timestamp().timestamp_millis()),
        _ => None,
    }
}

fn require_instant(value: RawBsonRef<'_>) -> Result<i64, DocumentError> {
    match instant_of(value) {
        Some(millis) => Ok(millis),
        None => fail(
            16006,
            format!(
                "can't convert from BSON type {} to Date",
                display::type_name(value.element_type())
            ),
        ),
    }
}
