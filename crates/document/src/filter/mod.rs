//! MongoDB's query predicates.

use crate::error::DocumentError;
use bson::raw::{RawBson, RawBsonRef, RawDocument};
use std::ops::Bound;

/// A parsed query. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Filter {}

/// A contiguous range of values in `order::compare`.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Where it starts.
    pub lower: Bound<RawBson>,
    /// Where it ends.
    pub upper: Bound<RawBson>,
}

/// What one conjunct of a filter says about one path.
#[derive(Debug, Clone, PartialEq)]
pub struct PathBounds<'a> {
    /// The dotted path.
    pub path: &'a str,
    /// Ascending, disjoint: every document that matches has an index value in one of them.
    pub intervals: Vec<Interval>,
    /// On an index that is not multikey, every document with its value in the intervals matches this conjunct.
    pub exact: bool,
}

impl Filter {
    /// Parses a query document; errors are worded as MongoDB's.
    pub fn parse(query: &RawDocument) -> Result<Filter, DocumentError> {
        let _ = query;
        todo!()
    }

    /// Whether `document` satisfies the query.
    pub fn matches(&self, document: &RawDocument) -> bool {
        let _ = document;
        todo!()
    }

    /// Whether every document matches.
    pub fn is_always_true(&self) -> bool {
        todo!()
    }

    /// The one `_id` a matching document can have.
    pub fn exact_id(&self) -> Option<RawBsonRef<'_>> {
        todo!()
    }

    /// The few `_id`s a matching document can have (`$in` or equality), ascending, without duplicates.
    pub fn exact_ids(&self) -> Option<Vec<RawBsonRef<'_>>> {
        todo!()
    }

    /// Index bounds, one entry for each conjunct that has some. Entries for the same path may be intersected
    /// only on an index that is not multikey.
    pub fn conjunct_bounds(&self) -> Vec<PathBounds<'_>> {
        todo!()
    }

    /// Path and value of every equality that must hold, for building the document of an upsert.
    pub fn equality_fields(&self) -> Vec<(&str, RawBsonRef<'_>)> {
        todo!()
    }
}
