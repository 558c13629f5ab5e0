//! Whether a find asks for one key of a unique index, or for one `_id`: that takes microseconds, and whoever runs it need not
//! first make room for others.
//!
//! Said without planning, on the safe side: the planner prefers a key that one document has at most to all else.

use bson::raw::RawBsonRef;

use super::request::FindRequest;
use crate::Snapshot;

impl FindRequest {
    /// Whether it reads one document at most, found by its key.
    pub fn is_point_read(&self, snapshot: &Snapshot) -> bool {
        let is_restricted = self.hint.is_some() || self.min.is_some() || self.max.is_some();
        let Some(collection) = snapshot.collection(&self.namespace) else {
            return false;
        };
        if is_restricted || collection.is_view() {
            return false;
        }
        // A collation may take several strings for one.
        let has_collation = self.context.collation().is_some() || collection.collation.is_some();
        if has_collation {
            return false;
        }
        let mut names = Vec::with_capacity(4);
        for element in self.filter.iter() {
            match element {
                Ok((name, value)) if is_plain(value) => names.push(name.as_str()),
                _ => return false,
            }
        }
        if names.contains(&"_id") {
            return true;
        }
        let mut indexes = collection.ready_indexes().filter(|index| {
            index.unique
                && !index.hidden
                && index.kind.is_ordered()
                && index.partial.is_none()
                && index.collation.is_none()
        });
        indexes.any(|index| {
            let mut fields = index.fields.iter();
            !index.is_id() && fields.all(|(path, _)| names.contains(&path.as_str()))
        })
    }
}

/// Whether a field that is to equal this is looked up under one key.
fn is_plain(value: RawBsonRef<'_>) -> bool {
    matches!(
        value,
        RawBsonRef::ObjectId(_)
            | RawBsonRef::String(_)
            | RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::Double(_)
            | RawBsonRef::Decimal128(_)
            | RawBsonRef::Boolean(_)
            | RawBsonRef::DateTime(_)
            | RawBsonRef::Timestamp(_)
            | RawBsonRef::Binary(_)
    )
}
