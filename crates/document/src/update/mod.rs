//! Updates of one document: replacement documents and update modifiers, after MongoDB's semantics and wording.
//!
//! An update is parsed once and applied to raw documents in one pass; fields it does not name are copied as bytes.
//! Existing fields keep their place, new ones follow in the order of their names, `_id` never changes and stays
//! first. Application is deterministic: time and generated ids come in through [`UpdateContext`] and arguments.
//!
//! Modifiers are entries of the registry in `operators`. Pipelines as updates run on the stages of `aggregation`.

mod array_filters;
mod operators;
mod pipeline;
mod positional;
mod rewrite;
#[cfg(test)]
mod tests;
mod tree;
mod upsert;

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::{Bson, RawDocumentBuf};

use crate::aggregation::Pipeline;
use crate::filter::Filter;
use crate::raw::{DocumentWriter, elements, identical};
use crate::{Context, DocumentError, ErrorKind, display, order, validate};
pub use positional::matched_element;

use array_filters::ArrayFilters;
use operators::PathChange;
use tree::{Component, Node};

/// What an update may know besides the document: all of it comes with the replicated command.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpdateContext {
    /// Milliseconds since the epoch, for `$currentDate`.
    pub now_ms: i64,
    /// Whether the document is being inserted by an upsert: `$setOnInsert` applies.
    pub inserting: bool,
    /// Array member that the filter matched, for the positional operator `$`.
    pub matched_element: Option<usize>,
}

/// A parsed update.
#[derive(Debug, Clone)]
pub struct Update {
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Replacement(RawDocumentBuf),
    Modifiers(Modifiers),
    Pipeline(Pipeline),
}

#[derive(Debug, Clone)]
struct Modifiers {
    /// Kept to build the tree anew for each matched member; empty unless `positional`.
    changes: Vec<PathChange>,
    positional: bool,
    fields: Vec<(String, Node)>,
    filters: ArrayFilters,
}

impl Update {
    /// As [`Update::parse_in`], where the expressions of a pipeline know nothing besides the document.
    pub fn parse<'a>(
        update: impl Into<RawBsonRef<'a>>,
        array_filters: &[RawDocumentBuf],
    ) -> Result<Update, DocumentError> {
        Update::parse_in(update, array_filters, &Context::none())
    }

    /// Parses a replacement document, a document of modifiers or a pipeline.
    pub fn parse_in<'a>(
        update: impl Into<RawBsonRef<'a>>,
        array_filters: &[RawDocumentBuf],
        context: &Context,
    ) -> Result<Update, DocumentError> {
        let update = update.into();
        let filters = ArrayFilters::parse(array_filters)?;
        let document = match update {
            RawBsonRef::Document(document) => document,
            RawBsonRef::Array(stages) => {
                if !filters.is_empty() {
                    return Err(DocumentError::failed_to_parse(
                        "arrayFilters may not be specified for pipeline-style updates",
                    ));
                }
                let body = Body::Pipeline(pipeline::parse(stages, context)?);
                return Ok(Update { body });
            }
            _ => {
                return Err(DocumentError::failed_to_parse(
                    "Update argument must be either an object or an array",
                ));
            }
        };
        let first = elements(document).next();
        let body = if first.is_some_and(|first| first.name.starts_with('$')) {
            Body::Modifiers(Modifiers::parse(document, filters)?)
        } else {
            if !filters.is_empty() {
                filters.check_against(&[], update)?;
            }
            Body::Replacement(parse_replacement(document)?)
        };
        Ok(Update { body })
    }

    /// Whether this replaces whole documents (`multi` is refused with it).
    pub fn is_replacement(&self) -> bool {
        matches!(self.body, Body::Replacement(_))
    }

    /// Whether [`UpdateContext::matched_element`] is needed.
    pub fn is_positional(&self) -> bool {
        matches!(&self.body, Body::Modifiers(modifiers) if modifiers.positional)
    }

    /// The updated document; `None` when the update changes nothing.
    pub fn apply(
        &self,
        document: &RawDocument,
        context: &UpdateContext,
    ) -> Result<Option<RawDocumentBuf>, DocumentError> {
        let updated = match &self.body {
            Body::Replacement(replacement) => replace(document, replacement)?,
            Body::Modifiers(modifiers) => modifiers.apply(document, context)?,
            Body::Pipeline(stages) => pipeline::apply(stages, document)?,
        };
        Ok((updated.as_bytes() != document.as_bytes()).then_some(updated))
    }

    /// The document an upsert inserts: equalities of the filter, then this update. `id` is used when neither
    /// gives an `_id`; it is an error when it is needed and absent.
    pub fn upsert(
        &self,
        filter: &Filter,
        id: Option<Bson>,
        context: &UpdateContext,
    ) -> Result<RawDocumentBuf, DocumentError> {
        let id = id.map(RawBson::try_from).transpose()?;
        let document = self.upserted(filter, id, context)?;
        validate::document(&document)?;
        Ok(document)
    }
}

impl Modifiers {
    fn parse(update: &RawDocument, filters: ArrayFilters) -> Result<Modifiers, DocumentError> {
        let mut changes = Vec::new();
        for modifier in elements(update) {
            let parse = operators::find(modifier.name)?;
            let RawBsonRef::Document(fields) = modifier.value() else {
                return Err(DocumentError::failed_to_parse(format!(
                    "Modifiers operate on fields but we found type {} instead. For example: {{$mod: {{<field>: \
                     ...}}}} not {{{}}}",
                    display::type_name(modifier.kind()),
                    display::element(modifier.name, modifier.value())
                )));
            };
            for field in elements(fields) {
                parse(field.name, field.value(), &mut changes)?;
            }
        }
        filters.check_against(&changes, RawBsonRef::Document(update))?;
        let fields = tree::build(&changes, None)?;
        let positional = changes
            .iter()
            .any(|change| change.path.contains('$') && has_positional(&change.path));
        if !positional {
            changes.clear();
        }
        Ok(Modifiers {
            changes,
            positional,
            fields,
            filters,
        })
    }

    fn apply(
        &self,
        document: &RawDocument,
        context: &UpdateContext,
    ) -> Result<RawDocumentBuf, DocumentError> {
        let resolved;
        let fields = if self.positional {
            let index = context.matched_element.ok_or_else(|| {
                DocumentError::bad_value(
                    "The positional operator did not find the match needed from the query.",
                )
            })?;
            resolved = tree::build(&self.changes, Some(&index.to_string()))?;
            &resolved
        } else {
            &self.fields
        };
        let updated = rewrite::rewrite(document, fields, &self.filters, context)?;
        if let Some(position) = tree::find(fields, "_id") {
            check_id(document, &updated, &path_of_id(&fields[position].1))?;
        }
        Ok(updated)
    }
}

fn has_positional(path: &str) -> bool {
    tree::parse_path(path).is_ok_and(|components| components.contains(&Component::Positional))
}

/// The first path at or below `_id` that the update names.
fn path_of_id(node: &Node) -> String {
    let mut path = "_id".to_owned();
    let mut node = node;
    while let Node::Fields(fields) = node {
        let (name, next) = &fields[0];
        path.push('.');
        path.push_str(name);
        node = next;
    }
    path
}

/// An `_id` that was there has not changed.
fn check_id(before: &RawDocument, after: &RawDocument, path: &str) -> Result<(), DocumentError> {
    let Ok(Some(id)) = before.get("_id") else {
        return Ok(());
    };
    match after.get("_id") {
        Ok(Some(same)) if identical(id, same) => Ok(()),
        _ => Err(DocumentError::new(
            ErrorKind::ImmutableField,
            format!(
                "Performing an update on the path '{path}' would modify the immutable field '_id'"
            ),
        )),
    }
}

fn parse_replacement(replacement: &RawDocument) -> Result<RawDocumentBuf, DocumentError> {
    for field in elements(replacement) {
        if field.name.starts_with('$') {
            return Err(DocumentError::new(
                ErrorKind::DollarPrefixedFieldName,
                format!(
                    "The dollar ($) prefixed field '{0}' in '{0}' is not allowed in the context of an update's \
                     replacement document. Consider using an aggregation pipeline with $replaceWith.",
                    field.name
                ),
            ));
        }
    }
    Ok(replacement.to_owned())
}

/// The replacement under the `_id` of the document it replaces.
fn replace(
    document: &RawDocument,
    replacement: &RawDocument,
) -> Result<RawDocumentBuf, DocumentError> {
    let old_id = elements(document).find(|element| element.name == "_id");
    let mut writer = DocumentWriter::with_capacity(replacement.as_bytes().len() + 32);
    if let Some(old_id) = &old_id {
        if let Ok(Some(new_id)) = replacement.get("_id")
            && order::compare(old_id.value(), new_id).is_ne()
        {
            return Err(DocumentError::new(
                ErrorKind::ImmutableField,
                format!(
                    "After applying the update, the (immutable) field '_id' was found to have been altered to {}",
                    display::element("_id", new_id)
                ),
            ));
        }
        writer.copy(old_id);
    }
    for element in elements(replacement) {
        if element.name != "_id" || old_id.is_none() {
            writer.copy(&element);
        }
    }
    let replaced = writer.finish();
    validate::document(&replaced)?;
    Ok(replaced)
}
