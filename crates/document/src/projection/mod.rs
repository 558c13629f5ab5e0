//! Projections of `find` and `findAndModify` and of the plain `$project`: inclusion and exclusion, raw in, raw out.
//!
//! Fields keep the order they have in the document. A path goes into embedded documents and into every document
//! among the members of arrays. `$slice` and `$elemMatch` are operators of `find` only; computed fields are the
//! aggregation stage's, the positional projection `a.$` is refused by name.

mod array_operators;
mod parse;
#[cfg(test)]
mod tests;

use bson::RawDocumentBuf;
use bson::raw::{RawArray, RawBsonRef, RawDocument};
use bson::spec::ElementType;

use crate::DocumentError;
use crate::raw::{self, DocumentWriter, Element, elements};
use array_operators::ArrayOperator;
pub(crate) use parse::{Dialect, Specified, specified};

/// A parsed projection.
#[derive(Debug, Clone)]
pub struct Projection {
    mode: Mode,
    root: Fields,
}

/// Which fields pass when the projection does not name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// None but `_id`.
    Inclusion,
    /// All.
    Exclusion,
}

/// Named fields at one level, in the order of the specification.
type Fields = Vec<(String, Node)>;

#[derive(Debug, Clone)]
enum Node {
    Include,
    Exclude,
    Below(Fields),
    Operator(ArrayOperator),
}

impl Projection {
    /// Parses the `projection` document.
    pub fn parse(specification: &RawDocument) -> Result<Projection, DocumentError> {
        parse::projection(specification)
    }

    /// Whether every document passes unchanged.
    pub fn is_identity(&self) -> bool {
        self.mode == Mode::Exclusion && self.root.is_empty()
    }

    /// Whether the result holds nothing but the given top-level fields: an index over them can answer.
    pub fn included_fields(&self) -> Option<Vec<&str>> {
        let plain = self
            .root
            .iter()
            .all(|(_, node)| matches!(node, Node::Include | Node::Exclude));
        if self.mode == Mode::Exclusion || !plain {
            return None;
        }
        let included = self
            .root
            .iter()
            .filter(|(_, node)| matches!(node, Node::Include));
        Some(included.map(|(name, _)| name.as_str()).collect())
    }

    /// The projected document.
    pub fn apply(&self, document: &RawDocument) -> RawDocumentBuf {
        if self.is_identity() {
            return document.to_owned();
        }
        let mut out = DocumentWriter::with_capacity(document.as_bytes().len());
        self.fields(&self.root, document, &mut out);
        out.finish()
    }

    fn fields(&self, fields: &Fields, document: &RawDocument, out: &mut DocumentWriter) {
        for element in elements(document) {
            let node = fields
                .iter()
                .find(|(name, _)| name == element.name)
                .map(|(_, node)| node);
            match node {
                None if self.mode == Mode::Exclusion => out.copy(&element),
                None | Some(Node::Exclude) => {}
                Some(Node::Include) => out.copy(&element),
                Some(Node::Operator(operator)) => operator.apply(&element, out),
                Some(Node::Below(below)) => self.below(below, &element, out),
            }
        }
    }

    fn below(&self, fields: &Fields, element: &Element<'_>, out: &mut DocumentWriter) {
        match element.value() {
            RawBsonRef::Document(embedded) => {
                let begun = out.begin_document(element.name);
                self.fields(fields, embedded, out);
                out.end(begun);
            }
            RawBsonRef::Array(array) => {
                let begun = out.begin_array(element.name);
                self.members(fields, array, out);
                out.end(begun);
            }
            _ if self.mode == Mode::Exclusion => out.copy(element),
            _ => {}
        }
    }

    /// Documents and arrays among the members are projected; other members stay only under an exclusion.
    fn members(&self, fields: &Fields, array: &RawArray, out: &mut DocumentWriter) {
        let mut index = 0usize;
        for element in elements(raw::array_as_document(array)) {
            let container = matches!(
                element.kind(),
                ElementType::EmbeddedDocument | ElementType::Array
            );
            if !container && self.mode == Mode::Inclusion {
                continue;
            }
            let name = index.to_string();
            match element.value() {
                RawBsonRef::Document(embedded) => {
                    let begun = out.begin_document(&name);
                    self.fields(fields, embedded, out);
                    out.end(begun);
                }
                RawBsonRef::Array(nested) => {
                    let begun = out.begin_array(&name);
                    self.members(fields, nested, out);
                    out.end(begun);
                }
                _ => out.copy_as(&name, &element),
            }
            index += 1;
        }
    }
}
