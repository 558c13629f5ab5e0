//! The keys documents have in an index.

use bson::{RawBsonRef, RawDocument};
use document::collation::collated;
use document::path::{Path, index_keys_in, index_tuples};
use document::{DocumentError, hashing, key_encoding};

use super::{IndexEntry, IndexKind};

/// Encoded keys, sorted and without duplicates, and whether they make the index multikey.
type Keys = Result<(Vec<Vec<u8>>, bool), DocumentError>;

impl IndexEntry {
    /// The encoded keys of `document`, sorted and without duplicates, and whether it makes the index multikey. None where
    /// the index leaves the document out.
    pub fn keys(&self, document: &RawDocument) -> Keys {
        let left_out = |partial: &super::PartialFilter| !partial.holds(document);
        if self.partial.as_ref().is_some_and(left_out) {
            return Ok((Vec::new(), false));
        }
        match &self.kind {
            IndexKind::Ordered => {
                let collation = self.collation.as_ref();
                index_keys_in(document, &self.fields, self.sparse, collation)
            }
            IndexKind::Hashed { field } => self.keys_with_hash(document, *field),
            IndexKind::Wildcard(wildcard) => {
                Ok(wildcard.keys(document, self.fields[0].1, self.collation.as_ref()))
            }
            IndexKind::Text(text) => text.keys(self, document),
            IndexKind::WildcardPath { .. } => {
                unreachable!("a view of an index for a plan; documents are indexed by the whole")
            }
        }
    }

    /// The one key of a document, one of whose fields is hashed; none where a sparse index leaves it out.
    fn keys_with_hash(&self, document: &RawDocument, hashed: usize) -> Keys {
        let collation = self.collation.as_ref();
        let (plain, multikey) = index_keys_in(document, &self.fields, self.sparse, collation)?;
        if multikey {
            return Err(DocumentError::location(
                16766,
                "hashed indexes do not currently support array values",
            ));
        }
        if plain.is_empty() {
            return Ok((plain, false));
        }
        let paths: Vec<&Path> = self.fields.iter().map(|(path, _)| path).collect();
        let (tuples, _) = index_tuples(document, &paths)?;
        let mut keys = Vec::with_capacity(1);
        for tuple in tuples {
            let mut key = Vec::new();
            let fields = tuple.into_iter().zip(&self.fields).enumerate();
            for (position, (value, (_, direction))) in fields {
                let value = collated(collation, value);
                let hash = hashing::hash(value.as_ref());
                let held = match position == hashed {
                    true => RawBsonRef::Int64(hash),
                    false => value.as_ref(),
                };
                key_encoding::encode(held, *direction, &mut key);
            }
            keys.push(key);
        }
        Ok((keys, false))
    }
}
