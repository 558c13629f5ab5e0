//! Why a document does not match, in the shape of the `errInfo.details` of MongoDB's failed validations: the operators
//! that were not satisfied, what they ask for, and what they met. Asked only when a document was refused.

use bson::raw::{CString, RawBson, RawBsonRef, RawDocument, cstr};
use bson::{RawArrayBuf, RawDocumentBuf};

use super::{Filter, parse};
use crate::path::{LeafArrays, Path};
use crate::{Context, display, raw};

/// How deep the explanation goes; schemas and filters nest no deeper.
const DEPTH_MAX: usize = 100;

/// The reason why `document` does not match `query`, which parses.
pub fn why_not(query: &RawDocument, document: &RawDocument, context: &Context) -> RawDocumentBuf {
    let seen = Seen { document, context };
    seen.query(query, 0).unwrap_or_default()
}

struct Seen<'a> {
    document: &'a RawDocument,
    context: &'a Context,
}

fn named(name: &str) -> RawDocumentBuf {
    let mut details = RawDocumentBuf::new();
    details.append(cstr!("operatorName"), name);
    details
}

fn append<'a>(to: &mut RawDocumentBuf, name: &str, value: impl Into<RawBsonRef<'a>>) {
    if let Ok(name) = CString::try_from(name) {
        to.append(name, value.into());
    }
}

fn single<'a>(name: &str, value: impl Into<RawBsonRef<'a>>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    append(&mut document, name, value);
    document
}

impl Seen<'_> {
    fn matches(&self, query: &RawDocument) -> bool {
        Filter::parse_in(query, self.context).is_ok_and(|filter| filter.matches(self.document))
    }

    /// `None` when it matches.
    fn query(&self, query: &RawDocument, depth: usize) -> Option<RawDocumentBuf> {
        if depth == DEPTH_MAX || self.matches(query) {
            return None;
        }
        let clauses: Vec<RawDocumentBuf> = raw::elements(query)
            .flat_map(|clause| split(&clause))
            .collect();
        match &clauses[..] {
            [only] => self.clause(only, depth),
            several => {
                Some(self.failed_clauses("$and", several.iter().map(|clause| &**clause), depth))
            }
        }
    }

    fn failed_clauses<'q>(
        &self,
        operator: &str,
        clauses: impl Iterator<Item = &'q RawDocument>,
        depth: usize,
    ) -> RawDocumentBuf {
        let mut failed = RawArrayBuf::new();
        for (index, clause) in (0i32..).zip(clauses) {
            if let Some(details) = self.query(clause, depth + 1) {
                let mut entry = RawDocumentBuf::new();
                entry.append(cstr!("index"), index);
                entry.append(cstr!("details"), details);
                failed.push(entry);
            }
        }
        let mut details = named(operator);
        details.append(cstr!("clausesNotSatisfied"), failed);
        details
    }

    /// A query of one condition.
    fn clause(&self, clause: &RawDocument, depth: usize) -> Option<RawDocumentBuf> {
        if self.matches(clause) {
            return None;
        }
        let element = raw::elements(clause).next()?;
        let sub_queries = |value| match value {
            RawBsonRef::Array(array) => raw::members(array)
                .filter_map(|member| member.as_document())
                .collect(),
            _ => Vec::new(),
        };
        Some(match (element.name, element.value()) {
            (operator @ ("$and" | "$or"), value) => {
                self.failed_clauses(operator, sub_queries(value).into_iter(), depth)
            }
            ("$nor", value) => {
                let mut satisfied = RawArrayBuf::new();
                for (index, clause) in (0i32..).zip(sub_queries(value)) {
                    if self.matches(clause) {
                        let mut entry = single("index", index);
                        entry.append(cstr!("details"), single("specifiedAs", clause));
                        satisfied.push(entry);
                    }
                }
                let mut details = named("$nor");
                details.append(cstr!("clausesSatisfied"), satisfied);
                details
            }
            ("$expr", _) => {
                let mut details = named("$expr");
                details.append(cstr!("specifiedAs"), clause);
                details.append(cstr!("reason"), "expression did not match");
                details.append(cstr!("expressionResult"), false);
                details
            }
            ("$jsonSchema", RawBsonRef::Document(schema)) => {
                let mut details = named("$jsonSchema");
                for annotation in ["title", "description"] {
                    if let Ok(Some(text)) = schema.get(annotation) {
                        append(&mut details, annotation, text);
                    }
                }
                let rules = unsatisfied(schema, RawBsonRef::Document(self.document), depth);
                details.append(cstr!("schemaRulesNotSatisfied"), rules);
                details
            }
            (path, value) => self.condition(path, value, clause),
        })
    }

    /// A condition on the value at a path.
    fn condition(&self, path: &str, value: RawBsonRef<'_>, clause: &RawDocument) -> RawDocumentBuf {
        let operator = match value {
            RawBsonRef::Document(operators) if parse::is_operator_document(operators, false) => {
                raw::elements(operators)
                    .next()
                    .map_or("$eq", |first| first.name)
            }
            RawBsonRef::RegularExpression(_) => "$regex",
            _ => "$eq",
        };
        let mut details = named(operator);
        details.append(cstr!("specifiedAs"), clause);
        let mut found = Vec::new();
        Path::parse(path).any(self.document, LeafArrays::Whole, &mut |value| {
            found.extend(value.map(RawBson::from));
            false
        });
        let reason = match (operator, &found[..]) {
            ("$exists", []) => "path does not exist",
            ("$exists", _) => "path does exist",
            (_, []) => "field was missing",
            ("$type", _) => "type did not match",
            ("$in", _) => "no matching value found in array",
            ("$nin", _) => "matching value found in array",
            ("$regex", _) => "regular expression did not match",
            ("$size", _) => "array length was not equal to given size",
            ("$mod", _) => "$mod did not evaluate to expected remainder",
            ("$all", _) => "array did not contain all specified values",
            ("$elemMatch", _) => "array did not satisfy the child predicate",
            ("$not", _) => "the negated condition was satisfied",
            _ => "comparison failed",
        };
        details.append(cstr!("reason"), reason);
        match &found[..] {
            [] => {}
            [only] => {
                let only = only.as_raw_bson_ref();
                details.append(cstr!("consideredValue"), only);
                if operator == "$type" {
                    details.append(
                        cstr!("consideredType"),
                        display::type_name(only.element_type()),
                    );
                }
            }
            several => {
                let mut values = RawArrayBuf::new();
                several
                    .iter()
                    .for_each(|value| values.push(value.as_raw_bson_ref()));
                details.append(cstr!("consideredValues"), values);
            }
        }
        details
    }
}

/// A condition of several operators as one condition for each.
fn split(clause: &raw::Element<'_>) -> Vec<RawDocumentBuf> {
    match clause.value() {
        RawBsonRef::Document(operators)
            if !clause.name.starts_with('$')
                && parse::is_operator_document(operators, false)
                && raw::elements(operators).all(|operator| operator.name != "$regex") =>
        {
            let single_operator = |operator: raw::Element<'_>| {
                single(clause.name, &*single(operator.name, operator.value()))
            };
            raw::elements(operators).map(single_operator).collect()
        }
        value => vec![single(clause.name, value)],
    }
}

/// Whether `value` satisfies one keyword of a schema, with the siblings it depends on.
fn satisfies(value: RawBsonRef<'_>, schema: &RawDocument, keyword: &str) -> bool {
    let mut alone = RawDocumentBuf::new();
    for field in raw::elements(schema) {
        let belongs = match keyword {
            "minimum" => field.name == "exclusiveMinimum",
            "maximum" => field.name == "exclusiveMaximum",
            "additionalProperties" => matches!(field.name, "properties" | "patternProperties"),
            _ => false,
        };
        // The properties themselves are asked elsewhere: here they only say which ones are known.
        if belongs && keyword == "additionalProperties" {
            append(&mut alone, field.name, &*without_rules(&field));
        } else if belongs || field.name == keyword {
            append(&mut alone, field.name, field.value());
        }
    }
    let properties = single("v", &*alone);
    let query = single("$jsonSchema", &*single("properties", &*properties));
    let document = single("v", value);
    Filter::parse(&query).is_ok_and(|filter| filter.matches(&document))
}

fn without_rules(properties: &raw::Element<'_>) -> RawDocumentBuf {
    let mut bare = RawDocumentBuf::new();
    if let RawBsonRef::Document(properties) = properties.value() {
        for property in raw::elements(properties) {
            append(&mut bare, property.name, &*RawDocumentBuf::new());
        }
    }
    bare
}

/// The keywords of a schema that `value` does not satisfy, each with its reason.
fn unsatisfied(schema: &RawDocument, value: RawBsonRef<'_>, depth: usize) -> RawArrayBuf {
    let mut rules = RawArrayBuf::new();
    if depth >= DEPTH_MAX {
        return rules;
    }
    for field in raw::elements(schema) {
        let annotation = matches!(
            field.name,
            "title" | "description" | "exclusiveMinimum" | "exclusiveMaximum"
        );
        if !annotation && !satisfies(value, schema, field.name) {
            rules.push(keyword(&field, schema, value, depth));
        }
    }
    rules
}

fn keyword(
    field: &raw::Element<'_>,
    schema: &RawDocument,
    value: RawBsonRef<'_>,
    depth: usize,
) -> RawDocumentBuf {
    let mut details = named(field.name);
    match (field.name, field.value(), value) {
        ("properties", RawBsonRef::Document(properties), RawBsonRef::Document(document)) => {
            let failed = failed_properties(properties, document, depth);
            details.append(cstr!("propertiesNotSatisfied"), failed);
            return details;
        }
        ("required", required, RawBsonRef::Document(document)) => {
            details.append(cstr!("specifiedAs"), single(field.name, required));
            details.append(cstr!("missingProperties"), missing(required, document));
            return details;
        }
        ("additionalProperties", specified, RawBsonRef::Document(document)) => {
            details.append(cstr!("specifiedAs"), single(field.name, specified));
            let more = additional(schema, document);
            details.append(cstr!("additionalProperties"), more);
            return details;
        }
        _ => {}
    }
    details.append(cstr!("specifiedAs"), single(field.name, field.value()));
    let reason = match field.name {
        "bsonType" | "type" => "type did not match",
        "enum" => "value was not found in enum",
        "minimum" | "maximum" => "comparison failed",
        "multipleOf" => "considered value is not a multiple of the specified value",
        "minLength" | "maxLength" => "specified string length was not satisfied",
        "pattern" => "regular expression did not match",
        "minItems" | "maxItems" => "array did not match specified length",
        "uniqueItems" => "found a duplicate item",
        "minProperties" | "maxProperties" => "specified number of properties was not satisfied",
        "not" => "child expression matched",
        _ => "the value did not match the schema",
    };
    details.append(cstr!("reason"), reason);
    details.append(cstr!("consideredValue"), value);
    if matches!(field.name, "bsonType" | "type") {
        details.append(
            cstr!("consideredType"),
            display::type_name(value.element_type()),
        );
    }
    details
}

fn failed_properties(
    properties: &RawDocument,
    document: &RawDocument,
    depth: usize,
) -> RawArrayBuf {
    let mut failed = RawArrayBuf::new();
    for property in raw::elements(properties) {
        let (RawBsonRef::Document(schema), Ok(Some(value))) =
            (property.value(), document.get(property.name))
        else {
            continue;
        };
        let rules = unsatisfied(schema, value, depth + 1);
        if rules.is_empty() {
            continue;
        }
        let mut entry = RawDocumentBuf::new();
        entry.append(cstr!("propertyName"), property.name);
        for annotation in ["title", "description"] {
            if let Ok(Some(text)) = schema.get(annotation) {
                append(&mut entry, annotation, text);
            }
        }
        entry.append(cstr!("details"), rules);
        failed.push(entry);
    }
    failed
}

fn missing(required: RawBsonRef<'_>, document: &RawDocument) -> RawArrayBuf {
    let mut names = RawArrayBuf::new();
    if let RawBsonRef::Array(required) = required {
        for name in raw::members(required) {
            if let RawBsonRef::String(text) = name
                && matches!(document.get(text), Ok(None))
            {
                names.push(text);
            }
        }
    }
    names
}

fn additional(schema: &RawDocument, document: &RawDocument) -> RawArrayBuf {
    let known = match schema.get("properties") {
        Ok(Some(RawBsonRef::Document(properties))) => Some(properties),
        _ => None,
    };
    let mut names = RawArrayBuf::new();
    for field in raw::elements(document) {
        let is_known = known.is_some_and(|known| matches!(known.get(field.name), Ok(Some(_))));
        if !is_known {
            names.push(field.name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn reason(query: Document, document: Document) -> Document {
        let raw = |document: Document| RawDocumentBuf::try_from(document).expect("a document");
        let details = why_not(&raw(query), &raw(document), &Context::checking());
        Document::try_from(&*details).expect("a document")
    }

    #[test]
    fn a_comparison_tells_what_it_met() {
        assert_eq!(
            reason(doc! { "a": { "$gt": 5 } }, doc! { "a": 3 }),
            doc! {
                "operatorName": "$gt", "specifiedAs": { "a": { "$gt": 5 } }, "reason": "comparison failed",
                "consideredValue": 3,
            }
        );
        assert_eq!(
            reason(doc! { "a": { "$type": "string" } }, doc! {}),
            doc! {
                "operatorName": "$type", "specifiedAs": { "a": { "$type": "string" } }, "reason": "field was missing",
            }
        );
    }

    #[test]
    fn only_the_clauses_that_fail_are_told() {
        assert_eq!(
            reason(
                doc! { "a": 1, "b": { "$gte": 1, "$lt": 4 } },
                doc! { "a": 1, "b": 9 }
            ),
            doc! {
                "operatorName": "$and",
                "clausesNotSatisfied": [{ "index": 2, "details": {
                    "operatorName": "$lt", "specifiedAs": { "b": { "$lt": 4 } }, "reason": "comparison failed",
                    "consideredValue": 9,
                } }],
            }
        );
    }

    #[test]
    fn a_schema_tells_its_rules() {
        let schema = doc! { "$jsonSchema": {
            "required": ["name", "age"],
            "properties": { "age": { "bsonType": "int", "minimum": 0 }, "name": { "bsonType": "string" } },
            "additionalProperties": false,
        } };
        assert_eq!(
            reason(schema, doc! { "age": -1, "other": 1 }),
            doc! { "operatorName": "$jsonSchema", "schemaRulesNotSatisfied": [
                { "operatorName": "required", "specifiedAs": { "required": ["name", "age"] },
                  "missingProperties": ["name"] },
                { "operatorName": "properties", "propertiesNotSatisfied": [
                    { "propertyName": "age", "details": [
                        { "operatorName": "minimum", "specifiedAs": { "minimum": 0 }, "reason": "comparison failed",
                          "consideredValue": -1 },
                    ] },
                ] },
                { "operatorName": "additionalProperties", "specifiedAs": { "additionalProperties": false },
                  "additionalProperties": ["other"] },
            ] }
        );
    }
}
