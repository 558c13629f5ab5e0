//! `$and $or $nor $not`, and the constants `$alwaysTrue $alwaysFalse`.

use super::{Operand, regular_expression};
use crate::error::DocumentError;
use crate::filter::Node;
use crate::filter::parse::{self, Place};
use bson::raw::RawBsonRef;

pub(super) fn parse_and(value: RawBsonRef<'_>, place: Place<'_>) -> Result<Node, DocumentError> {
    clauses("$and", value, place).map(Node::all)
}

pub(super) fn parse_or(value: RawBsonRef<'_>, place: Place<'_>) -> Result<Node, DocumentError> {
    clauses("$or", value, place).map(Node::Or)
}

pub(super) fn parse_nor(value: RawBsonRef<'_>, place: Place<'_>) -> Result<Node, DocumentError> {
    clauses("$nor", value, place).map(|clauses| Node::not(Node::Or(clauses)))
}

fn clauses(
    name: &str,
    value: RawBsonRef<'_>,
    place: Place<'_>,
) -> Result<Vec<Node>, DocumentError> {
    let RawBsonRef::Array(array) = value else {
        return Err(DocumentError::bad_value(format!("{name} must be an array")));
    };
    let mut clauses = Vec::new();
    for clause in array {
        let RawBsonRef::Document(clause) = clause? else {
            return Err(DocumentError::bad_value(
                "$or/$and/$nor entries need to be full objects",
            ));
        };
        clauses.push(parse::document(clause, place)?);
    }
    if clauses.is_empty() {
        return Err(DocumentError::bad_value(
            "$and/$or/$nor must be a nonempty array",
        ));
    }
    Ok(clauses)
}

pub(super) fn parse_not(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    match operand.value {
        RawBsonRef::RegularExpression(_) => {
            regular_expression(operand.path, operand.value).map(Node::not)
        }
        RawBsonRef::Document(conditions) if conditions.is_empty() => {
            Err(DocumentError::bad_value("$not cannot be empty"))
        }
        RawBsonRef::Document(conditions) => {
            parse::field_operators(operand.path, conditions, operand.collation).map(Node::not)
        }
        _ => Err(DocumentError::bad_value("$not needs a regex or a document")),
    }
}

pub(super) fn parse_always(
    value: RawBsonRef<'_>,
    name: &str,
    answer: bool,
) -> Result<Node, DocumentError> {
    if super::integer(value) == Ok(1) {
        Ok(Node::Always(answer))
    } else {
        Err(DocumentError::failed_to_parse(format!(
            "{name} must be an integer value of 1"
        )))
    }
}
