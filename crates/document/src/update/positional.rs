//! Which member of an array a query matched, for the positional operator `$`.

use bson::RawDocumentBuf;
use bson::raw::{RawArray, RawBsonRef, RawDocument};

use crate::filter::Filter;
use crate::raw::{self, DocumentWriter, elements};

/// The index of the member through which `document` satisfies `query`: that of the last condition whose path goes
/// through an array, as MongoDB has it. `None` when no condition does.
pub fn matched_element(query: &RawDocument, document: &RawDocument) -> Option<usize> {
    let mut matched = None;
    for condition in elements(query) {
        match (condition.name, condition.value()) {
            ("$and", RawBsonRef::Array(conjuncts)) => {
                for conjunct in raw::members(conjuncts) {
                    if let RawBsonRef::Document(conjunct) = conjunct {
                        matched = matched_element(conjunct, document).or(matched);
                    }
                }
            }
            (name, _) if name.starts_with('$') => {}
            (path, value) => matched = first_match(path, value, document).or(matched),
        }
    }
    matched
}

/// Tries the members of the first array on `path` one by one, each alone in the place of the array.
fn first_match(path: &str, condition: RawBsonRef<'_>, document: &RawDocument) -> Option<usize> {
    let (names, array) = first_array(path, document)?;
    let mut query = DocumentWriter::with_capacity(64);
    query.append(path, condition);
    let filter = Filter::parse(&query.finish()).ok()?;
    raw::members(array).position(|member| filter.matches(&alone(&names, member)))
}

fn first_array<'a>(
    path: &'a str,
    document: &'a RawDocument,
) -> Option<(Vec<&'a str>, &'a RawArray)> {
    let mut names = Vec::new();
    let mut current = document;
    for name in path.split('.') {
        names.push(name);
        match current.get(name).ok().flatten()? {
            RawBsonRef::Array(array) => return Some((names, array)),
            RawBsonRef::Document(embedded) => current = embedded,
            _ => return None,
        }
    }
    None
}

/// A document that has nothing but an array of one member at the path.
fn alone(names: &[&str], member: RawBsonRef<'_>) -> RawDocumentBuf {
    let (array, outer) = names
        .split_last()
        .expect("a path has one component at least");
    let mut writer = DocumentWriter::with_capacity(128);
    let begun: Vec<_> = outer
        .iter()
        .map(|name| writer.begin_document(name))
        .collect();
    let members = writer.begin_array(array);
    writer.append("0", member);
    writer.end(members);
    for document in begun.into_iter().rev() {
        writer.end(document);
    }
    writer.finish()
}
