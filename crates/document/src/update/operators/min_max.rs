//! `$min` and `$max`: the lower or higher of field and argument in the order of all BSON values.

use std::cmp::Ordering;

use bson::raw::{RawBson, RawBsonRef};

use super::{Change, Operator, ParseResult, PathChange, Target};
use crate::{DocumentError, order, raw};

#[derive(Debug)]
struct MinMax {
    value: RawBson,
    /// How the argument must compare to the field to replace it.
    replaces_when: Ordering,
}

pub(super) fn parse_min(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    push(path, argument, changes, Ordering::Less)
}

pub(super) fn parse_max(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    push(path, argument, changes, Ordering::Greater)
}

fn push(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
    replaces_when: Ordering,
) -> ParseResult {
    let value = raw::owned(argument);
    changes.push(PathChange::new(
        path,
        MinMax {
            value,
            replaces_when,
        },
    ));
    Ok(())
}

impl Operator for MinMax {
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        _target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        let value = self.value.as_raw_bson_ref();
        Ok(if order::compare(value, existing) == self.replaces_when {
            Change::Borrowed(value)
        } else {
            Change::Keep
        })
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        Ok(Change::Borrowed(self.value.as_raw_bson_ref()))
    }
}
