//! Aggregation expressions: field paths, variables, literals, objects, arrays and operators from a registry.
//!
//! Evaluation is deterministic: it sees one document, variables, and what the [`Context`] given to the parser
//! holds; there is no clock. A missing value is `None`, as distinct from null. Values are borrowed from the
//! document where nothing is computed. How deep expressions and computed values nest is bounded.

pub(crate) mod budget;
pub(crate) mod decimal;
mod environment;
mod needs;
pub(crate) mod number;
mod operators;
mod scope;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use bson::raw::{RawArray, RawBson, RawBsonRef, RawDocument};

use crate::context::Context;
use crate::raw::{self, DocumentWriter, elements, members};
use crate::sort::check_path;
use crate::{DocumentError, display};
pub(crate) use environment::Environment;
use operators::{Compute, Evaluate, Operands};
pub(crate) use operators::{Merged, TimeUnit, later_in_utc, positive_n};
pub(crate) use scope::Scope;
pub use value::Value;
pub(crate) use value::{compare, is_nullish};

/// What an evaluation gives: `None` is "missing".
pub type Evaluated<'a> = Result<Option<Value<'a>>, DocumentError>;

/// How deep expressions and the values they compute may nest.
pub(crate) const EXPRESSION_DEPTH_MAX: usize = 200;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    node: Node,
}

#[derive(Debug, Clone)]
enum Node {
    Constant(RawBson),
    /// `$$REMOVE`, and arguments that were not given.
    Missing,
    /// The names of a path from the current document; empty for the document itself.
    Path(Vec<String>),
    /// The same from the document the evaluation began with.
    RootPath(Vec<String>),
    /// A path from a bound variable, given by how many were bound after it.
    Variable {
        above: usize,
        names: Vec<String>,
    },
    Object(Vec<(String, Expression)>),
    Array(Vec<Expression>),
    Operator {
        name: &'static str,
        operands: Vec<Expression>,
        evaluate: Evaluate,
    },
    /// An operator with something prepared.
    Prepared(Arc<dyn Compute>),
}

impl Expression {
    /// Parses an expression; what it may know is in `context`.
    pub fn parse(
        specification: RawBsonRef<'_>,
        context: &Context,
    ) -> Result<Expression, DocumentError> {
        Expression::parse_in(specification, &Scope::new(context))
    }

    /// Parses an expression below bound variables.
    pub(crate) fn parse_in(
        specification: RawBsonRef<'_>,
        scope: &Scope<'_>,
    ) -> Result<Expression, DocumentError> {
        let scope = &scope.deeper()?;
        let node = match specification {
            RawBsonRef::String(text) => match text.strip_prefix('$') {
                Some(path) => parse_path(path, scope)?,
                None => Node::Constant(raw::owned(specification)),
            },
            RawBsonRef::Document(document) => parse_object(document, scope)?,
            RawBsonRef::Array(array) => {
                let items = members(array).map(|item| Expression::parse_in(item, scope));
                Node::Array(items.collect::<Result<_, _>>()?)
            }
            literal => Node::Constant(raw::owned(literal)),
        };
        Ok(Expression { node })
    }

    /// A constant.
    pub(crate) fn constant(value: RawBsonRef<'_>) -> Expression {
        Node::Constant(raw::owned(value)).into()
    }

    /// What is always missing.
    pub(crate) fn missing() -> Expression {
        Node::Missing.into()
    }

    /// The value when it does not depend on the document: what `{$literal: 1}` and `1` give.
    pub(crate) fn as_constant(&self) -> Option<&RawBson> {
        match &self.node {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The path when the expression is a plain field path.
    pub(crate) fn as_path(&self) -> Option<&[String]> {
        match &self.node {
            Node::Path(names) | Node::RootPath(names) if !names.is_empty() => Some(names),
            _ => None,
        }
    }

    /// The operator and its operands.
    pub(crate) fn as_operator(&self) -> Option<(&'static str, &[Expression])> {
        match &self.node {
            Node::Operator { name, operands, .. } => Some((*name, operands)),
            _ => None,
        }
    }

    /// Whether this is an argument that was not given.
    fn is_absent(&self) -> bool {
        matches!(self.node, Node::Missing)
    }

    /// The value for `document`; `None` is "missing".
    pub fn evaluate<'a>(&'a self, document: &'a RawDocument) -> Evaluated<'a> {
        budget::begin();
        self.evaluate_in(Environment::of(document))
    }

    /// Whether the value for `document` counts as true.
    pub(crate) fn holds(&self, document: &RawDocument) -> Result<bool, DocumentError> {
        let value = self.evaluate(document)?;
        Ok(value.is_some_and(|value| value.is_true()))
    }

    pub(crate) fn evaluate_in<'a>(&'a self, environment: Environment<'a>) -> Evaluated<'a> {
        match &self.node {
            Node::Constant(value) => Ok(Some(Value::Borrowed(value.as_raw_bson_ref()))),
            Node::Missing => Ok(None),
            Node::Path(names) => Ok(follow(environment.current, names)),
            Node::RootPath(names) => Ok(follow(RawBsonRef::Document(environment.root), names)),
            Node::Variable { above, names } => {
                let value = environment.variable(*above);
                Ok(value.and_then(|value| follow(value, names)))
            }
            Node::Object(fields) => object(fields, environment),
            Node::Array(items) => array(items, environment),
            Node::Operator {
                name,
                operands,
                evaluate,
            } => match evaluate {
                Evaluate::Values(function) => {
                    let mut values = Vec::with_capacity(operands.len());
                    let mut bytes = 0;
                    for operand in operands {
                        let value = operand.evaluate_in(environment)?;
                        bytes += value
                            .as_ref()
                            .map_or(0, |value| budget::bytes_of(value.as_ref()));
                        budget::check_bytes(bytes)?;
                        values.push(value);
                    }
                    let operands = Operands::new(name, &values, operands);
                    function(&operands).map(|value| value.map(Value::Owned))
                }
                Evaluate::Lazily(function) => function(operands, environment),
            },
            Node::Prepared(prepared) => Ok(prepared.compute(environment)?.map(Value::Owned)),
        }
    }
}

impl From<Node> for Expression {
    fn from(node: Node) -> Expression {
        Expression { node }
    }
}

fn object<'a>(fields: &'a [(String, Expression)], environment: Environment<'a>) -> Evaluated<'a> {
    let mut out = DocumentWriter::with_capacity(64);
    for (name, expression) in fields {
        if let Some(value) = expression.evaluate_in(environment)? {
            out.append(name, value.as_ref());
            budget::check_bytes(out.len())?;
        }
    }
    Ok(Some(Value::Owned(RawBson::Document(out.finish()))))
}

fn array<'a>(items: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    let mut values = bson::RawArrayBuf::new();
    for item in items {
        let value = item.evaluate_in(environment)?;
        values.push(value.as_ref().map_or(RawBsonRef::Null, Value::as_ref));
        budget::check_bytes(values.as_bytes().len())?;
    }
    Ok(Some(Value::Owned(RawBson::Array(values))))
}

fn parse_object(document: &RawDocument, scope: &Scope<'_>) -> Result<Node, DocumentError> {
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
            return operators::parse(field.name, field.value(), scope);
        }
        if field.name.contains('.') {
            return Err(DocumentError::location(
                16412,
                "FieldPath field names may not contain '.'. Consider using $getField or $setField.",
            ));
        }
        fields.push((
            field.name.to_owned(),
            Expression::parse_in(field.value(), scope)?,
        ));
    }
    Ok(Node::Object(fields))
}

/// `a.b`, `$ROOT`, `$CURRENT.a`, `$variable.a`: what follows the first dollar sign.
fn parse_path(path: &str, scope: &Scope<'_>) -> Result<Node, DocumentError> {
    let Some(variable) = path.strip_prefix('$') else {
        if path.is_empty() {
            return Err(DocumentError::location(
                16872,
                "'$' by itself is not a valid FieldPath",
            ));
        }
        check_path(path)?;
        let names = names_of(path);
        // CURRENT may have been bound anew.
        return Ok(match scope.position("CURRENT") {
            Some(above) => Node::Variable { above, names },
            None => Node::Path(names),
        });
    };
    let (name, names) = match variable.split_once('.') {
        Some((name, rest)) => {
            check_path(rest)?;
            (name, names_of(rest))
        }
        None => (variable, Vec::new()),
    };
    if let Some(above) = scope.position(name) {
        return Ok(Node::Variable { above, names });
    }
    let context = scope.context();
    let constant = |value: Option<Value<'_>>| {
        value.map_or(Node::Missing, |value| Node::Constant(value.into_owned()))
    };
    match name {
        "ROOT" => Ok(Node::RootPath(names)),
        "CURRENT" => Ok(Node::Path(names)),
        "REMOVE" => Ok(Node::Missing),
        "NOW" => {
            let now = context.now().ok_or_else(|| unavailable(name))?;
            Ok(constant(follow(RawBsonRef::DateTime(now), &names)))
        }
        "" => Err(DocumentError::failed_to_parse(
            "empty variable names are not allowed",
        )),
        "CLUSTER_TIME" | "USER_ROLES" | "SEARCH_META" | "JS_SCOPE" | "IS_MR" => {
            Err(unavailable(name))
        }
        _ => match context.variable(name) {
            Some(value) => Ok(constant(follow(value, &names))),
            None => Err(DocumentError::location(
                17276,
                format!("Use of undefined variable: {name}"),
            )),
        },
    }
}

fn unavailable(name: &str) -> DocumentError {
    DocumentError::location(
        51144,
        format!("Builtin variable '$${name}' is not available"),
    )
}

fn names_of(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// The value at a path; through an array it is the array of what is found in its members.
pub(crate) fn follow<'a>(value: RawBsonRef<'a>, names: &[String]) -> Option<Value<'a>> {
    let Some((name, below)) = names.split_first() else {
        return Some(Value::Borrowed(value));
    };
    match value {
        RawBsonRef::Document(document) => {
            let found = raw::field(document, name)?;
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
        // A member that is an array itself has no fields.
        if matches!(member, RawBsonRef::Array(_)) {
            continue;
        }
        if let Some(value) = follow(member, names) {
            found.push(value.as_ref());
        }
    }
    found
}

/// Refuses a computed value that nests deeper than anything should.
fn check_depth(value: RawBsonRef<'_>) -> Result<(), DocumentError> {
    if raw::depth(value) > EXPRESSION_DEPTH_MAX {
        return Err(DocumentError::new(
            crate::ErrorKind::Overflow,
            format!("Exceeded maximum nested object depth: {EXPRESSION_DEPTH_MAX}"),
        ));
    }
    Ok(())
}
