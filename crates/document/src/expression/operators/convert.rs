//! `$convert` and its short forms, and the text of values.

use bson::oid::ObjectId;
use bson::raw::{RawBson, RawBsonRef};
use bson::spec::ElementType;

use super::date::{format, parse};
use super::named::{Named, Wording};
use super::operands::{Operands, fail, null};
use super::{Computed, Evaluate, Node};
use crate::expression::number::Numeric;
use crate::expression::{Environment, Evaluated, Expression, Scope, Value, decimal, is_nullish};
use crate::filter::element_type;
use crate::order::Decimal;
use crate::{DocumentError, ErrorKind, display, raw};

/// A number, date, string or code as text; null as the empty text.
pub(super) fn coerce_to_text(
    operands: &Operands<'_>,
    index: usize,
) -> Result<String, DocumentError> {
    let value = operands.value(index);
    match value {
        _ if operands.nullish(index) => Ok(String::new()),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            Ok(text.to_owned())
        }
        RawBsonRef::Timestamp(timestamp) => Ok(format!(
            "Timestamp({}, {})",
            timestamp.time, timestamp.increment
        )),
        _ => match text_of(value) {
            Some(text) if !matches!(value, RawBsonRef::Boolean(_) | RawBsonRef::ObjectId(_)) => {
                Ok(text)
            }
            _ => fail(
                16007,
                format!(
                    "can't convert from BSON type {} to String",
                    operands.type_name(index)
                ),
            ),
        },
    }
}

/// The text of a scalar that `$toString` knows.
fn text_of(value: RawBsonRef<'_>) -> Option<String> {
    Some(match value {
        RawBsonRef::String(text) => text.to_owned(),
        RawBsonRef::Boolean(boolean) => boolean.to_string(),
        RawBsonRef::Int32(integer) => integer.to_string(),
        RawBsonRef::Int64(integer) => integer.to_string(),
        RawBsonRef::Double(double) => double_text(double),
        RawBsonRef::Decimal128(decimal) => decimal.to_string(),
        RawBsonRef::DateTime(date) => format::iso(date.timestamp_millis()),
        RawBsonRef::ObjectId(id) => id.to_hex(),
        _ => return None,
    })
}

/// Sixteen significant digits, as C's `%.16g` writes them.
fn double_text(double: f64) -> String {
    const DIGITS: i32 = 16;
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let scientific = format!("{:.*e}", DIGITS as usize - 1, double);
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("an integer");
    let stripped = |digits: &str| match digits.contains('.') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    };
    if (-5..DIGITS).contains(&exponent) && exponent != -5 {
        let places = (DIGITS - 1 - exponent).max(0) as usize;
        return stripped(&format!("{double:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", stripped(mantissa), exponent.abs())
}

const CONVERT: Named = Named {
    not_object: 9,
    unknown: 9,
    wording: Wording::Requires,
    parameters: &[
        ("input", Some(9)),
        ("to", Some(9)),
        ("onError", None),
        ("onNull", None),
        ("format", None),
    ],
};

pub(super) fn parse_convert(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let parsed = CONVERT.parse(name, argument, scope);
    let operands = parsed.map_err(|error| match error.kind {
        ErrorKind::Location(9) => DocumentError::failed_to_parse(error.message),
        _ => error,
    })?;
    Ok(Node::Operator {
        name: "$convert",
        operands,
        evaluate: Evaluate::Lazily(convert),
    }
    .into())
}

fn convert<'a>(operands: &'a [Expression], environment: Environment<'a>) -> Evaluated<'a> {
    let input = operands[0].evaluate_in(environment)?;
    let to = operands[1].evaluate_in(environment)?;
    let to = match to.as_ref().map(Value::as_ref) {
        Some(RawBsonRef::Document(named)) => named.get("type").ok().flatten().map(raw::owned),
        Some(other) => Some(raw::owned(other)),
        None => None,
    };
    let target = match &to {
        None | Some(RawBson::Null | RawBson::Undefined) => None,
        Some(to) => Some(element_type(to.as_raw_bson_ref())?),
    };
    if is_nullish(&input) {
        return match operands[3].is_absent() {
            true => Ok(Some(Value::Owned(RawBson::Null))),
            false => operands[3].evaluate_in(environment),
        };
    }
    let Some(target) = target else {
        return Ok(Some(Value::Owned(RawBson::Null)));
    };
    let input = input.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
    match converted(input, target) {
        Ok(value) => Ok(Some(Value::Owned(value))),
        Err(_) if !operands[2].is_absent() => operands[2].evaluate_in(environment),
        Err(error) => Err(error),
    }
}

fn shorthand(operands: &Operands<'_>, target: ElementType) -> Computed {
    match operands.nullish(0) {
        true => null(),
        false => converted(operands.value(0), target).map(Some),
    }
}

pub(super) fn to_bool(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::Boolean)
}

pub(super) fn to_date(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::DateTime)
}

pub(super) fn to_decimal(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::Decimal128)
}

pub(super) fn to_double(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::Double)
}

pub(super) fn to_int(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::Int32)
}

pub(super) fn to_long(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::Int64)
}

pub(super) fn to_object_id(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::ObjectId)
}

pub(super) fn to_text(operands: &Operands<'_>) -> Computed {
    shorthand(operands, ElementType::String)
}

fn failure<T>(message: String) -> Result<T, DocumentError> {
    Err(DocumentError::new(ErrorKind::ConversionFailure, message))
}

/// A value that is not null as another type.
fn converted(value: RawBsonRef<'_>, target: ElementType) -> Result<RawBson, DocumentError> {
    if value.element_type() == target {
        return Ok(raw::owned(value));
    }
    let found = match target {
        ElementType::Boolean => Some(RawBson::Boolean(Value::Borrowed(value).is_true())),
        ElementType::String => text_of(value).map(RawBson::String),
        ElementType::ObjectId => match value {
            RawBsonRef::String(text) => Some(RawBson::ObjectId(object_id(text)?)),
            _ => None,
        },
        ElementType::DateTime => date(value)?,
        ElementType::Int32 | ElementType::Int64 => integer(value, target)?,
        ElementType::Double => double(value)?,
        ElementType::Decimal128 => decimal(value)?,
        _ => None,
    };
    match found {
        Some(found) => Ok(found),
        None => failure(format!(
            "Unsupported conversion from {} to {} in $convert with no onError value",
            display::type_name(value.element_type()),
            display::type_name(target)
        )),
    }
}

fn object_id(text: &str) -> Result<ObjectId, DocumentError> {
    if text.len() != 24 {
        return failure(format!(
            "Failed to parse objectId '{text}' in $convert with no onError value: Invalid string length for parsing to \
             OID, expected 24 but found {}",
            text.len()
        ));
    }
    match ObjectId::parse_str(text) {
        Ok(id) => Ok(id),
        Err(_) => failure(format!(
            "Failed to parse objectId '{text}' in $convert with no onError value: Invalid character found in hex string"
        )),
    }
}

fn date(value: RawBsonRef<'_>) -> Result<Option<RawBson>, DocumentError> {
    let millis = match value {
        RawBsonRef::String(text) => parse::parse(text, None, None)?,
        RawBsonRef::Timestamp(_) | RawBsonRef::ObjectId(_) => {
            super::date::instant_of(value).expect("these types have an instant")
        }
        RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => {
            match integer(value, ElementType::Int64)? {
                Some(RawBson::Int64(millis)) => millis,
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(RawBson::DateTime(bson::DateTime::from_millis(millis))))
}

/// int or long; fractions are cut off.
fn integer(value: RawBsonRef<'_>, target: ElementType) -> Result<Option<RawBson>, DocumentError> {
    let overflow = || {
        failure(format!(
            "Conversion would overflow target type in $convert with no onError value: {}",
            display::value(value)
        ))
    };
    let whole = match (value, Numeric::of(value)) {
        (RawBsonRef::Boolean(boolean), _) => i64::from(boolean),
        (RawBsonRef::DateTime(date), _) if target == ElementType::Int64 => date.timestamp_millis(),
        (RawBsonRef::String(text), _) => return integer_from_text(text, target).map(Some),
        (_, Some(number)) => match number {
            Numeric::Decimal(Decimal::NaN) => return not_finite("NaN"),
            Numeric::Double(double) if double.is_nan() => return not_finite("NaN"),
            Numeric::Decimal(Decimal::Infinity { .. }) => return not_finite("infinity"),
            Numeric::Double(double) if double.is_infinite() => return not_finite("infinity"),
            Numeric::Double(double) => match Numeric::Double(double.trunc()).as_whole() {
                Some(whole) => whole,
                None => return overflow(),
            },
            Numeric::Decimal(exact) => match exact.truncate_to_i64() {
                Some(whole) => whole,
                None => return overflow(),
            },
            Numeric::Int32(integer) => i64::from(integer),
            Numeric::Int64(integer) => integer,
        },
        _ => return Ok(None),
    };
    match (target, i32::try_from(whole)) {
        (ElementType::Int32, Ok(narrow)) => Ok(Some(RawBson::Int32(narrow))),
        (ElementType::Int32, Err(_)) => overflow(),
        _ => Ok(Some(RawBson::Int64(whole))),
    }
}

fn not_finite<T>(what: &str) -> Result<T, DocumentError> {
    failure(format!(
        "Attempt to convert {what} value to integer type in $convert with no onError value"
    ))
}

fn unreadable<T>(text: &str, why: &str) -> Result<T, DocumentError> {
    failure(format!(
        "Failed to parse number '{text}' in $convert with no onError value: {why}"
    ))
}

fn integer_from_text(text: &str, target: ElementType) -> Result<RawBson, DocumentError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() {
        return unreadable(text, "No digits");
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let any = digits.starts_with(|c: char| c.is_ascii_digit());
        let why = if any {
            "Did not consume whole string."
        } else {
            "Did not consume any digits"
        };
        return unreadable(text, why);
    }
    let parsed = match target {
        ElementType::Int32 => text.parse().map(RawBson::Int32),
        _ => text.parse().map(RawBson::Int64),
    };
    parsed.or_else(|_| unreadable(text, "Overflow"))
}

fn double(value: RawBsonRef<'_>) -> Result<Option<RawBson>, DocumentError> {
    Ok(Some(RawBson::Double(match value {
        RawBsonRef::Boolean(boolean) => f64::from(u8::from(boolean)),
        RawBsonRef::DateTime(date) => date.timestamp_millis() as f64,
        RawBsonRef::String(text) => match text.parse::<f64>() {
            Ok(double) if is_number_text(text) => double,
            _ => return unreadable(text, "Did not consume whole string."),
        },
        _ => match Numeric::of(value) {
            Some(number) => {
                let double = number.as_double();
                let was_finite = !matches!(number, Numeric::Decimal(Decimal::Infinity { .. }));
                if double.is_infinite() && was_finite {
                    return failure(format!(
                        "Conversion would overflow target type in $convert with no onError value: {}",
                        display::value(value)
                    ));
                }
                double
            }
            None => return Ok(None),
        },
    })))
}

/// No white space, no words but those of IEEE 754.
fn is_number_text(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace)
}

fn decimal(value: RawBsonRef<'_>) -> Result<Option<RawBson>, DocumentError> {
    let exact = match value {
        RawBsonRef::Boolean(boolean) => Decimal::from_integer(i64::from(boolean)),
        RawBsonRef::DateTime(date) => Decimal::from_integer(date.timestamp_millis()),
        RawBsonRef::String(text) => match text.parse::<bson::Decimal128>() {
            Ok(parsed) if is_number_text(text) => return Ok(Some(RawBson::Decimal128(parsed))),
            _ => return unreadable(text, "Failed to parse string to decimal"),
        },
        _ => match Numeric::of(value) {
            Some(number) => number.as_decimal(),
            None => return Ok(None),
        },
    };
    Ok(Some(RawBson::Decimal128(decimal::to_bits(exact))))
}

/// `$toHashedIndexKey`: the value that a hashed index has for the operand; a missing one counts as null.
pub(super) fn to_hashed_index_key(operands: &Operands<'_>) -> Computed {
    let operand = operands[0].as_ref().map_or(RawBsonRef::Null, Value::as_ref);
    Ok(Some(RawBson::Int64(crate::hashing::hash(operand))))
}
