//! Sort specifications, sort keys that compare as bytes, and a sorter of bounded memory.
use std::cmp::Ordering;

use bson::RawDocument;

use crate::{DocumentError, key_encoding::Direction};

/// One field of a sort.
#[derive(Debug, Clone)]
pub struct SortField {
    /// Dotted path.
    pub path: String,
    /// Ascending or descending.
    pub direction: Direction,
}

/// A parsed `sort` document.
#[derive(Debug, Clone)]
pub struct SortSpec {
    fields: Vec<SortField>,
}

impl SortSpec {
    /// Parses the `sort` document; an empty one sorts by nothing.
    pub fn parse(specification: &RawDocument) -> Result<SortSpec, DocumentError> {
        let _ = specification;
        Err(DocumentError::failed_to_parse("unfinished"))
    }

    /// The fields in order of weight.
    pub fn fields(&self) -> &[SortField] {
        &self.fields
    }

    /// Appends the key whose byte order is this sort's order.
    pub fn encode_key(&self, document: &RawDocument, key: &mut Vec<u8>) {
        let _ = (document, key);
    }

    /// Compares two documents by this sort.
    pub fn compare(&self, left: &RawDocument, right: &RawDocument) -> Ordering {
        let _ = (left, right);
        Ordering::Equal
    }
}

/// Sorts items by an encoded key within a memory limit; keeps only the first `limit` when given.
#[derive(Debug)]
pub struct Sorter<T> {
    items: Vec<(Vec<u8>, T)>,
}

impl<T> Sorter<T> {
    /// A sorter that keeps the first `limit` items (`None`: all).
    pub fn new(limit: Option<usize>) -> Sorter<T> {
        let _ = limit;
        Sorter { items: Vec::new() }
    }

    /// Adds an item of `item_bytes`; refuses to go over the memory limit.
    pub fn push(&mut self, key: Vec<u8>, item: T, item_bytes: usize) -> Result<(), DocumentError> {
        let _ = item_bytes;
        self.items.push((key, item));
        Ok(())
    }

    /// The items in order; equal keys keep the order of arrival.
    pub fn finish(self) -> Vec<T> {
        self.items.into_iter().map(|(_, item)| item).collect()
    }
}
