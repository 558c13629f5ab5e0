//! `$let`: expressions bound to names for the length of another one.

use std::sync::Arc;

use bson::raw::RawBsonRef;

use super::named::{Named, Wording};
use super::{Compute, Computed, Node};
use crate::context::check_variable_name;
use crate::expression::{Environment, Expression, Scope, Value};
use crate::{DocumentError, raw};

const LET: Named = Named {
    not_object: 16874,
    unknown: 16875,
    wording: Wording::Supports,
    parameters: &[("vars", Some(16876)), ("in", Some(16877))],
};

/// The values see only what is outside; each is bound above the one before.
#[derive(Debug)]
struct Let {
    values: Vec<Expression>,
    body: Expression,
}

pub(super) fn parse(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = LET.arguments(name, argument)?;
    let Some(RawBsonRef::Document(variables)) = arguments[0] else {
        return Err(DocumentError::location(
            16876,
            "invalid parameter: expected an object (vars)",
        ));
    };
    let mut values = Vec::new();
    let mut names = Vec::new();
    for variable in raw::elements(variables) {
        check_variable_name(variable.name)?;
        values.push(Expression::parse_in(variable.value(), scope)?);
        names.push(variable.name);
    }
    let body = parse_inside(&names, scope, arguments[1].expect("required"))?;
    Ok(Node::Prepared(Arc::new(Let { values, body })).into())
}

fn parse_inside(
    names: &[&str],
    scope: &Scope<'_>,
    body: RawBsonRef<'_>,
) -> Result<Expression, DocumentError> {
    match names.split_first() {
        None => Expression::parse_in(body, scope),
        Some((name, rest)) => parse_inside(rest, &scope.bind(name).deeper()?, body),
    }
}

impl Compute for Let {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        let values = self
            .values
            .iter()
            .map(|value| value.evaluate_in(environment));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        bind(&values, environment, &self.body)
    }
}

fn bind(values: &[Option<Value<'_>>], environment: Environment<'_>, body: &Expression) -> Computed {
    match values.split_first() {
        None => Ok(body.evaluate_in(environment)?.map(Value::into_owned)),
        Some((value, rest)) => {
            let value = value.as_ref().map(|value| Value::Borrowed(value.as_ref()));
            let frame = environment.bind(value);
            bind(rest, environment.inside(&frame), body)
        }
    }
}
