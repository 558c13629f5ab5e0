//! `$jsonSchema`: JSON Schema draft 4 as MongoDB has it, with `bsonType`, without `$ref`, `format` and `default`.

use std::collections::BTreeSet;

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::spec::ElementType;

use super::type_of::element_types;
use crate::error::DocumentError;
use crate::expression::number::Numeric;
use crate::filter::parse::{Level, Place};
use crate::filter::pattern::Pattern;
use crate::filter::{Condition, Node};
use crate::order::{self, Decimal};
use crate::{ErrorKind, display, raw};

/// How deep schemas may nest.
const DEPTH_MAX: usize = 100;

#[derive(Debug)]
struct Schema {
    rules: Vec<Rule>,
}

#[derive(Debug)]
enum Rule {
    Types(BTreeSet<u8>),
    Enum(Vec<RawBson>),
    Properties(Box<Properties>),
    Required(Vec<String>),
    PropertyCount {
        least: usize,
        most: usize,
    },
    Dependencies(Vec<(String, Dependency)>),
    Items {
        first: Vec<Schema>,
        rest: Option<Box<Schema>>,
        additional: bool,
    },
    ItemCount {
        least: usize,
        most: usize,
    },
    UniqueItems,
    Length {
        least: usize,
        most: usize,
    },
    Pattern(Pattern),
    Maximum {
        bound: RawBson,
        exclusive: bool,
    },
    Minimum {
        bound: RawBson,
        exclusive: bool,
    },
    MultipleOf(RawBson),
    AllOf(Vec<Schema>),
    AnyOf(Vec<Schema>),
    OneOf(Vec<Schema>),
    Not(Box<Schema>),
}

#[derive(Debug)]
struct Properties {
    named: Vec<(String, Schema)>,
    patterns: Vec<(Pattern, Schema)>,
    /// What the others must satisfy; `None` refuses them.
    additional: Option<Schema>,
}

#[derive(Debug)]
enum Dependency {
    Fields(Vec<String>),
    Schema(Schema),
}

pub(super) fn parse(value: RawBsonRef<'_>, place: Place<'_>) -> Result<Node, DocumentError> {
    let RawBsonRef::Document(schema) = value else {
        return Err(DocumentError::type_mismatch(
            "$jsonSchema must be an object",
        ));
    };
    let Level::Document = place.level else {
        return Err(DocumentError::bad_value(
            "$jsonSchema can only be applied to the top-level document",
        ));
    };
    Ok(Node::Custom(Box::new(Schema::parse(schema, 0)?)))
}

fn mismatch<T>(keyword: &str, expected: &str) -> Result<T, DocumentError> {
    Err(DocumentError::type_mismatch(format!(
        "$jsonSchema keyword '{keyword}' must be {expected}"
    )))
}

impl Condition for Schema {
    fn holds(&self, document: &RawDocument) -> bool {
        self.accepts(RawBsonRef::Document(document))
    }
}

impl Schema {
    fn parse(schema: &RawDocument, depth: usize) -> Result<Schema, DocumentError> {
        if depth == DEPTH_MAX {
            return Err(DocumentError::new(
                ErrorKind::Overflow,
                "$jsonSchema nests too deep",
            ));
        }
        let get = |name: &str| schema.get(name).ok().flatten();
        let mut rules = Vec::new();
        let mut object = false;
        for field in raw::elements(schema) {
            object |= matches!(
                field.name,
                "properties" | "patternProperties" | "additionalProperties"
            );
            if let Some(rule) = rule(field.name, field.value(), &get, depth)? {
                rules.push(rule);
            }
        }
        if get("type").is_some() && get("bsonType").is_some() {
            return Err(DocumentError::failed_to_parse(
                "Cannot specify both $jsonSchema keywords 'type' and 'bsonType'",
            ));
        }
        if object {
            rules.push(Rule::Properties(Box::new(properties(schema, depth)?)));
        }
        Ok(Schema { rules })
    }

    fn accepts(&self, value: RawBsonRef<'_>) -> bool {
        self.rules.iter().all(|rule| rule.accepts(value))
    }
}

fn sub_schema(keyword: &str, value: RawBsonRef<'_>, depth: usize) -> Result<Schema, DocumentError> {
    match value {
        RawBsonRef::Document(schema) => Schema::parse(schema, depth + 1),
        _ => mismatch(keyword, "an object"),
    }
}

fn sub_schemas(
    keyword: &str,
    value: RawBsonRef<'_>,
    depth: usize,
) -> Result<Vec<Schema>, DocumentError> {
    let RawBsonRef::Array(array) = value else {
        return mismatch(keyword, "an array of schemas");
    };
    let schemas: Vec<Schema> = raw::members(array)
        .map(|member| sub_schema(keyword, member, depth))
        .collect::<Result<_, _>>()?;
    match schemas.is_empty() {
        true => Err(DocumentError::bad_value(format!(
            "$jsonSchema keyword '{keyword}' must be a non-empty array"
        ))),
        false => Ok(schemas),
    }
}

fn strings(keyword: &str, value: RawBsonRef<'_>) -> Result<Vec<String>, DocumentError> {
    let RawBsonRef::Array(array) = value else {
        return mismatch(keyword, "an array");
    };
    let mut strings: Vec<String> = Vec::new();
    for member in raw::members(array) {
        match member {
            RawBsonRef::String(text) if strings.iter().any(|known| known == text) => {
                return Err(DocumentError::failed_to_parse(format!(
                    "$jsonSchema keyword '{keyword}' array cannot contain duplicate values"
                )));
            }
            RawBsonRef::String(text) => strings.push(text.to_owned()),
            _ => return mismatch(keyword, "an array of strings"),
        }
    }
    match strings.is_empty() {
        true => Err(DocumentError::failed_to_parse(format!(
            "$jsonSchema keyword '{keyword}' cannot be an empty array"
        ))),
        false => Ok(strings),
    }
}

fn count(keyword: &str, value: RawBsonRef<'_>) -> Result<usize, DocumentError> {
    let whole = Numeric::of(value).and_then(Numeric::as_whole);
    whole
        .and_then(|whole| usize::try_from(whole).ok())
        .ok_or_else(|| {
            DocumentError::failed_to_parse(format!(
                "$jsonSchema keyword '{keyword}' must be a non-negative integer, found {}",
                display::value(value)
            ))
        })
}

fn boolean(keyword: &str, value: Option<RawBsonRef<'_>>) -> Result<bool, DocumentError> {
    match value {
        None => Ok(false),
        Some(RawBsonRef::Boolean(boolean)) => Ok(boolean),
        Some(_) => mismatch(keyword, "a boolean"),
    }
}

/// The types of `type` (JSON's names) or `bsonType`.
fn types(keyword: &str, value: RawBsonRef<'_>) -> Result<Rule, DocumentError> {
    let single = [value];
    let names: Vec<RawBsonRef<'_>> = match value {
        RawBsonRef::Array(array) => raw::members(array).collect(),
        _ => single.to_vec(),
    };
    let mut types = BTreeSet::new();
    for name in names {
        let RawBsonRef::String(text) = name else {
            return mismatch(keyword, "either a string or an array of strings");
        };
        let json = ["array", "boolean", "null", "number", "object", "string"];
        let found = match (keyword, text) {
            ("type", "integer") => {
                return Err(DocumentError::failed_to_parse(
                    "$jsonSchema type 'integer' is not currently supported.",
                ));
            }
            ("type", "boolean") => vec![ElementType::Boolean],
            ("type", text) if !json.contains(&text) => {
                return Err(DocumentError::bad_value(format!(
                    "Unknown type name alias: {text}"
                )));
            }
            _ => element_types(name)?,
        };
        types.extend(found.into_iter().map(|kind| kind as u8));
    }
    Ok(Rule::Types(types))
}

fn rule<'s>(
    keyword: &str,
    value: RawBsonRef<'s>,
    get: &dyn Fn(&str) -> Option<RawBsonRef<'s>>,
    depth: usize,
) -> Result<Option<Rule>, DocumentError> {
    let number = |value: RawBsonRef<'_>| match Numeric::of(value) {
        Some(_) => Ok(raw::owned(value)),
        None => mismatch(keyword, "a number"),
    };
    Ok(Some(match keyword {
        "type" | "bsonType" => types(keyword, value)?,
        "enum" => match value {
            RawBsonRef::Array(array) if !array.is_empty() => {
                Rule::Enum(raw::members(array).map(raw::owned).collect())
            }
            _ => return mismatch(keyword, "a non-empty array"),
        },
        "required" => Rule::Required(strings(keyword, value)?),
        "minProperties" => Rule::PropertyCount {
            least: count(keyword, value)?,
            most: usize::MAX,
        },
        "maxProperties" => Rule::PropertyCount {
            least: 0,
            most: count(keyword, value)?,
        },
        "minItems" => Rule::ItemCount {
            least: count(keyword, value)?,
            most: usize::MAX,
        },
        "maxItems" => Rule::ItemCount {
            least: 0,
            most: count(keyword, value)?,
        },
        "minLength" => Rule::Length {
            least: count(keyword, value)?,
            most: usize::MAX,
        },
        "maxLength" => Rule::Length {
            least: 0,
            most: count(keyword, value)?,
        },
        "uniqueItems" => match boolean(keyword, Some(value))? {
            true => Rule::UniqueItems,
            false => return Ok(None),
        },
        "pattern" => match value {
            RawBsonRef::String(pattern) => Rule::Pattern(Pattern::compile(pattern, "")?),
            _ => return mismatch(keyword, "a string"),
        },
        "maximum" => Rule::Maximum {
            bound: number(value)?,
            exclusive: boolean("exclusiveMaximum", get("exclusiveMaximum"))?,
        },
        "minimum" => Rule::Minimum {
            bound: number(value)?,
            exclusive: boolean("exclusiveMinimum", get("exclusiveMinimum"))?,
        },
        "exclusiveMaximum" | "exclusiveMinimum" => {
            let needs = if keyword == "exclusiveMaximum" {
                "maximum"
            } else {
                "minimum"
            };
            if get(needs).is_none() {
                return Err(DocumentError::failed_to_parse(format!(
                    "$jsonSchema keyword '{needs}' must be a present if {keyword} is present"
                )));
            }
            return Ok(None);
        }
        "multipleOf" => {
            let bound = number(value)?;
            if Numeric::of(value).is_none_or(|n| n.is_zero() || n.as_double() < 0.0) {
                return mismatch(keyword, "a positive number");
            }
            Rule::MultipleOf(bound)
        }
        "allOf" => Rule::AllOf(sub_schemas(keyword, value, depth)?),
        "anyOf" => Rule::AnyOf(sub_schemas(keyword, value, depth)?),
        "oneOf" => Rule::OneOf(sub_schemas(keyword, value, depth)?),
        "not" => Rule::Not(Box::new(sub_schema(keyword, value, depth)?)),
        "dependencies" => dependencies(value, depth)?,
        "items" => items(value, get("additionalItems"), depth)?,
        "additionalItems" | "properties" | "patternProperties" | "additionalProperties" => {
            return Ok(None);
        }
        "title" | "description" => match value {
            RawBsonRef::String(_) => return Ok(None),
            _ => return mismatch(keyword, "a string"),
        },
        "$ref" | "$schema" | "default" | "definitions" | "format" | "id" => {
            return Err(DocumentError::failed_to_parse(format!(
                "$jsonSchema keyword '{keyword}' is not currently supported"
            )));
        }
        unknown => {
            return Err(DocumentError::failed_to_parse(format!(
                "Unknown $jsonSchema keyword: {unknown}"
            )));
        }
    }))
}

fn items(
    value: RawBsonRef<'_>,
    additional: Option<RawBsonRef<'_>>,
    depth: usize,
) -> Result<Rule, DocumentError> {
    match value {
        RawBsonRef::Document(all) => Ok(Rule::Items {
            first: Vec::new(),
            rest: Some(Box::new(Schema::parse(all, depth + 1)?)),
            additional: true,
        }),
        RawBsonRef::Array(_) => {
            let (rest, allowed) = match additional {
                None | Some(RawBsonRef::Boolean(true)) => (None, true),
                Some(RawBsonRef::Boolean(false)) => (None, false),
                Some(other) => {
                    let rest = sub_schema("additionalItems", other, depth)?;
                    (Some(Box::new(rest)), true)
                }
            };
            Ok(Rule::Items {
                first: sub_schemas("items", value, depth)?,
                rest,
                additional: allowed,
            })
        }
        _ => mismatch("items", "an array or an object"),
    }
}

fn dependencies(value: RawBsonRef<'_>, depth: usize) -> Result<Rule, DocumentError> {
    let RawBsonRef::Document(document) = value else {
        return mismatch("dependencies", "an object");
    };
    let mut dependencies = Vec::new();
    for field in raw::elements(document) {
        let dependency = match field.value() {
            RawBsonRef::Document(schema) => Dependency::Schema(Schema::parse(schema, depth + 1)?),
            listed @ RawBsonRef::Array(_) => Dependency::Fields(strings("dependencies", listed)?),
            _ => return mismatch("dependencies", "an object of schemas or arrays"),
        };
        dependencies.push((field.name.to_owned(), dependency));
    }
    Ok(Rule::Dependencies(dependencies))
}

fn properties(schema: &RawDocument, depth: usize) -> Result<Properties, DocumentError> {
    let object = |keyword: &str| match schema.get(keyword).ok().flatten() {
        None => Ok(None),
        Some(RawBsonRef::Document(document)) => Ok(Some(document)),
        Some(_) => mismatch(keyword, "an object"),
    };
    let mut named = Vec::new();
    for field in object("properties")?.into_iter().flat_map(raw::elements) {
        let schema = sub_schema("properties", field.value(), depth)?;
        named.push((field.name.to_owned(), schema));
    }
    let mut patterns = Vec::new();
    for field in object("patternProperties")?
        .into_iter()
        .flat_map(raw::elements)
    {
        let schema = sub_schema("patternProperties", field.value(), depth)?;
        patterns.push((Pattern::compile(field.name, "")?, schema));
    }
    let additional = match schema.get("additionalProperties").ok().flatten() {
        None | Some(RawBsonRef::Boolean(true)) => Some(Schema { rules: Vec::new() }),
        Some(RawBsonRef::Boolean(false)) => None,
        Some(other) => Some(sub_schema("additionalProperties", other, depth)?),
    };
    Ok(Properties {
        named,
        patterns,
        additional,
    })
}

impl Properties {
    fn accept(&self, object: &RawDocument) -> bool {
        raw::elements(object).all(|field| {
            let value = field.value();
            let mut known = false;
            for (name, schema) in &self.named {
                if name == field.name {
                    known = true;
                    if !schema.accepts(value) {
                        return false;
                    }
                }
            }
            for (pattern, schema) in &self.patterns {
                if pattern.matches(RawBsonRef::String(field.name)) {
                    known = true;
                    if !schema.accepts(value) {
                        return false;
                    }
                }
            }
            known
                || self
                    .additional
                    .as_ref()
                    .is_some_and(|schema| schema.accepts(value))
        })
    }
}

impl Rule {
    /// A rule about one type says nothing about values of another.
    fn accepts(&self, value: RawBsonRef<'_>) -> bool {
        match self {
            Rule::Types(types) => types.contains(&(value.element_type() as u8)),
            Rule::Enum(values) => values
                .iter()
                .any(|known| order::compare(known.as_raw_bson_ref(), value).is_eq()),
            Rule::AllOf(schemas) => schemas.iter().all(|schema| schema.accepts(value)),
            Rule::AnyOf(schemas) => schemas.iter().any(|schema| schema.accepts(value)),
            Rule::OneOf(schemas) => {
                schemas
                    .iter()
                    .filter(|schema| schema.accepts(value))
                    .count()
                    == 1
            }
            Rule::Not(schema) => !schema.accepts(value),
            _ => match value {
                RawBsonRef::Document(object) => self.accepts_object(object),
                RawBsonRef::Array(array) => self.accepts_array(raw::members(array).collect()),
                RawBsonRef::String(text) => match self {
                    Rule::Length { least, most } => {
                        (*least..=*most).contains(&text.chars().count())
                    }
                    Rule::Pattern(pattern) => pattern.matches(value),
                    _ => true,
                },
                _ if Numeric::of(value).is_some() => self.accepts_number(value),
                _ => true,
            },
        }
    }

    fn accepts_object(&self, object: &RawDocument) -> bool {
        let has = |name: &str| matches!(object.get(name), Ok(Some(_)));
        match self {
            Rule::Required(names) => names.iter().all(|name| has(name)),
            Rule::Properties(properties) => properties.accept(object),
            Rule::PropertyCount { least, most } => {
                (*least..=*most).contains(&raw::elements(object).count())
            }
            Rule::Dependencies(dependencies) => {
                let met = |dependency: &Dependency| match dependency {
                    Dependency::Fields(names) => names.iter().all(|name| has(name)),
                    Dependency::Schema(schema) => schema.accepts(RawBsonRef::Document(object)),
                };
                dependencies
                    .iter()
                    .all(|(name, dependency)| !has(name) || met(dependency))
            }
            _ => true,
        }
    }

    fn accepts_array(&self, members: Vec<RawBsonRef<'_>>) -> bool {
        match self {
            Rule::ItemCount { least, most } => (*least..=*most).contains(&members.len()),
            Rule::UniqueItems => {
                let mut sorted = members;
                sorted.sort_by(|l, r| order::compare(*l, *r));
                sorted
                    .windows(2)
                    .all(|pair| order::compare(pair[0], pair[1]).is_ne())
            }
            Rule::Items {
                first,
                rest,
                additional,
            } => members
                .iter()
                .enumerate()
                .all(|(index, member)| match first.get(index) {
                    Some(schema) => schema.accepts(*member),
                    None => *additional && rest.as_ref().is_none_or(|rest| rest.accepts(*member)),
                }),
            _ => true,
        }
    }

    fn accepts_number(&self, value: RawBsonRef<'_>) -> bool {
        match self {
            Rule::Maximum { bound, exclusive } => {
                let ordering = order::compare(value, bound.as_raw_bson_ref());
                ordering.is_lt() || !exclusive && ordering.is_eq()
            }
            Rule::Minimum { bound, exclusive } => {
                let ordering = order::compare(value, bound.as_raw_bson_ref());
                ordering.is_gt() || !exclusive && ordering.is_eq()
            }
            Rule::MultipleOf(bound) => {
                let number = |value| Numeric::of(value).map(Numeric::as_decimal);
                let (Some(number), Some(divisor)) =
                    (number(value), number(bound.as_raw_bson_ref()))
                else {
                    return false;
                };
                let rest = crate::expression::decimal::remainder(number, divisor);
                matches!(rest, Decimal::Finite { coefficient: 0, .. })
            }
            _ => true,
        }
    }
}
