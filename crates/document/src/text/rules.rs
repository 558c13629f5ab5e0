//! What of a document is text: the fields of a text index, their weights, and the languages they are in.

use std::collections::BTreeMap;

use bson::raw::{RawBsonRef, RawDocument};

use super::Language;
use super::tokens::{self, Sensitivity};
use crate::{DocumentError, raw};

/// The fields of a text index.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRules {
    /// Fields that are named, with their weights.
    weights: BTreeMap<String, f64>,
    /// The weight of every other field; `None` when those named are all.
    others: Option<f64>,
    default_language: Language,
    /// The field, of a document or of one within it, that names its language.
    language_field: String,
}

/// What one string of a document counts.
pub(super) struct Text<'d> {
    pub text: &'d str,
    pub language: Language,
    pub weight: f64,
}

/// The boost of a term that is all of its field.
const WHOLE_FIELD: f64 = 1.1;

impl TextRules {
    /// The rules for these fields.
    pub fn new(
        weights: BTreeMap<String, f64>,
        others: Option<f64>,
        default_language: Language,
        language_field: String,
    ) -> TextRules {
        TextRules {
            weights,
            others,
            default_language,
            language_field,
        }
    }

    /// The language of documents that name none, and of searches that name none.
    pub fn default_language(&self) -> Language {
        self.default_language
    }

    /// The terms of a document, without regard to case and diacritics, and the score of each.
    pub fn terms(&self, document: &RawDocument) -> Result<BTreeMap<String, f64>, DocumentError> {
        let mut scores = BTreeMap::new();
        self.each_text(document, &mut |text| score(&text, &mut scores))?;
        Ok(scores)
    }

    /// Visits every string that is indexed.
    pub(super) fn each_text<'d>(
        &self,
        document: &'d RawDocument,
        visit: &mut dyn FnMut(Text<'d>),
    ) -> Result<(), DocumentError> {
        self.fields(document, "", self.default_language, visit)
    }

    /// Recursion is bounded by the nesting of the document.
    fn fields<'d>(
        &self,
        document: &'d RawDocument,
        above: &str,
        language: Language,
        visit: &mut dyn FnMut(Text<'d>),
    ) -> Result<(), DocumentError> {
        let language = self.language_of(document)?.unwrap_or(language);
        for element in raw::elements(document) {
            let path = match above.is_empty() {
                true => element.name.to_owned(),
                false => format!("{above}.{}", element.name),
            };
            let named = self.weights.get(&path).copied();
            if named.is_none() && element.name == self.language_field {
                continue;
            }
            self.value(
                element.value(),
                &path,
                named.or(self.others),
                language,
                visit,
            )?;
        }
        Ok(())
    }

    fn value<'d>(
        &self,
        value: RawBsonRef<'d>,
        path: &str,
        weight: Option<f64>,
        language: Language,
        visit: &mut dyn FnMut(Text<'d>),
    ) -> Result<(), DocumentError> {
        match value {
            RawBsonRef::String(text) => {
                if let Some(weight) = weight {
                    visit(Text {
                        text,
                        language,
                        weight,
                    });
                }
                Ok(())
            }
            RawBsonRef::Document(embedded) if self.goes_below(path) => {
                self.fields(embedded, path, language, visit)
            }
            RawBsonRef::Array(array) => raw::members(array)
                .try_for_each(|member| self.value(member, path, weight, language, visit)),
            _ => Ok(()),
        }
    }

    /// Whether some field below `path` is indexed.
    fn goes_below(&self, path: &str) -> bool {
        let is_below = |named: &String| {
            named
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        self.others.is_some() || self.weights.keys().any(is_below)
    }

    /// The language that a document names for itself.
    fn language_of(&self, document: &RawDocument) -> Result<Option<Language>, DocumentError> {
        match document.get(&self.language_field).ok().flatten() {
            None => Ok(None),
            Some(RawBsonRef::String(name)) => match Language::named(name) {
                Some(language) => Ok(Some(language)),
                None => Err(DocumentError::location(
                    17262,
                    format!("language override unsupported: {name}"),
                )),
            },
            Some(_) => Err(DocumentError::location(
                17261,
                "found language override field in document with non-string type",
            )),
        }
    }
}

/// How often a term comes up in one text.
#[derive(Default)]
struct Occurrences {
    count: f64,
    /// One for the first, half for the second, a quarter for the third.
    frequency: f64,
    /// What the last one added.
    last: f64,
}

/// Adds the scores of the terms of one text.
fn score(text: &Text<'_>, scores: &mut BTreeMap<String, f64>) {
    let mut found: BTreeMap<String, Occurrences> = BTreeMap::new();
    let mut all = 0.0;
    for term in tokens::terms(text.text, text.language, Sensitivity::default()) {
        let occurrences = found.entry(term).or_default();
        occurrences.last = match occurrences.count {
            0.0 => 1.0,
            _ => occurrences.last / 2.0,
        };
        occurrences.frequency += occurrences.last;
        occurrences.count += 1.0;
        all += 1.0;
    }
    for (term, occurrences) in found {
        let share = 0.5 * occurrences.count / all + 0.5;
        let is_whole = text.text.len() == term.len() && text.text.eq_ignore_ascii_case(&term);
        let boost = if is_whole { WHOLE_FIELD } else { 1.0 };
        let score = text.weight * occurrences.frequency * share * boost;
        *scores.entry(term).or_default() += score;
    }
}
