//! The registry of expression operators: one line each, a name, how its argument becomes operands, and a function.

mod accumulated;
mod arithmetic;
mod array;
mod array_parts;
mod bits;
mod comparison;
mod conditional;
mod convert;
mod date;
mod each;
mod in_collation;
mod literal;
mod logarithm;
mod logical;
mod meta;
mod named;
mod object;
mod operands;
mod pattern;
mod random;
mod registry;
mod rounding;
mod sets;
mod string;
mod substring;
mod trigonometry;
mod type_of;
mod variables;

use std::fmt;

use bson::raw::{RawBson, RawBsonRef};

use super::{Environment, Evaluated, Expression, Node, Scope};
use crate::{DocumentError, ErrorKind, raw};
pub(crate) use array_parts::positive_n;
pub(crate) use date::arithmetic::{Unit as TimeUnit, later_in_utc};
use named::Named;
pub(crate) use object::Merged;
pub(super) use operands::Operands;
use operands::fail;

/// A computed value; `None` is "missing".
pub(crate) type Computed = Result<Option<RawBson>, DocumentError>;

/// How an operator computes.
#[derive(Clone, Copy)]
pub(super) enum Evaluate {
    /// From the values of all operands.
    Values(fn(&Operands<'_>) -> Computed),
    /// Evaluates the operands it needs itself.
    Lazily(for<'a> fn(&'a [Expression], Environment<'a>) -> Evaluated<'a>),
}

/// An operator that keeps something prepared.
pub(super) trait Compute: fmt::Debug + Send + Sync {
    fn compute(&self, environment: Environment<'_>) -> Computed;
}

impl fmt::Debug for Evaluate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Evaluate")
    }
}

/// How an operator's argument becomes operands.
enum Entry {
    /// This many operands.
    Exactly(usize, Evaluate),
    /// From this many to that many.
    Between(usize, usize, Evaluate),
    /// This many or more.
    AtLeast(usize, Evaluate),
    /// Named parameters.
    Named(&'static Named, Evaluate),
    /// Whatever its own parser makes of the argument.
    Parsed(fn(&str, RawBsonRef<'_>, &Scope<'_>) -> Result<Expression, DocumentError>),
    /// Known and refused, with the reason.
    Refused(&'static str),
}

/// Parses `{name: argument}`.
pub(super) fn parse(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Node, DocumentError> {
    let Some((name, entry)) = registry::find(name) else {
        return Err(DocumentError::new(
            ErrorKind::InvalidPipelineOperator,
            format!("Unrecognized expression '{name}'"),
        ));
    };
    let (operands, evaluate) = match entry {
        Entry::Exactly(wanted, evaluate) => {
            let operands = list(argument, scope)?;
            if operands.len() != *wanted {
                return fail(
                    16020,
                    format!(
                        "Expression {name} takes exactly {wanted} arguments. {} were passed in.",
                        operands.len()
                    ),
                );
            }
            (operands, evaluate)
        }
        Entry::Between(least, most, evaluate) => {
            let operands = list(argument, scope)?;
            if !(*least..=*most).contains(&operands.len()) {
                return fail(
                    28667,
                    format!(
                        "Expression {name} takes at least {least} arguments, and at most {most}, but {} were passed in.",
                        operands.len()
                    ),
                );
            }
            (operands, evaluate)
        }
        Entry::AtLeast(least, evaluate) => {
            let operands = list(argument, scope)?;
            check_at_least(name, *least, operands.len())?;
            (operands, evaluate)
        }
        Entry::Named(named, evaluate) => (named.parse(name, argument, scope)?, evaluate),
        Entry::Parsed(parse) => return Ok(parse(name, argument, scope)?.node),
        Entry::Refused(reason) => {
            return Err(DocumentError::new(
                ErrorKind::CommandNotSupported,
                format!("{name} is not supported: {reason}"),
            ));
        }
    };
    let operands = match scope.collation() {
        Some(collation) if in_collation::COMPARING.contains(&name) => {
            in_collation::operands(operands, collation)
        }
        _ => operands,
    };
    Ok(Node::Operator {
        name,
        operands,
        evaluate: *evaluate,
    })
}

/// A list of operands; anything but a list is the only one.
fn list(argument: RawBsonRef<'_>, scope: &Scope<'_>) -> Result<Vec<Expression>, DocumentError> {
    match argument {
        RawBsonRef::Array(array) => raw::members(array)
            .map(|operand| Expression::parse_in(operand, scope))
            .collect(),
        single => Ok(vec![Expression::parse_in(single, scope)?]),
    }
}

fn check_at_least(name: &str, least: usize, count: usize) -> Result<(), DocumentError> {
    if count >= least {
        return Ok(());
    }
    match name {
        "$ifNull" => fail(
            1_257_300,
            format!("{name} needs at least two arguments, had: {count}"),
        ),
        "$setEquals" => fail(
            17045,
            format!("{name} needs at least two arguments had: {count}"),
        ),
        _ => fail(
            16020,
            format!("Expression {name} takes at least {least} arguments. {count} were passed in."),
        ),
    }
}
