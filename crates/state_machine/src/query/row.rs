//! One row of a cursor: a stored document as it lies in the engine, or a computed one.

use std::ops::Deref;

use bson::{RawDocument, RawDocumentBuf};
use document::projection::TopLevelFields;
use storage_engine::Slice;

/// A document a cursor gives. Stored documents are shared with the engine's cache, not copied.
#[derive(Clone)]
pub struct Row(Content);

#[derive(Clone)]
enum Content {
    Stored(Slice),
    Computed(RawDocumentBuf),
}

impl Row {
    /// A document straight from the engine. Its length was checked by whoever read it.
    pub(crate) fn stored(bytes: Slice) -> Result<Row, document::DocumentError> {
        RawDocument::from_bytes(&bytes[..])?;
        Ok(Row(Content::Stored(bytes)))
    }

    /// The row as a document of its own, of a stored one with just these fields.
    pub(crate) fn into_narrow_document(self, fields: &TopLevelFields) -> RawDocumentBuf {
        match self.0 {
            Content::Stored(_) => fields.of(&self),
            Content::Computed(document) => document,
        }
    }

    /// The row as a document of its own.
    pub fn into_document(self) -> RawDocumentBuf {
        match self.0 {
            Content::Stored(_) => self.deref().to_owned(),
            Content::Computed(document) => document,
        }
    }
}

impl From<RawDocumentBuf> for Row {
    fn from(document: RawDocumentBuf) -> Self {
        Row(Content::Computed(document))
    }
}

impl Deref for Row {
    type Target = RawDocument;

    fn deref(&self) -> &RawDocument {
        match &self.0 {
            Content::Stored(bytes) => {
                RawDocument::from_bytes(&bytes[..]).expect("checked when the row was made")
            }
            Content::Computed(document) => document,
        }
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(formatter)
    }
}
