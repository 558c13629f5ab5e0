//! `$pop`: the first (-1) or last (1) member of an array goes away.

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::{Change, NonViable, Operator, ParseResult, PathChange, Target, require_array, type_of};
use crate::expression::number::Numeric;
use crate::{DocumentError, display, raw};

#[derive(Debug)]
enum Pop {
    First,
    Last,
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let number = Numeric::of(argument).ok_or_else(|| {
        DocumentError::failed_to_parse(format!(
            "Expected a number in: {}",
            display::element(path, argument)
        ))
    })?;
    let pop = match number.as_whole() {
        Some(1) => Pop::Last,
        Some(-1) => Pop::First,
        _ => {
            return Err(DocumentError::failed_to_parse(format!(
                "$pop expects 1 or -1, found: {}",
                display::value(argument)
            )));
        }
    };
    changes.push(PathChange::new(path, pop));
    Ok(())
}

impl Operator for Pop {
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        let array = require_array(existing, || {
            DocumentError::type_mismatch(format!(
                "Path '{}' contains an element of non-array type '{}'",
                target.dotted_path(),
                type_of(existing)
            ))
        })?;
        let mut members: Vec<RawBsonRef<'a>> = raw::members(array).collect();
        if members.is_empty() {
            return Ok(Change::Keep);
        }
        match self {
            Pop::First => drop(members.remove(0)),
            Pop::Last => drop(members.pop()),
        }
        Ok(Change::Owned(RawBson::Array(raw::array_of(members))))
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        Ok(Change::Keep)
    }

    fn non_viable(&self, _document: &RawDocument) -> NonViable {
        NonViable::RefuseTraversal
    }
}
