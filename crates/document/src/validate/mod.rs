//! What untrusted bytes must satisfy before anything else in this crate sees them.

use crate::error::DocumentError;
use bson::raw::RawDocument;

/// The greatest stored document.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The greatest number of documents and arrays inside one another, below the document itself, in a stored document.
pub const NESTING_MAX: usize = 100;

/// A document about to be stored: well-formed, not too large, not too deep, and with acceptable field names and `_id`.
pub fn document(document: &RawDocument) -> Result<(), DocumentError> {
    let _ = document;
    todo!()
}

/// Well-formed BSON all the way down, with at most `nesting_max` levels below the document itself.
pub fn well_formed(document: &RawDocument, nesting_max: usize) -> Result<(), DocumentError> {
    let _ = (document, nesting_max);
    todo!()
}
