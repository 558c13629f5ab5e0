//! MongoDB's query predicates: parsed once, then matched against raw documents.
//!
//! A filter is a tree of conjunctions, disjunctions and negations over tests; a test is a path and a
//! [`Predicate`] on one value. Each operator is one entry of a table in `operators`. For the planner a filter
//! tells which `_id`s and which index intervals contain every match; whoever follows them still asks
//! [`Filter::matches`] unless the bounds are marked exact.

mod bounds;
mod implication;
mod operators;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;
mod text;
mod why_not;

pub use bounds::{IndexBounds, Interval};
pub(crate) use operators::element_type;
pub(crate) use pattern::Pattern;
pub use text::{TextCondition, no_index as no_text_index};
pub use why_not::why_not;

use crate::collation::Collation;
use crate::context::Context;
use crate::error::DocumentError;
use crate::expression::Expression;
use crate::order;
use crate::path::{LeafArrays, Path};
use crate::validate;
use bson::raw::{RawBsonRef, RawDocument};
use bson::spec::ElementType;
use std::sync::Arc;

/// A parsed query. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Arc<Node>,
    has_text: bool,
}

/// A parsed condition on a single value, such as `$pull` and `$elemMatch` take. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ValueFilter {
    root: Arc<Node>,
    form: ValueForm,
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
    /// Strings in the intervals are sort keys of the filter's collation.
    pub collated: bool,
}

/// One of several conjunctions that a filter comes to.
#[derive(Debug)]
pub struct Disjunct<'a> {
    nodes: Vec<&'a Node>,
}

impl<'a> Disjunct<'a> {
    /// As [`Filter::conjunct_bounds`].
    pub fn conjunct_bounds(&self) -> Vec<PathBounds<'a>> {
        self.nodes.iter().filter_map(|node| node.bounds()).collect()
    }
}

/// A condition on one value.
pub trait Predicate: std::fmt::Debug + Send + Sync {
    /// Whether `value` (None: missing) satisfies it.
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool;

    /// Whether it looks at the members of an array at the end of the path.
    fn leaf_arrays(&self) -> LeafArrays {
        LeafArrays::Traverse
    }

    /// Where in an index the values stand that may satisfy it; None if anywhere.
    fn index_bounds(&self) -> Option<IndexBounds> {
        None
    }

    /// The operand, if this is an equality.
    fn equality(&self) -> Option<RawBsonRef<'_>> {
        None
    }

    /// All values that can satisfy it, ascending and distinct under `order::compare`, if they can be counted up.
    fn one_of(&self) -> Option<Vec<RawBsonRef<'_>>> {
        self.equality().map(|value| vec![value])
    }

    /// The collation that its operand was put through.
    fn collation(&self) -> Option<&Collation> {
        None
    }

    /// Whether this is `$exists`.
    fn is_existence(&self) -> bool {
        false
    }

    /// The types it asks for, if it asks for nothing else.
    fn types(&self) -> Option<&[ElementType]> {
        None
    }
}

#[derive(Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Test(Path, Box<dyn Predicate>),
    Always(bool),
    /// `$expr`.
    Expression(Box<Expression>),
    /// `$text`.
    Text(Box<TextCondition>),
    /// A condition of several tests on what stands at a path.
    Custom(Box<dyn Condition>),
}

/// A condition on a whole document that is no combination of the others.
trait Condition: std::fmt::Debug + Send + Sync {
    fn holds(&self, document: &RawDocument) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueForm {
    /// The tests look at the value itself.
    Operators,
    /// The tests look at fields of the value, which has to be a document or an array.
    Fields,
}

impl Filter {
    /// As [`Filter::parse_in`], where expressions know nothing besides the document, and there is no collection to search.
    pub fn parse(query: &RawDocument) -> Result<Filter, DocumentError> {
        let filter = Filter::parse_in(query, &Context::none())?;
        filter.check_no_text()?;
        Ok(filter)
    }

    /// Parses a query document; errors are worded as MongoDB's. What its expressions may know is in `context`.
    pub fn parse_in(query: &RawDocument, context: &Context) -> Result<Filter, DocumentError> {
        validate::well_formed(query, validate::REQUEST_NESTING_MAX)?;
        let root = parse::document(query, parse::Place::document(context))?;
        Ok(Filter {
            has_text: text::check(&root)?,
            root: Arc::new(root),
        })
    }

    /// Whether `document` satisfies the query. A document over which an expression fails does not.
    pub fn matches(&self, document: &RawDocument) -> bool {
        self.try_matches(document).unwrap_or(false)
    }

    /// Whether `document` satisfies the query; fails where an expression of the query does.
    pub fn try_matches(&self, document: &RawDocument) -> Result<bool, DocumentError> {
        self.root.matches(document)
    }

    /// Whether the filter has no condition at all.
    pub fn is_always_true(&self) -> bool {
        self.conjuncts().is_empty()
    }

    /// The one `_id` a matching document can have.
    pub fn exact_id(&self) -> Option<RawBsonRef<'_>> {
        match self.exact_ids()?.as_slice() {
            [id] => Some(*id),
            _ => None,
        }
    }

    /// The few `_id`s a matching document can have (`$in` or equality), ascending, without duplicates.
    pub fn exact_ids(&self) -> Option<Vec<RawBsonRef<'_>>> {
        self.tests()
            .filter(|(path, _)| path.as_str() == "_id")
            .filter_map(|(_, predicate)| predicate.one_of())
            .min_by_key(Vec::len)
    }

    /// Index bounds, one entry for each conjunct that has some. Entries for the same path may be intersected
    /// only on an index that is not multikey.
    pub fn conjunct_bounds(&self) -> Vec<PathBounds<'_>> {
        let conjuncts = self.conjuncts();
        conjuncts.into_iter().filter_map(Node::bounds).collect()
    }

    /// If one of the conditions is a disjunction: the whole filter as one conjunction for each of its branches. Every
    /// match is a match of at least one.
    pub fn disjuncts(&self) -> Option<Vec<Disjunct<'_>>> {
        let conjuncts = self.conjuncts();
        let is_disjunction = |node: &&Node| matches!(node, Node::Or(_));
        let place = conjuncts.iter().position(is_disjunction)?;
        let Node::Or(branches) = conjuncts[place] else {
            return None;
        };
        let whole = branches.iter().map(|branch| {
            let mut nodes = Vec::new();
            branch.collect_conjuncts(&mut nodes);
            let others = conjuncts.iter().enumerate();
            nodes.extend(others.filter(|(at, _)| *at != place).map(|(_, node)| *node));
            Disjunct { nodes }
        });
        Some(whole.collect())
    }

    /// How many conditions are joined by "and" at the top: those that `conjunct_bounds` does not show as exact
    /// have to be tested on the documents.
    pub fn conjunct_count(&self) -> usize {
        self.conjuncts().len()
    }

    /// Path and value of every equality that must hold, for building the document of an upsert, in the order of
    /// the query.
    pub fn equality_fields(&self) -> Vec<(&str, RawBsonRef<'_>)> {
        self.tests()
            .filter_map(|(path, predicate)| Some((path.as_str(), predicate.equality()?)))
            .collect()
    }

    fn conjuncts(&self) -> Vec<&Node> {
        let mut conjuncts = Vec::new();
        self.root.collect_conjuncts(&mut conjuncts);
        conjuncts
    }

    fn tests(&self) -> impl Iterator<Item = (&Path, &dyn Predicate)> {
        self.conjuncts().into_iter().filter_map(|node| match node {
            Node::Test(path, predicate) => Some((path, predicate.as_ref())),
            _ => None,
        })
    }
}

impl ValueFilter {
    /// Parses a condition: a document of operators, a document of conditions on the fields of the value, a regular
    /// expression, or a value to be equal to.
    pub fn parse(condition: RawBsonRef<'_>) -> Result<ValueFilter, DocumentError> {
        if let RawBsonRef::Document(document) = condition {
            validate::well_formed(document, validate::REQUEST_NESTING_MAX)?;
        }
        let (root, form) = parse::value_condition(condition, None)?;
        Ok(ValueFilter {
            root: Arc::new(root),
            form,
        })
    }

    /// Whether `value` satisfies the condition.
    pub fn matches(&self, value: RawBsonRef<'_>) -> bool {
        match self.form {
            ValueForm::Operators => self.root.matches_value(value),
            ValueForm::Fields => {
                as_document(value).is_some_and(|fields| self.root.matches(fields).unwrap_or(false))
            }
        }
    }
}

/// An embedded document, or an array seen as a document whose field names are positions.
fn as_document(value: RawBsonRef<'_>) -> Option<&RawDocument> {
    match value {
        RawBsonRef::Document(document) => Some(document),
        RawBsonRef::Array(array) => RawDocument::from_bytes(array.as_bytes()).ok(),
        _ => None,
    }
}

impl Node {
    fn matches(&self, document: &RawDocument) -> Result<bool, DocumentError> {
        Ok(match self {
            Node::And(nodes) => {
                for node in nodes {
                    if !node.matches(document)? {
                        return Ok(false);
                    }
                }
                true
            }
            Node::Or(nodes) => {
                for node in nodes {
                    if node.matches(document)? {
                        return Ok(true);
                    }
                }
                false
            }
            Node::Not(node) => !node.matches(document)?,
            Node::Test(path, predicate) => {
                path.any(document, predicate.leaf_arrays(), &mut |value| {
                    predicate.matches(value)
                })
            }
            Node::Always(answer) => *answer,
            Node::Expression(expression) => expression.holds(document)?,
            Node::Text(condition) => condition.matches(document)?,
            Node::Custom(condition) => condition.holds(document),
        })
    }

    /// Puts every test to `value` itself.
    fn matches_value(&self, value: RawBsonRef<'_>) -> bool {
        match self {
            Node::And(nodes) => nodes.iter().all(|node| node.matches_value(value)),
            Node::Or(nodes) => nodes.iter().any(|node| node.matches_value(value)),
            Node::Not(node) => !node.matches_value(value),
            Node::Test(_, predicate) => predicate.matches(Some(value)),
            Node::Always(answer) => *answer,
            // Conditions on documents do not stand among operators on values.
            Node::Expression(_) | Node::Text(_) | Node::Custom(_) => false,
        }
    }

    /// Where in an index the documents stand that may satisfy this, if it is a test on one path or the opposite of one.
    fn bounds(&self) -> Option<PathBounds<'_>> {
        let (path, predicate, negated) = match self {
            Node::Test(path, predicate) => (path, predicate, false),
            Node::Not(node) => match node.as_ref() {
                Node::Test(path, predicate) => (path, predicate, true),
                _ => return None,
            },
            _ => return None,
        };
        // An index has no entry that says "no such position", but a filter can match one.
        if path.has_positions() && predicate.matches(None) != negated {
            return None;
        }
        let mut bounds = predicate.index_bounds()?;
        if negated {
            bounds = bounds::outside(bounds, path.as_str().contains('.'))?;
        }
        Some(PathBounds {
            path: path.as_str(),
            intervals: bounds.intervals,
            exact: bounds.exact,
            collated: predicate.collation().is_some(),
        })
    }

    fn collect_conjuncts<'n>(&'n self, conjuncts: &mut Vec<&'n Node>) {
        match self {
            Node::And(nodes) => {
                for node in nodes {
                    node.collect_conjuncts(conjuncts);
                }
            }
            Node::Or(nodes) if nodes.len() == 1 => nodes[0].collect_conjuncts(conjuncts),
            Node::Always(true) => {}
            node => conjuncts.push(node),
        }
    }

    /// The conjunction of `nodes`, without a level for a single one.
    fn all(mut nodes: Vec<Node>) -> Node {
        match (nodes.len(), nodes.pop()) {
            (1, Some(only)) => only,
            (_, None) => Node::Always(true),
            (_, Some(last)) => {
                nodes.push(last);
                Node::And(nodes)
            }
        }
    }

    fn not(node: Node) -> Node {
        Node::Not(Box::new(node))
    }
}

/// Sorts and removes what compares as equal.
fn sort_distinct(values: &mut Vec<bson::RawBson>) {
    values.sort_by(|l, r| order::compare(l.as_raw_bson_ref(), r.as_raw_bson_ref()));
    values.dedup_by(|l, r| order::compare(l.as_raw_bson_ref(), r.as_raw_bson_ref()).is_eq());
}
