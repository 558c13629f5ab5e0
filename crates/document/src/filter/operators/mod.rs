//! The table of operators. A new one is a parse function in a file here and a line below.

mod array;
mod bits;
mod comparison;
mod existence;
mod expression;
mod json_schema;
mod logical;
mod membership;
mod modulo;
mod regular_expression;
mod type_of;

use super::parse::Place;
use super::{Node, text};
use crate::collation::Collation;
use crate::error::DocumentError;
use crate::path::Path;
use bson::raw::{RawBsonRef, RawDocument};

pub(super) use comparison::equality;
pub(super) use regular_expression::regular_expression;
pub(crate) use type_of::element_type;

/// An operator as it stands in a query: `{path: {name: value, …siblings}}`.
pub(super) struct Operand<'a> {
    pub path: &'a Path,
    pub name: &'a str,
    pub value: RawBsonRef<'a>,
    /// The document of operators it stands in.
    pub siblings: &'a RawDocument,
    /// How it compares strings.
    pub collation: Option<&'a Collation>,
}

type ParseOperator = fn(&Operand<'_>) -> Result<Node, DocumentError>;
type ParseTopLevel = fn(RawBsonRef<'_>, Place<'_>) -> Result<Node, DocumentError>;

/// Operators on a path.
const OPERATORS: &[(&str, ParseOperator)] = &[
    ("$all", array::parse_all),
    ("$bitsAllClear", bits::parse_all_clear),
    ("$bitsAllSet", bits::parse_all_set),
    ("$bitsAnyClear", bits::parse_any_clear),
    ("$bitsAnySet", bits::parse_any_set),
    ("$elemMatch", array::parse_elem_match),
    ("$eq", comparison::parse_eq),
    ("$exists", existence::parse),
    ("$gt", comparison::parse_gt),
    ("$gte", comparison::parse_gte),
    ("$in", membership::parse_in),
    ("$lt", comparison::parse_lt),
    ("$lte", comparison::parse_lte),
    ("$mod", modulo::parse),
    ("$ne", comparison::parse_ne),
    ("$nin", membership::parse_nin),
    ("$not", logical::parse_not),
    ("$options", regular_expression::parse_options),
    ("$regex", regular_expression::parse),
    ("$size", array::parse_size),
    ("$type", type_of::parse),
];

/// Operators in place of a field.
const TOP_LEVEL: &[(&str, ParseTopLevel)] = &[
    ("$alwaysFalse", |value, _| {
        logical::parse_always(value, "$alwaysFalse", false)
    }),
    ("$alwaysTrue", |value, _| {
        logical::parse_always(value, "$alwaysTrue", true)
    }),
    ("$and", logical::parse_and),
    ("$comment", |_, _| Ok(Node::Always(true))),
    ("$expr", expression::parse),
    ("$jsonSchema", json_schema::parse),
    ("$nor", logical::parse_nor),
    ("$or", logical::parse_or),
    ("$sampleRate", expression::parse_sample_rate),
    ("$text", text::parse),
    ("$where", |_, _| {
        refused("$where", "there is no JavaScript here; use $expr")
    }),
];

pub(super) fn find(name: &str) -> Option<ParseOperator> {
    OPERATORS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, parse)| *parse)
}

pub(super) fn find_top_level(name: &str) -> Option<ParseTopLevel> {
    TOP_LEVEL
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, parse)| *parse)
}

fn refused(name: &str, reason: &str) -> Result<Node, DocumentError> {
    Err(DocumentError::new(
        crate::ErrorKind::CommandNotSupported,
        format!("{name} is not supported: {reason}"),
    ))
}

/// The integer in `value`, or why it is none, for operators that take one.
fn integer(value: RawBsonRef<'_>) -> Result<i64, &'static str> {
    use crate::order::Number;
    let Some(number) = Number::of(value) else {
        return Err("Expected a number");
    };
    if number.is_nan() {
        return Err("Expected an integer, but found NaN");
    }
    let truncated = number
        .truncate_to_i64()
        .ok_or("Cannot represent as a 64-bit integer")?;
    if number.compare(&Number::Integer(truncated)).is_ne() {
        return Err("Expected an integer");
    }
    Ok(truncated)
}
