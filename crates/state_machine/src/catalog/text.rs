//! Text indexes: an entry for each term of a document, between the values of the fields that stand before and behind the
//! text fields in the key pattern.
//!
//! The key pattern that is stored and shown is MongoDB's: all text fields become `_fts: "text", _ftsx: 1`, and their names
//! stand in `weights`. What is text, and what its terms are, says [`document::text`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::raw::{CString, cstr};
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use document::collation::collated;
use document::key_encoding;
use document::path::{Path, index_tuples};
use document::text::{Language, TextRules, key_of};
use document::{DocumentError, key_encoding::Direction};

use super::spec::{cannot_create, describe};
use super::{CollectionEntry, IndexEntry, IndexKind, IndexRequest};
use crate::CommandError;

/// What stands in a key pattern for a text field.
pub(super) const TEXT: &str = "text";
/// The field of a key pattern in place of the text fields.
const TERMS: &str = "_fts";
/// What MongoDB puts behind it; no field of entries here.
const TERMS_WEIGHT: &str = "_ftsx";
/// The key, or the weight, of every field.
const EVERY_FIELD: &str = "$**";
/// The options that only a text index has.
pub(super) const OPTIONS: &[&str] = &[
    "weights",
    "default_language",
    "language_override",
    "textIndexVersion",
];
/// Weights lie above 0 and below this.
const WEIGHT_END: f64 = 1e9;
/// The only version here, MongoDB's newest.
const VERSION: i32 = 3;

/// A text index, understood.
#[derive(Debug, Clone)]
pub struct TextIndex {
    rules: Arc<TextRules>,
    /// Which field of the index is the terms'.
    terms_at: usize,
    /// The key pattern as it is stored.
    key: RawDocumentBuf,
    /// The options as they are stored.
    options: RawDocumentBuf,
}

impl PartialEq for TextIndex {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.options == other.options
    }
}

/// Whether a specification asks for a text index, or has an option of one.
pub(super) fn is_asked_for(spec: &RawDocument) -> bool {
    has_text_field(spec.get_document("key").ok())
        || spec
            .iter()
            .flatten()
            .any(|(name, _)| OPTIONS.contains(&name.as_str()))
}

fn has_text_field(key: Option<&RawDocument>) -> bool {
    let mut fields = key.into_iter().flatten().flatten();
    fields.any(|(_, kind)| kind == RawBsonRef::String(TEXT))
}

/// The fields of a key pattern that stand in for others in what is stored: the path that entries have them under, or `None`
/// where they have none.
pub(super) fn stands_for(
    name: &str,
    kind: RawBsonRef<'_>,
    has_terms: bool,
) -> Option<Option<&'static str>> {
    match kind {
        RawBsonRef::String(TEXT) => Some((!has_terms).then_some(TERMS)),
        _ if name == TERMS_WEIGHT && has_terms => Some(None),
        _ => None,
    }
}

impl TextIndex {
    /// Reads a specification with this key pattern. `None` if it is none of a text index.
    pub(super) fn parse(
        key: &RawDocument,
        specification: &RawDocument,
    ) -> Result<Option<TextIndex>, CommandError> {
        if !has_text_field(Some(key)) {
            let mut names = specification
                .iter()
                .flatten()
                .map(|(name, _)| name.as_str());
            return match names.find(|name| OPTIONS.contains(name)) {
                None => Ok(None),
                Some(option) => Err(CommandError::NotSupported {
                    what: format!("the option '{option}' of an index that is no text index"),
                }),
            };
        }
        let Fields {
            named,
            key,
            terms_at,
        } = Fields::of(key)?;
        let weights = weights(named, specification)?;
        let language = default_language(specification)?;
        let language_field = language_field(specification)?;
        check_version(specification)?;

        let mut options = RawDocumentBuf::new();
        let mut shown = RawDocumentBuf::new();
        for (name, weight) in &weights {
            let weight = match weight.fract() == 0.0 && *weight <= f64::from(i32::MAX) {
                true => RawBson::Int32(*weight as i32),
                false => RawBson::Double(*weight),
            };
            shown.append(name_of(name)?, weight);
        }
        options.append(cstr!("weights"), shown);
        options.append(cstr!("default_language"), language.name());
        options.append(cstr!("language_override"), language_field.as_str());
        options.append(cstr!("textIndexVersion"), VERSION);

        let mut weights = weights;
        let others = weights.remove(EVERY_FIELD);
        Ok(Some(TextIndex {
            rules: Arc::new(TextRules::new(weights, others, language, language_field)),
            terms_at,
            key,
            options,
        }))
    }

    /// What is text.
    pub fn rules(&self) -> &Arc<TextRules> {
        &self.rules
    }

    /// Which field of the index is the terms'.
    pub(crate) fn terms_at(&self) -> usize {
        self.terms_at
    }

    /// The key pattern as it is stored.
    pub(super) fn key(&self) -> &RawDocument {
        &self.key
    }

    /// The options as they are stored.
    pub(super) fn options(&self) -> &RawDocument {
        &self.options
    }

    /// The keys of a document, sorted, and whether there are several.
    pub(super) fn keys(
        &self,
        index: &IndexEntry,
        document: &RawDocument,
    ) -> Result<(Vec<Vec<u8>>, bool), DocumentError> {
        let terms = self.rules.terms(document)?;
        if terms.is_empty() {
            return Ok((Vec::new(), false));
        }
        let (before, rest) = index.fields.split_at(self.terms_at);
        let behind = rest.get(1..).unwrap_or_default();
        let before = encoded(document, before)?;
        let behind = encoded(document, behind)?;
        let mut keys: Vec<Vec<u8>> = terms
            .keys()
            .map(|term| {
                let mut key = before.clone();
                let term = key_of(term);
                key_encoding::encode(RawBsonRef::String(&term), Direction::Ascending, &mut key);
                key.extend_from_slice(&behind);
                key
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let several = keys.len() > 1;
        Ok((keys, several))
    }
}

/// The values of fields other than the text, of which each document has one.
fn encoded(document: &RawDocument, fields: &[(Path, Direction)]) -> Result<Vec<u8>, DocumentError> {
    let mut key = Vec::new();
    if fields.is_empty() {
        return Ok(key);
    }
    let paths: Vec<&Path> = fields.iter().map(|(path, _)| path).collect();
    let (tuples, multikey) = index_tuples(document, &paths)?;
    if multikey {
        return Err(DocumentError::location(
            16675,
            "cannot have a multi-key as a prefix to a text index",
        ));
    }
    for (value, (_, direction)) in tuples.into_iter().flatten().zip(fields) {
        let value = collated(None, value);
        key_encoding::encode(value.as_ref(), *direction, &mut key);
    }
    Ok(key)
}

/// A key pattern taken apart.
struct Fields {
    /// Text fields; none where the pattern is a stored one.
    named: Vec<String>,
    /// As it is stored.
    key: RawDocumentBuf,
    terms_at: usize,
}

impl Fields {
    fn of(pattern: &RawDocument) -> Result<Fields, CommandError> {
        let mut named = Vec::new();
        let mut key = RawDocumentBuf::new();
        let mut terms_at = None;
        let mut others = 0;
        let mut ended = false;
        for element in pattern {
            let (name, kind) = element.map_err(DocumentError::from)?;
            match kind {
                RawBsonRef::String(TEXT) if ended => {
                    return Err(cannot_create(format!(
                        "'text' fields in index must all be adjacent: {}",
                        describe(pattern)
                    )));
                }
                RawBsonRef::String(TEXT) => {
                    if terms_at.is_none() {
                        terms_at = Some(others);
                        key.append(cstr!("_fts"), TEXT);
                        key.append(cstr!("_ftsx"), 1i32);
                    }
                    if name != TERMS {
                        named.push(name.as_str().to_owned());
                    }
                }
                _ if name == TERMS_WEIGHT && terms_at.is_some() => {}
                RawBsonRef::String(_) => {
                    return Err(cannot_create(format!(
                        "Can't use more than one index plugin for a single index: {}",
                        describe(pattern)
                    )));
                }
                value => {
                    ended = terms_at.is_some();
                    others += 1;
                    key.append(name, value);
                }
            }
        }
        Ok(Fields {
            named,
            key,
            terms_at: terms_at.expect("only called for a pattern with a text field"),
        })
    }
}

/// The weight of every text field: of those in the key and of those that only the option names.
fn weights(
    named: Vec<String>,
    specification: &RawDocument,
) -> Result<BTreeMap<String, f64>, CommandError> {
    let mut weights: BTreeMap<String, f64> = named.into_iter().map(|name| (name, 1.0)).collect();
    match specification.get("weights").map_err(DocumentError::from)? {
        None => {}
        Some(RawBsonRef::String(EVERY_FIELD)) => {
            weights.insert(EVERY_FIELD.to_owned(), 1.0);
        }
        Some(RawBsonRef::Document(given)) => {
            for element in given {
                let (name, weight) = element.map_err(DocumentError::from)?;
                let weight = match weight {
                    RawBsonRef::Int32(weight) => f64::from(weight),
                    RawBsonRef::Int64(weight) => weight as f64,
                    RawBsonRef::Double(weight) => weight,
                    _ => return Err(cannot_create("weight for text index needs numeric type")),
                };
                if !(weight > 0.0 && weight < WEIGHT_END) {
                    return Err(cannot_create(format!(
                        "text index weight must be in the exclusive interval (0,{WEIGHT_END}) but found: {weight}"
                    )));
                }
                weights.insert(name.as_str().to_owned(), weight);
            }
        }
        Some(_) => {
            return Err(cannot_create(
                "text index option 'weights' must be an object",
            ));
        }
    }
    if weights.is_empty() {
        return Err(cannot_create(
            "text index option 'weights' must specify fields",
        ));
    }
    let is_path = |name: &String| {
        name == EVERY_FIELD
            || name
                .split('.')
                .all(|part| !part.is_empty() && !part.starts_with('$'))
    };
    match weights.keys().find(|name| !is_path(name)) {
        None => Ok(weights),
        Some(name) => Err(cannot_create(format!(
            "a text index cannot have the field '{name}'"
        ))),
    }
}

fn default_language(specification: &RawDocument) -> Result<Language, CommandError> {
    let value = specification
        .get("default_language")
        .map_err(DocumentError::from)?;
    let language = match value {
        None => Some(Language::english()),
        Some(RawBsonRef::String(name)) => Language::named(name),
        Some(_) => None,
    };
    language.ok_or_else(|| DocumentError::location(17264, "default_language is not valid").into())
}

fn language_field(specification: &RawDocument) -> Result<String, CommandError> {
    match specification
        .get("language_override")
        .map_err(DocumentError::from)?
    {
        None => Ok("language".to_owned()),
        Some(RawBsonRef::String(name))
            if !name.is_empty() && !name.starts_with('$') && !name.contains('.') =>
        {
            Ok(name.to_owned())
        }
        Some(_) => Err(DocumentError::location(17136, "language_override is not valid").into()),
    }
}

fn check_version(specification: &RawDocument) -> Result<(), CommandError> {
    let value = specification
        .get("textIndexVersion")
        .map_err(DocumentError::from)?;
    let version = match value {
        None => VERSION,
        Some(RawBsonRef::Int32(version)) => version,
        Some(RawBsonRef::Double(version)) => version as i32,
        Some(RawBsonRef::Int64(version)) => i32::try_from(version).unwrap_or(0),
        Some(_) => 0,
    };
    match version {
        VERSION => Ok(()),
        1 | 2 => Err(CommandError::NotSupported {
            what: format!("a text index of version {version}"),
        }),
        _ => Err(DocumentError::location(17730, format!("bad textIndexVersion: {version}")).into()),
    }
}

fn name_of(name: &str) -> Result<CString, CommandError> {
    CString::try_from(name)
        .map_err(|_| cannot_create("the name of a text field holds a null character"))
}

/// A collection has one text index, so that `$text` need not say which.
pub(super) fn check_only_one(
    request: &IndexRequest,
    collection: &CollectionEntry,
    shown: &RawDocument,
) -> Result<(), CommandError> {
    if !matches!(request.kind, IndexKind::Text(_)) {
        return Ok(());
    }
    let is_text = |index: &&Arc<IndexEntry>| matches!(index.kind, IndexKind::Text(_));
    let Some(existing) = collection.indexes.iter().find(is_text) else {
        return Ok(());
    };
    if existing.fields == request.fields {
        return Err(CommandError::IndexOptionsConflict {
            message: format!(
                "An equivalent index already exists with a different name and options. Requested index: {}, existing \
                 index: {}",
                describe(shown),
                describe(&existing.spec)
            ),
        });
    }
    Err(cannot_create(format!(
        "only one text index per collection allowed, found existing text index \"{}\"",
        existing.name
    )))
}

impl CollectionEntry {
    /// The text index that `$text` searches: one that is ready and not hidden.
    pub(crate) fn text_index(&self) -> Option<(&Arc<IndexEntry>, &TextIndex)> {
        let mut usable = self.ready_indexes().filter(|index| !index.hidden);
        usable.find_map(|index| match &index.kind {
            IndexKind::Text(text) => Some((index, &**text)),
            _ => None,
        })
    }

    /// What is text in it, if it has such an index.
    pub(crate) fn text_rules(&self) -> Option<Arc<TextRules>> {
        let (_, text) = self.text_index()?;
        Some(Arc::clone(text.rules()))
    }
}
