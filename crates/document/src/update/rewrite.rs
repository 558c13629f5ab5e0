//! Rewrites a document by a tree of changes in one pass: what the tree does not name is copied as bytes.

use bson::RawDocumentBuf;
use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::UpdateContext;
use super::array_filters::ArrayFilters;
use super::operators::{Change, NonViable, Operator, Target};
use super::tree::{self, Node};
use crate::raw::{self, DocumentWriter, Element, elements};
use crate::validate::{DOCUMENT_BYTES_MAX, NESTING_MAX};
use crate::{DocumentError, ErrorKind, display};

/// Nulls that setting a member beyond the end of an array may create.
const ARRAY_PADDING_MAX: usize = 1_500_000;
/// Bytes beyond the old size that most updates stay within.
const GROWTH: usize = 64;

/// What is at a place now.
struct Place<'a> {
    name: &'a str,
    in_array: bool,
}

/// The value a missing field would be created in.
struct Parent<'a> {
    name: &'a str,
    value: RawBsonRef<'a>,
}

struct Rewrite<'a> {
    document: &'a RawDocument,
    filters: &'a ArrayFilters,
    context: &'a UpdateContext,
    out: DocumentWriter,
    /// Components from the root to the place being changed.
    path: Vec<String>,
}

/// The document after the changes.
pub(super) fn rewrite(
    document: &RawDocument,
    fields: &[(String, Node)],
    filters: &ArrayFilters,
    context: &UpdateContext,
) -> Result<RawDocumentBuf, DocumentError> {
    let mut rewrite = Rewrite {
        document,
        filters,
        context,
        out: DocumentWriter::with_capacity(document.as_bytes().len() + GROWTH),
        path: Vec::new(),
    };
    rewrite.fields(fields, document)?;
    let result = rewrite.out.finish();
    if result.as_bytes().len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::location(
            17419,
            format!("Resulting document after update is larger than {DOCUMENT_BYTES_MAX}"),
        ));
    }
    Ok(result)
}

impl<'a> Rewrite<'a> {
    fn fields(
        &mut self,
        fields: &[(String, Node)],
        document: &'a RawDocument,
    ) -> Result<(), DocumentError> {
        let mut found = vec![false; fields.len()];
        for element in elements(document) {
            match tree::find(fields, element.name) {
                Some(index) if !found[index] => {
                    found[index] = true;
                    let place = Place {
                        name: element.name,
                        in_array: false,
                    };
                    self.existing(&fields[index].1, &element, &place)?;
                }
                _ => self.out.copy(&element),
            }
        }
        for ((name, node), _) in fields.iter().zip(&found).filter(|(_, found)| !**found) {
            self.missing(node, name)?;
        }
        Ok(())
    }

    fn existing(
        &mut self,
        node: &Node,
        element: &Element<'a>,
        place: &Place<'_>,
    ) -> Result<(), DocumentError> {
        self.path.push(place.name.to_owned());
        match (node, element.kind()) {
            (Node::Change(operator), _) => self.change(operator.as_ref(), element, place)?,
            (Node::Fields(fields), bson::spec::ElementType::EmbeddedDocument) => {
                let begun = self.out.begin_document(place.name);
                if let RawBsonRef::Document(document) = element.value() {
                    self.fields(fields, document)?;
                }
                self.out.end(begun);
            }
            (Node::Fields(fields), bson::spec::ElementType::Array) => {
                let begun = self.out.begin_array(place.name);
                if let RawBsonRef::Array(array) = element.value() {
                    self.members_by_index(fields, array, place.name)?;
                }
                self.out.end(begun);
            }
            (Node::Members(selections), bson::spec::ElementType::Array) => {
                let begun = self.out.begin_array(place.name);
                if let RawBsonRef::Array(array) = element.value() {
                    self.selected_members(selections, array)?;
                }
                self.out.end(begun);
            }
            (Node::Fields(fields), _) => {
                let parent = Parent {
                    name: place.name,
                    value: element.value(),
                };
                for (name, node) in fields {
                    self.non_viable(node, name, &mut vec![name.clone()], &parent)?;
                }
                self.out.copy_as(place.name, element);
            }
            (Node::Members(_), _) => {
                return Err(DocumentError::bad_value(format!(
                    "Cannot apply array updates to non-array element {}",
                    display::element(place.name, element.value())
                )));
            }
        }
        self.path.pop();
        Ok(())
    }

    fn change(
        &mut self,
        operator: &dyn Operator,
        element: &Element<'a>,
        place: &Place<'_>,
    ) -> Result<(), DocumentError> {
        let target = Target {
            document: self.document,
            field: place.name,
            path: &self.path,
            context: self.context,
        };
        match operator.update(element.value(), &target)? {
            Change::Keep => self.out.copy_as(place.name, element),
            Change::Remove if place.in_array => self.out.append(place.name, RawBsonRef::Null),
            Change::Remove => {}
            Change::Borrowed(value) => write(&mut self.out, &self.path, place.name, value)?,
            Change::Owned(value) => write(
                &mut self.out,
                &self.path,
                place.name,
                value.as_raw_bson_ref(),
            )?,
        }
        Ok(())
    }

    /// Creates what `node` says at a place where there is nothing; writes nothing when it creates nothing.
    fn missing(&mut self, node: &Node, name: &str) -> Result<(), DocumentError> {
        self.path.push(name.to_owned());
        match node {
            Node::Change(operator) => {
                let target = Target {
                    document: self.document,
                    field: name,
                    path: &self.path,
                    context: self.context,
                };
                match operator.create(&target)? {
                    Change::Keep | Change::Remove => {}
                    Change::Borrowed(value) => write(&mut self.out, &self.path, name, value)?,
                    Change::Owned(value) => {
                        write(&mut self.out, &self.path, name, value.as_raw_bson_ref())?
                    }
                }
            }
            Node::Fields(fields) => {
                let begun = self.out.begin_document(name);
                for (name, node) in fields {
                    self.missing(node, name)?;
                }
                if self.out.nothing_since(begun) {
                    self.out.undo(begun);
                } else {
                    self.out.end(begun);
                }
            }
            Node::Members(_) => {
                return Err(DocumentError::bad_value(format!(
                    "The path '{}' must exist in the document in order to apply array updates.",
                    self.path.join(".")
                )));
            }
        }
        self.path.pop();
        Ok(())
    }

    /// Changes members named by their index; those beyond the end are created behind padding.
    fn members_by_index(
        &mut self,
        fields: &[(String, Node)],
        array: &'a RawArray,
        array_name: &str,
    ) -> Result<(), DocumentError> {
        let mut indexed = Vec::with_capacity(fields.len());
        for (name, node) in fields {
            match tree::array_index(name) {
                Some(index) => indexed.push((index, name, node)),
                None => {
                    let parent = Parent {
                        name: array_name,
                        value: RawBsonRef::Array(array),
                    };
                    self.non_viable(node, name, &mut vec![name.clone()], &parent)?;
                }
            }
        }
        let mut pending = indexed.into_iter().peekable();
        let mut length = 0;
        for element in elements(raw::array_as_document(array)) {
            match pending.next_if(|(index, _, _)| *index == length) {
                Some((_, name, node)) => {
                    let place = Place {
                        name,
                        in_array: true,
                    };
                    self.existing(node, &element, &place)?;
                }
                None => self.out.copy(&element),
            }
            length += 1;
        }
        for (index, name, node) in pending {
            self.member_beyond_end(index, name, node, &mut length)?;
        }
        Ok(())
    }

    fn member_beyond_end(
        &mut self,
        index: usize,
        name: &str,
        node: &Node,
        length: &mut usize,
    ) -> Result<(), DocumentError> {
        let start = self.out.len();
        // First without padding: most often there is none, and nothing may be created at all.
        self.missing(node, name)?;
        if self.out.len() == start {
            return Ok(());
        }
        if index > *length {
            if index - *length > ARRAY_PADDING_MAX {
                return Err(DocumentError::bad_value(format!(
                    "can't backfill more than {ARRAY_PADDING_MAX} elements"
                )));
            }
            self.out.truncate(start);
            for padding in *length..index {
                self.out.append(&padding.to_string(), RawBsonRef::Null);
            }
            self.missing(node, name)?;
        }
        *length = index + 1;
        Ok(())
    }

    /// Changes all members, or those that array filters select.
    fn selected_members(
        &mut self,
        selections: &[(Option<String>, Node)],
        array: &'a RawArray,
    ) -> Result<(), DocumentError> {
        for element in elements(raw::array_as_document(array)) {
            let mut merged: Option<Node> = None;
            let mut single: Option<&Node> = None;
            for (identifier, node) in selections {
                let selected = match identifier {
                    None => true,
                    Some(identifier) => self.filters.selects(identifier, element.value()),
                };
                if !selected {
                    continue;
                }
                match merged.as_ref().or(single) {
                    None => single = Some(node),
                    Some(before) => {
                        let path = format!("{}.{}", self.path.join("."), element.name);
                        merged = Some(tree::merge(before, node, &path)?);
                    }
                }
            }
            let place = Place {
                name: element.name,
                in_array: true,
            };
            match merged.as_ref().or(single) {
                Some(node) => self.existing(node, &element, &place)?,
                None => self.out.copy(&element),
            }
        }
        Ok(())
    }

    /// The changes below `node` cannot be where they should: each says whether that is an error.
    fn non_viable(
        &self,
        node: &Node,
        first: &str,
        rest: &mut Vec<String>,
        parent: &Parent<'_>,
    ) -> Result<(), DocumentError> {
        match node {
            Node::Change(operator) => match operator.non_viable(self.document) {
                NonViable::Ignore => Ok(()),
                NonViable::RefuseCreation => Err(DocumentError::new(
                    ErrorKind::PathNotViable,
                    format!(
                        "Cannot create field '{first}' in element {{{}}}",
                        display::element(parent.name, parent.value)
                    ),
                )),
                NonViable::RefuseTraversal => Err(DocumentError::new(
                    ErrorKind::PathNotViable,
                    format!(
                        "Cannot use the part ({first}) of ({}.{}) to traverse the element ({{{}}})",
                        self.path.join("."),
                        rest.join("."),
                        display::element(parent.name, parent.value)
                    ),
                )),
            },
            Node::Fields(fields) => {
                for (name, node) in fields {
                    rest.push(name.clone());
                    self.non_viable(node, first, rest, parent)?;
                    rest.pop();
                }
                Ok(())
            }
            Node::Members(selections) => {
                for (identifier, node) in selections {
                    rest.push(format!("$[{}]", identifier.as_deref().unwrap_or_default()));
                    self.non_viable(node, first, rest, parent)?;
                    rest.pop();
                }
                Ok(())
            }
        }
    }
}

fn write(
    out: &mut DocumentWriter,
    path: &[String],
    name: &str,
    value: RawBsonRef<'_>,
) -> Result<(), DocumentError> {
    if path.len() - 1 + raw::depth(value) > NESTING_MAX {
        return Err(DocumentError::new(
            ErrorKind::Overflow,
            format!(
                "The update would nest the document deeper than {NESTING_MAX} levels at '{}'",
                path.join(".")
            ),
        ));
    }
    out.append(name, value);
    Ok(())
}
