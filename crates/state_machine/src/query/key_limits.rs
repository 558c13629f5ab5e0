//! `min` and `max` of a find: from which key of an index to which.

use bson::RawDocument;
use document::collation::collated;
use document::{DocumentError, key_encoding};

use super::bounds::{self, KeyRange};
use super::planner::IndexScan;
use super::request::ScanDirection;
use crate::catalog::{CollectionEntry, IndexEntry};
use crate::{CommandError, keyspace};

/// The keys between which a find is to look; at least one of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyLimits<'a> {
    /// Included.
    pub min: Option<&'a RawDocument>,
    /// Excluded.
    pub max: Option<&'a RawDocument>,
}

/// MongoDB's answer to limits without a hint.
pub(super) fn without_hint() -> CommandError {
    DocumentError::location(
        51173,
        "When using min()/max() a hint of which index to use must be provided",
    )
    .into()
}

impl KeyLimits<'_> {
    /// The scan of `index` between the limits.
    pub fn scan(
        &self,
        collection: &CollectionEntry,
        index: &std::sync::Arc<IndexEntry>,
    ) -> Result<IndexScan, CommandError> {
        if !index.kind.is_ordered() {
            return Err(incompatible());
        }
        let prefix = if index.is_id() {
            keyspace::documents_prefix(collection.id)
        } else {
            keyspace::index_prefix(index.id)
        };
        let key = |limit: &RawDocument| -> Result<Vec<u8>, CommandError> {
            let mut key = prefix.to_vec();
            encode(limit, index, &mut key)?;
            Ok(key)
        };
        let from = self.min.map(key).transpose()?;
        let to = self.max.map(key).transpose()?;
        if let (Some(from), Some(to)) = (&from, &to)
            && from >= to
        {
            return Err(DocumentError::location(
                51175,
                "The value(s) specified by min() must be less than the value(s) specified by max()",
            )
            .into());
        }
        let from = from.unwrap_or_else(|| prefix.to_vec());
        let to = to.or_else(|| bounds::end_of(&prefix));
        Ok(IndexScan {
            index: std::sync::Arc::clone(index),
            bounds: index.fields.iter().map(|_| bounds::everything()).collect(),
            ranges: vec![KeyRange::Span(from, to)],
            direction: ScanDirection::Forward,
            seeking_fields: index.fields.len(),
            check: None,
        })
    }
}

fn encode(limit: &RawDocument, index: &IndexEntry, key: &mut Vec<u8>) -> Result<(), CommandError> {
    let mut expected = index.fields.iter();
    for element in limit {
        let (name, value) = element.map_err(DocumentError::from)?;
        match expected.next() {
            Some((path, direction)) if path.as_str() == name.as_str() => {
                let value = collated(index.collation.as_ref(), value);
                key_encoding::encode(value.as_ref(), *direction, key);
            }
            _ => return Err(incompatible()),
        }
    }
    if expected.next().is_some() {
        return Err(incompatible());
    }
    Ok(())
}

fn incompatible() -> CommandError {
    DocumentError::location(51174, "The index chosen is not compatible with min/max").into()
}
