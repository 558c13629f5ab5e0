//! From a query document to nodes.

use super::operators::{self, Operand};
use super::{Node, ValueForm};
use crate::collation::Collation;
use crate::context::Context;
use crate::error::DocumentError;
use crate::path::Path;
use bson::raw::{RawBsonRef, RawDocument};

/// Where in a query a document of conditions stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Its conditions are on the document that is matched.
    Document,
    /// Its conditions are on documents inside an array.
    Member,
}

/// Where a document of conditions stands and what its expressions may know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'c> {
    pub level: Level,
    pub context: &'c Context,
}

impl<'c> Place<'c> {
    /// A query on documents.
    pub fn document(context: &'c Context) -> Place<'c> {
        Place {
            level: Level::Document,
            context,
        }
    }
}

/// A document of conditions on fields, and of the operators that stand in place of a field.
pub(super) fn document(query: &RawDocument, place: Place<'_>) -> Result<Node, DocumentError> {
    let mut conjuncts = Vec::new();
    for element in query.iter() {
        let (name, value) = element?;
        let name = name.as_str();
        if name.starts_with('$') && !is_reference_part(name) {
            let Some(parse) = operators::find_top_level(name) else {
                return Err(unknown_top_level(name));
            };
            conjuncts.push(parse(value, place)?);
        } else {
            conjuncts.push(field(name, value, place.context.collation())?);
        }
    }
    Ok(Node::all(conjuncts))
}

fn unknown_top_level(name: &str) -> DocumentError {
    DocumentError::bad_value(format!(
        "unknown top level operator: {name}. If you have a field name that starts with a '$' symbol, consider using \
         $getField or $setField."
    ))
}

/// `name: value` in a document of conditions.
fn field(
    name: &str,
    value: RawBsonRef<'_>,
    collation: Option<&Collation>,
) -> Result<Node, DocumentError> {
    let path = Path::parse(name);
    match value {
        RawBsonRef::Document(conditions) if is_operator_document(conditions, false) => {
            field_operators(&path, conditions, collation)
        }
        RawBsonRef::RegularExpression(_) => operators::regular_expression(&path, value),
        _ => operators::equality(&path, value, collation),
    }
}

fn unknown_operator(name: &str) -> DocumentError {
    const GEOSPATIAL: [&str; 6] = [
        "$geoIntersects",
        "$geoNear",
        "$geoWithin",
        "$near",
        "$nearSphere",
        "$within",
    ];
    if GEOSPATIAL.contains(&name) {
        return DocumentError::new(
            crate::ErrorKind::CommandNotSupported,
            format!("{name} is not supported: there are no geospatial operators here"),
        );
    }
    DocumentError::bad_value(format!("unknown operator: {name}"))
}

/// A document of operators on one path.
pub(super) fn field_operators(
    path: &Path,
    conditions: &RawDocument,
    collation: Option<&Collation>,
) -> Result<Node, DocumentError> {
    let mut conjuncts = Vec::new();
    for element in conditions.iter() {
        let (name, value) = element?;
        let name = name.as_str();
        let parse = operators::find(name).ok_or_else(|| unknown_operator(name))?;
        conjuncts.push(parse(&Operand {
            path,
            name,
            value,
            siblings: conditions,
            collation,
        })?);
    }
    Ok(Node::all(conjuncts))
}

/// A condition on a single value.
pub(super) fn value_condition(
    condition: RawBsonRef<'_>,
    collation: Option<&Collation>,
) -> Result<(Node, ValueForm), DocumentError> {
    let path = Path::parse("");
    match condition {
        RawBsonRef::Document(conditions) if is_value_form(conditions) => Ok((
            field_operators(&path, conditions, collation)?,
            ValueForm::Operators,
        )),
        RawBsonRef::Document(conditions) => {
            let place = Place {
                level: Level::Member,
                context: &Context::none().with_collation(collation.cloned()),
            };
            Ok((document(conditions, place)?, ValueForm::Fields))
        }
        RawBsonRef::RegularExpression(_) => Ok((
            operators::regular_expression(&path, condition)?,
            ValueForm::Operators,
        )),
        _ => Ok((
            operators::equality(&path, condition, collation)?,
            ValueForm::Operators,
        )),
    }
}

/// Whether the conditions are on the value itself rather than on its fields.
pub(super) fn is_value_form(conditions: &RawDocument) -> bool {
    is_operator_document(conditions, true)
        && first_name(conditions).is_some_and(|name| operators::find_top_level(name).is_none())
}

/// Whether the first name is an operator's, and the document is not a reference to another document.
/// `partial_references` lets any one of the reference's fields make it one.
pub(super) fn is_operator_document(document: &RawDocument, partial_references: bool) -> bool {
    if !first_name(document).is_some_and(|name| name.starts_with('$')) {
        return false;
    }
    let names = || {
        document
            .iter_elements()
            .map_while(Result::ok)
            .map(|element| element.key().as_str())
    };
    let is_reference = if partial_references {
        names().any(is_reference_part)
    } else {
        names().any(|name| name == "$ref") && names().any(|name| name == "$id")
    };
    !is_reference
}

fn first_name(document: &RawDocument) -> Option<&str> {
    Some(document.iter_elements().next()?.ok()?.key().as_str())
}

fn is_reference_part(name: &str) -> bool {
    matches!(name, "$ref" | "$id" | "$db")
}
