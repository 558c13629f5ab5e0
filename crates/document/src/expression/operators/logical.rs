//! `$and $or $not`: operands are evaluated until the result is certain.

use bson::raw::RawBson;

use crate::DocumentError;
use crate::expression::{Environment, Evaluated, Expression, Value};

fn is_true<'a>(
    expression: &'a Expression,
    environment: Environment<'a>,
) -> Result<bool, DocumentError> {
    let value = expression.evaluate_in(environment)?;
    Ok(value.is_some_and(|value| value.is_true()))
}

fn boolean<'a>(value: bool) -> Evaluated<'a> {
    Ok(Some(Value::Owned(RawBson::Boolean(value))))
}

pub(super) fn and<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    for operand in operands {
        if !is_true(operand, environment)? {
            return boolean(false);
        }
    }
    boolean(true)
}

pub(super) fn or<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    for operand in operands {
        if is_true(operand, environment)? {
            return boolean(true);
        }
    }
    boolean(false)
}

pub(super) fn not<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    boolean(!is_true(&operands[0], environment)?)
}
