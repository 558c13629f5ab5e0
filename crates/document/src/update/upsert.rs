//! The document an upsert inserts: what the filter says must be equal, then the update.

use bson::RawDocumentBuf;
use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::array_filters::ArrayFilters;
use super::operators::{PathChange, Set};
use super::{Body, Update, UpdateContext, rewrite, tree};
use crate::filter::Filter;
use crate::raw::{self, DocumentWriter, elements};
use crate::{DocumentError, ErrorKind, display, order};

impl Update {
    pub(super) fn upserted(
        &self,
        filter: &Filter,
        id: Option<RawBson>,
        context: &UpdateContext,
    ) -> Result<RawDocumentBuf, DocumentError> {
        let context = UpdateContext {
            inserting: true,
            ..*context
        };
        let equalities = filter.equality_fields();
        let document = match &self.body {
            Body::Replacement(replacement) => {
                let filter_id = equalities.iter().find(|(path, _)| *path == "_id");
                replacement_with_id(replacement, filter_id.map(|(_, id)| *id))?
            }
            _ => {
                let base = from_equalities(&equalities)?;
                self.apply(&base, &context)?.unwrap_or(base)
            }
        };
        with_id_first(document, id)
    }
}

fn replacement_with_id(
    replacement: &RawDocument,
    filter_id: Option<RawBsonRef<'_>>,
) -> Result<RawDocumentBuf, DocumentError> {
    let Some(filter_id) = filter_id else {
        return Ok(replacement.to_owned());
    };
    if let Ok(Some(id)) = replacement.get("_id") {
        if order::compare(id, filter_id).is_ne() {
            return Err(DocumentError::new(
                ErrorKind::ImmutableField,
                format!(
                    "The _id field cannot be changed from {{{}}} to {{{}}}.",
                    display::element("_id", filter_id),
                    display::element("_id", id)
                ),
            ));
        }
        return Ok(replacement.to_owned());
    }
    let mut writer = DocumentWriter::with_capacity(replacement.as_bytes().len() + 32);
    writer.append("_id", filter_id);
    for element in elements(replacement) {
        writer.copy(&element);
    }
    Ok(writer.finish())
}

fn from_equalities(equalities: &[(&str, RawBsonRef<'_>)]) -> Result<RawDocumentBuf, DocumentError> {
    let mut document = RawDocumentBuf::new();
    for (position, (path, value)) in equalities.iter().enumerate() {
        let twice = || {
            DocumentError::new(
                ErrorKind::NotSingleValueField,
                format!("cannot infer query fields to set, path '{path}' is matched twice"),
            )
        };
        if equalities[..position]
            .iter()
            .any(|(earlier, _)| on_one_path(earlier, path))
        {
            return Err(twice());
        }
        let set = PathChange::new(
            path,
            Set {
                value: raw::owned(*value),
                on_insert_only: false,
            },
        );
        let fields = tree::build(&[set], None)?;
        let context = UpdateContext::default();
        document = rewrite::rewrite(&document, &fields, &ArrayFilters::default(), &context)?;
    }
    Ok(document)
}

fn on_one_path(left: &str, right: &str) -> bool {
    let (shorter, longer) = if left.len() <= right.len() {
        (left, right)
    } else {
        (right, left)
    };
    longer
        .strip_prefix(shorter)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Moves `_id` to the front, or puts `id` there.
fn with_id_first(
    document: RawDocumentBuf,
    id: Option<RawBson>,
) -> Result<RawDocumentBuf, DocumentError> {
    let first = elements(&document)
        .next()
        .map(|element| element.name == "_id");
    if first == Some(true) {
        return Ok(document);
    }
    let mut writer = DocumentWriter::with_capacity(document.as_bytes().len() + 32);
    match document.get("_id") {
        Ok(Some(own)) => writer.append("_id", own),
        _ => {
            let id = id.ok_or_else(|| {
                DocumentError::new(
                    ErrorKind::InvalidIdField,
                    "The document to upsert has no _id and none was generated",
                )
            })?;
            writer.append("_id", id.as_raw_bson_ref());
        }
    }
    for element in elements(&document).filter(|element| element.name != "_id") {
        writer.copy(&element);
    }
    Ok(writer.finish())
}
