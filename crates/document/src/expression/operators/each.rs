//! `$map $filter $reduce`: an expression for each member of an array, with the member bound to a variable.

use std::sync::Arc;

use bson::RawArrayBuf;
use bson::raw::{RawArray, RawBson, RawBsonRef};

use super::named::{Named, Wording};
use super::operands::{fail, null};
use super::{Compute, Computed, Node};
use crate::context::check_variable_name;
use crate::expression::number::Numeric;
use crate::expression::{Environment, Expression, Scope, Value, budget, check_depth, is_nullish};
use crate::{DocumentError, display, raw};

const MAP: Named = Named {
    not_object: 16878,
    unknown: 16879,
    wording: Wording::Supports,
    parameters: &[("input", Some(16880)), ("as", None), ("in", Some(16882))],
};

const FILTER: Named = Named {
    not_object: 28646,
    unknown: 28647,
    wording: Wording::Supports,
    parameters: &[
        ("input", Some(28648)),
        ("as", None),
        ("cond", Some(28650)),
        ("limit", None),
    ],
};

const REDUCE: Named = Named {
    not_object: 40075,
    unknown: 40076,
    wording: Wording::Requires,
    parameters: &[
        ("input", Some(40077)),
        ("initialValue", Some(40078)),
        ("in", Some(40079)),
    ],
};

/// The name `as` gives, or `this`.
fn variable<'a>(given: Option<RawBsonRef<'a>>) -> Result<&'a str, DocumentError> {
    match given {
        None => Ok("this"),
        Some(RawBsonRef::String(name)) => {
            check_variable_name(name)?;
            Ok(name)
        }
        Some(_) => Err(DocumentError::failed_to_parse(
            "the variable name of 'as' must be a string",
        )),
    }
}

/// The members of `input`; `None` when it is null. Another type is refused with `refusal`.
fn members_of<'v>(
    input: &'v Option<Value<'_>>,
    (code, refusal): (i32, &str),
) -> Result<Option<&'v RawArray>, DocumentError> {
    if is_nullish(input) {
        return Ok(None);
    }
    match input.as_ref().map(Value::as_ref) {
        Some(RawBsonRef::Array(array)) => Ok(Some(array)),
        other => fail(
            code,
            format!(
                "{refusal}{}",
                other.map_or("missing", |value| display::type_name(value.element_type()))
            ),
        ),
    }
}

#[derive(Debug)]
struct Map {
    input: Expression,
    body: Expression,
}

pub(super) fn parse_map(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = MAP.arguments(name, argument)?;
    let inner = scope.bind(variable(arguments[1])?);
    let map = Map {
        input: Expression::parse_in(arguments[0].expect("required"), scope)?,
        body: Expression::parse_in(arguments[2].expect("required"), &inner)?,
    };
    Ok(Node::Prepared(Arc::new(map)).into())
}

impl Compute for Map {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        let input = self.input.evaluate_in(environment)?;
        let refusal = (16883, "input to $map must be an array not ");
        let Some(array) = members_of(&input, refusal)? else {
            return null();
        };
        let mut mapped = RawArrayBuf::new();
        for member in raw::members(array) {
            budget::round()?;
            let frame = environment.bind(Some(Value::Borrowed(member)));
            let value = self.body.evaluate_in(environment.inside(&frame))?;
            mapped.push(value.as_ref().map_or(RawBsonRef::Null, Value::as_ref));
            budget::check_bytes(mapped.as_bytes().len())?;
        }
        Ok(Some(RawBson::Array(mapped)))
    }
}

#[derive(Debug)]
struct Filter {
    input: Expression,
    condition: Expression,
    limit: Option<Expression>,
}

pub(super) fn parse_filter(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = FILTER.arguments(name, argument)?;
    let inner = scope.bind(variable(arguments[1])?);
    let limit = arguments[3].map(|limit| Expression::parse_in(limit, scope));
    let filter = Filter {
        input: Expression::parse_in(arguments[0].expect("required"), scope)?,
        condition: Expression::parse_in(arguments[2].expect("required"), &inner)?,
        limit: limit.transpose()?,
    };
    Ok(Node::Prepared(Arc::new(filter)).into())
}

impl Filter {
    fn limit(&self, environment: Environment<'_>) -> Result<usize, DocumentError> {
        let Some(limit) = &self.limit else {
            return Ok(usize::MAX);
        };
        let limit = limit.evaluate_in(environment)?;
        if is_nullish(&limit) {
            return Ok(usize::MAX);
        }
        let value = limit.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
        let whole = Numeric::of(value).and_then(Numeric::as_whole);
        let Some(whole) = whole.and_then(|whole| i32::try_from(whole).ok()) else {
            return fail(
                327_391,
                format!(
                    "$filter: limit must be represented as a 32-bit integral value: {}",
                    display::value(value)
                ),
            );
        };
        match usize::try_from(whole) {
            Ok(limit @ 1..) => Ok(limit),
            _ => fail(
                327_392,
                format!("$filter: limit must be greater than 0: {whole}"),
            ),
        }
    }
}

impl Compute for Filter {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        let input = self.input.evaluate_in(environment)?;
        let refusal = (28651, "input to $filter must be an array not ");
        let Some(array) = members_of(&input, refusal)? else {
            return null();
        };
        let limit = self.limit(environment)?;
        let mut kept = RawArrayBuf::new();
        let mut count = 0;
        for member in raw::members(array) {
            if count == limit {
                break;
            }
            budget::round()?;
            let frame = environment.bind(Some(Value::Borrowed(member)));
            let holds = self.condition.evaluate_in(environment.inside(&frame))?;
            if holds.is_some_and(|value| value.is_true()) {
                kept.push(member);
                count += 1;
            }
        }
        Ok(Some(RawBson::Array(kept)))
    }
}

#[derive(Debug)]
struct Reduce {
    input: Expression,
    initial: Expression,
    body: Expression,
}

pub(super) fn parse_reduce(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = REDUCE.arguments(name, argument)?;
    let with_this = scope.bind("this");
    let inner = with_this.bind("value");
    let reduce = Reduce {
        input: Expression::parse_in(arguments[0].expect("required"), scope)?,
        initial: Expression::parse_in(arguments[1].expect("required"), scope)?,
        body: Expression::parse_in(arguments[2].expect("required"), &inner)?,
    };
    Ok(Node::Prepared(Arc::new(reduce)).into())
}

impl Compute for Reduce {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        let input = self.input.evaluate_in(environment)?;
        let refusal = (40080, "$reduce requires that 'input' be an array, found: ");
        let Some(array) = members_of(&input, refusal)? else {
            return null();
        };
        let initial = self.initial.evaluate_in(environment)?;
        let mut accumulated = initial.map(Value::into_owned);
        for member in raw::members(array) {
            budget::round()?;
            let this = environment.bind(Some(Value::Borrowed(member)));
            let inner = environment.inside(&this);
            let value = inner.bind(
                accumulated
                    .as_ref()
                    .map(|v| Value::Borrowed(v.as_raw_bson_ref())),
            );
            let next = self
                .body
                .evaluate_in(inner.inside(&value))?
                .map(Value::into_owned);
            if let Some(next) = &next {
                // Each round may wrap the last one in another level.
                check_depth(next.as_raw_bson_ref())?;
            }
            accumulated = next;
        }
        Ok(accumulated)
    }
}
