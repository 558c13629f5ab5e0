//! `expireAfterSeconds` of an index: what is valid, and where a catalog record keeps it: in the specification, which every
//! version stores and shows whole, so that the record's format did not change for it.

use bson::raw::{CString, cstr};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use document::DocumentError;

use super::IndexEntry;
use super::spec::{cannot_create, describe};
use crate::CommandError;

pub(crate) const OPTION: &str = "expireAfterSeconds";

/// Reads the option's value, as in `createIndexes` and `collMod`: 0 to 2147483647, truncated to whole seconds. What is no
/// number at all counts as the greatest, as MongoDB has it.
pub fn parse_seconds(value: RawBsonRef<'_>) -> Result<i32, CommandError> {
    let seconds = match value {
        RawBsonRef::Int32(number) => f64::from(number),
        RawBsonRef::Int64(number) => number as f64,
        RawBsonRef::Double(number) => number,
        RawBsonRef::Decimal128(number) => number.to_string().parse().map_err(|_| no_number())?,
        _ => return Err(no_number()),
    };
    if seconds.is_nan() {
        return Ok(i32::MAX);
    }
    let seconds = seconds.trunc();
    if seconds < 0.0 {
        return Err(cannot_create(format!(
            "TTL index '{OPTION}' option cannot be less than 0"
        )));
    }
    if seconds > f64::from(i32::MAX) {
        return Err(cannot_create(format!(
            "TTL index '{OPTION}' option must be within an acceptable range, try a lower number: at most {}",
            i32::MAX
        )));
    }
    Ok(seconds as i32)
}

fn no_number() -> CommandError {
    cannot_create(format!("TTL index '{OPTION}' option must be numeric"))
}

/// Refuses the option where it means nothing. `specification` is what the client wrote.
pub(super) fn check(
    fields: usize,
    is_id: bool,
    specification: &RawDocument,
) -> Result<(), CommandError> {
    if is_id {
        return Err(CommandError::InvalidIndexSpecificationOption {
            message: format!(
                "The field '{OPTION}' is not valid for an _id index specification. Specification: {}",
                describe(specification)
            ),
        });
    }
    if fields != 1 {
        return Err(cannot_create(format!(
            "TTL indexes are single-field indexes, compound indexes do not support TTL. Index spec: {}",
            describe(specification)
        )));
    }
    Ok(())
}

/// What a stored specification says.
pub(super) fn of_specification(spec: &RawDocument) -> Option<i32> {
    match spec.get(OPTION) {
        Ok(Some(value)) => parse_seconds(value).ok(),
        _ => None,
    }
}

impl IndexEntry {
    /// This index with documents that expire so many seconds after its field.
    pub(crate) fn expiring_after(&self, seconds: i32) -> IndexEntry {
        let mut spec = RawDocumentBuf::new();
        for (name, value) in self.spec.iter().flatten() {
            if name.as_str() != OPTION {
                spec.append(CString::from(name), value);
            }
        }
        spec.append(cstr!("expireAfterSeconds"), seconds);
        IndexEntry {
            expire_after_seconds: Some(seconds),
            spec,
            ..self.clone()
        }
    }

    /// This index, to be chosen by queries or not.
    pub(crate) fn with_hidden(&self, hidden: bool) -> Result<IndexEntry, DocumentError> {
        let mut spec = RawDocumentBuf::new();
        for element in self.spec.iter() {
            let (name, value) = element?;
            if name != "hidden" {
                spec.append(name, value);
            }
        }
        if hidden {
            spec.append(cstr!("hidden"), true);
        }
        Ok(IndexEntry {
            hidden,
            spec,
            ..self.clone()
        })
    }
}
