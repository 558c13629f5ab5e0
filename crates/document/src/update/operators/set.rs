//! `$set` and `$setOnInsert`: the field gets a value; the latter only in a document that an upsert inserts.

use bson::raw::{RawBson, RawBsonRef};

use super::{Change, Operator, ParseResult, PathChange, Target};
use crate::{DocumentError, raw};

#[derive(Debug)]
pub(in crate::update) struct Set {
    pub value: RawBson,
    pub on_insert_only: bool,
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    push(path, argument, changes, false)
}

pub(super) fn parse_on_insert(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    push(path, argument, changes, true)
}

fn push(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
    on_insert_only: bool,
) -> ParseResult {
    let value = raw::owned(argument);
    changes.push(PathChange::new(
        path,
        Set {
            value,
            on_insert_only,
        },
    ));
    Ok(())
}

impl Operator for Set {
    fn update<'a>(
        &'a self,
        _existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        self.create(target)
    }

    fn create<'a>(&'a self, target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        Ok(if self.on_insert_only && !target.context.inserting {
            Change::Keep
        } else {
            Change::Borrowed(self.value.as_raw_bson_ref())
        })
    }

    fn non_viable(&self, _document: &bson::RawDocument) -> super::NonViable {
        // Outside an upsert `$setOnInsert` never looks at its path; inside one the document is new, and a path
        // through a scalar is found when the scalar was set by the filter.
        if self.on_insert_only {
            super::NonViable::Ignore
        } else {
            super::NonViable::RefuseCreation
        }
    }
}
