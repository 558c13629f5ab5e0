//! The languages of MongoDB's text search, each with its stemmer and its stop words.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use rust_stemmers::{Algorithm, Stemmer};

/// A language that texts are written in.
#[derive(Clone, Copy)]
pub struct Language(&'static Known);

struct Known {
    /// MongoDB's name.
    name: &'static str,
    /// ISO 639-1.
    code: &'static str,
    stemmer: Option<Algorithm>,
    stop_words: OnceLock<BTreeSet<&'static str>>,
}

const fn known(name: &'static str, code: &'static str, stemmer: Algorithm) -> Known {
    Known {
        name,
        code,
        stemmer: Some(stemmer),
        stop_words: OnceLock::new(),
    }
}

/// No stems and no stop words.
static NONE: Known = Known {
    name: "none",
    code: "none",
    stemmer: None,
    stop_words: OnceLock::new(),
};

static LANGUAGES: [Known; 15] = [
    known("danish", "da", Algorithm::Danish),
    known("dutch", "nl", Algorithm::Dutch),
    known("english", "en", Algorithm::English),
    known("finnish", "fi", Algorithm::Finnish),
    known("french", "fr", Algorithm::French),
    known("german", "de", Algorithm::German),
    known("hungarian", "hu", Algorithm::Hungarian),
    known("italian", "it", Algorithm::Italian),
    known("norwegian", "nb", Algorithm::Norwegian),
    known("portuguese", "pt", Algorithm::Portuguese),
    known("romanian", "ro", Algorithm::Romanian),
    known("russian", "ru", Algorithm::Russian),
    known("spanish", "es", Algorithm::Spanish),
    known("swedish", "sv", Algorithm::Swedish),
    known("turkish", "tr", Algorithm::Turkish),
];

impl Language {
    /// By name or two-letter code, whatever its case; `None` for one that is not known.
    pub fn named(name: &str) -> Option<Language> {
        let is_named = |known: &&Known| {
            known.name.eq_ignore_ascii_case(name) || known.code.eq_ignore_ascii_case(name)
        };
        let mut all = LANGUAGES.iter().chain(std::iter::once(&NONE));
        all.find(is_named).map(Language)
    }

    /// What holds where nothing is said.
    pub fn english() -> Language {
        Language::named("english").expect("it is in the table")
    }

    /// MongoDB's name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether a word, in lower case, says nothing by itself.
    pub(super) fn is_stop_word(self, word: &str) -> bool {
        let words = self.0.stop_words.get_or_init(|| {
            // The lists call Norwegian by its own code.
            let code = if self.0.code == "nb" {
                "no"
            } else {
                self.0.code
            };
            let words = stop_words::lookup(code).unwrap_or_default();
            words.iter().copied().collect()
        });
        words.contains(word)
    }

    /// The stem of a word.
    pub(super) fn stem(self, word: &str) -> String {
        match self.0.stemmer {
            Some(algorithm) if word.chars().all(|c| c.is_alphabetic() || c == '\'') => {
                Stemmer::create(algorithm).stem(word).into_owned()
            }
            _ => word.to_owned(),
        }
    }

    /// In lower case. Turkish tells two letters apart that are one elsewhere.
    pub(super) fn lower(self, text: &str) -> String {
        let turkish = self.0.code == "tr";
        let mut lower = String::with_capacity(text.len());
        for character in text.chars() {
            match character {
                'I' if turkish => lower.push('ı'),
                'İ' if turkish => lower.push('i'),
                // Letter by letter, so that a word is the same wherever it stands.
                other => lower.extend(other.to_lowercase()),
            }
        }
        lower
    }

    /// Whether an apostrophe belongs to its word: "can't".
    pub(super) fn keeps_apostrophes(self) -> bool {
        self.0.code == "en"
    }
}

impl PartialEq for Language {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Language {}

impl fmt::Debug for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name)
    }
}
