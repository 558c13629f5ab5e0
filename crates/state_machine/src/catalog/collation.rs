//! `collation` of collections and of indexes.

use bson::{RawBsonRef, RawDocument};
use document::{Collation, DocumentError};

use crate::CommandError;
use crate::command::DecodeError;

/// The option's name.
pub(super) const OPTION: &str = "collation";

/// Reads the option's value; `None` is the simple collation.
pub(super) fn parse(value: RawBsonRef<'_>) -> Result<Option<Collation>, CommandError> {
    match value {
        RawBsonRef::Document(document) => Ok(Collation::parse(document)?),
        _ => Err(DocumentError::type_mismatch("The field 'collation' must be an object").into()),
    }
}

/// The collation among a collection's options, which were checked when they came.
pub(crate) fn of_options(options: &RawDocument) -> Option<Collation> {
    parse(options.get(OPTION).ok()??).ok()?
}

/// That of a stored index. Without its rules the index cannot be kept: better not to start.
pub(super) fn of_specification(spec: &RawDocument) -> Result<Option<Collation>, DecodeError> {
    const DAMAGED: DecodeError = DecodeError::Damaged("index collation");
    match spec.get(OPTION).map_err(|_| DAMAGED)? {
        Some(value) => parse(value).map_err(|_| DAMAGED),
        None => Ok(None),
    }
}
