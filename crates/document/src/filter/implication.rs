//! Whether one filter is sure to match no more than another: what lets a query use an index that leaves documents out.
//!
//! Sound, not complete: "yes" is always right, "no" may only mean that the reason was not seen. Conjunctions and
//! disjunctions are taken apart; what is left are tests on one path, whose sets of values are compared.

use super::bounds::{self, IndexBounds};
use super::{Disjunct, Filter, Node, Predicate};
use crate::path::LeafArrays;
use bson::raw::RawBsonRef;

impl Filter {
    /// Whether every document that this filter matches is sure to match `other`.
    pub fn implies(&self, other: &Filter) -> bool {
        implies(&self.root, &other.root)
    }

    /// Whether a document needs something at `path` to match.
    pub fn needs(&self, path: &str) -> bool {
        needs(&self.root, path)
    }
}

impl Disjunct<'_> {
    /// As [`Filter::implies`].
    pub fn implies(&self, other: &Filter) -> bool {
        self.implies_node(&other.root)
    }

    /// As [`Filter::needs`].
    pub fn needs(&self, path: &str) -> bool {
        self.nodes.iter().any(|node| needs(node, path))
    }

    fn implies_node(&self, other: &Node) -> bool {
        match other {
            Node::And(parts) => parts.iter().all(|part| self.implies_node(part)),
            other => self.nodes.iter().any(|node| implies(node, other)),
        }
    }
}

fn needs(node: &Node, path: &str) -> bool {
    match node {
        Node::Always(false) => true,
        Node::And(parts) => parts.iter().any(|part| needs(part, path)),
        Node::Or(parts) => parts.iter().all(|part| needs(part, path)),
        Node::Test(tested, predicate) => tested.as_str() == path && !predicate.matches(None),
        Node::Not(negated) => is_null_test_on(negated, path),
        _ => false,
    }
}

/// Both filters were parsed, which bounds how deep they nest.
fn implies(left: &Node, right: &Node) -> bool {
    match right {
        Node::Always(true) => return true,
        Node::And(parts) => return parts.iter().all(|part| implies(left, part)),
        _ => {}
    }
    match left {
        Node::Always(false) => return true,
        Node::Or(parts) if parts.iter().all(|part| implies(part, right)) => return true,
        Node::And(parts) if parts.iter().any(|part| implies(part, right)) => return true,
        _ => {}
    }
    match (left, right) {
        (_, Node::Or(parts)) => parts.iter().any(|part| implies(left, part)),
        (Node::Test(path, narrow), Node::Test(other, wide)) => {
            path.as_str() == other.as_str() && test_implies(narrow.as_ref(), wide.as_ref())
        }
        (Node::Not(negated), Node::Test(path, wide)) => {
            wide.is_existence() && is_null_test_on(negated, path.as_str())
        }
        _ => false,
    }
}

/// On a path of one name a document that is neither null nor missing there has something there.
fn is_null_test_on(node: &Node, path: &str) -> bool {
    let Node::Test(tested, predicate) = node else {
        return false;
    };
    !path.contains('.') && tested.as_str() == path && predicate.equality() == Some(RawBsonRef::Null)
}

/// Both tests look at the same values: then the one implies the other if its values are among the other's.
fn test_implies(narrow: &dyn Predicate, wide: &dyn Predicate) -> bool {
    if wide.is_existence() {
        return !narrow.matches(None);
    }
    if narrow.leaf_arrays() != LeafArrays::Traverse || wide.leaf_arrays() != LeafArrays::Traverse {
        return false;
    }
    if let (Some(narrow), Some(wide)) = (narrow.types(), wide.types()) {
        return narrow.iter().all(|one| wide.contains(one));
    }
    if narrow.collation() != wide.collation() {
        return false;
    }
    if narrow.matches(None) && !wide.matches(None) {
        return false;
    }
    let bounds = |predicate: &dyn Predicate| -> Option<IndexBounds> { predicate.index_bounds() };
    match (bounds(narrow), bounds(wide)) {
        (Some(narrow), Some(wide)) => {
            wide.exact && bounds::lie_in(&narrow.intervals, &wide.intervals)
        }
        _ => false,
    }
}
