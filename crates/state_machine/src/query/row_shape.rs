//! What a find makes of a document that it found: the projected document, or the key under which an index has it.

use std::sync::Arc;

use bson::raw::{CString, cstr};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use document::hashing;
use document::path::{Path, index_tuples};
use document::projection::Projection;

use super::index_kind;
use super::planner::Access;
use super::request::QueryError;
use super::row::Row;
use crate::catalog::IndexEntry;

/// What the request asks for besides its projection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowShape {
    pub return_key: bool,
    pub show_record_id: bool,
}

/// Makes rows.
pub(super) struct Shaping {
    /// With the query that the positional operator asks for.
    pub projection: Option<(Projection, RawDocumentBuf)>,
    /// Set when keys are wanted instead of documents.
    pub key: Option<KeyOf>,
    /// Add `$recordId`.
    pub record_id: bool,
}

/// Whose keys.
pub(super) enum KeyOf {
    /// No index was used.
    Nothing,
    Id,
    Index(Arc<IndexEntry>),
}

impl KeyOf {
    pub fn access(access: &Access) -> KeyOf {
        match access {
            Access::Nothing
            | Access::Collection(_)
            | Access::Union(_)
            | Access::Intersection(_) => KeyOf::Nothing,
            Access::Id(_) => KeyOf::Id,
            Access::Index(scan) => KeyOf::Index(Arc::clone(&scan.index)),
        }
    }

    /// The first key of `document`, its fields under their paths.
    fn of(&self, document: &RawDocument) -> Result<RawDocumentBuf, QueryError> {
        let mut key = RawDocumentBuf::new();
        match self {
            KeyOf::Nothing => {}
            KeyOf::Id => {
                if let Ok(Some(id)) = document.get("_id") {
                    key.append(cstr!("_id"), id);
                }
            }
            KeyOf::Index(index) => {
                let paths: Vec<&Path> = index.fields.iter().map(|(path, _)| path).collect();
                let (tuples, _) = index_tuples(document, &paths)?;
                let first = tuples.into_iter().next().unwrap_or_default();
                for (position, (path, value)) in paths.into_iter().zip(first).enumerate() {
                    if index_kind::is_terms(index, position) {
                        continue; // several, of which no one stands for the document
                    }
                    if let Some(path) = index_kind::given_path(index, position) {
                        append(&mut key, "$_path", RawBsonRef::String(path));
                        continue;
                    }
                    let held = match index_kind::is_hashed(index, position) {
                        true => RawBsonRef::Int64(hashing::hash(value)),
                        false => value,
                    };
                    append(&mut key, path.as_str(), held);
                }
            }
        }
        Ok(key)
    }
}

fn append(document: &mut RawDocumentBuf, name: &str, value: RawBsonRef<'_>) {
    // A path came from a document, whose names have no zero byte.
    if let Ok(name) = CString::try_from(name) {
        document.append(name, value);
    }
}

impl Shaping {
    /// The row for `document`.
    pub fn row(&self, document: Row) -> Result<Row, QueryError> {
        // A key stands alone, as MongoDB gives it, whatever else was asked for.
        if let Some(key) = &self.key {
            return key.of(&document).map(Row::from);
        }
        let projected = match &self.projection {
            Some((projection, query)) => projection.apply_to_match(&document, query)?,
            None if self.record_id => (*document).to_owned(),
            None => return Ok(document),
        };
        self.identified(projected, &document).map(Row::from)
    }

    fn identified(
        &self,
        mut row: RawDocumentBuf,
        document: &RawDocument,
    ) -> Result<RawDocumentBuf, QueryError> {
        if self.record_id
            && let Some(id) = document.get("_id").map_err(document::DocumentError::from)?
        {
            row.append(cstr!("$recordId"), id);
        }
        Ok(row)
    }
}
