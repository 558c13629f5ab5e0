//! Rows made of the entries of an index alone, where that is all a find needs.
//!
//! An entry tells exactly what stands in a document only for some values (`key_encoding::exact`), and never whether a field is
//! null or missing. So this is decided entry by entry: where one value is in doubt the document is read, and the row made of
//! it has the same fields in the same order. The order is that of the index, after `_id`, as MongoDB gives it.

use std::collections::BTreeSet;

use bson::raw::{CString, cstr};
use bson::{RawDocument, RawDocumentBuf};
use document::key_encoding::{self, Direction};
use document::sort::SortSpec;

use super::entries::Entry;
use crate::catalog::IndexEntry;
use crate::keyspace;

/// How rows come out of the entries of one index.
#[derive(Debug, Clone)]
pub(super) struct Covering {
    /// Fields of the index up to the last one that is wanted: the name is there for those that are.
    fields: Vec<(Direction, Option<CString>)>,
    /// Whether `_id` is wanted: every entry has it.
    id: bool,
    unique: bool,
    /// Whether rows have fields that only the sort wants.
    has_more: bool,
}

impl Covering {
    /// For rows with the fields of `needed` that are then sorted by `sort`; `None` where the index does not have them all,
    /// whole and for each document once.
    pub fn new(
        index: &IndexEntry,
        needed: &BTreeSet<String>,
        sort: Option<&SortSpec>,
    ) -> Option<Covering> {
        if index.multikey || index.is_id() || index.collation.is_some() || !index.kind.is_ordered()
        {
            return None;
        }
        let sorted = sort.iter().flat_map(|sort| sort.fields());
        let sorted: BTreeSet<&str> = sorted.map(|field| field.path.as_str()).collect();
        let wanted = |name: &str| needed.contains(name) || sorted.contains(name);
        let is_there = |name: &str| {
            let mut fields = index.fields.iter();
            name == "_id" || !name.contains('.') && fields.any(|(path, _)| path.as_str() == name)
        };
        let mut all = needed
            .iter()
            .map(String::as_str)
            .chain(sorted.iter().copied());
        if !all.all(is_there) {
            return None;
        }
        let mut fields: Vec<(Direction, Option<CString>)> = Vec::new();
        for (path, direction) in &index.fields {
            let name = path.as_str();
            let name = match name != "_id" && wanted(name) {
                true => Some(CString::try_from(name).ok()?),
                false => None,
            };
            fields.push((*direction, name));
        }
        while fields.last().is_some_and(|(_, name)| name.is_none()) {
            fields.pop();
        }
        Some(Covering {
            fields,
            id: wanted("_id"),
            unique: index.unique,
            has_more: sorted.iter().any(|name| !needed.contains(*name)),
        })
    }

    /// Whether rows have no fields but those that were needed.
    pub fn is_all(&self) -> bool {
        !self.has_more
    }

    /// The row of an entry; `None` where the entry leaves a value in doubt.
    pub fn of_entry(&self, (key, value): &Entry) -> Option<RawDocumentBuf> {
        let parts = keyspace::index_entry_parts(self.unique, key, value)?;
        let mut row = RawDocumentBuf::new();
        if self.id {
            row.append(
                cstr!("_id"),
                key_encoding::exact(parts.id, Direction::Ascending)?,
            );
        }
        let mut rest = parts.fields;
        for (direction, name) in &self.fields {
            let length = key_encoding::skip(rest, *direction)?;
            let (field, behind) = rest.split_at_checked(length)?;
            if let Some(name) = name {
                row.append(name, key_encoding::exact(field, *direction)?);
            }
            rest = behind;
        }
        Some(row)
    }

    /// The same row, of the document.
    pub fn of_document(&self, document: &RawDocument) -> RawDocumentBuf {
        let mut row = RawDocumentBuf::new();
        if self.id
            && let Ok(Some(id)) = document.get("_id")
        {
            row.append(cstr!("_id"), id);
        }
        for name in self.fields.iter().filter_map(|(_, name)| name.as_ref()) {
            if let Ok(Some(value)) = document.get(name.as_str()) {
                row.append(name, value);
            }
        }
        row
    }
}
