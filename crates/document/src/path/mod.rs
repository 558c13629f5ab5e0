//! Dotted paths: which values of a document a filter looks at, and which an index holds.
//!
//! Matching enters arrays by itself: each member that is a document is searched for the rest of the path, and a
//! component of digits also names a member by position. Two arrays directly inside one another are entered only by
//! position. [`index_keys`] and its kin describe the same traversal as an index sees it.

mod index;
#[cfg(test)]
mod tests;

pub use index::{index_keys, index_keys_in, index_tuples, index_values};

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use crate::raw;

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

    /// Whether a component after the first could name a member of an array by position.
    pub fn has_positions(&self) -> bool {
        self.components()
            .skip(1)
            .any(|component| array_position(component).is_some())
    }

    /// Visits every value that matching considers at this path (None = missing) until `visit` returns true;
    /// whether it did. Nothing is visited where the path enters an array that holds no document to go on with.
    pub fn any<'d>(
        &self,
        document: &'d RawDocument,
        leaf_arrays: LeafArrays,
        visit: &mut dyn FnMut(Option<RawBsonRef<'d>>) -> bool,
    ) -> bool {
        Traversal { leaf_arrays, visit }.document(document, &self.text)
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
        let mut components = self.components();
        let mut value = field(document, components.next()?)?;
        for component in components {
            value = field(value.as_document()?, component)?;
        }
        Some(value)
    }
}

/// The first field of `document` with this name; None too where the bytes before it are damaged.
pub fn field<'d>(document: &'d RawDocument, name: &str) -> Option<RawBsonRef<'d>> {
    raw::field(document, name)
}

/// The member at `position`.
pub fn member(array: &RawArray, position: usize) -> Option<RawBsonRef<'_>> {
    array
        .iter_elements()
        .map_while(Result::ok)
        .nth(position)
        .and_then(|element| element.value().ok())
}

/// The position a path component names: decimal digits without a leading zero.
pub fn array_position(component: &str) -> Option<usize> {
    let canonical = component == "0" || !component.starts_with('0');
    if canonical && component.bytes().all(|byte| byte.is_ascii_digit()) {
        component.parse().ok()
    } else {
        None
    }
}

/// The first component and what follows its dot.
fn split_first(path: &str) -> (&str, Option<&str>) {
    match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    }
}

/// One walk over a document. Recursion is bounded by the nesting of the document and by the path.
struct Traversal<'v, 'd> {
    leaf_arrays: LeafArrays,
    visit: &'v mut dyn FnMut(Option<RawBsonRef<'d>>) -> bool,
}

impl<'d> Traversal<'_, 'd> {
    fn document(&mut self, document: &'d RawDocument, path: &str) -> bool {
        let (mut document, mut path) = (document, path);
        loop {
            let (name, rest) = split_first(path);
            match (field(document, name), rest) {
                (Some(RawBsonRef::Array(array)), None) => return self.leaf(array),
                (Some(RawBsonRef::Array(array)), Some(rest)) => return self.members(array, rest),
                (Some(RawBsonRef::Document(inner)), Some(rest)) => (document, path) = (inner, rest),
                (Some(value), None) => return (self.visit)(Some(value)),
                (Some(_), Some(_)) | (None, _) => return (self.visit)(None),
            }
        }
    }

    fn leaf(&mut self, array: &'d RawArray) -> bool {
        let in_members = self.leaf_arrays == LeafArrays::Traverse
            && array
                .into_iter()
                .map_while(Result::ok)
                .any(|member| (self.visit)(Some(member)));
        in_members || (self.visit)(Some(RawBsonRef::Array(array)))
    }

    /// `path` goes on below the members of `array`.
    fn members(&mut self, array: &'d RawArray, path: &str) -> bool {
        let (name, rest) = split_first(path);
        let position = array_position(name);
        array
            .into_iter()
            .map_while(Result::ok)
            .enumerate()
            .any(|(index, member)| {
                if let RawBsonRef::Document(document) = member
                    && self.document(document, path)
                {
                    return true;
                }
                if position != Some(index) {
                    return false;
                }
                match (member, rest) {
                    // A member named by its position is not entered further, even if it is an array.
                    (_, None) => (self.visit)(Some(member)),
                    (RawBsonRef::Document(document), Some(rest)) => self.document(document, rest),
                    (RawBsonRef::Array(inner), Some(rest)) => self.members(inner, rest),
                    _ => false,
                }
            })
    }
}
