//! Values as MongoDB's error messages show them.

use bson::raw::{RawBsonRef, RawDocument};
use bson::spec::ElementType;

use crate::raw::{elements, members};

/// `{ a: 1, b: "x" }`.
pub(crate) fn document(document: &RawDocument) -> String {
    let fields: Vec<String> = elements(document)
        .map(|field| element(field.name, field.value()))
        .collect();
    match fields.is_empty() {
        true => "{}".to_owned(),
        false => format!("{{ {} }}", fields.join(", ")),
    }
}

/// `a: 1`.
pub(crate) fn element(name: &str, shown: RawBsonRef<'_>) -> String {
    format!("{name}: {}", value(shown))
}

/// One value.
pub(crate) fn value(value: RawBsonRef<'_>) -> String {
    match value {
        RawBsonRef::Double(double) => self::double(double),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => format!("\"{text}\""),
        RawBsonRef::Document(embedded) => document(embedded),
        RawBsonRef::Array(array) => {
            let shown: Vec<String> = members(array).map(self::value).collect();
            match shown.is_empty() {
                true => "[]".to_owned(),
                false => format!("[ {} ]", shown.join(", ")),
            }
        }
        RawBsonRef::Binary(binary) => {
            let hexadecimal: String = binary.bytes.iter().map(|b| format!("{b:02X}")).collect();
            format!("BinData({}, {hexadecimal})", u8::from(binary.subtype))
        }
        RawBsonRef::Undefined => "undefined".to_owned(),
        RawBsonRef::ObjectId(id) => format!("ObjectId('{}')", id.to_hex()),
        RawBsonRef::Boolean(boolean) => boolean.to_string(),
        RawBsonRef::DateTime(date) => format!("new Date({})", date.timestamp_millis()),
        RawBsonRef::Null => "null".to_owned(),
        RawBsonRef::RegularExpression(regex) => {
            format!("/{}/{}", regex.pattern.as_str(), regex.options.as_str())
        }
        RawBsonRef::DbPointer(_) => "DBRef(...)".to_owned(),
        RawBsonRef::JavaScriptCode(code) => code.to_owned(),
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            format!("CodeWScope( {}, {})", code.code, document(code.scope))
        }
        RawBsonRef::Int32(integer) => integer.to_string(),
        RawBsonRef::Int64(integer) => integer.to_string(),
        RawBsonRef::Timestamp(timestamp) => {
            format!("Timestamp({}, {})", timestamp.time, timestamp.increment)
        }
        RawBsonRef::Decimal128(decimal) => decimal.to_string(),
        RawBsonRef::MinKey => "MinKey".to_owned(),
        RawBsonRef::MaxKey => "MaxKey".to_owned(),
    }
}

fn double(double: f64) -> String {
    if double.is_nan() {
        "nan.0".to_owned()
    } else if double.is_infinite() {
        if double > 0.0 { "inf.0" } else { "-inf.0" }.to_owned()
    } else if double.trunc() == double && double.abs() < 1e15 {
        format!("{double:.1}")
    } else {
        double.to_string()
    }
}

/// The type's name as in `$type` and error messages.
pub(crate) fn type_name(kind: ElementType) -> &'static str {
    match kind {
        ElementType::Double => "double",
        ElementType::String => "string",
        ElementType::EmbeddedDocument => "object",
        ElementType::Array => "array",
        ElementType::Binary => "binData",
        ElementType::Undefined => "undefined",
        ElementType::ObjectId => "objectId",
        ElementType::Boolean => "bool",
        ElementType::DateTime => "date",
        ElementType::Null => "null",
        ElementType::RegularExpression => "regex",
        ElementType::DbPointer => "dbPointer",
        ElementType::JavaScriptCode => "javascript",
        ElementType::Symbol => "symbol",
        ElementType::JavaScriptCodeWithScope => "javascriptWithScope",
        ElementType::Int32 => "int",
        ElementType::Timestamp => "timestamp",
        ElementType::Int64 => "long",
        ElementType::Decimal128 => "decimal",
        ElementType::MaxKey => "maxKey",
        ElementType::MinKey => "minKey",
    }
}
