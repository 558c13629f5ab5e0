//! `$addToSet`, with `$each`: appends the values that no member equals.

use std::cmp::Ordering;

use bson::raw::{RawBson, RawBsonRef};

use super::{Change, Operator, ParseResult, PathChange, Target, require_array, type_of};
use crate::{DocumentError, display, order, raw};

#[derive(Debug)]
struct AddToSet {
    /// No two are equal.
    values: Vec<RawBson>,
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let values = match argument {
        RawBsonRef::Document(clauses) => {
            let mut fields = raw::elements(clauses);
            match fields.next() {
                Some(first) if first.name == "$each" => {
                    if fields.next().is_some() {
                        return Err(DocumentError::bad_value(format!(
                            "Found unexpected fields after $each in $addToSet: {}",
                            display::document(clauses)
                        )));
                    }
                    parse_each(first.value())?
                }
                _ => vec![raw::owned(argument)],
            }
        }
        value => vec![raw::owned(value)],
    };
    let mut distinct: Vec<RawBson> = Vec::with_capacity(values.len());
    for value in values {
        if !contains(&distinct, value.as_raw_bson_ref()) {
            distinct.push(value);
        }
    }
    changes.push(PathChange::new(path, AddToSet { values: distinct }));
    Ok(())
}

fn parse_each(value: RawBsonRef<'_>) -> Result<Vec<RawBson>, DocumentError> {
    let array = value.as_array().ok_or_else(|| {
        DocumentError::type_mismatch(format!(
            "The argument to $each in $addToSet must be an array but it was of type {}",
            type_of(value)
        ))
    })?;
    Ok(raw::members(array).map(raw::owned).collect())
}

fn contains(values: &[RawBson], sought: RawBsonRef<'_>) -> bool {
    values
        .iter()
        .any(|value| order::compare(value.as_raw_bson_ref(), sought) == Ordering::Equal)
}

impl Operator for AddToSet {
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        let array = require_array(existing, || {
            DocumentError::bad_value(format!(
                "Cannot apply $addToSet to non-array field. Field named '{}' has non-array type {}",
                target.field,
                type_of(existing)
            ))
        })?;
        let mut missing: Vec<RawBsonRef<'a>> =
            self.values.iter().map(RawBson::as_raw_bson_ref).collect();
        for member in raw::members(array) {
            missing.retain(|value| order::compare(*value, member) != Ordering::Equal);
        }
        if missing.is_empty() {
            return Ok(Change::Keep);
        }
        let members = raw::members(array).chain(missing);
        Ok(Change::Owned(RawBson::Array(raw::array_of(members))))
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        let members = self.values.iter().map(RawBson::as_raw_bson_ref);
        Ok(Change::Owned(RawBson::Array(raw::array_of(members))))
    }
}
