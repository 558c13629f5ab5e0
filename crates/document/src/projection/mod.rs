//! Projections of `find` and `findAndModify` and of the plain `$project`: inclusion and exclusion, raw in, raw out.
//!
//! Fields keep the order they have in the document. A path goes into embedded documents and into every document
//! among the members of arrays. `$slice`, `$elemMatch` and the positional `a.$` are operators of `find` only. Computed
//! fields follow the others.

mod array_operators;
mod parse;
#[cfg(test)]
mod tests;
mod top_level;

use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::{RawArray, RawBsonRef, RawDocument};
use bson::spec::ElementType;

use crate::aggregation::assign::Assignments;
use crate::expression::Expression;
use crate::raw::{self, DocumentWriter, Element, elements};
use crate::update::matched_element;
use crate::{Context, DocumentError};
use array_operators::ArrayOperator;
pub(crate) use parse::{Dialect, Specified, specified};
pub use top_level::TopLevelFields;

/// A parsed projection.
#[derive(Debug, Clone)]
pub struct Projection {
    mode: Mode,
    root: Fields,
    /// Fields of `find` that are computed from the document.
    computed: Arc<Assignments<Expression>>,
    /// Whether a path ends with `.$`.
    positional: bool,
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
    /// As [`Projection::parse_in`], where expressions know nothing besides the document.
    pub fn parse(specification: &RawDocument) -> Result<Projection, DocumentError> {
        Projection::parse_in(specification, &Context::none())
    }

    /// Parses the `projection` document of a find.
    pub fn parse_in(
        specification: &RawDocument,
        context: &Context,
    ) -> Result<Projection, DocumentError> {
        parse::projection(specification, context)
    }

    /// Whether [`Projection::apply_to_match`] needs the query.
    pub fn is_positional(&self) -> bool {
        self.positional
    }

    /// Whether every document passes unchanged.
    pub fn is_identity(&self) -> bool {
        self.mode == Mode::Exclusion && self.root.is_empty() && self.computed.is_empty()
    }

    /// Whether the result holds nothing but the given top-level fields: an index over them can answer.
    pub fn included_fields(&self) -> Option<Vec<&str>> {
        let plain = self
            .root
            .iter()
            .all(|(_, node)| matches!(node, Node::Include | Node::Exclude));
        if self.mode == Mode::Exclusion || !plain || !self.computed.is_empty() {
            return None;
        }
        let included = self
            .root
            .iter()
            .filter(|(_, node)| matches!(node, Node::Include));
        Some(included.map(|(name, _)| name.as_str()).collect())
    }

    /// The projected document, without what is computed.
    pub(crate) fn apply(&self, document: &RawDocument) -> RawDocumentBuf {
        self.plain(document, None)
    }

    /// The projected document; `query` is what it matched, for the positional operator.
    pub fn apply_to_match(
        &self,
        document: &RawDocument,
        query: &RawDocument,
    ) -> Result<RawDocumentBuf, DocumentError> {
        let mut matched = None;
        if self.positional {
            matched = matched_element(query, document);
            if matched.is_none() {
                return Err(DocumentError::location(
                    51246,
                    "Executor error during find command :: caused by :: positional operator '.$' couldn't find a matching \
                     element in the array",
                ));
            }
        }
        let projected = self.plain(document, matched);
        if self.computed.is_empty() {
            return Ok(projected);
        }
        let mut out = DocumentWriter::with_capacity(projected.as_bytes().len() + 64);
        self.computed.write(
            &projected,
            &mut |expression| expression.evaluate(document),
            &mut out,
        )?;
        Ok(out.finish())
    }

    fn plain(&self, document: &RawDocument, matched: Option<usize>) -> RawDocumentBuf {
        if self.mode == Mode::Exclusion && self.root.is_empty() {
            return document.to_owned();
        }
        let mut out = DocumentWriter::with_capacity(document.as_bytes().len());
        self.fields(&self.root, document, matched, &mut out);
        out.finish()
    }

    fn fields(
        &self,
        fields: &Fields,
        document: &RawDocument,
        matched: Option<usize>,
        out: &mut DocumentWriter,
    ) {
        for element in elements(document) {
            let node = fields
                .iter()
                .find(|(name, _)| name == element.name)
                .map(|(_, node)| node);
            match node {
                None if self.mode == Mode::Exclusion => out.copy(&element),
                None | Some(Node::Exclude) => {}
                Some(Node::Include) => out.copy(&element),
                Some(Node::Operator(operator)) => operator.apply(&element, matched, out),
                Some(Node::Below(below)) => self.below(below, &element, matched, out),
            }
        }
    }

    fn below(
        &self,
        fields: &Fields,
        element: &Element<'_>,
        matched: Option<usize>,
        out: &mut DocumentWriter,
    ) {
        match element.value() {
            RawBsonRef::Document(embedded) => {
                let begun = out.begin_document(element.name);
                self.fields(fields, embedded, matched, out);
                out.end(begun);
            }
            RawBsonRef::Array(array) => {
                let begun = out.begin_array(element.name);
                self.members(fields, array, matched, out);
                out.end(begun);
            }
            _ if self.mode == Mode::Exclusion => out.copy(element),
            _ => {}
        }
    }

    /// Documents and arrays among the members are projected; other members stay only under an exclusion.
    fn members(
        &self,
        fields: &Fields,
        array: &RawArray,
        matched: Option<usize>,
        out: &mut DocumentWriter,
    ) {
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
                    self.fields(fields, embedded, matched, out);
                    out.end(begun);
                }
                RawBsonRef::Array(nested) => {
                    let begun = out.begin_array(&name);
                    self.members(fields, nested, matched, out);
                    out.end(begun);
                }
                _ => out.copy_as(&name, &element),
            }
            index += 1;
        }
    }
}
