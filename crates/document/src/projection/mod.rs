//! Projections of `find` and `findAndModify`: inclusion and exclusion, raw in, raw out.
use bson::{RawDocument, RawDocumentBuf};

use crate::DocumentError;

/// A parsed projection.
#[derive(Debug, Clone)]
pub struct Projection {}

impl Projection {
    /// Parses the `projection` document.
    pub fn parse(specification: &RawDocument) -> Result<Projection, DocumentError> {
        let _ = specification;
        Err(DocumentError::failed_to_parse("unfinished"))
    }

    /// Whether every document passes unchanged.
    pub fn is_identity(&self) -> bool {
        false
    }

    /// The projected document.
    pub fn apply(&self, document: &RawDocument) -> RawDocumentBuf {
        document.to_owned()
    }
}
