//! The keys documents have in an index.

use bson::RawDocument;
use document::DocumentError;
use document::path::index_keys_in;

use super::IndexEntry;

impl IndexEntry {
    /// Whether programs that read only the first format of the catalog would keep it wrongly.
    pub(super) fn is_of_newer_kind(&self) -> bool {
        self.partial.is_some() || self.collation.is_some()
    }

    /// The encoded keys of `document`, sorted and without duplicates, and whether it makes the index multikey. None where
    /// the index leaves the document out.
    pub fn keys(&self, document: &RawDocument) -> Result<(Vec<Vec<u8>>, bool), DocumentError> {
        let left_out = |partial: &super::PartialFilter| !partial.holds(document);
        if self.partial.as_ref().is_some_and(left_out) {
            return Ok((Vec::new(), false));
        }
        index_keys_in(document, &self.fields, self.sparse, self.collation.as_ref())
    }
}
