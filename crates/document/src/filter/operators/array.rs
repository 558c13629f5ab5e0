//! `$all $size $elemMatch`.

use super::{Operand, comparison, regular_expression};
use crate::error::DocumentError;
use crate::filter::{Node, Predicate, ValueForm, as_document, parse};
use crate::path::LeafArrays;
use bson::raw::RawBsonRef;

#[derive(Debug)]
struct Size(i64);

#[derive(Debug)]
struct ElemMatch {
    condition: Node,
    form: ValueForm,
}

pub(super) fn parse_size(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let refused =
        |why: &str| DocumentError::failed_to_parse(format!("Failed to parse $size. {why}"));
    let size = super::integer(operand.value).map_err(refused)?;
    if size < 0 {
        return Err(refused("Expected a non-negative number"));
    }
    Ok(Node::Test(operand.path.clone(), Box::new(Size(size))))
}

pub(super) fn parse_elem_match(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let RawBsonRef::Document(_) = operand.value else {
        return Err(DocumentError::bad_value("$elemMatch needs an Object"));
    };
    let (condition, form) = parse::value_condition(operand.value, operand.collation)?;
    Ok(Node::Test(
        operand.path.clone(),
        Box::new(ElemMatch { condition, form }),
    ))
}

/// The conjunction of one test for each member.
pub(super) fn parse_all(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let RawBsonRef::Array(members) = operand.value else {
        return Err(DocumentError::bad_value("$all needs an array"));
    };
    let mut tests = Vec::new();
    for member in members {
        let value = member?;
        tests.push(match value {
            RawBsonRef::Document(document) if parse::is_operator_document(document, false) => {
                match document.iter().next() {
                    Some(Ok((name, value))) if name.as_str() == "$elemMatch" => {
                        parse_elem_match(&Operand {
                            path: operand.path,
                            name: "$elemMatch",
                            value,
                            siblings: document,
                            collation: operand.collation,
                        })?
                    }
                    _ => return Err(DocumentError::bad_value("no $ expressions in $all")),
                }
            }
            RawBsonRef::RegularExpression(_) => regular_expression(operand.path, value)?,
            _ => comparison::equality(operand.path, value, operand.collation)?,
        });
    }
    Ok(if tests.is_empty() {
        Node::Always(false)
    } else {
        Node::all(tests)
    })
}

impl Predicate for Size {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        match value {
            Some(RawBsonRef::Array(array)) => {
                array.into_iter().map_while(Result::ok).count() as i64 == self.0
            }
            _ => false,
        }
    }

    fn leaf_arrays(&self) -> LeafArrays {
        LeafArrays::Whole
    }
}

impl Predicate for ElemMatch {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        let Some(RawBsonRef::Array(array)) = value else {
            return false;
        };
        array
            .into_iter()
            .map_while(Result::ok)
            .any(|member| match self.form {
                ValueForm::Operators => self.condition.matches_value(member),
                ValueForm::Fields => as_document(member)
                    .is_some_and(|fields| self.condition.matches(fields).unwrap_or(false)),
            })
    }

    fn leaf_arrays(&self) -> LeafArrays {
        LeafArrays::Whole
    }
}
