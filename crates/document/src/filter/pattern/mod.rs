//! Regular expressions with PCRE's syntax on an engine that runs in linear time.
//!
//! PCRE's syntax is rewritten to that of the `regex` crate; what needs backtracking (look-around, back-references,
//! atomic groups, recursion) is refused by name. Matching is on UTF-8 text: a dot is a character, `\d \w \s` and
//! `\b` are about ASCII only, as MongoDB has it.

mod prefix;
mod rewrite;
#[cfg(test)]
mod tests;

use super::bounds::{self, IndexBounds, Interval};
use crate::error::DocumentError;
use bson::Regex;
use bson::raw::{RawBson, RawBsonRef};
use prefix::Prefix;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    source: Regex,
    compiled: regex::bytes::Regex,
    prefix: Option<Prefix>,
}

impl Pattern {
    /// Compiles `pattern` with MongoDB's `options`: any of `i m s x u`.
    pub fn compile(pattern: &str, options: &str) -> Result<Pattern, DocumentError> {
        Pattern::compile_as(pattern, options, false)
    }

    /// The same for [`Pattern::captures`].
    pub fn compile_capturing(pattern: &str, options: &str) -> Result<Pattern, DocumentError> {
        Pattern::compile_as(pattern, options, true)
    }

    fn compile_as(pattern: &str, options: &str, captures: bool) -> Result<Pattern, DocumentError> {
        let with_nul = |part: &str| {
            DocumentError::location(
                51109,
                format!("Regular expression {part} cannot contain an embedded null byte"),
            )
        };
        let source = Regex {
            pattern: pattern.try_into().map_err(|_| with_nul("pattern"))?,
            options: options.try_into().map_err(|_| with_nul("options string"))?,
        };
        if let Some(unknown) = options.chars().find(|option| !"imsxu".contains(*option)) {
            return Err(DocumentError::location(
                51108,
                format!("invalid flag in regex options: {unknown}"),
            ));
        }
        let invalid = |why: String| {
            DocumentError::location(51091, format!("Regular expression is invalid: {why}"))
        };
        let modes = rewrite::Modes {
            multi_line: options.contains('m'),
            extended: options.contains('x'),
        };
        let rewritten = rewrite::rewrite(pattern, modes, captures).map_err(invalid)?;
        let compiled = regex::bytes::RegexBuilder::new(&rewritten)
            .case_insensitive(options.contains('i'))
            .multi_line(modes.multi_line)
            .dot_matches_new_line(options.contains('s'))
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let prefix = if options.contains(['i', 'm', 'x']) {
            None
        } else {
            Prefix::of(pattern)
        };
        Ok(Pattern {
            source,
            compiled,
            prefix,
        })
    }

    /// Strings and symbols that the pattern is found in, and regular expressions that are this one.
    pub fn matches(&self, value: RawBsonRef<'_>) -> bool {
        match value {
            RawBsonRef::String(text) | RawBsonRef::Symbol(text) => {
                self.compiled.is_match(text.as_bytes())
            }
            RawBsonRef::RegularExpression(regex) => {
                regex.pattern.as_str() == self.source.pattern.as_str()
                    && regex.options.as_str() == self.source.options.as_str()
            }
            _ => false,
        }
    }

    /// The places in `text` where the pattern is found, one behind the other.
    pub fn captures<'t>(&self, text: &'t str) -> impl Iterator<Item = regex::bytes::Captures<'t>> {
        self.compiled.captures_iter(text.as_bytes())
    }

    /// The strings with the pattern's literal prefix, or all; and the pattern as a value.
    pub fn index_bounds(&self) -> IndexBounds {
        let (prefix, exact) = match &self.prefix {
            Some(prefix) => (prefix.text.as_str(), prefix.is_whole_pattern),
            None => ("", false),
        };
        let itself = Interval::point(RawBson::RegularExpression(self.source.clone()));
        bounds::union(vec![bounds::strings_with_prefix(prefix), itself], exact)
    }
}
