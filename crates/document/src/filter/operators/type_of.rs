//! `$type`: by number, by name, or any of several.

use super::Operand;
use crate::error::DocumentError;
use crate::filter::{Node, Predicate};
use crate::order::Number;
use bson::raw::RawBsonRef;
use bson::spec::ElementType;

#[derive(Debug)]
struct TypeOf(Vec<ElementType>);

/// Name and number of each type; a number is what BSON puts before a value, save for MinKey.
const TYPES: &[(&str, i64, ElementType)] = &[
    ("double", 1, ElementType::Double),
    ("string", 2, ElementType::String),
    ("object", 3, ElementType::EmbeddedDocument),
    ("array", 4, ElementType::Array),
    ("binData", 5, ElementType::Binary),
    ("undefined", 6, ElementType::Undefined),
    ("objectId", 7, ElementType::ObjectId),
    ("bool", 8, ElementType::Boolean),
    ("date", 9, ElementType::DateTime),
    ("null", 10, ElementType::Null),
    ("regex", 11, ElementType::RegularExpression),
    ("dbPointer", 12, ElementType::DbPointer),
    ("javascript", 13, ElementType::JavaScriptCode),
    ("symbol", 14, ElementType::Symbol),
    (
        "javascriptWithScope",
        15,
        ElementType::JavaScriptCodeWithScope,
    ),
    ("int", 16, ElementType::Int32),
    ("timestamp", 17, ElementType::Timestamp),
    ("long", 18, ElementType::Int64),
    ("decimal", 19, ElementType::Decimal128),
    ("minKey", -1, ElementType::MinKey),
    ("maxKey", 127, ElementType::MaxKey),
];

const NUMBERS: [ElementType; 4] = [
    ElementType::Double,
    ElementType::Int32,
    ElementType::Int64,
    ElementType::Decimal128,
];

pub(super) fn parse(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let mut types = Vec::new();
    match operand.value {
        RawBsonRef::Array(members) => {
            for member in members {
                add(member?, &mut types)?;
            }
            if types.is_empty() {
                return Err(DocumentError::failed_to_parse(format!(
                    "{} must match at least one type",
                    operand.path.as_str()
                )));
            }
        }
        value => add(value, &mut types)?,
    }
    Ok(Node::Test(operand.path.clone(), Box::new(TypeOf(types))))
}

/// The types that a name stands for.
pub(super) fn element_types(value: RawBsonRef<'_>) -> Result<Vec<ElementType>, DocumentError> {
    let mut types = Vec::new();
    add(value, &mut types)?;
    Ok(types)
}

/// The one type that a name or number stands for.
pub(crate) fn element_type(value: RawBsonRef<'_>) -> Result<ElementType, DocumentError> {
    let mut types = Vec::new();
    add(value, &mut types)?;
    match types[..] {
        [single] => Ok(single),
        _ => Err(DocumentError::bad_value("Unknown type name: number")),
    }
}

fn add(value: RawBsonRef<'_>, types: &mut Vec<ElementType>) -> Result<(), DocumentError> {
    match value {
        RawBsonRef::String("number") => types.extend(NUMBERS),
        RawBsonRef::String(name) => {
            let known = TYPES.iter().find(|(known, _, _)| *known == name);
            let (_, _, element_type) = known.ok_or_else(|| {
                DocumentError::bad_value(format!("Unknown type name alias: {name}"))
            })?;
            types.push(*element_type);
        }
        _ if Number::of(value).is_some() => {
            let number = super::integer(value).ok();
            let known = TYPES.iter().find(|(_, code, _)| Some(*code) == number);
            let (_, _, element_type) = known.ok_or_else(|| {
                let given =
                    number.map_or_else(|| format!("{value:?}"), |number| number.to_string());
                DocumentError::bad_value(format!("Invalid numerical type code: {given}"))
            })?;
            types.push(*element_type);
        }
        _ => {
            return Err(DocumentError::type_mismatch(
                "type must be represented as a number or a string",
            ));
        }
    }
    Ok(())
}

impl Predicate for TypeOf {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        value.is_some_and(|value| self.0.contains(&value.element_type()))
    }

    fn types(&self) -> Option<&[ElementType]> {
        Some(&self.0)
    }
}
