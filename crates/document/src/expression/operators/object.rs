//! `$mergeObjects $getField $setField $unsetField`.

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::named::{Named, Wording};
use super::operands::{fail, null, type_name};
use super::{Computed, Evaluate, Node, Operands};
use crate::expression::{Environment, Evaluated, Expression, Scope, Value, is_nullish};
use crate::raw::{self, DocumentWriter};
use crate::{DocumentError, display};

pub(super) fn merge(operands: &Operands<'_>) -> Computed {
    // The single operand may be an array of objects, as the accumulator has it.
    let members: Vec<RawBsonRef<'_>> = match operands.array(0) {
        Some(array) if operands.len() == 1 => raw::members(array).collect(),
        _ => (0..operands.len())
            .map(|index| operands.value(index))
            .collect(),
    };
    let mut merged = Merged::default();
    for member in members {
        merged.add(member)?;
    }
    Ok(Some(RawBson::Document(merged.finish())))
}

/// Fields in the order they came first, each with its latest value.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    fields: Vec<(String, RawBson)>,
    pub bytes: usize,
}

impl Merged {
    pub fn add(&mut self, value: RawBsonRef<'_>) -> Result<(), DocumentError> {
        let object = match value {
            RawBsonRef::Document(object) => object,
            RawBsonRef::Null | RawBsonRef::Undefined => return Ok(()),
            other => {
                return fail(
                    40400,
                    format!(
                        "$mergeObjects requires object inputs, but input {} is of type {}",
                        display::value(other),
                        display::type_name(other.element_type())
                    ),
                );
            }
        };
        self.bytes += object.as_bytes().len();
        for element in raw::elements(object) {
            let value = raw::owned(element.value());
            match self
                .fields
                .iter_mut()
                .find(|(name, _)| name == element.name)
            {
                Some((_, earlier)) => *earlier = value,
                None => self.fields.push((element.name.to_owned(), value)),
            }
        }
        Ok(())
    }

    pub fn finish(self) -> bson::RawDocumentBuf {
        let mut out = DocumentWriter::with_capacity(self.bytes);
        for (name, value) in &self.fields {
            out.append(name, value.as_raw_bson_ref());
        }
        out.finish()
    }
}

const GET_FIELD: Named = Named {
    not_object: 3_041_700,
    unknown: 3_041_701,
    wording: Wording::Requires,
    parameters: &[("field", Some(3_041_702)), ("input", Some(3_041_703))],
};

/// `{$getField: "a"}` reads from the current document.
pub(super) fn parse_get(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let has_parameters = match argument {
        RawBsonRef::Document(object) => {
            raw::elements(object).any(|field| !field.name.starts_with('$'))
                || raw::elements(object).next().is_none()
        }
        _ => false,
    };
    let operands = match has_parameters {
        true => GET_FIELD.parse(name, argument, scope)?,
        false => vec![
            Expression::parse_in(argument, scope)?,
            Expression::parse_in(RawBsonRef::String("$$CURRENT"), scope)?,
        ],
    };
    if let Some(constant) = operands[0].as_constant()
        && !matches!(constant, RawBson::String(_))
    {
        return fail(
            5_654_602,
            format!(
                "$getField requires 'field' to evaluate to type String, but got {}",
                display::type_name(constant.element_type())
            ),
        );
    }
    Ok(Node::Operator {
        name: "$getField",
        operands,
        evaluate: Evaluate::Lazily(get),
    }
    .into())
}

fn get<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    let field = operands[0].evaluate_in(environment)?;
    let Some(RawBsonRef::String(name)) = field.as_ref().map(Value::as_ref) else {
        return fail(
            3_041_704,
            format!(
                "$getField requires 'field' to evaluate to type String, but got {}",
                type_name(&field)
            ),
        );
    };
    let input = operands[1].evaluate_in(environment)?;
    let found = |object: &RawDocument| object.get(name).ok().flatten().map(raw::owned);
    Ok(match &input {
        Some(Value::Borrowed(RawBsonRef::Document(object))) => {
            object.get(name).ok().flatten().map(Value::Borrowed)
        }
        Some(Value::Owned(RawBson::Document(object))) => found(object).map(Value::Owned),
        Some(other) if is_nullish(&Some(other.clone())) => Some(Value::Borrowed(RawBsonRef::Null)),
        _ => None,
    })
}

const SET_FIELD: Named = Named {
    not_object: 4_161_100,
    unknown: 4_161_101,
    wording: Wording::Requires,
    parameters: &[
        ("field", Some(4_161_102)),
        ("input", Some(4_161_109)),
        ("value", Some(4_161_103)),
    ],
};

const UNSET_FIELD: Named = Named {
    not_object: 4_161_100,
    unknown: 4_161_101,
    wording: Wording::Requires,
    parameters: &[("field", Some(4_161_102)), ("input", Some(4_161_109))],
};

pub(super) fn parse_set(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    changed(SET_FIELD.parse(name, argument, scope)?, "$setField")
}

pub(super) fn parse_unset(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let mut operands = UNSET_FIELD.parse(name, argument, scope)?;
    operands.push(Expression::missing());
    changed(operands, "$unsetField")
}

fn changed(operands: Vec<Expression>, name: &'static str) -> Result<Expression, DocumentError> {
    match operands[0].as_constant() {
        Some(RawBson::String(_)) => {}
        None => {
            return fail(
                4_161_106,
                format!(
                    "{name} requires 'field' to evaluate to a constant, but got a non-constant argument"
                ),
            );
        }
        Some(other) => {
            return fail(
                4_161_107,
                format!(
                    "{name} requires 'field' to evaluate to type String, but got {}",
                    display::type_name(other.element_type())
                ),
            );
        }
    }
    Ok(Node::Operator {
        name,
        operands,
        evaluate: Evaluate::Values(change),
    }
    .into())
}

/// The input with one field set; taken away where the value is missing.
fn change(operands: &Operands<'_>) -> Computed {
    let name = operands.text(0).expect("checked by the parser");
    let object = match operands.value(1) {
        RawBsonRef::Document(object) => object,
        _ if operands.nullish(1) => return null(),
        _ => {
            return fail(
                4_161_105,
                format!(
                    "{} requires 'input' to evaluate to type Object",
                    operands.name
                ),
            );
        }
    };
    let value = operands[2].as_ref().map(Value::as_ref);
    let mut out = DocumentWriter::with_capacity(object.as_bytes().len() + 32);
    let mut pending = value;
    for element in raw::elements(object) {
        if element.name != name {
            out.copy(&element);
        } else if let Some(value) = pending.take() {
            out.append(name, value);
        }
    }
    if let Some(value) = pending {
        out.append(name, value);
    }
    Ok(Some(RawBson::Document(out.finish())))
}
