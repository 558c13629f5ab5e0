//! Sort specifications, sort keys that compare as bytes, and a sorter of bounded memory.
//!
//! A document sorts by the lowest (ascending) or highest (descending) member of an array, a missing field as null,
//! an empty array below null: the first key the document would have in an index over the same fields.

mod sorter;
#[cfg(test)]
mod tests;

pub use sorter::{SORT_BYTES_MAX, Sorter};

use std::cmp::Ordering;
use std::sync::Arc;

use bson::RawDocument;
use bson::raw::RawBsonRef;

use crate::collation::{Collation, collated};
use crate::context::{Context, Scores};
use crate::expression::number::Numeric;
use crate::key_encoding::{self, Direction};
use crate::path::{self, Path};
use crate::text::TextSearch;
use crate::{DocumentError, ErrorKind, display, raw};

/// Fields of a sort at most, as of a compound index.
const SORT_FIELDS_MAX: usize = 32;

/// One field of a sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortField {
    /// Dotted path.
    pub path: String,
    /// Ascending or descending.
    pub direction: Direction,
    /// By the score of a text search instead of the value at the path, the best first.
    pub by_score: bool,
}

/// A parsed `sort` document.
#[derive(Debug, Clone)]
pub struct SortSpec {
    fields: Vec<SortField>,
    paths: Vec<(Path, Direction)>,
    natural: Option<Direction>,
    collation: Option<Collation>,
    search: Option<Arc<TextSearch>>,
}

impl SortSpec {
    /// Parses the `sort` document; an empty one sorts by nothing. `{$natural: ±1}` is accepted alone.
    pub fn parse(specification: &RawDocument) -> Result<SortSpec, DocumentError> {
        SortSpec::parse_in(specification, &Context::none())
    }

    /// The same where documents may have scores: `{field: {$meta: "textScore"}}`.
    pub fn parse_in(
        specification: &RawDocument,
        context: &Context,
    ) -> Result<SortSpec, DocumentError> {
        let mut search = None;
        let mut fields: Vec<SortField> = Vec::new();
        let mut natural = None;
        for field in raw::elements(specification) {
            let by_score = meta_of(field.value());
            if let Some(what) = by_score {
                search = score_of(what, context)?;
            }
            let direction = match by_score {
                Some(_) => Direction::Descending,
                None => parse_direction(field.name, field.value())?,
            };
            if field.name == "$natural" {
                natural = Some(direction);
                continue;
            }
            check_path(field.name)?;
            if fields.iter().any(|known| known.path == field.name) {
                return Err(DocumentError::location(
                    7_472_500,
                    format!(
                        "$sort key must not contain duplicate keys (duplicate: '{}')",
                        field.name
                    ),
                ));
            }
            fields.push(SortField {
                path: field.name.to_owned(),
                direction,
                by_score: by_score.is_some(),
            });
        }
        if natural.is_some() && !fields.is_empty() {
            return Err(DocumentError::bad_value(
                "Cannot include '$natural' in compound sort",
            ));
        }
        if fields.len() > SORT_FIELDS_MAX {
            return Err(DocumentError::bad_value(format!(
                "too many compound keys: a sort has at most {SORT_FIELDS_MAX}"
            )));
        }
        let paths = fields
            .iter()
            .map(|field| (Path::parse(field.path.as_str()), field.direction))
            .collect();
        Ok(SortSpec {
            fields,
            paths,
            natural,
            collation: None,
            search,
        })
    }

    /// The same with strings in the order of a collation.
    pub fn with_collation(mut self, collation: Option<&Collation>) -> SortSpec {
        self.collation = collation.cloned();
        self
    }

    /// The fields in order of weight.
    pub fn fields(&self) -> &[SortField] {
        &self.fields
    }

    /// Whether a score is part of it: no index has that.
    pub fn is_by_score(&self) -> bool {
        self.fields.iter().any(|field| field.by_score)
    }

    /// Whether documents may come in any order (or in that of [`SortSpec::natural`]).
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The direction of `{$natural: ±1}`.
    pub fn natural(&self) -> Option<Direction> {
        self.natural
    }

    /// Appends the key whose byte order is this sort's order. Fails when two fields lead through different arrays.
    pub fn encode_key(
        &self,
        document: &RawDocument,
        key: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        if self.is_by_score() {
            return self.encode_key_with_score(document, key);
        }
        let start = key.len();
        for field in &self.fields {
            match follow(document, &field.path) {
                Followed::Value(value) => {
                    let value = collated(self.collation.as_ref(), value);
                    key_encoding::encode(value.as_ref(), field.direction, key);
                }
                Followed::Array => {
                    key.truncate(start);
                    return self.encode_array_key(document, key);
                }
            }
        }
        Ok(())
    }

    /// The key on its own.
    pub fn key(&self, document: &RawDocument) -> Result<Vec<u8>, DocumentError> {
        let mut key = Vec::with_capacity(16 * self.fields.len());
        self.encode_key(document, &mut key)?;
        Ok(key)
    }

    /// Compares two documents by this sort. Documents that [`SortSpec::encode_key`] refuses compare field by field.
    pub fn compare(&self, left: &RawDocument, right: &RawDocument) -> Ordering {
        match (self.key(left), self.key(right)) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            _ => self.separate_keys(left).cmp(&self.separate_keys(right)),
        }
    }

    fn encode_array_key(
        &self,
        document: &RawDocument,
        key: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        let collation = self.collation.as_ref();
        let (keys, _) =
            path::index_keys_in(document, &self.paths, false, collation).map_err(|_| {
                DocumentError::bad_value("cannot sort with keys that are parallel arrays")
            })?;
        let first = keys
            .first()
            .expect("a dense index has a key for every document");
        key.extend_from_slice(first);
        Ok(())
    }

    /// Field by field, as the score is that of the whole document.
    fn encode_key_with_score(
        &self,
        document: &RawDocument,
        key: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        for (field, path) in self.fields.iter().zip(&self.paths) {
            if !field.by_score {
                key.extend(self.first_key(document, path));
                continue;
            }
            let score = match &self.search {
                Some(search) => search.score(document)?,
                None => 0.0,
            };
            key_encoding::encode(RawBsonRef::Double(score), field.direction, key);
        }
        Ok(())
    }

    fn first_key(&self, document: &RawDocument, field: &(Path, Direction)) -> Vec<u8> {
        let collation = self.collation.as_ref();
        path::index_keys_in(document, std::slice::from_ref(field), false, collation)
            .ok()
            .and_then(|(keys, _)| keys.into_iter().next())
            .unwrap_or_default()
    }

    fn separate_keys(&self, document: &RawDocument) -> Vec<Vec<u8>> {
        let fields = self.paths.iter();
        fields
            .map(|field| self.first_key(document, field))
            .collect()
    }
}

/// What `{$meta: what}` names.
fn meta_of(value: RawBsonRef<'_>) -> Option<RawBsonRef<'_>> {
    match value {
        RawBsonRef::Document(expression) => expression.get("$meta").ok().flatten(),
        _ => None,
    }
}

/// The search whose score is meant; `None` where there is no text index to search.
fn score_of(
    what: RawBsonRef<'_>,
    context: &Context,
) -> Result<Option<Arc<TextSearch>>, DocumentError> {
    if what != RawBsonRef::String("textScore") {
        return Err(DocumentError::new(
            ErrorKind::CommandNotSupported,
            "Sorting by $meta is supported for \"textScore\" only",
        ));
    }
    match context.scores() {
        Scores::Of(search) => Ok(Some(Arc::clone(search))),
        Scores::Unbound => Ok(None),
        Scores::None => Err(DocumentError::location(
            40218,
            "query requires text score metadata, but it is not available",
        )),
        Scores::Passed => Err(DocumentError::new(
            ErrorKind::CommandNotSupported,
            "$sort by the text score behind a stage that changes documents is not supported: put the score into a field in \
             the first such stage",
        )),
    }
}

fn parse_direction(name: &str, value: RawBsonRef<'_>) -> Result<Direction, DocumentError> {
    let number = match value {
        RawBsonRef::Document(_) => {
            return Err(DocumentError::location(
                17312,
                "$meta is the only expression supported by $sort right now",
            ));
        }
        other => Numeric::of(other).ok_or_else(|| {
            DocumentError::location(
                15974,
                format!(
                    "Illegal key in $sort specification: {}",
                    display::element(name, value)
                ),
            )
        })?,
    };
    match number.as_whole() {
        Some(1) => Ok(Direction::Ascending),
        Some(-1) => Ok(Direction::Descending),
        _ => Err(DocumentError::location(
            15975,
            "$sort key ordering must be 1 (for ascending) or -1 (for descending)",
        )),
    }
}

/// What a path used outside of filters must look like.
pub(crate) fn check_path(path: &str) -> Result<(), DocumentError> {
    if path.is_empty() {
        return Err(DocumentError::location(
            40352,
            "FieldPath cannot be constructed with empty string",
        ));
    }
    if path.ends_with('.') {
        return Err(DocumentError::location(
            40353,
            "FieldPath must not end with a '.'.",
        ));
    }
    for part in path.split('.') {
        if part.is_empty() {
            return Err(DocumentError::location(
                15998,
                "FieldPath field names may not be empty strings.",
            ));
        }
        if part.starts_with('$') && !matches!(part, "$id" | "$ref" | "$db") {
            return Err(DocumentError::location(
                16410,
                "FieldPath field names may not start with '$'. Consider using $getField or $setField.",
            ));
        }
    }
    Ok(())
}

enum Followed<'a> {
    /// A value that is not an array; null when missing.
    Value(RawBsonRef<'a>),
    /// An array lies on the path or at its end.
    Array,
}

fn follow<'a>(document: &'a RawDocument, path: &str) -> Followed<'a> {
    let mut current = document;
    let mut rest = path;
    loop {
        let (name, below) = match rest.split_once('.') {
            Some((name, below)) => (name, Some(below)),
            None => (rest, None),
        };
        let value = match current.get(name) {
            Ok(Some(value)) => value,
            _ => return Followed::Value(RawBsonRef::Null),
        };
        match (value, below) {
            (RawBsonRef::Array(_), _) => return Followed::Array,
            (value, None) => return Followed::Value(value),
            (RawBsonRef::Document(embedded), Some(below)) => {
                current = embedded;
                rest = below;
            }
            _ => return Followed::Value(RawBsonRef::Null),
        }
    }
}
