//! `distinct`.

use std::collections::BTreeSet;

use bson::{RawArrayBuf, RawBsonRef, RawDocument};
use document::DocumentError;
use document::key_encoding;
use document::path::{LeafArrays, Path};

use super::request::{DistinctRequest, FindRequest, QueryError};
use crate::Snapshot;
use crate::limits::DOCUMENT_BYTES_MAX;

impl Snapshot {
    /// The different values at a path, in the order in which they were first met. Members of an array count one by
    /// one; a missing field is no value. Refused when the values outgrow one document.
    pub fn distinct(&self, request: DistinctRequest) -> Result<RawArrayBuf, QueryError> {
        let path = Path::parse(request.key.as_str());
        let mut values = Values::default();
        for row in self.find(request.into_find())? {
            values.add_all(&row?, &path)?;
        }
        Ok(values.found)
    }
}

impl DistinctRequest {
    /// The find whose rows' values are collected.
    pub(super) fn into_find(self) -> FindRequest {
        FindRequest {
            hint: self.hint,
            context: self.context,
            interrupt: self.interrupt,
            ..FindRequest::new(self.namespace, self.filter)
        }
    }
}

struct Values {
    /// Encoded, so that numerically equal values are the same.
    seen: BTreeSet<Vec<u8>>,
    found: RawArrayBuf,
}

impl Default for Values {
    fn default() -> Self {
        Values {
            seen: BTreeSet::new(),
            found: RawArrayBuf::new(),
        }
    }
}

impl Values {
    fn add_all(&mut self, document: &RawDocument, path: &Path) -> Result<(), DocumentError> {
        let mut result = Ok(());
        path.any(document, LeafArrays::Whole, &mut |value| {
            result = match value {
                None => Ok(()),
                Some(RawBsonRef::Array(members)) => members
                    .into_iter()
                    .map_while(Result::ok)
                    .try_for_each(|value| self.add(value)),
                Some(value) => self.add(value),
            };
            result.is_err()
        });
        result
    }

    fn add(&mut self, value: RawBsonRef<'_>) -> Result<(), DocumentError> {
        let key = key_encoding::id_key(value);
        if !self.seen.insert(key) {
            return Ok(());
        }
        self.found.push(value);
        if self.found.as_bytes().len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::location(17217, "distinct too big, 16mb cap"));
        }
        Ok(())
    }
}
