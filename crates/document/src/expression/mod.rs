//! Aggregation expressions: field paths, literals, objects, arrays and operators from a registry.
//!
//! Evaluation is deterministic and sees one document; there is no clock, hence no `$$NOW`. A missing value is
//! `None`, as distinct from null. Values are borrowed from the document where nothing is computed.

pub(crate) mod decimal;
pub(crate) mod number;
mod operators;
#[cfg(test)]
mod tests;
mod value;

use bson::raw::{RawArray, RawBson, RawBsonRef, RawDocument};

use crate::raw::{self, DocumentWriter, elements, members};
use crate::sort::check_path;
use crate::{DocumentError, display};
use operators::Evaluate;
pub use value::Value;
pub(crate) use value::compare;

/// What an evaluation gives: `None` is "missing".
pub type Evaluated<'a> = Result<Option<Value<'a>>, DocumentError>;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    node: Node,
}

#[derive(Debug, Clone)]
enum Node {
    Constant(RawBson),
    /// `$$REMOVE`.
    Missing,
    /// The names of a path from the document; empty for the document itself.
    Path(Vec<String>),
    Object(Vec<(String, Expression)>),
    Array(Vec<Expression>),
    Operator {
        operands: Vec<Expression>,
        evaluate: Evaluate,
    },
}

/// What an expression can refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment<'a> {
    root: &'a RawDocument,
}

impl Expression {
    /// Parses an expression.
    pub fn parse(specification: RawBsonRef<'_>) -> Result<Expression, DocumentError> {
        let node = match specification {
            RawBsonRef::String(text) => match text.strip_prefix('$') {
                Some(path) => parse_path(path)?,
                None => Node::Constant(raw::owned(specification)),
            },
            RawBsonRef::Document(document) => return Expression::parse_object(document),
            RawBsonRef::Array(array) => {
                let items = members(array).map(Expression::parse);
                Node::Array(items.collect::<Result<_, _>>()?)
            }
            literal => Node::Constant(raw::owned(literal)),
        };
        Ok(Expression { node })
    }

    /// A constant.
    pub(crate) fn constant(value: RawBsonRef<'_>) -> Expression {
        Expression {
            node: Node::Constant(raw::owned(value)),
        }
    }

    /// The value when it does not depend on the document: what `{$literal: 1}` and `1` give.
    pub(crate) fn as_constant(&self) -> Option<&RawBson> {
        match &self.node {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn parse_object(document: &RawDocument) -> Result<Expression, DocumentError> {
        let mut fields = Vec::new();
        for field in elements(document) {
            if field.name.starts_with('$') {
                if elements(document).count() != 1 {
                    return Err(DocumentError::location(
                        15983,
                        format!(
                            "an object representing an expression must have exactly one field: {}",
                            display::document(document)
                        ),
                    ));
                }
                return operators::parse(field.name, field.value());
            }
            if field.name.contains('.') {
                return Err(DocumentError::location(
                    16412,
                    "FieldPath field names may not contain '.'. Consider using $getField or $setField.",
                ));
            }
            fields.push((field.name.to_owned(), Expression::parse(field.value())?));
        }
        Ok(Expression {
            node: Node::Object(fields),
        })
    }

    /// The value for `document`; `None` is "missing".
    pub fn evaluate<'a>(&'a self, document: &'a RawDocument) -> Evaluated<'a> {
        self.evaluate_in(Environment { root: document })
    }

    pub(crate) fn evaluate_in<'a>(&'a self, environment: Environment<'a>) -> Evaluated<'a> {
        match &self.node {
            Node::Constant(value) => Ok(Some(Value::Borrowed(value.as_raw_bson_ref()))),
            Node::Missing => Ok(None),
            Node::Path(names) => Ok(follow(RawBsonRef::Document(environment.root), names)),
            Node::Object(fields) => {
                let mut out = DocumentWriter::with_capacity(64);
                for (name, expression) in fields {
                    if let Some(value) = expression.evaluate_in(environment)? {
                        out.append(name, value.as_ref());
                    }
                }
                Ok(Some(Value::Owned(RawBson::Document(out.finish()))))
            }
            Node::Array(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    values.push(item.evaluate_in(environment)?);
                }
                let array = raw::array_of(values.iter().map(|value| {
                    value
                        .as_ref()
                        .map_or(RawBsonRef::Null, |value| value.as_ref())
                }));
                Ok(Some(Value::Owned(RawBson::Array(array))))
            }
            Node::Operator { operands, evaluate } => match evaluate {
                Evaluate::Values(function) => {
                    let mut values = Vec::with_capacity(operands.len());
                    for operand in operands {
                        values.push(operand.evaluate_in(environment)?);
                    }
                    function(&values).map(|value| value.map(Value::Owned))
                }
                Evaluate::Lazily(function) => function(operands, environment),
            },
        }
    }
}

/// `a.b`, `$ROOT`, `$CURRENT.a`: what follows the first dollar sign.
fn parse_path(path: &str) -> Result<Node, DocumentError> {
    let path = match path.strip_prefix('$') {
        None => path,
        Some(variable) => {
            let (name, rest) = match variable.split_once('.') {
                Some((name, rest)) => (name, Some(rest)),
                None => (variable, None),
            };
            match (name, rest) {
                ("ROOT" | "CURRENT", None) => return Ok(Node::Path(Vec::new())),
                ("ROOT" | "CURRENT", Some(rest)) => rest,
                ("REMOVE", None) => return Ok(Node::Missing),
                ("", _) => {
                    return Err(DocumentError::failed_to_parse(
                        "empty variable names are not allowed",
                    ));
                }
                _ => {
                    return Err(DocumentError::location(
                        17276,
                        format!("Use of undefined variable: {name}"),
                    ));
                }
            }
        }
    };
    if path.is_empty() {
        return Err(DocumentError::location(
            16872,
            "'$' by itself is not a valid FieldPath",
        ));
    }
    check_path(path)?;
    Ok(Node::Path(path.split('.').map(str::to_owned).collect()))
}

/// The value at a path; through an array it is the array of what is found in its members.
fn follow<'a>(value: RawBsonRef<'a>, names: &[String]) -> Option<Value<'a>> {
    let Some((name, below)) = names.split_first() else {
        return Some(Value::Borrowed(value));
    };
    match value {
        RawBsonRef::Document(document) => {
            let found = document.get(name).ok().flatten()?;
            follow(found, below)
        }
        RawBsonRef::Array(array) => {
            Some(Value::Owned(RawBson::Array(follow_members(array, names))))
        }
        _ => None,
    }
}

fn follow_members(array: &RawArray, names: &[String]) -> bson::RawArrayBuf {
    let mut found = bson::RawArrayBuf::new();
    for member in members(array) {
        if let Some(value) = follow(member, names) {
            found.push(value.as_ref());
        }
    }
    found
}
