//! `$unset`: the field goes away; paths that do not exist are no error.

use bson::raw::{RawBsonRef, RawDocument};

use super::{Change, NonViable, Operator, ParseResult, PathChange, Target};
use crate::DocumentError;

#[derive(Debug)]
pub(super) struct Unset;

pub(super) fn parse(
    path: &str,
    _argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    changes.push(PathChange::new(path, Unset));
    Ok(())
}

impl Operator for Unset {
    fn update<'a>(
        &'a self,
        _existing: RawBsonRef<'a>,
        _target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        Ok(Change::Remove)
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        Ok(Change::Keep)
    }

    fn non_viable(&self, _document: &RawDocument) -> NonViable {
        NonViable::Ignore
    }
}
