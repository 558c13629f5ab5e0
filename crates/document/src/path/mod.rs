//! Dotted paths.

use crate::error::DocumentError;
use crate::key_encoding::Direction;
use bson::raw::{RawBsonRef, RawDocument};

/// A dotted path such as `a.b.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    text: String,
}

/// What matching does with an array at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafArrays {
    /// Visit each member, then the array itself.
    Traverse,
    /// Visit the array itself only.
    Whole,
}

impl Path {
    /// Splits at the dots. Every string is a path; empty components name fields with empty names.
    pub fn parse(text: impl Into<String>) -> Path {
        Path { text: text.into() }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names between the dots.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.text.split('.')
    }

    /// Visits every value that matching considers at this path (None = missing) until `visit` returns true;
    /// whether it did.
    pub fn any<'d>(
        &self,
        document: &'d RawDocument,
        leaf_arrays: LeafArrays,
        visit: &mut dyn FnMut(Option<RawBsonRef<'d>>) -> bool,
    ) -> bool {
        let _ = (document, leaf_arrays, visit);
        todo!()
    }

    /// All that [`Path::any`] visits with leaf arrays traversed.
    pub fn values<'d>(&self, document: &'d RawDocument) -> Vec<Option<RawBsonRef<'d>>> {
        let mut values = Vec::new();
        self.any(document, LeafArrays::Traverse, &mut |value| {
            values.push(value);
            false
        });
        values
    }

    /// The value reached through embedded documents alone, no array is entered.
    pub fn get<'d>(&self, document: &'d RawDocument) -> Option<RawBsonRef<'d>> {
        let _ = document;
        todo!()
    }
}

/// The values an index or a sort sees at one path, and whether an array was expanded: members of an array one by
/// one, undefined for an empty array, null for a missing field.
pub fn index_values<'d>(
    document: &'d RawDocument,
    path: &Path,
) -> Result<(Vec<RawBsonRef<'d>>, bool), DocumentError> {
    let _ = (document, path);
    todo!()
}

/// Like [`index_values`] for several paths at once, expanding shared arrays together.
#[allow(clippy::type_complexity)]
pub fn index_tuples<'d>(
    document: &'d RawDocument,
    paths: &[&Path],
) -> Result<(Vec<Vec<RawBsonRef<'d>>>, bool), DocumentError> {
    let _ = (document, paths);
    todo!()
}

/// The encoded keys of `document` in an index over `fields`, sorted and without duplicates, and whether the
/// document makes the index multikey. A sparse index has no key for a document that lacks all fields.
pub fn index_keys(
    document: &RawDocument,
    fields: &[(Path, Direction)],
    sparse: bool,
) -> Result<(Vec<Vec<u8>>, bool), DocumentError> {
    let _ = (document, fields, sparse);
    todo!()
}
