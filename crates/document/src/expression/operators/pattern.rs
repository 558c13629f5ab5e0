//! `$regexMatch $regexFind $regexFindAll`: regular expressions over a string, in linear time.

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef};
use bson::{RawArrayBuf, RawDocumentBuf};

use super::named::{Named, Wording};
use super::operands::fail;
use super::{Compute, Computed, Node};
use crate::DocumentError;
use crate::expression::{Environment, Expression, Scope, Value, is_nullish};
use crate::filter::Pattern;
use crate::raw::DocumentWriter;

const REGEX: Named = Named {
    not_object: 51103,
    unknown: 31024,
    wording: Wording::Requires,
    parameters: &[
        ("input", Some(31022)),
        ("regex", Some(31023)),
        ("options", None),
    ],
};

#[derive(Debug, Clone, Copy)]
enum Wanted {
    Whether,
    First,
    All,
}

#[derive(Debug)]
struct Search {
    name: &'static str,
    wanted: Wanted,
    input: Expression,
    regex: Expression,
    options: Option<Expression>,
    /// Compiled once when pattern and options are constants.
    compiled: Option<Option<Pattern>>,
}

pub(super) fn parse_match(
    _: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    parse("$regexMatch", Wanted::Whether, argument, scope)
}

pub(super) fn parse_find(
    _: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    parse("$regexFind", Wanted::First, argument, scope)
}

pub(super) fn parse_find_all(
    _: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    parse("$regexFindAll", Wanted::All, argument, scope)
}

fn parse(
    name: &'static str,
    wanted: Wanted,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = REGEX.arguments(name, argument)?;
    let options = arguments[2].map(|options| Expression::parse_in(options, scope));
    let mut search = Search {
        name,
        wanted,
        input: Expression::parse_in(arguments[0].expect("required"), scope)?,
        regex: Expression::parse_in(arguments[1].expect("required"), scope)?,
        options: options.transpose()?,
        compiled: None,
    };
    let constant = |expression: &Expression| expression.as_constant().is_some();
    if constant(&search.regex) && search.options.as_ref().is_none_or(constant) {
        let nothing = RawDocumentBuf::new();
        search.compiled = Some(search.pattern(Environment::of(&nothing))?);
    }
    Ok(Node::Prepared(Arc::new(search)).into())
}

impl Search {
    /// The pattern to look for; `None` when it is null.
    fn pattern(&self, environment: Environment<'_>) -> Result<Option<Pattern>, DocumentError> {
        let name = self.name;
        let regex = self.regex.evaluate_in(environment)?;
        let options = match &self.options {
            Some(options) => options.evaluate_in(environment)?,
            None => None,
        };
        let options = match options.as_ref().map(Value::as_ref) {
            Some(RawBsonRef::String(options)) => options,
            _ if is_nullish(&options) => "",
            _ => {
                return fail(
                    51106,
                    format!("{name} needs 'options' to be of type string"),
                );
            }
        };
        let (pattern, own_options) = match regex.as_ref().map(Value::as_ref) {
            Some(RawBsonRef::String(pattern)) => (pattern, ""),
            Some(RawBsonRef::RegularExpression(regex)) => {
                (regex.pattern.as_str(), regex.options.as_str())
            }
            _ if is_nullish(&regex) => return Ok(None),
            _ => {
                return fail(
                    51105,
                    format!("{name} needs 'regex' to be of type string or regex"),
                );
            }
        };
        if !own_options.is_empty() && !options.is_empty() {
            return fail(
                51107,
                format!(
                    "{name} found regex option(s) specified in both 'regex' and 'option' fields"
                ),
            );
        }
        let chosen = if own_options.is_empty() {
            options
        } else {
            own_options
        };
        let compiled =
            Pattern::compile_capturing(pattern, chosen).map_err(|error| match error.kind.code() {
                51091 => DocumentError::location(
                    51111,
                    format!("Invalid Regex in {name}: {}", error.message),
                ),
                _ => error,
            });
        compiled.map(Some)
    }
}

impl Compute for Search {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        let input = self.input.evaluate_in(environment)?;
        let text = match input.as_ref().map(Value::as_ref) {
            Some(RawBsonRef::String(text) | RawBsonRef::Symbol(text)) => Some(text),
            _ if is_nullish(&input) => None,
            _ => {
                return fail(
                    51104,
                    format!("{} needs 'input' to be of type string", self.name),
                );
            }
        };
        let fresh;
        let pattern = match &self.compiled {
            Some(compiled) => compiled,
            None => {
                fresh = self.pattern(environment)?;
                &fresh
            }
        };
        let (Some(text), Some(pattern)) = (text, pattern) else {
            return Ok(Some(match self.wanted {
                Wanted::Whether => RawBson::Boolean(false),
                Wanted::First => RawBson::Null,
                Wanted::All => RawBson::Array(RawArrayBuf::new()),
            }));
        };
        let mut matches = pattern.captures(text);
        Ok(Some(match self.wanted {
            Wanted::Whether => RawBson::Boolean(matches.next().is_some()),
            Wanted::First => match matches.next() {
                Some(found) => RawBson::Document(shown(text, &found)),
                None => RawBson::Null,
            },
            Wanted::All => {
                let mut all = RawArrayBuf::new();
                for found in matches {
                    all.push(shown(text, &found));
                }
                RawBson::Array(all)
            }
        }))
    }
}

/// `{match, idx, captures}`; positions are code points.
fn shown(text: &str, found: &regex::bytes::Captures<'_>) -> RawDocumentBuf {
    let part = |index: usize| found.get(index).and_then(|part| text.get(part.range()));
    let begin = found.get(0).map_or(0, |whole| whole.start());
    let position = text.get(..begin).map_or(0, |before| before.chars().count());
    let mut out = DocumentWriter::with_capacity(64);
    out.append("match", RawBsonRef::String(part(0).unwrap_or("")));
    out.append("idx", RawBsonRef::Int32(position as i32));
    let begun = out.begin_array("captures");
    for index in 1..found.len() {
        let value = part(index).map_or(RawBsonRef::Null, RawBsonRef::String);
        out.append(&(index - 1).to_string(), value);
    }
    out.end(begun);
    out.finish()
}
