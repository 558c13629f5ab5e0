//! `$cond $ifNull $switch`: only the chosen branch is evaluated.

use bson::raw::RawBsonRef;

use super::named::{Named, Wording};
use super::operands::fail;
use super::{Evaluate, Node};
use crate::expression::value::is_nullish;
use crate::expression::{Environment, Evaluated, Expression, Scope};
use crate::{DocumentError, display, raw};

const COND: Named = Named {
    not_object: 17083,
    unknown: 17083,
    wording: Wording::Supports,
    parameters: &[
        ("if", Some(17080)),
        ("then", Some(17081)),
        ("else", Some(17082)),
    ],
};

/// `[if, then, else]` or the same by name.
pub(super) fn parse_cond(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let operands = match argument {
        RawBsonRef::Document(_) => COND.parse(name, argument, scope)?,
        _ => super::list(argument, scope)?,
    };
    if operands.len() != 3 {
        return fail(
            16020,
            format!(
                "Expression $cond takes exactly 3 arguments. {} were passed in.",
                operands.len()
            ),
        );
    }
    Ok(Node::Operator {
        name: "$cond",
        operands,
        evaluate: Evaluate::Lazily(cond),
    }
    .into())
}

fn cond<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    let [condition, then, otherwise] = operands else {
        unreachable!("the parser gives three operands");
    };
    let condition = condition.evaluate_in(environment)?;
    if condition.is_some_and(|value| value.is_true()) {
        then.evaluate_in(environment)
    } else {
        otherwise.evaluate_in(environment)
    }
}

pub(super) fn if_null<'a>(
    operands: &'a [Expression],
    environment: Environment<'a>,
) -> Evaluated<'a> {
    let (replacement, tried) = operands
        .split_last()
        .expect("the registry asks for two operands at least");
    for operand in tried {
        let value = operand.evaluate_in(environment)?;
        if !is_nullish(&value) {
            return Ok(value);
        }
    }
    replacement.evaluate_in(environment)
}

const SWITCH: Named = Named {
    not_object: 40060,
    unknown: 40067,
    wording: Wording::Requires,
    parameters: &[("branches", Some(40068)), ("default", None)],
};

/// The operands are cases and their results in turn, then the default if there is one.
pub(super) fn parse_switch(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = SWITCH.arguments(name, argument)?;
    let branches = match arguments[0].expect("required") {
        RawBsonRef::Array(branches) => branches,
        other => {
            return fail(
                40061,
                format!(
                    "$switch expected an array for 'branches', found: {}",
                    display::type_name(other.element_type())
                ),
            );
        }
    };
    let mut operands = Vec::new();
    for branch in raw::members(branches) {
        let (case, then) = parse_branch(branch, scope)?;
        operands.push(case);
        operands.push(then);
    }
    if operands.is_empty() {
        return fail(40068, "$switch requires at least one branch.");
    }
    if let Some(default) = arguments[1] {
        operands.push(Expression::parse_in(default, scope)?);
    }
    Ok(Node::Operator {
        name: "$switch",
        operands,
        evaluate: Evaluate::Lazily(switch),
    }
    .into())
}

fn parse_branch(
    branch: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<(Expression, Expression), DocumentError> {
    let RawBsonRef::Document(branch) = branch else {
        return fail(
            40062,
            format!(
                "$switch expected each branch to be an object, found: {}",
                display::type_name(branch.element_type())
            ),
        );
    };
    let (mut case, mut then) = (None, None);
    for part in raw::elements(branch) {
        let slot = match part.name {
            "case" => &mut case,
            "then" => &mut then,
            unknown => {
                return fail(
                    40063,
                    format!("$switch found an unknown argument to a branch: {unknown}"),
                );
            }
        };
        *slot = Some(Expression::parse_in(part.value(), scope)?);
    }
    match (case, then) {
        (None, _) => fail(
            40064,
            "$switch requires each branch have a 'case' expression",
        ),
        (_, None) => fail(
            40065,
            "$switch requires each branch have a 'then' expression.",
        ),
        (Some(case), Some(then)) => Ok((case, then)),
    }
}

fn switch<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    let mut branches = operands.chunks_exact(2);
    for branch in branches.by_ref() {
        let case = branch[0].evaluate_in(environment)?;
        if case.is_some_and(|value| value.is_true()) {
            return branch[1].evaluate_in(environment);
        }
    }
    match branches.remainder() {
        [default] => default.evaluate_in(environment),
        _ => fail(
            40066,
            "$switch could not find a matching branch for an input, and no default was specified.",
        ),
    }
}
