//! `$rename`: the value moves to another path; both paths lead through embedded documents only.

use bson::raw::{RawBsonRef, RawDocument};

use super::unset::Unset;
use super::{Change, NonViable, Operator, ParseResult, PathChange, Target};
use crate::{DocumentError, display};

#[derive(Debug)]
struct RenameTo {
    source: String,
    destination: String,
}

/// Where a path of field names ends in a document.
enum Found<'a> {
    Value(RawBsonRef<'a>),
    Missing,
    /// The path enters an array called so.
    InArray(&'a str),
}

pub(super) fn parse(
    path: &str,
    argument: RawBsonRef<'_>,
    changes: &mut Vec<PathChange>,
) -> ParseResult {
    let RawBsonRef::String(destination) = argument else {
        return Err(DocumentError::bad_value(format!(
            "The 'to' field for $rename must be a string: {}",
            display::element(path, argument)
        )));
    };
    let shown = display::element(path, argument);
    if path == destination {
        return Err(DocumentError::bad_value(format!(
            "The source and target field for $rename must differ: {shown}"
        )));
    }
    let nested = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    if nested(path, destination) || nested(destination, path) {
        return Err(DocumentError::bad_value(format!(
            "The source and target field for $rename must not be on the same path: {shown}"
        )));
    }
    for (role, named) in [("source", path), ("destination", destination)] {
        if named.split('.').any(|part| part.starts_with('$')) {
            return Err(DocumentError::bad_value(format!(
                "The {role} field for $rename may not be dynamic: {named}"
            )));
        }
    }
    changes.push(PathChange::new(path, Unset));
    changes.push(PathChange::new(
        destination,
        RenameTo {
            source: path.to_owned(),
            destination: destination.to_owned(),
        },
    ));
    Ok(())
}

fn find<'a>(document: &'a RawDocument, path: &'a str) -> Found<'a> {
    let mut current = RawBsonRef::Document(document);
    let mut entered = "";
    for part in path.split('.') {
        current = match current {
            RawBsonRef::Document(embedded) => match embedded.get(part) {
                Ok(Some(value)) => value,
                _ => return Found::Missing,
            },
            RawBsonRef::Array(_) => return Found::InArray(entered),
            _ => return Found::Missing,
        };
        entered = part;
    }
    Found::Value(current)
}

impl RenameTo {
    fn moved<'a>(&'a self, document: &'a RawDocument) -> Result<Change<'a>, DocumentError> {
        let refused = |role: &str, path: &str, array: &str| {
            let id = document.get("_id").ok().flatten();
            let id = id.map_or("no id".to_owned(), |id| display::element("_id", id));
            Err(DocumentError::bad_value(format!(
                "The {role} field cannot be an array element, '{path}' in doc with {id} has an array field called \
                 '{array}'"
            )))
        };
        match find(document, &self.source) {
            Found::Missing => Ok(Change::Keep),
            Found::InArray(array) => refused("source", &self.source, array),
            Found::Value(value) => match find(document, &self.destination) {
                Found::InArray(array) => refused("destination", &self.destination, array),
                _ => Ok(Change::Borrowed(value)),
            },
        }
    }
}

impl Operator for RenameTo {
    fn update<'a>(
        &'a self,
        _existing: RawBsonRef<'a>,
        target: &Target<'a>,
    ) -> Result<Change<'a>, DocumentError> {
        self.moved(target.document)
    }

    fn create<'a>(&'a self, target: &Target<'a>) -> Result<Change<'a>, DocumentError> {
        self.moved(target.document)
    }

    fn non_viable(&self, document: &RawDocument) -> NonViable {
        match find(document, &self.source) {
            Found::Missing => NonViable::Ignore,
            _ => NonViable::RefuseCreation,
        }
    }
}
