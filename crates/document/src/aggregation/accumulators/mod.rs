//! The registry of accumulators of `$group`: one entry each.

mod add_to_set;
mod average;
mod first_last;
mod min_max;
mod push;
mod sum;
mod total;

use bson::raw::{RawBson, RawBsonRef};

use crate::expression::Expression;
use crate::{DocumentError, raw};

/// The running value of one accumulator in one group.
pub(super) trait Accumulator: Send {
    /// Takes the value of the next document; `None` is "missing".
    fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), DocumentError>;

    /// The result.
    fn finish(self: Box<Self>) -> RawBson;

    /// Memory held, itself included.
    fn bytes(&self) -> usize;
}

type Start = fn() -> Box<dyn Accumulator>;

enum Argument {
    /// Any expression.
    Expression,
    /// `{}`: counts documents.
    None,
}

/// Every accumulator that exists.
const REGISTRY: &[(&str, Argument, Start)] = &[
    ("$addToSet", Argument::Expression, add_to_set::start),
    ("$avg", Argument::Expression, average::start),
    ("$count", Argument::None, sum::start),
    ("$first", Argument::Expression, first_last::start_first),
    ("$last", Argument::Expression, first_last::start_last),
    ("$max", Argument::Expression, min_max::start_max),
    ("$min", Argument::Expression, min_max::start_min),
    ("$push", Argument::Expression, push::start),
    ("$sum", Argument::Expression, sum::start),
];

/// One output field of `$group`.
#[derive(Debug)]
pub(super) struct Specification {
    name: &'static str,
    start: Start,
    pub argument: Expression,
}

impl Specification {
    /// A new accumulator for a new group.
    pub fn start(&self) -> Box<dyn Accumulator> {
        (self.start)()
    }

    /// Whether the result is the number of documents: `{$sum: 1}` and `{$count: {}}`.
    pub fn counts(&self) -> bool {
        self.name == "$sum" && matches!(self.argument.as_constant(), Some(RawBson::Int32(1)))
            || self.name == "$count"
    }
}

/// Parses `field: {$accumulator: argument}`.
pub(super) fn parse(
    field: &str,
    specification: RawBsonRef<'_>,
) -> Result<Specification, DocumentError> {
    if field.contains('.') {
        return Err(DocumentError::location(
            40235,
            format!("The field name '{field}' cannot contain '.'"),
        ));
    }
    if field.starts_with('$') {
        return Err(DocumentError::location(
            40236,
            format!("The field name '{field}' cannot be an operator name"),
        ));
    }
    let must_be_object = || {
        DocumentError::location(
            40234,
            format!("The field '{field}' must be an accumulator object"),
        )
    };
    let RawBsonRef::Document(specification) = specification else {
        return Err(must_be_object());
    };
    let mut clauses = raw::elements(specification);
    let clause = clauses.next().ok_or_else(must_be_object)?;
    if clauses.next().is_some() {
        return Err(DocumentError::location(
            40238,
            format!("The field '{field}' must specify one accumulator"),
        ));
    }
    if !clause.name.starts_with('$') {
        return Err(must_be_object());
    }
    let (name, argument, start) = REGISTRY
        .iter()
        .find(|(name, _, _)| *name == clause.name)
        .ok_or_else(|| {
            DocumentError::location(15952, format!("unknown group operator '{}'", clause.name))
        })?;
    Ok(Specification {
        name,
        start: *start,
        argument: parse_argument(name, argument, clause.value())?,
    })
}

fn parse_argument(
    name: &str,
    argument: &Argument,
    value: RawBsonRef<'_>,
) -> Result<Expression, DocumentError> {
    match (argument, value) {
        (Argument::Expression, RawBsonRef::Array(array)) => {
            // A list of one operand is that operand.
            let mut operands = raw::members(array);
            match (operands.next(), operands.next()) {
                (Some(single), None) => Expression::parse(single),
                _ => Err(DocumentError::location(
                    40237,
                    format!("The {name} accumulator is a unary operator"),
                )),
            }
        }
        (Argument::Expression, expression) => Expression::parse(expression),
        (Argument::None, RawBsonRef::Document(empty)) if empty.is_empty() => {
            Ok(Expression::constant(RawBsonRef::Int32(1)))
        }
        (Argument::None, _) => Err(DocumentError::type_mismatch(format!(
            "{name} takes no arguments, i.e. {name}:{{}}"
        ))),
    }
}

/// Bytes of a value that an accumulator keeps.
fn value_bytes(value: RawBsonRef<'_>) -> usize {
    let content = match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            text.len()
        }
        RawBsonRef::Document(document) => document.as_bytes().len(),
        RawBsonRef::Array(array) => array.as_bytes().len(),
        RawBsonRef::Binary(binary) => binary.bytes.len(),
        _ => 0,
    };
    content + size_of::<RawBson>()
}
