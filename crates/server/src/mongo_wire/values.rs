//! Reading option values as leniently as MongoDB does, and refusing them in its words.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::document_writer::DocumentWriter;
use super::failure::{Code, Failure};

/// MongoDB's name of a value's type.
pub(crate) fn type_name(value: RawBsonRef<'_>) -> &'static str {
    match value {
        RawBsonRef::Double(_) => "double",
        RawBsonRef::String(_) => "string",
        RawBsonRef::Document(_) => "object",
        RawBsonRef::Array(_) => "array",
        RawBsonRef::Binary(_) => "binData",
        RawBsonRef::Undefined => "undefined",
        RawBsonRef::ObjectId(_) => "objectId",
        RawBsonRef::Boolean(_) => "bool",
        RawBsonRef::DateTime(_) => "date",
        RawBsonRef::Null => "null",
        RawBsonRef::RegularExpression(_) => "regex",
        RawBsonRef::DbPointer(_) => "dbPointer",
        RawBsonRef::JavaScriptCode(_) => "javascript",
        RawBsonRef::Symbol(_) => "symbol",
        RawBsonRef::JavaScriptCodeWithScope(_) => "javascriptWithScope",
        RawBsonRef::Int32(_) => "int",
        RawBsonRef::Timestamp(_) => "timestamp",
        RawBsonRef::Int64(_) => "long",
        RawBsonRef::Decimal128(_) => "decimal",
        RawBsonRef::MinKey => "minKey",
        RawBsonRef::MaxKey => "maxKey",
    }
}

fn wrong_type(field: &str, value: RawBsonRef<'_>, expected: &str) -> Failure {
    Failure::type_mismatch(format!(
        "BSON field '{field}' is the wrong type '{}', expected type '{expected}'",
        type_name(value)
    ))
}

/// A whole number of any numeric type.
pub(crate) fn integer(field: &str, value: RawBsonRef<'_>) -> Result<i64, Failure> {
    match value {
        RawBsonRef::Int32(number) => Ok(i64::from(number)),
        RawBsonRef::Int64(number) => Ok(number),
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 9.0e18 => {
            Ok(number as i64)
        }
        RawBsonRef::Double(_) => Err(Failure::bad_value(format!(
            "BSON field '{field}' must be a whole number"
        ))),
        RawBsonRef::Decimal128(number) => number.to_string().parse().map_err(|_| {
            Failure::bad_value(format!("BSON field '{field}' must be a whole number"))
        }),
        other => Err(Failure::type_mismatch(format!(
            "BSON field '{field}' is the wrong type '{}', expected types '[long, int, decimal, double]'",
            type_name(other)
        ))),
    }
}

/// A whole number that is not negative.
pub(crate) fn count(field: &str, value: RawBsonRef<'_>) -> Result<u64, Failure> {
    let number = integer(field, value)?;
    u64::try_from(number).map_err(|_| {
        Failure::new(
            Code::Location(51024),
            format!("BSON field '{field}' value must be >= 0, actual value '{number}'"),
        )
    })
}

/// A boolean, or a number standing for one.
pub(crate) fn boolean(field: &str, value: RawBsonRef<'_>) -> Result<bool, Failure> {
    match value {
        RawBsonRef::Boolean(value) => Ok(value),
        RawBsonRef::Int32(number) => Ok(number != 0),
        RawBsonRef::Int64(number) => Ok(number != 0),
        RawBsonRef::Double(number) => Ok(number != 0.0),
        RawBsonRef::Null | RawBsonRef::Undefined => Ok(false),
        other => Err(Failure::type_mismatch(format!(
            "BSON field '{field}' is the wrong type '{}', expected types '[bool, long, int, decimal, double]'",
            type_name(other)
        ))),
    }
}

pub(crate) fn string<'a>(field: &str, value: RawBsonRef<'a>) -> Result<&'a str, Failure> {
    match value {
        RawBsonRef::String(value) | RawBsonRef::Symbol(value) => Ok(value),
        other => Err(wrong_type(field, other, "string")),
    }
}

pub(crate) fn document<'a>(field: &str, value: RawBsonRef<'a>) -> Result<&'a RawDocument, Failure> {
    value
        .as_document()
        .ok_or_else(|| wrong_type(field, value, "object"))
}

pub(crate) fn array<'a>(field: &str, value: RawBsonRef<'a>) -> Result<&'a RawArray, Failure> {
    value
        .as_array()
        .ok_or_else(|| wrong_type(field, value, "array"))
}

/// An array of documents.
pub(crate) fn documents<'a>(
    field: &str,
    value: RawBsonRef<'a>,
) -> Result<Vec<&'a RawDocument>, Failure> {
    let mut found = Vec::new();
    for (position, element) in array(field, value)?.into_iter().enumerate() {
        found.push(document(&format!("{field}.{position}"), element?)?);
    }
    Ok(found)
}

/// Writes an owned value.
pub(crate) fn write_bson(
    fields: &mut DocumentWriter,
    key: &str,
    value: &bson::Bson,
) -> Result<(), Failure> {
    let raw: bson::RawBson = value.clone().try_into()?;
    fields.value(key, raw.as_raw_bson_ref());
    Ok(())
}
