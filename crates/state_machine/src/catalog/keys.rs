//! The keys documents have in an index.

use bson::RawDocument;
use document::DocumentError;
use document::path::index_keys;

use super::IndexEntry;

impl IndexEntry {
    /// The encoded keys of `document`, sorted and without duplicates, and whether it makes the index multikey. None where
    /// the index leaves the document out.
    pub fn keys(&self, document: &RawDocument) -> Result<(Vec<Vec<u8>>, bool), DocumentError> {
        let left_out = |partial: &super::PartialFilter| !partial.holds(document);
        if self.partial.as_ref().is_some_and(left_out) {
            return Ok((Vec::new(), false));
        }
        index_keys(document, &self.fields, self.sparse)
    }
}
