//! `$regex` with `$options`, and regular expressions as values.

use super::Operand;
use crate::error::DocumentError;
use crate::filter::bounds::IndexBounds;
use crate::filter::pattern::Pattern;
use crate::filter::{Node, Predicate};
use crate::path::{self, Path};
use bson::raw::RawBsonRef;

#[derive(Debug)]
struct Matches(Pattern);

/// `{path: /pattern/options}`; `value` is a regular expression.
pub(in crate::filter) fn regular_expression(
    path: &Path,
    value: RawBsonRef<'_>,
) -> Result<Node, DocumentError> {
    let RawBsonRef::RegularExpression(regex) = value else {
        return Err(DocumentError::bad_value("not a regex"));
    };
    let pattern = Pattern::compile(regex.pattern.as_str(), regex.options.as_str())?;
    Ok(Node::Test(path.clone(), Box::new(Matches(pattern))))
}

pub(super) fn parse(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let (pattern, own_options) = match operand.value {
        RawBsonRef::String(pattern) => (pattern, ""),
        RawBsonRef::RegularExpression(regex) => (regex.pattern.as_str(), regex.options.as_str()),
        _ => return Err(DocumentError::bad_value("$regex has to be a string")),
    };
    let options = match path::field(operand.siblings, "$options") {
        None => own_options,
        Some(RawBsonRef::String(_)) if !own_options.is_empty() => {
            return Err(DocumentError::location(
                51075,
                "options set in both $regex and $options",
            ));
        }
        Some(RawBsonRef::String(options)) => options,
        Some(_) => return Err(DocumentError::bad_value("$options has to be a string")),
    };
    let pattern = Pattern::compile(pattern, options)?;
    Ok(Node::Test(operand.path.clone(), Box::new(Matches(pattern))))
}

/// `$options` on its own says nothing; `$regex` reads it.
pub(super) fn parse_options(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    match path::field(operand.siblings, "$regex") {
        Some(_) => Ok(Node::Always(true)),
        None => Err(DocumentError::bad_value("$options needs a $regex")),
    }
}

impl Predicate for Matches {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        value.is_some_and(|value| self.0.matches(value))
    }

    fn index_bounds(&self) -> Option<IndexBounds> {
        Some(self.0.index_bounds())
    }
}
