//! `$in $nin`: values, found by binary search, and regular expressions.

use super::Operand;
use crate::collation::{Collation, collated, holds_strings};
use crate::error::DocumentError;
use crate::filter::bounds::{self, IndexBounds};
use crate::filter::pattern::Pattern;
use crate::filter::{Node, Predicate, parse, sort_distinct};
use crate::order;
use bson::raw::{RawBson, RawBsonRef};

#[derive(Debug)]
struct In {
    /// Ascending, distinct; as the collation sees them.
    values: Vec<RawBson>,
    /// Set where values have strings in them.
    collation: Option<Collation>,
    patterns: Vec<Pattern>,
    has_null: bool,
}

pub(super) fn parse_in(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    let RawBsonRef::Array(members) = operand.value else {
        return Err(DocumentError::bad_value(format!(
            "{} needs an array",
            operand.name
        )));
    };
    let mut values = Vec::new();
    let mut patterns = Vec::new();
    let mut has_strings = false;
    for member in members {
        match member? {
            RawBsonRef::Document(document) if parse::is_operator_document(document, false) => {
                return Err(DocumentError::bad_value("cannot nest $ under $in"));
            }
            RawBsonRef::Undefined => {
                return Err(DocumentError::bad_value(
                    "InMatchExpression equality cannot be undefined",
                ));
            }
            RawBsonRef::RegularExpression(regex) => {
                patterns.push(Pattern::compile(
                    regex.pattern.as_str(),
                    regex.options.as_str(),
                )?);
            }
            value => {
                has_strings |= holds_strings(value);
                values.push(collated(operand.collation, value).into_owned());
            }
        }
    }
    sort_distinct(&mut values);
    let has_null = values.contains(&RawBson::Null);
    Ok(Node::Test(
        operand.path.clone(),
        Box::new(In {
            values,
            collation: operand.collation.filter(|_| has_strings).cloned(),
            patterns,
            has_null,
        }),
    ))
}

pub(super) fn parse_nin(operand: &Operand<'_>) -> Result<Node, DocumentError> {
    parse_in(operand).map(Node::not)
}

impl Predicate for In {
    fn matches(&self, value: Option<RawBsonRef<'_>>) -> bool {
        match value {
            None | Some(RawBsonRef::Undefined) => self.has_null,
            Some(value) => {
                let seen = collated(self.collation.as_ref(), value);
                self.values
                    .binary_search_by(|member| {
                        order::compare(member.as_raw_bson_ref(), seen.as_ref())
                    })
                    .is_ok()
                    || self.patterns.iter().any(|pattern| pattern.matches(value))
            }
        }
    }

    fn index_bounds(&self) -> Option<IndexBounds> {
        if self.collation.is_some() && !self.patterns.is_empty() {
            return None; // patterns look at the strings themselves
        }
        let of_values = self
            .values
            .iter()
            .map(|value| bounds::equal_to(value.as_raw_bson_ref()));
        let of_patterns = self.patterns.iter().map(Pattern::index_bounds);
        let mut exact = true;
        let mut intervals = Vec::new();
        for mut bounds in of_values.chain(of_patterns) {
            exact &= bounds.exact;
            intervals.append(&mut bounds.intervals);
        }
        Some(bounds::union(intervals, exact))
    }

    fn one_of(&self) -> Option<Vec<RawBsonRef<'_>>> {
        (self.patterns.is_empty() && self.collation.is_none())
            .then(|| self.values.iter().map(RawBson::as_raw_bson_ref).collect())
    }

    fn collation(&self) -> Option<&Collation> {
        self.collation.as_ref()
    }
}
