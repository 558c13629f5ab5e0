//! `$text` in a filter: a search in the documents of the collection's text index.

use std::sync::Arc;

use bson::raw::{RawBsonRef, RawDocument};

use super::parse::{Level, Place};
use super::{Disjunct, Filter, Node};
use crate::text::{TextExpression, TextSearch};
use crate::{DocumentError, ErrorKind};

/// `$text`, and the search that it comes to.
#[derive(Debug)]
pub struct TextCondition {
    /// `None` where there is no text index.
    search: Option<Arc<TextSearch>>,
}

impl TextCondition {
    /// The search; `None` where there is no text index.
    pub fn search(&self) -> Option<&Arc<TextSearch>> {
        self.search.as_ref()
    }

    pub(super) fn matches(&self, document: &RawDocument) -> Result<bool, DocumentError> {
        match &self.search {
            Some(search) => Ok(search.matches(document)),
            None => Err(no_index()),
        }
    }
}

/// MongoDB's answer where there is no text index.
pub fn no_index() -> DocumentError {
    DocumentError::new(
        ErrorKind::IndexNotFound,
        "text index required for $text query",
    )
}

pub(super) fn parse(value: RawBsonRef<'_>, place: Place<'_>) -> Result<Node, DocumentError> {
    if place.level != Level::Document {
        return Err(DocumentError::bad_value(
            "$text can only be applied to the top-level document",
        ));
    }
    let expression = TextExpression::parse(value)?;
    let rules = place.context.text();
    let search = rules.map(|rules| Arc::new(TextSearch::new(&expression, rules)));
    Ok(Node::Text(Box::new(TextCondition { search })))
}

/// Refuses what MongoDB does: several searches, and one that is negated. Whether there is one.
pub(super) fn check(root: &Node) -> Result<bool, DocumentError> {
    let mut found = Vec::new();
    collect(root, false, &mut found);
    if found.iter().any(|(_, negated)| *negated) {
        return Err(DocumentError::bad_value(
            "text expression not allowed in nor",
        ));
    }
    if found.len() > 1 {
        return Err(DocumentError::bad_value("Too many text expressions"));
    }
    Ok(!found.is_empty())
}

fn collect<'n>(node: &'n Node, negated: bool, found: &mut Vec<(&'n TextCondition, bool)>) {
    match node {
        Node::Text(condition) => found.push((condition, negated)),
        Node::And(nodes) | Node::Or(nodes) => {
            for node in nodes {
                collect(node, negated, found);
            }
        }
        Node::Not(node) => collect(node, true, found),
        Node::Test(..) | Node::Always(_) | Node::Expression(_) | Node::Custom(_) => {}
    }
}

impl Filter {
    /// The search in it, wherever it stands.
    pub fn text(&self) -> Option<&TextCondition> {
        if !self.has_text {
            return None;
        }
        let mut found = Vec::new();
        collect(&self.root, false, &mut found);
        found.first().map(|(condition, _)| *condition)
    }

    /// Refuses a search where documents are tested that no index has found.
    pub fn check_no_text(&self) -> Result<(), DocumentError> {
        match self.text() {
            None => Ok(()),
            Some(_) => Err(DocumentError::new(
                ErrorKind::QueryFeatureNotAllowed,
                "$text is not allowed in this context",
            )),
        }
    }

    /// Whether every match is found by the search.
    pub fn needs_text(&self) -> bool {
        self.conjuncts().into_iter().any(is_text)
    }
}

impl Disjunct<'_> {
    /// Whether every match of this branch is found by the search.
    pub fn needs_text(&self) -> bool {
        self.nodes.iter().any(|node| is_text(node))
    }
}

fn is_text(node: &Node) -> bool {
    matches!(node, Node::Text(_))
}
