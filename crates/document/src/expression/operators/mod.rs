//! The registry of expression operators: one entry each, a name, how many operands it takes, and a function.

mod arithmetic;
mod array;
mod comparison;
mod conditional;
mod literal;
mod logical;
mod string;
mod type_of;

use std::fmt;

use bson::raw::{RawBson, RawBsonRef};

use super::{Environment, Evaluated, Expression, Node, Value};
use crate::{DocumentError, ErrorKind, display, raw};

/// Evaluated operands; `None` is "missing".
pub(super) type Operands<'a> = [Option<Value<'a>>];
/// A computed value; `None` is "missing".
pub(super) type Computed = Result<Option<RawBson>, DocumentError>;

/// How an operator computes.
#[derive(Clone, Copy)]
pub(super) enum Evaluate {
    /// From the values of all operands.
    Values(fn(&Operands<'_>) -> Computed),
    /// Evaluates the operands it needs itself.
    Lazily(for<'a> fn(&'a [Expression], Environment<'a>) -> Evaluated<'a>),
}

impl fmt::Debug for Evaluate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Evaluate")
    }
}

/// How an operator's argument becomes operands.
#[derive(Debug, Clone, Copy)]
enum Arity {
    Exactly(usize),
    AtLeast(usize),
    /// Whatever its own parser makes of the argument.
    Parsed(fn(RawBsonRef<'_>) -> Result<Vec<Expression>, DocumentError>),
}

struct Entry {
    name: &'static str,
    arity: Arity,
    evaluate: Evaluate,
}

const fn values(
    name: &'static str,
    arity: Arity,
    function: fn(&Operands<'_>) -> Computed,
) -> Entry {
    Entry {
        name,
        arity,
        evaluate: Evaluate::Values(function),
    }
}

const fn lazily(
    name: &'static str,
    arity: Arity,
    function: for<'a> fn(&'a [Expression], Environment<'a>) -> Evaluated<'a>,
) -> Entry {
    Entry {
        name,
        arity,
        evaluate: Evaluate::Lazily(function),
    }
}

use Arity::{AtLeast, Exactly, Parsed};

/// Every operator that exists.
const REGISTRY: &[Entry] = &[
    values("$abs", Exactly(1), arithmetic::absolute),
    values("$add", AtLeast(0), arithmetic::add),
    lazily("$and", AtLeast(0), logical::and),
    values("$arrayElemAt", Exactly(2), array::element_at),
    values("$cmp", Exactly(2), comparison::compare_operands),
    values("$concat", AtLeast(0), string::concat),
    lazily("$cond", Parsed(conditional::parse_cond), conditional::cond),
    values("$divide", Exactly(2), arithmetic::divide),
    values("$eq", Exactly(2), comparison::equal),
    values("$gt", Exactly(2), comparison::greater),
    values("$gte", Exactly(2), comparison::greater_or_equal),
    lazily("$ifNull", AtLeast(2), conditional::if_null),
    values("$in", Exactly(2), array::contains),
    values("$isArray", Exactly(1), array::is_array),
    values("$lt", Exactly(2), comparison::less),
    values("$lte", Exactly(2), comparison::less_or_equal),
    values("$mod", Exactly(2), arithmetic::modulo),
    values("$multiply", AtLeast(0), arithmetic::multiply),
    values("$ne", Exactly(2), comparison::not_equal),
    lazily("$not", Exactly(1), logical::not),
    lazily("$or", AtLeast(0), logical::or),
    values("$size", Exactly(1), array::size),
    values("$subtract", Exactly(2), arithmetic::subtract),
    values("$toLower", Exactly(1), string::to_lower),
    values("$toUpper", Exactly(1), string::to_upper),
    values("$type", Exactly(1), type_of::type_of),
];

/// Parses `{name: argument}`.
pub(super) fn parse(name: &str, argument: RawBsonRef<'_>) -> Result<Expression, DocumentError> {
    if matches!(name, "$literal" | "$const") {
        return Ok(literal::parse(argument));
    }
    let entry = REGISTRY
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| {
            DocumentError::new(
                ErrorKind::InvalidPipelineOperator,
                format!("Unrecognized expression '{name}'"),
            )
        })?;
    let operands = match entry.arity {
        Parsed(parse) => parse(argument)?,
        Exactly(_) | AtLeast(_) => match argument {
            RawBsonRef::Array(array) => raw::members(array)
                .map(Expression::parse)
                .collect::<Result<_, _>>()?,
            single => vec![Expression::parse(single)?],
        },
    };
    check_count(entry, operands.len())?;
    Ok(Expression {
        node: Node::Operator {
            operands,
            evaluate: entry.evaluate,
        },
    })
}

fn check_count(entry: &Entry, count: usize) -> Result<(), DocumentError> {
    let name = entry.name;
    match entry.arity {
        Exactly(wanted) if count != wanted => Err(DocumentError::location(
            16020,
            format!("Expression {name} takes exactly {wanted} arguments. {count} were passed in."),
        )),
        AtLeast(wanted) if count < wanted => {
            let message = match name {
                "$ifNull" => format!("{name} needs at least two arguments, had: {count}"),
                _ => format!(
                    "Expression {name} takes at least {wanted} arguments. {count} were passed in."
                ),
            };
            Err(DocumentError::location(1_257_300, message))
        }
        _ => Ok(()),
    }
}

/// The type name of an operand, as messages give it.
fn type_name(operand: &Option<Value<'_>>) -> &'static str {
    operand.as_ref().map_or("missing", |value| {
        display::type_name(value.as_ref().element_type())
    })
}
