//! Wildcard indexes: one entry for each value at each path below a prefix, so that a filter on any of those paths has an
//! index. An entry's key is the path, then the value. Members of arrays stand under the path of the array.
//!
//! The index has no entry for what is missing, and none for embedded documents other than empty ones: only conditions
//! that hold for neither can use it.

use std::sync::Arc;

use bson::raw::{CString, cstr};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use document::collation::collated;
use document::key_encoding::{self, Direction};
use document::path::Path;
use document::{Collation, DocumentError};

use super::spec::describe;
use super::{IndexEntry, IndexKind};
use crate::CommandError;

/// Which paths such an index has.
#[derive(Debug, Clone, PartialEq)]
pub struct Wildcard {
    /// Only paths below this one; all when empty.
    prefix: String,
    /// `wildcardProjection`: paths, and whether they are those that are in it or those that are not.
    projection: Option<(Vec<String>, bool)>,
    /// Whether `_id` is in it where the projection does not name it.
    has_id: bool,
}

/// The option that chooses among all paths.
pub(super) const PROJECTION: &str = "wildcardProjection";
/// Objects within one another in a projection.
const PROJECTION_NESTING_MAX: usize = 100;
/// The name under which plans show the path.
const PATH_FIELD: &str = "$_path";

/// Whether a field of a key pattern stands for any path.
pub(super) fn is_wildcard(name: &str) -> bool {
    name == "$**" || name.ends_with(".$**")
}

impl Wildcard {
    /// Reads a key pattern and the projection, if there is one. `None` for a key of other fields.
    pub(super) fn parse(
        key: &RawDocument,
        projection: Option<RawBsonRef<'_>>,
    ) -> Result<Option<Wildcard>, CommandError> {
        let names = key.iter().flatten().map(|(name, _)| name.as_str());
        let names: Vec<&str> = names.collect();
        let Some(name) = names.iter().find(|name| is_wildcard(name)) else {
            return match projection {
                None => Ok(None),
                Some(_) => Err(DocumentError::bad_value(format!(
                    "The field '{PROJECTION}' is only allowed in an 'wildcard' index"
                ))
                .into()),
            };
        };
        if names.len() > 1 {
            return Err(CommandError::NotSupported {
                what: "a compound wildcard index".to_owned(),
            });
        }
        let prefix = name.strip_suffix("$**").unwrap_or_default();
        let mut wildcard = Wildcard {
            prefix: prefix.trim_end_matches('.').to_owned(),
            projection: None,
            has_id: !prefix.is_empty(),
        };
        match projection {
            None => {}
            Some(RawBsonRef::Document(projection)) if prefix.is_empty() => {
                wildcard.project(projection)?;
            }
            Some(RawBsonRef::Document(_)) => {
                return Err(DocumentError::failed_to_parse(format!(
                    "The field '{PROJECTION}' is only allowed when 'key' is {{\"$**\": ±1}}"
                ))
                .into());
            }
            Some(_) => {
                return Err(DocumentError::type_mismatch(format!(
                    "The field '{PROJECTION}' must be a non-empty object"
                ))
                .into());
            }
        }
        Ok(Some(wildcard))
    }

    fn project(&mut self, projection: &RawDocument) -> Result<(), CommandError> {
        let mut named = Vec::new();
        flatten(projection, "", PROJECTION_NESTING_MAX, &mut named)
            .ok_or_else(|| mixed(projection))?;
        let mut paths = Vec::new();
        let (mut includes, mut includes_id) = (None, None);
        for (path, included) in named {
            if path == "_id" {
                includes_id = Some(included);
                continue;
            }
            if *includes.get_or_insert(included) != included {
                return Err(mixed(projection));
            }
            paths.push(path);
        }
        if projection.is_empty() {
            return Err(DocumentError::bad_value(format!(
                "The '{PROJECTION}' field can't be an empty object"
            ))
            .into());
        }
        self.has_id = includes_id.unwrap_or(false);
        self.projection = includes.or(includes_id).map(|includes| (paths, includes));
        Ok(())
    }

    /// Whether values at `path` are in the index.
    fn has(&self, path: &str) -> bool {
        if !self.prefix.is_empty() && !lies_at(path, &self.prefix) {
            return false;
        }
        if lies_at(path, "_id") && self.prefix.is_empty() {
            return self.has_id;
        }
        match &self.projection {
            None => true,
            Some((paths, includes)) => {
                let named = paths.iter().any(|named| lies_at(path, named));
                named == *includes
            }
        }
    }

    /// The encoded keys of a document, sorted and without duplicates, and whether it has an array among its values.
    pub(super) fn keys(
        &self,
        document: &RawDocument,
        direction: Direction,
        collation: Option<&Collation>,
    ) -> (Vec<Vec<u8>>, bool) {
        let mut found = Found {
            wildcard: self,
            direction,
            collation,
            keys: Vec::new(),
            multikey: false,
        };
        found.fields(document, "");
        found.keys.sort_unstable();
        found.keys.dedup();
        (found.keys, found.multikey)
    }
}

/// Whether `path` is `above` or below it.
fn lies_at(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `{a: {b: 1}}` and `{"a.b": 1}` are the same. `None` where something else is said of a path than whether it is in.
fn flatten(
    projection: &RawDocument,
    above: &str,
    deeper: usize,
    named: &mut Vec<(String, bool)>,
) -> Option<()> {
    for (name, value) in projection.iter().flatten() {
        let path = below(above, name.as_str());
        let included = match value {
            RawBsonRef::Boolean(flag) => flag,
            RawBsonRef::Int32(number) => number != 0,
            RawBsonRef::Int64(number) => number != 0,
            RawBsonRef::Double(number) => number != 0.0,
            RawBsonRef::Document(nested) if !nested.is_empty() && deeper > 0 => {
                flatten(nested, &path, deeper - 1, named)?;
                continue;
            }
            _ => return None,
        };
        let is_path = path
            .split('.')
            .all(|part| !part.is_empty() && !part.starts_with('$'));
        if !is_path {
            return None;
        }
        named.push((path, included));
    }
    Some(())
}

fn below(above: &str, name: &str) -> String {
    match above.is_empty() {
        true => name.to_owned(),
        false => format!("{above}.{name}"),
    }
}

fn mixed(projection: &RawDocument) -> CommandError {
    DocumentError::bad_value(format!(
        "'{PROJECTION}' must only include or only exclude paths (but for _id): {}",
        describe(projection)
    ))
    .into()
}

struct Found<'w> {
    wildcard: &'w Wildcard,
    direction: Direction,
    collation: Option<&'w Collation>,
    keys: Vec<Vec<u8>>,
    multikey: bool,
}

impl Found<'_> {
    /// Recursion is bounded by the nesting of the document.
    fn fields(&mut self, document: &RawDocument, above: &str) {
        for (name, value) in document.iter().flatten() {
            self.value(value, &below(above, name.as_str()));
        }
    }

    fn value(&mut self, value: RawBsonRef<'_>, path: &str) {
        match value {
            RawBsonRef::Document(embedded) if !embedded.is_empty() => self.fields(embedded, path),
            RawBsonRef::Array(array) => {
                let before = self.keys.len();
                let mut members = array.into_iter().flatten().peekable();
                if members.peek().is_none() {
                    self.add(RawBsonRef::Undefined, path);
                }
                for member in members {
                    match member {
                        RawBsonRef::Document(embedded) if !embedded.is_empty() => {
                            self.fields(embedded, path);
                        }
                        member => self.add(member, path),
                    }
                }
                self.multikey |= self.keys.len() > before;
            }
            value => self.add(value, path),
        }
    }

    fn add(&mut self, value: RawBsonRef<'_>, path: &str) {
        if !self.wildcard.has(path) {
            return;
        }
        let mut key = key_encoding::id_key(RawBsonRef::String(path));
        let value = collated(self.collation, value);
        key_encoding::encode(value.as_ref(), self.direction, &mut key);
        self.keys.push(key);
    }
}

impl IndexEntry {
    /// A wildcard index as one over `path`: its fields are the path's name, which is fixed, and the path. `None` if it is
    /// none, or if the path is not in it.
    pub(crate) fn over_path(&self, path: &str) -> Option<Arc<IndexEntry>> {
        let IndexKind::Wildcard(wildcard) = &self.kind else {
            return None;
        };
        // A number in a path may be a position, which entries do not tell.
        if !wildcard.has(path) || Path::parse(path).has_positions() {
            return None;
        }
        let direction = self.fields[0].1;
        let mut key = RawDocumentBuf::new();
        key.append(cstr!("$_path"), 1i32);
        let sign = match direction {
            Direction::Ascending => 1i32,
            Direction::Descending => -1,
        };
        key.append(CString::try_from(path).ok()?, sign);
        Some(Arc::new(IndexEntry {
            key,
            fields: vec![
                (Path::parse(PATH_FIELD), Direction::Ascending),
                (Path::parse(path), direction),
            ],
            kind: IndexKind::WildcardPath {
                path: path.to_owned(),
            },
            ..self.clone()
        }))
    }
}
