//! `$push`, with `$each`, `$position`, `$slice` and `$sort`.

use std::cmp::Ordering;

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::{Change, Operator, ParseResult, PathChange, Target, require_array, shown_id, type_of};
use crate::expression::number::Numeric;
use crate::sort::SortSpec;
use crate::{DocumentError, order, raw};

#[derive(Debug)]
struct Push {
    values: Vec<RawBson>,
    /// Where the values go, from the end when negative; `None`: behind the last member.
    position: Option<i64>,
    sort: Option<MemberOrder>,
    /// The first (or, negative, the last) so many members stay.
    slice: Option<i64>,
}

#[derive(Debug)]
enum MemberOrder {
    Whole { descending: bool },
    Fields(SortSpec),
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let push = match argument {
        RawBsonRef::Document(clauses) if matches!(clauses.get("$each"), Ok(Some(_))) => {
            parse_clauses(clauses)?
        }
        value => Push {
            values: vec![raw::owned(value)],
            position: None,
            sort: None,
            slice: None,
        },
    };
    changes.push(PathChange::new(path, push));
    Ok(())
}

fn parse_clauses(clauses: &RawDocument) -> Result<Push, DocumentError> {
    let mut push = Push {
        values: Vec::new(),
        position: None,
        sort: None,
        slice: None,
    };
    for clause in raw::elements(clauses) {
        let value = clause.value();
        match clause.name {
            "$each" => push.values = parse_each(value)?,
            "$position" => push.position = Some(parse_integer(value, "$position", "not of type")?),
            "$slice" => push.slice = Some(parse_integer(value, "$slice", "but was given type")?),
            "$sort" => push.sort = Some(parse_order(value)?),
            unknown => {
                return Err(DocumentError::bad_value(format!(
                    "Unrecognized clause in $push: {unknown}"
                )));
            }
        }
    }
    Ok(push)
}

fn parse_each(value: RawBsonRef<'_>) -> Result<Vec<RawBson>, DocumentError> {
    let array = value.as_array().ok_or_else(|| {
        DocumentError::bad_value(format!(
            "The argument to $each in $push must be an array but it was of type: {}",
            type_of(value)
        ))
    })?;
    Ok(raw::members(array).map(raw::owned).collect())
}

fn parse_integer(value: RawBsonRef<'_>, clause: &str, but: &str) -> Result<i64, DocumentError> {
    Numeric::of(value)
        .and_then(Numeric::as_whole)
        .ok_or_else(|| {
            let joint = if but.starts_with("not") { "," } else { "" };
            DocumentError::bad_value(format!(
                "The value for {clause} must be an integer value{joint} {but}: {}",
                type_of(value)
            ))
        })
}

fn parse_order(value: RawBsonRef<'_>) -> Result<MemberOrder, DocumentError> {
    if let RawBsonRef::Document(fields) = value {
        if fields.is_empty() {
            return Err(DocumentError::bad_value(
                "The $sort pattern is empty when it should be a set of fields.",
            ));
        }
        return SortSpec::parse(fields).map(MemberOrder::Fields);
    }
    match Numeric::of(value).map(Numeric::as_whole) {
        Some(Some(1)) => Ok(MemberOrder::Whole { descending: false }),
        Some(Some(-1)) => Ok(MemberOrder::Whole { descending: true }),
        Some(_) => Err(DocumentError::bad_value(
            "The $sort element value must be either 1 or -1",
        )),
        None => Err(DocumentError::bad_value(
            "The $sort is invalid: use 1/-1 to sort the whole element, or {field:1/-1} to sort embedded fields",
        )),
    }
}

impl MemberOrder {
    fn compare(&self, left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> Ordering {
        match self {
            MemberOrder::Whole { descending: false } => order::compare(left, right),
            MemberOrder::Whole { descending: true } => order::compare(right, left),
            MemberOrder::Fields(fields) => {
                let (left, right) = (left.as_document(), right.as_document());
                let empty = bson::RawDocumentBuf::new();
                fields.compare(left.unwrap_or(&empty), right.unwrap_or(&empty))
            }
        }
    }
}

impl Push {
    fn apply<'a>(&'a self, mut members: Vec<RawBsonRef<'a>>) -> Change<'a> {
        let length = members.len();
        let at = match self.position {
            None => length,
            Some(position) if position >= 0 => length.min(position.unsigned_abs() as usize),
            Some(position) => length.saturating_sub(position.unsigned_abs() as usize),
        };
        members.splice(at..at, self.values.iter().map(RawBson::as_raw_bson_ref));
        if let Some(order) = &self.sort {
            members.sort_by(|left, right| order.compare(*left, *right));
        }
        match self.slice {
            None => {}
            Some(first) if first >= 0 => members.truncate(first.unsigned_abs() as usize),
            Some(last) => {
                let surplus = members.len().saturating_sub(last.unsigned_abs() as usize);
                members.drain(..surplus);
            }
        }
        Change::Owned(RawBson::Array(raw::array_of(members)))
    }
}

impl Operator for Push {
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        let array = require_array(existing, || {
            DocumentError::bad_value(format!(
                "The field '{}' must be an array but is of type {} in document {}",
                target.dotted_path(),
                type_of(existing),
                shown_id(target.document)
            ))
        })?;
        Ok(self.apply(raw::members(array).collect()))
    }

    fn create<'a>(&'a self, _target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        Ok(self.apply(Vec::new()))
    }
}
