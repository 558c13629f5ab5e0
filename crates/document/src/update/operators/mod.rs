//! The registry of update modifiers: one entry each. An entry parses `{$modifier: {path: argument}}` for one path;
//! what it gives says, for one field at a time, what becomes of it.

mod add_to_set;
mod arithmetic;
mod bit;
mod current_date;
mod min_max;
mod pop;
mod pull;
mod push;
mod rename;
mod set;
mod unset;

use std::fmt::Debug;
use std::sync::Arc;

use bson::raw::{RawArray, RawBson, RawBsonRef, RawDocument};

use super::UpdateContext;
use crate::DocumentError;
use crate::display;

pub(super) use set::Set;

/// Parses the argument of a modifier for one path into the changes it stands for (`$rename` is two).
pub(super) type ParseModifier =
    fn(path: &str, argument: RawBsonRef<'_>, changes: &mut Vec<PathChange>) -> ParseResult;
pub(super) type ParseResult = Result<(), DocumentError>;

/// Every modifier that exists.
const REGISTRY: &[(&str, ParseModifier)] = &[
    ("$addToSet", add_to_set::parse),
    ("$bit", bit::parse),
    ("$currentDate", current_date::parse),
    ("$inc", arithmetic::parse_increment),
    ("$max", min_max::parse_max),
    ("$min", min_max::parse_min),
    ("$mul", arithmetic::parse_multiply),
    ("$pop", pop::parse),
    ("$pull", pull::parse),
    ("$pullAll", pull::parse_all),
    ("$push", push::parse),
    ("$rename", rename::parse),
    ("$set", set::parse),
    ("$setOnInsert", set::parse_on_insert),
    ("$unset", unset::parse),
];

/// The parser of the modifier called `name`.
pub(super) fn find(name: &str) -> Result<ParseModifier, DocumentError> {
    REGISTRY
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, parse)| *parse)
        .ok_or_else(|| {
            DocumentError::failed_to_parse(format!(
                "Unknown modifier: {name}. Expected a valid update modifier or pipeline-style update specified as \
                 an array"
            ))
        })
}

/// One path and what is done there.
#[derive(Debug, Clone)]
pub(super) struct PathChange {
    pub path: String,
    pub operator: Arc<dyn Operator>,
}

impl PathChange {
    pub fn new(path: &str, operator: impl Operator + 'static) -> PathChange {
        PathChange {
            path: path.to_owned(),
            operator: Arc::new(operator),
        }
    }
}

/// The field an operator works on, for lookups and messages.
pub(super) struct Target<'a> {
    /// The whole document before the update.
    pub document: &'a RawDocument,
    /// The last component of the path.
    pub field: &'a str,
    /// The components of the path, without placeholders.
    pub path: &'a [String],
    pub context: &'a UpdateContext,
}

impl Target<'_> {
    /// The path as messages show it.
    fn dotted_path(&self) -> String {
        self.path.join(".")
    }
}

/// What becomes of a field.
#[derive(Debug)]
pub(super) enum Change<'a> {
    /// Stays as it is; a missing field stays missing.
    Keep,
    /// Goes away; in an array it becomes null.
    Remove,
    /// Gets a value that exists already.
    Borrowed(RawBsonRef<'a>),
    /// Gets a computed value.
    Owned(RawBson),
}

/// What happens when the path leads through a value that cannot have the field.
pub(super) enum NonViable {
    /// Nothing.
    Ignore,
    /// An error about the field that cannot be created.
    RefuseCreation,
    /// An error about the value that cannot be entered.
    RefuseTraversal,
}

/// A modifier at one path.
pub(super) trait Operator: Debug + Send + Sync {
    /// The change of a field that exists.
    fn update<'a>(
        &'a self,
        existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError>;

    /// The change of a field that does not exist.
    fn create<'a>(&'a self, target: &Target<'a>) -> Result<Change<'a>, DocumentError>;

    /// The case of a path that cannot exist.
    fn non_viable(&self, _document: &RawDocument) -> NonViable {
        NonViable::RefuseCreation
    }
}

/// The array in `existing` or the error that `message` words.
fn require_array<'a>(
    existing: RawBsonRef<'a>,
    error: impl FnOnce() -> DocumentError,
) -> Result<&'a RawArray, DocumentError> {
    existing.as_array().ok_or_else(error)
}

/// `{_id: 1}`, as messages name a document.
fn shown_id(document: &RawDocument) -> String {
    match document.get("_id") {
        Ok(Some(id)) => format!("{{{}}}", display::element("_id", id)),
        _ => "{no id}".to_owned(),
    }
}

/// The type name of a value, as messages give it.
fn type_of(value: RawBsonRef<'_>) -> &'static str {
    display::type_name(value.element_type())
}
