//! From a text to its terms.

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use md5::{Digest, Md5};

use super::Language;

/// What is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sensitivity {
    /// Upper and lower case.
    pub case: bool,
    /// Letters with and without their marks.
    pub diacritics: bool,
}

/// Terms longer than this have another key.
const TERM_CHARACTERS_MAX: usize = 64;
/// How many characters of such a term its key begins with.
const KEPT_CHARACTERS: usize = 32;

/// Where words end, besides apostrophes: white space, punctuation and dashes of all scripts. Part of what indexes store.
/// First and last code point of each range, ascending.
const DELIMITERS: &[(u32, u32)] = &[
    (0x0000, 0x0026),
    (0x0028, 0x002f),
    (0x003a, 0x0040),
    (0x005b, 0x005e),
    (0x0060, 0x0060),
    (0x007b, 0x00a7),
    (0x00a9, 0x00a9),
    (0x00ab, 0x00ae),
    (0x00b0, 0x00b1),
    (0x00b6, 0x00b6),
    (0x00bb, 0x00bb),
    (0x00bf, 0x00bf),
    (0x00d7, 0x00d7),
    (0x00f7, 0x00f7),
    (0x037e, 0x037e),
    (0x0387, 0x0387),
    (0x0589, 0x058a),
    (0x05be, 0x05be),
    (0x05c3, 0x05c3),
    (0x060c, 0x060c),
    (0x061b, 0x061b),
    (0x061d, 0x061f),
    (0x06d4, 0x06d4),
    (0x0700, 0x070a),
    (0x070c, 0x070c),
    (0x07f8, 0x07f9),
    (0x0830, 0x083e),
    (0x085e, 0x085e),
    (0x0964, 0x0965),
    (0x0e5a, 0x0e5b),
    (0x0f08, 0x0f08),
    (0x0f0d, 0x0f12),
    (0x104a, 0x104b),
    (0x1361, 0x1368),
    (0x1400, 0x1400),
    (0x166e, 0x166e),
    (0x1680, 0x1680),
    (0x16eb, 0x16ed),
    (0x1735, 0x1736),
    (0x17d4, 0x17d6),
    (0x17da, 0x17da),
    (0x1802, 0x1806),
    (0x1808, 0x1809),
    (0x2000, 0x200a),
    (0x2010, 0x2029),
    (0x202f, 0x203e),
    (0x2041, 0x2053),
    (0x2055, 0x205f),
    (0x207b, 0x207b),
    (0x208b, 0x208b),
    (0x2190, 0x245f),
    (0x2500, 0x2775),
    (0x2794, 0x2bff),
    (0x2cf9, 0x2cfb),
    (0x2e00, 0x2e7f),
    (0x3000, 0x3003),
    (0x3008, 0x3020),
    (0x3030, 0x3030),
    (0x30a0, 0x30a0),
    (0x30fb, 0x30fb),
    (0xa4fe, 0xa4ff),
    (0xa60d, 0xa60f),
    (0xa6f3, 0xa6f7),
    (0xa876, 0xa877),
    (0xa8ce, 0xa8cf),
    (0xa92f, 0xa92f),
    (0xa9c7, 0xa9c9),
    (0xaa5d, 0xaa5f),
    (0xabeb, 0xabeb),
    (0xfd3e, 0xfd3f),
    (0xfe10, 0xfe19),
    (0xfe30, 0xfe52),
    (0xfe54, 0xfe66),
    (0xff01, 0xff0f),
    (0xff1a, 0xff20),
    (0xff3b, 0xff3e),
    (0xff40, 0xff40),
    (0xff5b, 0xff65),
];

/// Marks that stand on other letters.
const DIACRITICS: &[(u32, u32)] = &[
    (0x0300, 0x036f),
    (0x0483, 0x0487),
    (0x0591, 0x05bd),
    (0x05bf, 0x05bf),
    (0x05c1, 0x05c2),
    (0x05c4, 0x05c5),
    (0x064b, 0x0652),
    (0x0670, 0x0670),
    (0x1ab0, 0x1aff),
    (0x1dc0, 0x1dff),
    (0x20d0, 0x20f0),
    (0xfe20, 0xfe2f),
];

fn is_in(ranges: &[(u32, u32)], character: char) -> bool {
    let code = u32::from(character);
    let at = ranges.partition_point(|(_, last)| *last < code);
    ranges.get(at).is_some_and(|(first, _)| *first <= code)
}

fn is_delimiter(character: char, language: Language) -> bool {
    match character {
        '\'' => !language.keeps_apostrophes(),
        _ => is_in(DELIMITERS, character),
    }
}

/// The words between delimiters.
pub(super) fn words(text: &str, language: Language) -> impl Iterator<Item = &str> {
    let words = text.split(move |character| is_delimiter(character, language));
    words.filter(|word| !word.is_empty())
}

/// The terms of `text` in their order, stop words left out.
pub(super) fn terms(
    text: &str,
    language: Language,
    sensitivity: Sensitivity,
) -> impl Iterator<Item = String> {
    words(text, language).filter_map(move |word| {
        let lower = language.lower(word);
        if language.is_stop_word(&lower) {
            return None;
        }
        // Stemmers look at marks, so these go after the stem was found.
        let stem = match sensitivity.case {
            true => language.stem(word),
            false => language.stem(&lower),
        };
        Some(match sensitivity.diacritics {
            true => stem,
            false => without_diacritics(&stem),
        })
    })
}

/// The text with all that is not told apart made the same.
pub(super) fn folded(text: &str, language: Language, sensitivity: Sensitivity) -> String {
    let text = match sensitivity.case {
        true => text.to_owned(),
        false => language.lower(text),
    };
    match sensitivity.diacritics {
        true => text,
        false => without_diacritics(&text),
    }
}

fn without_diacritics(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let apart = DecomposingNormalizerBorrowed::new_nfd().normalize(text);
    let plain: String = apart
        .chars()
        .filter(|mark| !is_in(DIACRITICS, *mark))
        .collect();
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(&plain)
        .into_owned()
}

/// What stands for a term in the keys of an index: the term, or its beginning and its MD5 where it is long.
pub fn key_of(term: &str) -> String {
    let Some((end, _)) = term.char_indices().nth(TERM_CHARACTERS_MAX) else {
        return term.to_owned();
    };
    debug_assert!(end < term.len(), "there are more characters");
    let mut key: String = term.chars().take(KEPT_CHARACTERS).collect();
    for byte in Md5::digest(term.as_bytes()) {
        key.push_str(&format!("{byte:02x}"));
    }
    key
}
