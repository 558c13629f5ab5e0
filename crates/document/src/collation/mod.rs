//! Collations: language-dependent orders of strings, with MongoDB's options.
//!
//! A collation turns a string into its sort key: keys compare as bytes in the collation's order, and are equal where the
//! collation sees no difference. Everything else works on such keys: [`Collation::of`] gives a value with all strings in
//! it, nested ones too, replaced by their keys, and whatever compares, bounds, encodes or hashes values stays as it is.
//! Each byte of a key becomes the character of that number, so that keys are strings again and keep their order.
//!
//! The rules (CLDR, through ICU4X) are built into the program, so all members of one version agree. Sort keys of another
//! version of the rules may differ, and indexes keep them: the version is pinned in the workspace's `Cargo.toml`, and is
//! part of [`Collation::document`].

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bson::raw::{CString, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use icu_collator::CollatorBorrowed;
use icu_collator::options::{AlternateHandling, CaseLevel, CollatorOptions, MaxVariable, Strength};
use icu_locale_core::Locale;

use crate::order::Number;
use crate::{DocumentError, ErrorKind, raw};

/// The version of the rules.
const VERSION: &str = "icu4x-2.4";

/// Languages that MongoDB has collations for.
const LANGUAGES: &[&str] = &[
    "af", "sq", "am", "ar", "hy", "as", "az", "be", "bn", "bs", "bg", "my", "ca", "chr", "zh",
    "hr", "cs", "da", "nl", "dz", "en", "eo", "et", "ee", "fo", "fil", "fi", "fr", "gl", "ka",
    "de", "el", "gu", "ha", "haw", "he", "hi", "hu", "is", "ig", "smn", "id", "ga", "it", "ja",
    "kl", "kn", "kk", "km", "kok", "ko", "ky", "lkt", "lo", "lv", "ln", "lt", "dsb", "lb", "mk",
    "ms", "ml", "mt", "mr", "mn", "ne", "se", "nb", "nn", "or", "om", "ps", "fa", "pl", "pt", "pa",
    "ro", "ru", "sr", "si", "sk", "sl", "es", "sw", "sv", "ta", "te", "th", "bo", "to", "tr", "uk",
    "hsb", "ur", "ug", "vi", "wae", "cy", "yi", "yo", "zu",
];

/// A collation other than the simple one. Cheap to clone.
#[derive(Clone)]
pub struct Collation {
    inner: Arc<Inner>,
}

struct Inner {
    document: RawDocumentBuf,
    collator: CollatorBorrowed<'static>,
}

impl std::fmt::Debug for Collation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.document.fmt(formatter)
    }
}

impl PartialEq for Collation {
    fn eq(&self, other: &Self) -> bool {
        self.inner.document == other.inner.document
    }
}

impl Collation {
    /// Reads a `collation` document; `None` for the simple collation, which compares bytes, and for an empty document.
    pub fn parse(specification: &RawDocument) -> Result<Option<Collation>, DocumentError> {
        if specification.is_empty() {
            return Ok(None);
        }
        let options = Options::parse(specification)?;
        if options.locale == "simple" {
            return Ok(None);
        }
        Ok(Some(Collation {
            inner: Arc::new(Inner {
                collator: options.collator(specification)?,
                document: options.document(),
            }),
        }))
    }

    /// All options, those not given with their defaults: what `listIndexes` shows.
    pub fn document(&self) -> &RawDocument {
        &self.inner.document
    }

    /// `value` as this collation sees it.
    pub fn of<'v>(&self, value: RawBsonRef<'v>) -> Collated<'v> {
        match value {
            RawBsonRef::String(text) | RawBsonRef::Symbol(text) => {
                Collated::Key(RawBson::String(self.key(text)))
            }
            RawBsonRef::Document(document) if holds_strings(value) => {
                Collated::Key(RawBson::Document(self.of_document(document)))
            }
            RawBsonRef::Array(array) if holds_strings(value) => {
                let members = raw::members(array);
                let members: RawArrayBuf =
                    members.map(|member| self.of(member).into_owned()).collect();
                Collated::Key(RawBson::Array(members))
            }
            value => Collated::Same(value),
        }
    }

    fn of_document(&self, document: &RawDocument) -> RawDocumentBuf {
        let mut collated = RawDocumentBuf::new();
        for element in raw::elements(document) {
            // A name that came out of a document has no zero byte.
            if let Ok(name) = CString::try_from(element.name) {
                collated.append(name, self.of(element.value()).into_owned());
            }
        }
        collated
    }

    /// The sort key of a string, a character for each byte.
    fn key(&self, text: &str) -> String {
        let mut key: Vec<u8> = Vec::with_capacity(text.len() * 2 + 4);
        let Ok(()) = self.inner.collator.write_sort_key_to(text, &mut key);
        key.into_iter().map(char::from).collect()
    }
}

/// Whether a collation matters to `value`.
pub fn holds_strings(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::String(_) | RawBsonRef::Symbol(_) => true,
        RawBsonRef::Document(document) => {
            raw::elements(document).any(|element| holds_strings(element.value()))
        }
        RawBsonRef::Array(array) => raw::members(array).any(holds_strings),
        _ => false,
    }
}

/// `value` as `collation` sees it, or as it is.
pub fn collated<'v>(collation: Option<&Collation>, value: RawBsonRef<'v>) -> Collated<'v> {
    match collation {
        Some(collation) => collation.of(value),
        None => Collated::Same(value),
    }
}

/// A value as a collation sees it.
#[derive(Debug)]
pub enum Collated<'v> {
    /// It has no strings.
    Same(RawBsonRef<'v>),
    /// With sort keys in place of strings.
    Key(RawBson),
}

impl Collated<'_> {
    /// The value.
    pub fn as_ref(&self) -> RawBsonRef<'_> {
        match self {
            Collated::Same(value) => *value,
            Collated::Key(value) => value.as_raw_bson_ref(),
        }
    }

    /// The value on its own.
    pub fn into_owned(self) -> RawBson {
        match self {
            Collated::Same(value) => value.into(),
            Collated::Key(value) => value,
        }
    }
}

struct Options<'d> {
    locale: &'d str,
    strength: i64,
    case_level: bool,
    case_first: &'d str,
    numeric_ordering: bool,
    alternate: &'d str,
    max_variable: &'d str,
    normalization: bool,
    backwards: Option<bool>,
}

impl<'d> Options<'d> {
    fn parse(specification: &'d RawDocument) -> Result<Options<'d>, DocumentError> {
        let mut options = Options {
            locale: "",
            strength: 3,
            case_level: false,
            case_first: "off",
            numeric_ordering: false,
            alternate: "non-ignorable",
            max_variable: "punct",
            normalization: false,
            backwards: None,
        };
        for element in raw::elements(specification) {
            let (name, value) = (element.name, element.value());
            match name {
                "locale" => options.locale = text(name, value)?,
                "strength" => {
                    options.strength = match Number::of(value).and_then(|n| n.truncate_to_i64()) {
                        Some(strength @ 1..=5) => strength,
                        Some(other) => return Err(no_such_value(name, &other.to_string())),
                        None => return Err(wrong_type(name)),
                    }
                }
                "caseLevel" => options.case_level = flag(name, value)?,
                "caseFirst" => {
                    options.case_first = one_of(name, value, &["upper", "lower", "off"])?
                }
                "numericOrdering" => options.numeric_ordering = flag(name, value)?,
                "alternate" => {
                    options.alternate = one_of(name, value, &["non-ignorable", "shifted"])?
                }
                "maxVariable" => options.max_variable = one_of(name, value, &["punct", "space"])?,
                "normalization" => options.normalization = flag(name, value)?,
                "backwards" => options.backwards = Some(flag(name, value)?),
                "version" => {
                    if text(name, value)? != VERSION {
                        return Err(DocumentError::bad_value(format!(
                            "Requested collation version is not available here, which has {VERSION}"
                        )));
                    }
                }
                other => {
                    return Err(DocumentError::location(
                        40415,
                        format!("BSON field 'collation.{other}' is an unknown field."),
                    ));
                }
            }
        }
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), DocumentError> {
        if self.locale.is_empty() {
            return Err(DocumentError::location(
                40414,
                "BSON field 'collation.locale' is missing but a required field",
            ));
        }
        if self.case_first != "off" && !self.case_level && self.strength < 3 {
            return Err(DocumentError::bad_value(
                "'caseFirst' is invalid unless 'caseLevel' is on or 'strength' is greater than 2",
            ));
        }
        if self.backwards == Some(true) && self.strength == 1 {
            return Err(DocumentError::bad_value(
                "'backwards' is invalid with 'strength' of 1",
            ));
        }
        Ok(())
    }

    /// Whether the language compares accents from the end.
    fn is_backwards_by_nature(&self) -> bool {
        self.locale.starts_with("fr_CA")
    }

    fn collator(
        &self,
        specification: &RawDocument,
    ) -> Result<CollatorBorrowed<'static>, DocumentError> {
        let invalid = || {
            DocumentError::bad_value(format!(
                "Field 'locale' is invalid in: {}",
                crate::display::document(specification)
            ))
        };
        if let Some(backwards) = self.backwards
            && backwards != self.is_backwards_by_nature()
        {
            return Err(DocumentError::new(
                ErrorKind::CommandNotSupported,
                format!(
                    "collation.backwards: {backwards} with locale '{}' is not supported",
                    self.locale
                ),
            ));
        }
        let locale: Locale = self
            .language_tag()
            .ok_or_else(invalid)?
            .parse()
            .map_err(|_| invalid())?;
        let mut options = CollatorOptions::default();
        options.strength = Some(match self.strength {
            1 => Strength::Primary,
            2 => Strength::Secondary,
            4 => Strength::Quaternary,
            5 => Strength::Identical,
            _ => Strength::Tertiary,
        });
        options.alternate_handling = Some(match self.alternate {
            "shifted" => AlternateHandling::Shifted,
            _ => AlternateHandling::NonIgnorable,
        });
        options.max_variable = Some(match self.max_variable {
            "space" => MaxVariable::Space,
            _ => MaxVariable::Punctuation,
        });
        options.case_level = Some(match self.case_level {
            true => CaseLevel::On,
            false => CaseLevel::Off,
        });
        CollatorBorrowed::try_new((&locale).into(), options).map_err(|_| invalid())
    }

    /// MongoDB's `de_AT@collation=phonebook` as a BCP 47 tag with the options that are part of one.
    fn language_tag(&self) -> Option<String> {
        let (name, keywords) = match self.locale.split_once('@') {
            Some((name, keywords)) => (name, Some(keywords)),
            None => (self.locale, None),
        };
        let language = name.split('_').next()?;
        if !LANGUAGES.contains(&language) {
            return None;
        }
        // POSIX is a variant of ICU's that BCP 47 spells otherwise.
        let mut tag = match name {
            "en_US_POSIX" => "en-US-u-va-posix".to_owned(),
            name => format!("{}-u", name.replace('_', "-")),
        };
        if let Some(keywords) = keywords {
            let kind = keywords.strip_prefix("collation=")?;
            let kind = match kind {
                "phonebook" => "phonebk",
                "traditional" => "trad",
                "dictionary" => "dict",
                "gb2312han" => "gb2312",
                kind => kind,
            };
            tag.push_str(&format!("-co-{kind}"));
        }
        if self.case_first != "off" {
            tag.push_str(&format!("-kf-{}", self.case_first));
        }
        tag.push_str(if self.numeric_ordering {
            "-kn"
        } else {
            "-kn-false"
        });
        Some(tag)
    }

    fn document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("locale"), self.locale);
        document.append(cstr!("caseLevel"), self.case_level);
        document.append(cstr!("caseFirst"), self.case_first);
        document.append(cstr!("strength"), self.strength as i32);
        document.append(cstr!("numericOrdering"), self.numeric_ordering);
        document.append(cstr!("alternate"), self.alternate);
        document.append(cstr!("maxVariable"), self.max_variable);
        document.append(cstr!("normalization"), self.normalization);
        document.append(cstr!("backwards"), self.is_backwards_by_nature());
        document.append(cstr!("version"), VERSION);
        document
    }
}

fn text<'d>(name: &str, value: RawBsonRef<'d>) -> Result<&'d str, DocumentError> {
    match value {
        RawBsonRef::String(text) => Ok(text),
        _ => Err(wrong_type(name)),
    }
}

fn flag(name: &str, value: RawBsonRef<'_>) -> Result<bool, DocumentError> {
    match value {
        RawBsonRef::Boolean(flag) => Ok(flag),
        _ => Err(wrong_type(name)),
    }
}

fn one_of<'d>(
    name: &str,
    value: RawBsonRef<'d>,
    allowed: &[&str],
) -> Result<&'d str, DocumentError> {
    let given = text(name, value)?;
    match allowed.contains(&given) {
        true => Ok(given),
        false => Err(no_such_value(name, given)),
    }
}

fn wrong_type(name: &str) -> DocumentError {
    DocumentError::type_mismatch(format!("BSON field 'collation.{name}' is the wrong type"))
}

fn no_such_value(name: &str, given: &str) -> DocumentError {
    DocumentError::bad_value(format!(
        "Enumeration value '{given}' for field 'collation.{name}' is not a valid value."
    ))
}
