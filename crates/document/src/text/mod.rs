//! Full-text search: which terms a document has, what `$text` looks for, whether and how well the two fit.
//!
//! Works as MongoDB's text index of version 3 does. A text is cut at delimiters into words; stop words are left out, the
//! others are reduced to their stems; case and diacritics count only where the search asks for it. A search finds documents
//! with any of its terms, all of its phrases, and nothing that it negates. Scores follow MongoDB's formula.
//!
//! All of it is deterministic, and part of what a text index stores: stemmers, stop words and Unicode's tables come from
//! crates whose versions are pinned in the workspace's `Cargo.toml`, and the delimiters stand here. Other rules need a
//! feature level, and text indexes built anew.

mod language;
mod query;
mod rules;
#[cfg(test)]
mod tests;
mod tokens;

pub use language::Language;
pub use query::{TextExpression, TextQuery};
pub use rules::TextRules;
pub use tokens::key_of;

use std::sync::Arc;

use bson::RawDocument;

use crate::DocumentError;

/// A search in the documents of one text index.
#[derive(Debug)]
pub struct TextSearch {
    rules: Arc<TextRules>,
    query: TextQuery,
}

impl TextSearch {
    /// The search that `expression` asks for, in the language of the index unless it names one.
    pub fn new(expression: &TextExpression, rules: &Arc<TextRules>) -> TextSearch {
        TextSearch {
            query: TextQuery::new(expression, rules.default_language()),
            rules: Arc::clone(rules),
        }
    }

    /// What is looked for.
    pub fn query(&self) -> &TextQuery {
        &self.query
    }

    /// Whether `document` is found. One that the index refuses is not.
    pub fn matches(&self, document: &RawDocument) -> bool {
        self.query.matches(document, &self.rules).unwrap_or(false)
    }

    /// How well `document` fits: the sum of the scores of the terms that it shares with the search.
    pub fn score(&self, document: &RawDocument) -> Result<f64, DocumentError> {
        let terms = self.rules.terms(document)?;
        let wanted = self.query.terms();
        Ok(wanted.iter().filter_map(|term| terms.get(term)).sum())
    }
}
