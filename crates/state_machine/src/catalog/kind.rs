//! The kinds of indexes: what an index holds of the values of its fields, and which options go with that.

use std::sync::Arc;

use bson::{RawBsonRef, RawDocument};
use document::DocumentError;

use super::spec::{cannot_create, describe};
use super::text::{self, TextIndex};
use super::wildcard::{self, Wildcard};
use crate::CommandError;

/// What an index holds of the values of its fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum IndexKind {
    /// The values, in their order.
    #[default]
    Ordered,
    /// Under every path of which it has values: the path and each value at it.
    Wildcard(Wildcard),
    /// A wildcard index as plans see it for one path. Not in the catalog.
    WildcardPath {
        /// Which path: what all entries of concern begin with.
        path: String,
    },
    /// The terms of its text fields, between the values of the others.
    Text(Arc<TextIndex>),
    /// A hash of the value of one field, the values of the others. Finds equal values; holds no arrays.
    Hashed {
        /// Which field.
        field: usize,
    },
}

/// What stands in a key pattern for a hashed field.
pub(super) const HASHED: &str = "hashed";

/// Whether a specification asks for a kind that members of the second command format refuse.
pub(super) fn is_of_format_3(spec: &RawDocument) -> bool {
    if text::is_asked_for(spec) {
        return true;
    }
    let key = spec.get_document("key").ok();
    let mut fields = key.into_iter().flatten().flatten();
    fields.any(|(name, kind)| {
        kind == RawBsonRef::String(HASHED) || wildcard::is_wildcard(name.as_str())
    }) || matches!(spec.get(wildcard::PROJECTION), Ok(Some(_)))
}

impl IndexKind {
    /// The kind that a specification with this key pattern asks for.
    pub(super) fn parse(
        key: &RawDocument,
        specification: &RawDocument,
    ) -> Result<IndexKind, CommandError> {
        if let Some(text) = TextIndex::parse(key, specification)? {
            return Ok(IndexKind::Text(Arc::new(text)));
        }
        let projection = specification.get(wildcard::PROJECTION);
        let projection = projection.map_err(DocumentError::from)?;
        if let Some(wildcard) = Wildcard::parse(key, projection)? {
            return Ok(IndexKind::Wildcard(wildcard));
        }
        let kinds = key.iter().flatten().map(|(_, kind)| kind);
        let hashed = kinds
            .enumerate()
            .filter(|(_, kind)| *kind == RawBsonRef::String(HASHED));
        let hashed: Vec<usize> = hashed.map(|(field, _)| field).collect();
        match hashed[..] {
            [] => Ok(IndexKind::Ordered),
            [field] => Ok(IndexKind::Hashed { field }),
            _ => Err(DocumentError::location(
                31303,
                format!(
                    "A maximum of one index field is allowed to be hashed but found {} for 'key' {}",
                    hashed.len(),
                    describe(key)
                ),
            )
            .into()),
        }
    }

    /// Whether its entries hold the values of documents and nothing else, each field's in order.
    pub(crate) fn is_ordered(&self) -> bool {
        *self == IndexKind::Ordered
    }

    /// The name MongoDB has for it.
    fn name(&self) -> &'static str {
        match self {
            IndexKind::Ordered => "",
            IndexKind::Wildcard(_) | IndexKind::WildcardPath { .. } => "wildcard",
            IndexKind::Hashed { .. } => HASHED,
            IndexKind::Text(_) => text::TEXT,
        }
    }

    /// Refuses options that this kind cannot have.
    pub(super) fn check_options(&self, unique: bool, expires: bool) -> Result<(), CommandError> {
        if self.is_ordered() {
            return Ok(());
        }
        if unique {
            return Err(match self {
                IndexKind::Hashed { .. } => DocumentError::location(
                    16764,
                    "Currently hashed indexes cannot guarantee uniqueness. Use a regular index.",
                )
                .into(),
                _ => cannot_create(format!(
                    "Index type '{}' does not support the unique option",
                    self.name()
                )),
            });
        }
        if expires {
            return Err(cannot_create(self.cannot_expire()));
        }
        Ok(())
    }

    /// Why its documents cannot expire.
    pub(crate) fn cannot_expire(&self) -> String {
        format!("Index type '{}' cannot be a TTL index", self.name())
    }
}
