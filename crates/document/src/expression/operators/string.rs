//! `$concat $toUpper $toLower`.

use bson::raw::{RawBson, RawBsonRef};

use super::{Computed, Operands, type_name};
use crate::expression::Value;
use crate::expression::value::is_nullish;
use crate::{DocumentError, display};

pub(super) fn concat(operands: &Operands<'_>) -> Computed {
    let mut joined = String::new();
    for operand in operands {
        if is_nullish(operand) {
            return Ok(Some(RawBson::Null));
        }
        match operand.as_ref().map(Value::as_ref) {
            Some(RawBsonRef::String(text) | RawBsonRef::Symbol(text)) => joined.push_str(text),
            _ => {
                return Err(DocumentError::location(
                    16702,
                    format!("$concat only supports strings, not {}", type_name(operand)),
                ));
            }
        }
    }
    Ok(Some(RawBson::String(joined)))
}

pub(super) fn to_upper(operands: &Operands<'_>) -> Computed {
    convert(&operands[0], |text| text.to_ascii_uppercase())
}

pub(super) fn to_lower(operands: &Operands<'_>) -> Computed {
    convert(&operands[0], |text| text.to_ascii_lowercase())
}

fn convert(operand: &Option<Value<'_>>, function: fn(&str) -> String) -> Computed {
    if is_nullish(operand) {
        return Ok(Some(RawBson::String(String::new())));
    }
    let Some(value) = operand.as_ref().map(Value::as_ref) else {
        return Ok(Some(RawBson::String(String::new())));
    };
    let text = match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            text.to_owned()
        }
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Decimal128(_) => {
            display::value(value)
        }
        RawBsonRef::Double(double) => double.to_string(),
        RawBsonRef::DateTime(date) => date.try_to_rfc3339_string().map_err(|_| {
            DocumentError::bad_value(format!(
                "can't convert the date of {} ms to a string",
                date.timestamp_millis()
            ))
        })?,
        _ => {
            return Err(DocumentError::location(
                16007,
                format!(
                    "can't convert from BSON type {} to String",
                    type_name(operand)
                ),
            ));
        }
    };
    Ok(Some(RawBson::String(function(&text))))
}
