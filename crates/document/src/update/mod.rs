//! Update expressions: modifiers and replacement documents, applied to one document at a time.
use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::{DocumentError, filter::Filter};

/// What an update may know besides the document: all of it comes with the replicated command.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpdateContext {
    /// Milliseconds since the epoch, for `$currentDate`.
    pub now_ms: i64,
    /// Whether the document is being inserted by an upsert: `$setOnInsert` applies.
    pub inserting: bool,
    /// Array element that the filter matched, for the positional operator `$`.
    pub matched_element: Option<usize>,
}

/// A parsed update.
#[derive(Debug, Clone)]
pub struct Update {}

impl Update {
    /// Parses a replacement document or a document of modifiers.
    pub fn parse<'a>(
        update: impl Into<RawBsonRef<'a>>,
        array_filters: &[RawDocumentBuf],
    ) -> Result<Update, DocumentError> {
        let _ = (update.into(), array_filters);
        Err(DocumentError::failed_to_parse("unfinished"))
    }

    /// Whether this replaces whole documents (`multi` is refused with it).
    pub fn is_replacement(&self) -> bool {
        false
    }

    /// Whether [`UpdateContext::matched_element`] is needed.
    pub fn is_positional(&self) -> bool {
        false
    }

    /// The updated document; `None` when the update changes nothing.
    pub fn apply(
        &self,
        document: &RawDocument,
        context: &UpdateContext,
    ) -> Result<Option<RawDocumentBuf>, DocumentError> {
        let _ = (document, context);
        Err(DocumentError::failed_to_parse("unfinished"))
    }

    /// The document an upsert inserts: equalities of the filter, then this update. `id` is used when neither
    /// gives an `_id`.
    pub fn upsert(
        &self,
        filter: &Filter,
        id: Option<Bson>,
        context: &UpdateContext,
    ) -> Result<RawDocumentBuf, DocumentError> {
        let _ = (filter, id, context);
        Err(DocumentError::failed_to_parse("unfinished"))
    }
}
