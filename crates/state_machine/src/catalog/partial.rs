//! `partialFilterExpression`: which documents a partial index holds.
//!
//! The expression may use what MongoDB allows there: equality, `$exists: true`, `$gt $gte $lt $lte`, `$type`, `$in`, `$and`
//! and `$or`. All of it can be decided on the document alone, so every member keeps the same entries.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use document::filter::{Disjunct, Filter};
use document::{Collation, Context, DocumentError};

use super::spec::{cannot_create, describe};
use crate::CommandError;

/// The option's name.
pub(super) const OPTION: &str = "partialFilterExpression";

/// Conditions nest this deep at most.
const NESTING_MAX: usize = 10;

/// The documents of a partial index.
#[derive(Debug, Clone)]
pub struct PartialFilter {
    document: RawDocumentBuf,
    filter: Filter,
}

impl PartialEq for PartialFilter {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl PartialFilter {
    /// Reads the option's value.
    pub(super) fn parse(value: RawBsonRef<'_>) -> Result<PartialFilter, CommandError> {
        let RawBsonRef::Document(document) = value else {
            return Err(DocumentError::type_mismatch(format!(
                "The field '{OPTION}' must be an object"
            ))
            .into());
        };
        check_conditions(document, 0)?;
        Ok(PartialFilter {
            filter: Filter::parse(document)?,
            document: document.to_owned(),
        })
    }

    /// That of a stored specification, which was checked when it came.
    pub(super) fn of_specification(
        spec: &RawDocument,
        collation: Option<&Collation>,
    ) -> Option<PartialFilter> {
        let parsed = PartialFilter::parse(spec.get(OPTION).ok()??).ok()?;
        parsed.in_collation(collation).ok()
    }

    /// The same with strings compared by the index's collation.
    pub(super) fn in_collation(
        self,
        collation: Option<&Collation>,
    ) -> Result<PartialFilter, CommandError> {
        let context = Context::none().with_collation(collation.cloned());
        Ok(PartialFilter {
            filter: Filter::parse_in(&self.document, &context)?,
            document: self.document,
        })
    }

    /// The expression as it was given.
    pub fn document(&self) -> &RawDocument {
        &self.document
    }

    /// Whether the index holds `document`.
    pub fn holds(&self, document: &RawDocument) -> bool {
        self.filter.matches(document)
    }

    /// Whether the index holds everything that `query` matches.
    pub fn is_implied_by(&self, query: &Filter) -> bool {
        query.implies(&self.filter)
    }

    /// Whether the index holds everything that one branch of a query matches.
    pub fn is_implied_by_disjunct(&self, branch: &Disjunct<'_>) -> bool {
        branch.implies(&self.filter)
    }
}

fn check_conditions(conditions: &RawDocument, depth: usize) -> Result<(), CommandError> {
    if depth > NESTING_MAX {
        return Err(not_supported(conditions));
    }
    for element in conditions {
        let (name, value) = element.map_err(DocumentError::from)?;
        match (name.as_str(), value) {
            ("$and" | "$or", RawBsonRef::Array(clauses)) => {
                for clause in clauses {
                    match clause.map_err(DocumentError::from)? {
                        RawBsonRef::Document(clause) => check_conditions(clause, depth + 1)?,
                        _ => return Err(not_supported(conditions)),
                    }
                }
            }
            (operator, _) if operator.starts_with('$') => return Err(not_supported(conditions)),
            (_, RawBsonRef::RegularExpression(_)) => return Err(not_supported(conditions)),
            (_, RawBsonRef::Document(operators)) => check_operators(operators, conditions)?,
            _ => {}
        }
    }
    Ok(())
}

/// `operators` may also be a document to be equal to.
fn check_operators(operators: &RawDocument, whole: &RawDocument) -> Result<(), CommandError> {
    for element in operators {
        let (name, value) = element.map_err(DocumentError::from)?;
        let allowed = match name.as_str() {
            "$eq" | "$gt" | "$gte" | "$lt" | "$lte" | "$type" => true,
            "$in" => value.as_array().is_some_and(|values| {
                let mut values = values.into_iter().flatten();
                values.all(|value| !matches!(value, RawBsonRef::RegularExpression(_)))
            }),
            "$exists" => matches!(
                value,
                RawBsonRef::Boolean(true) | RawBsonRef::Int32(1) | RawBsonRef::Int64(1)
            ),
            name => !name.starts_with('$'),
        };
        if !allowed {
            return Err(not_supported(whole));
        }
    }
    Ok(())
}

fn not_supported(conditions: &RawDocument) -> CommandError {
    cannot_create(format!(
        "Expression not supported in partial index: {}",
        describe(conditions)
    ))
}
