//! `$slice` and `$elemMatch` in projections of `find`: a part of an array.

use bson::RawDocumentBuf;
use bson::raw::{RawBsonRef, RawDocument};

use crate::expression::number::Numeric;
use crate::filter::Filter;
use crate::raw::{self, DocumentWriter, Element, elements};
use crate::{DocumentError, display};

/// Field that carries a member while `$elemMatch` looks at it.
const MEMBER: &str = "member";

#[derive(Debug, Clone)]
pub(super) enum ArrayOperator {
    /// Members from `skip` (from the end when negative) on, `limit` of them.
    Slice { skip: i64, limit: usize },
    /// The member that the query matched.
    Positional,
    /// The first member that matches; the field goes away when there is none.
    ElementMatch(Filter),
}

/// Parses `{$slice: ...}` or `{$elemMatch: ...}`; `None` for other documents.
pub(super) fn parse(specification: &RawDocument) -> Result<Option<ArrayOperator>, DocumentError> {
    let mut clauses = elements(specification);
    let (Some(clause), None) = (clauses.next(), clauses.next()) else {
        return Ok(None);
    };
    match clause.name {
        "$slice" => parse_slice(clause.value()).map(Some),
        "$elemMatch" => {
            let mut writer = DocumentWriter::with_capacity(64);
            let begun = writer.begin_document(MEMBER);
            writer.append("$elemMatch", clause.value());
            writer.end(begun);
            let filter = Filter::parse(&writer.finish())?;
            Ok(Some(ArrayOperator::ElementMatch(filter)))
        }
        _ => Ok(None),
    }
}

fn parse_slice(argument: RawBsonRef<'_>) -> Result<ArrayOperator, DocumentError> {
    let number = |value: RawBsonRef<'_>| Numeric::of(value).map(|number| number.as_double() as i64);
    if let Some(count) = number(argument) {
        let magnitude = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        return Ok(ArrayOperator::Slice {
            skip: count.min(0),
            limit: magnitude,
        });
    }
    let RawBsonRef::Array(pair) = argument else {
        return Err(DocumentError::location(
            28667,
            format!(
                "Invalid $slice syntax. The given syntax {{ $slice: {} }} did not match the find() syntax because :: \
                 Location31273: $slice only supports numbers and [skip, limit] arrays",
                display::value(argument)
            ),
        ));
    };
    let numbers: Vec<Option<i64>> = raw::members(pair).map(number).collect();
    match numbers[..] {
        [Some(skip), Some(limit)] if limit > 0 => Ok(ArrayOperator::Slice {
            skip,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }),
        [Some(_), Some(_)] => Err(DocumentError::location(
            31274,
            "The limit of $slice must be positive",
        )),
        _ => Err(DocumentError::location(
            31272,
            "$slice array argument should be of form [skip, limit]",
        )),
    }
}

impl ArrayOperator {
    pub fn apply(&self, element: &Element<'_>, matched: Option<usize>, out: &mut DocumentWriter) {
        let RawBsonRef::Array(array) = element.value() else {
            if !matches!(self, ArrayOperator::ElementMatch(_)) {
                out.copy(element);
            }
            return;
        };
        match self {
            ArrayOperator::Slice { skip, limit } => {
                let length = raw::members(array).count();
                let start = match usize::try_from(*skip) {
                    Ok(skip) => skip,
                    Err(_) => length.saturating_sub(skip.unsigned_abs() as usize),
                };
                let begun = out.begin_array(element.name);
                let kept = raw::members(array).skip(start).take(*limit);
                for (index, member) in kept.enumerate() {
                    out.append(&index.to_string(), member);
                }
                out.end(begun);
            }
            ArrayOperator::Positional => {
                let member = matched.and_then(|index| raw::members(array).nth(index));
                let begun = out.begin_array(element.name);
                if let Some(member) = member {
                    out.append("0", member);
                }
                out.end(begun);
            }
            ArrayOperator::ElementMatch(filter) => {
                let found = raw::members(array).find(|member| filter.matches(&alone(*member)));
                if let Some(member) = found {
                    let begun = out.begin_array(element.name);
                    out.append("0", member);
                    out.end(begun);
                }
            }
        }
    }
}

/// A document whose array has just this member.
fn alone(member: RawBsonRef<'_>) -> RawDocumentBuf {
    let mut writer = DocumentWriter::with_capacity(64);
    let begun = writer.begin_array(MEMBER);
    writer.append("0", member);
    writer.end(begun);
    writer.finish()
}
