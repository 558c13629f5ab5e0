//! `$text`: `{$search, $language, $caseSensitive, $diacriticSensitive}`, and what it looks for.

use std::collections::BTreeSet;

use bson::raw::{RawBsonRef, RawDocument};

use super::tokens::{self, Sensitivity};
use super::{Language, TextRules};
use crate::{DocumentError, ErrorKind, display, raw};

/// The operand of `$text`, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct TextExpression {
    search: String,
    /// `None`: that of the index.
    language: Option<Language>,
    sensitivity: Sensitivity,
}

/// What a search looks for.
#[derive(Debug)]
pub struct TextQuery {
    /// Terms without regard to case and diacritics: every match has one of them in the index.
    terms: BTreeSet<String>,
    /// The same, told apart as the search asks.
    wanted: BTreeSet<String>,
    negated: BTreeSet<String>,
    phrases: Vec<String>,
    negated_phrases: Vec<String>,
    language: Language,
    sensitivity: Sensitivity,
}

impl TextExpression {
    /// Reads the operand.
    pub fn parse(operand: RawBsonRef<'_>) -> Result<TextExpression, DocumentError> {
        let RawBsonRef::Document(operand) = operand else {
            return Err(DocumentError::bad_value("$text expects an object"));
        };
        let mut search = None;
        let mut language = None;
        let mut sensitivity = Sensitivity::default();
        for field in raw::elements(operand) {
            let value = field.value();
            match field.name {
                "$search" => search = Some(text(field.name, value)?.to_owned()),
                "$language" => language = Some(named(text(field.name, value)?)?),
                "$caseSensitive" => sensitivity.case = truth(field.name, value)?,
                "$diacriticSensitive" => sensitivity.diacritics = truth(field.name, value)?,
                _ => return Err(DocumentError::bad_value("extra fields in $text")),
            }
        }
        let search = search.ok_or_else(|| {
            DocumentError::new(ErrorKind::NoSuchKey, "Missing expected field \"$search\"")
        })?;
        Ok(TextExpression {
            search,
            language,
            sensitivity,
        })
    }
}

fn named(name: &str) -> Result<Language, DocumentError> {
    Language::named(name).ok_or_else(|| {
        DocumentError::bad_value(format!(
            "unsupported language: \"{name}\" for text index version 3"
        ))
    })
}

fn text<'v>(name: &str, value: RawBsonRef<'v>) -> Result<&'v str, DocumentError> {
    match value {
        RawBsonRef::String(text) => Ok(text),
        other => Err(wrong_type(name, "string", other)),
    }
}

fn truth(name: &str, value: RawBsonRef<'_>) -> Result<bool, DocumentError> {
    match value {
        RawBsonRef::Boolean(truth) => Ok(truth),
        other => Err(wrong_type(name, "bool", other)),
    }
}

fn wrong_type(name: &str, expected: &str, found: RawBsonRef<'_>) -> DocumentError {
    let found = display::type_name(found.element_type());
    DocumentError::type_mismatch(format!(
        "\"{name}\" had the wrong type. Expected {expected}, found {found}"
    ))
}

/// A search string taken apart.
#[derive(Default)]
struct Parts {
    /// Words, with spaces between them.
    wanted: String,
    negated: String,
    phrases: Vec<String>,
    negated_phrases: Vec<String>,
}

impl TextQuery {
    pub(super) fn new(expression: &TextExpression, default_language: Language) -> TextQuery {
        let language = expression.language.unwrap_or(default_language);
        let sensitivity = expression.sensitivity;
        let parts = Parts::of(&expression.search);
        let terms =
            |words: &str, sensitivity| tokens::terms(words, language, sensitivity).collect();
        let folded = |phrases: Vec<String>| {
            let phrases = phrases.iter();
            phrases
                .map(|phrase| tokens::folded(phrase, language, sensitivity))
                .collect()
        };
        TextQuery {
            terms: terms(&parts.wanted, Sensitivity::default()),
            wanted: terms(&parts.wanted, sensitivity),
            negated: terms(&parts.negated, sensitivity),
            phrases: folded(parts.phrases),
            negated_phrases: folded(parts.negated_phrases),
            language,
            sensitivity,
        }
    }

    /// Terms of which every match has one, without regard to case and diacritics.
    pub fn terms(&self) -> &BTreeSet<String> {
        &self.terms
    }

    /// Terms that no match has.
    pub fn negated_terms(&self) -> &BTreeSet<String> {
        &self.negated
    }

    /// Phrases that every match has.
    pub fn phrases(&self) -> &[String] {
        &self.phrases
    }

    /// Phrases that no match has.
    pub fn negated_phrases(&self) -> &[String] {
        &self.negated_phrases
    }

    pub(super) fn matches(
        &self,
        document: &RawDocument,
        rules: &TextRules,
    ) -> Result<bool, DocumentError> {
        let (mut has_term, mut has_negated) = (false, false);
        let mut missing: Vec<&String> = self.phrases.iter().collect();
        rules.each_text(document, &mut |text| {
            for term in tokens::terms(text.text, text.language, self.sensitivity) {
                has_term |= self.wanted.contains(&term);
                has_negated |= self.negated.contains(&term);
            }
            if missing.is_empty() && self.negated_phrases.is_empty() {
                return;
            }
            let text = tokens::folded(text.text, self.language, self.sensitivity);
            missing.retain(|phrase| !text.contains(phrase.as_str()));
            let mut negated = self.negated_phrases.iter();
            has_negated |= negated.any(|phrase| text.contains(phrase.as_str()));
        })?;
        Ok(has_term && !has_negated && missing.is_empty())
    }
}

impl Parts {
    /// `"a phrase"`, `-negated`, `-"a negated phrase"`, and single words, which phrases are made of, too. A hyphen within a
    /// word only separates.
    fn of(search: &str) -> Parts {
        let mut parts = Parts::default();
        let mut phrase: Option<String> = None;
        let mut negates = false;
        let mut after_space = true;
        for character in search.chars() {
            match character {
                '"' => match phrase.take() {
                    Some(phrase) => {
                        parts.end_word(false);
                        let phrases = match negates {
                            true => &mut parts.negated_phrases,
                            false => &mut parts.phrases,
                        };
                        phrases.push(phrase.trim().to_owned());
                        negates = false;
                    }
                    None => {
                        negates &= !parts.end_word(negates);
                        phrase = Some(String::new());
                    }
                },
                '-' if after_space && phrase.is_none() => negates = true,
                _ => {
                    let mut is_single = true;
                    if let Some(phrase) = &mut phrase {
                        phrase.push(character);
                        is_single = false;
                    }
                    if is_of_word(character) {
                        match (negates, is_single) {
                            (false, _) => parts.wanted.push(character),
                            (true, true) => parts.negated.push(character),
                            (true, false) => {}
                        }
                    } else if parts.end_word(negates && is_single) && is_single {
                        negates = false;
                    }
                }
            }
            after_space = character.is_whitespace();
        }
        parts.phrases.retain(|phrase| !phrase.is_empty());
        parts.negated_phrases.retain(|phrase| !phrase.is_empty());
        parts
    }

    /// Ends the last word of one kind; whether there was one.
    fn end_word(&mut self, negated: bool) -> bool {
        let words = match negated {
            true => &mut self.negated,
            false => &mut self.wanted,
        };
        let was_open = words.chars().last().is_some_and(|last| last != ' ');
        if was_open {
            words.push(' ');
        }
        was_open
    }
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || !character.is_ascii() || matches!(character, '_' | '\'')
}
