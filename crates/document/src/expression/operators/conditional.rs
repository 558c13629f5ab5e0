//! `$cond` and `$ifNull`.

use bson::raw::RawBsonRef;

use crate::expression::value::is_nullish;
use crate::expression::{Environment, Evaluated, Expression};
use crate::{DocumentError, raw};

/// `[if, then, else]` or the same by name.
pub(super) fn parse_cond(argument: RawBsonRef<'_>) -> Result<Vec<Expression>, DocumentError> {
    let RawBsonRef::Document(named) = argument else {
        let operands: Vec<RawBsonRef<'_>> = match argument {
            RawBsonRef::Array(array) => raw::members(array).collect(),
            single => vec![single],
        };
        if operands.len() != 3 {
            return Err(DocumentError::location(
                16020,
                format!(
                    "Expression $cond takes exactly 3 arguments. {} were passed in.",
                    operands.len()
                ),
            ));
        }
        return operands.into_iter().map(Expression::parse).collect();
    };
    let (mut condition, mut then, mut otherwise) = (None, None, None);
    for part in raw::elements(named) {
        let slot = match part.name {
            "if" => &mut condition,
            "then" => &mut then,
            "else" => &mut otherwise,
            unknown => {
                return Err(DocumentError::location(
                    17083,
                    format!("Unrecognized parameter to $cond: {unknown}"),
                ));
            }
        };
        *slot = Some(Expression::parse(part.value())?);
    }
    let required = |part: Option<Expression>, code, name| {
        part.ok_or_else(|| {
            DocumentError::location(code, format!("Missing '{name}' parameter to $cond"))
        })
    };
    Ok(vec![
        required(condition, 17080, "if")?,
        required(then, 17081, "then")?,
        required(otherwise, 17082, "else")?,
    ])
}

pub(super) fn cond<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
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
