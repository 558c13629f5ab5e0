//! Operators over whole strings. Upper and lower case are about ASCII only, as in MongoDB.

use std::cmp::Ordering;

use bson::RawArrayBuf;
use bson::raw::{RawBson, RawBsonRef};

use super::convert::coerce_to_text;
use super::named::{Named, Wording};
use super::operands::{count, fail, null, text};
use super::{Computed, Operands};
use crate::DocumentError;
use crate::expression::budget;

pub(super) fn concat(operands: &Operands<'_>) -> Computed {
    let mut joined = String::new();
    for index in 0..operands.len() {
        if operands.nullish(index) {
            return null();
        }
        match operands.text(index) {
            Some(text) => joined.push_str(text),
            None => {
                return fail(
                    16702,
                    format!(
                        "$concat only supports strings, not {}",
                        operands.type_name(index)
                    ),
                );
            }
        }
    }
    text(joined)
}

pub(super) fn to_upper(operands: &Operands<'_>) -> Computed {
    text(coerce_to_text(operands, 0)?.to_ascii_uppercase())
}

pub(super) fn to_lower(operands: &Operands<'_>) -> Computed {
    text(coerce_to_text(operands, 0)?.to_ascii_lowercase())
}

pub(super) fn compare_ignoring_case(operands: &Operands<'_>) -> Computed {
    let left = coerce_to_text(operands, 0)?.to_ascii_uppercase();
    let right = coerce_to_text(operands, 1)?.to_ascii_uppercase();
    Ok(Some(RawBson::Int32(match left.cmp(&right) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })))
}

pub(super) fn length_in_bytes(operands: &Operands<'_>) -> Computed {
    length(operands, 34473, str::len)
}

pub(super) fn length_in_code_points(operands: &Operands<'_>) -> Computed {
    length(operands, 34471, |text| text.chars().count())
}

fn length(operands: &Operands<'_>, code: i32, measure: fn(&str) -> usize) -> Computed {
    match operands.text(0) {
        Some(text) => count(measure(text)),
        None => fail(
            code,
            format!(
                "{} requires a string argument, found: {}",
                operands.name,
                operands.type_name(0)
            ),
        ),
    }
}

pub(super) fn split(operands: &Operands<'_>) -> Computed {
    if operands.any_nullish() {
        return null();
    }
    let Some(whole) = operands.text(0) else {
        return fail(
            40085,
            format!(
                "$split requires an expression that evaluates to a string as a first argument, found: {}",
                operands.type_name(0)
            ),
        );
    };
    let Some(separator) = operands.text(1) else {
        return fail(
            40086,
            format!(
                "$split requires an expression that evaluates to a string as a second argument, found: {}",
                operands.type_name(1)
            ),
        );
    };
    if separator.is_empty() {
        return fail(40087, "$split requires a non-empty separator");
    }
    let mut parts = RawArrayBuf::new();
    for part in whole.split(separator) {
        parts.push(RawBsonRef::String(part));
    }
    Ok(Some(RawBson::Array(parts)))
}

pub(super) const TRIM: Named = Named {
    not_object: 50696,
    unknown: 50694,
    wording: Wording::Requires,
    parameters: &[("input", Some(50695)), ("chars", None)],
};

pub(super) fn trim(operands: &Operands<'_>) -> Computed {
    trimmed(operands, true, true)
}

pub(super) fn trim_left(operands: &Operands<'_>) -> Computed {
    trimmed(operands, true, false)
}

pub(super) fn trim_right(operands: &Operands<'_>) -> Computed {
    trimmed(operands, false, true)
}

/// What counts as white space when no characters are given.
const WHITE_SPACE: &[char] = &[
    '\0', ' ', '\t', '\n', '\u{b}', '\u{c}', '\r', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}',
    '\u{2002}', '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}',
    '\u{200a}',
];

fn trimmed(operands: &Operands<'_>, left: bool, right: bool) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    let wrong = |index: usize, code: i32, what: &str| -> Result<(), DocumentError> {
        fail(
            code,
            format!(
                "{} requires {what} to be a string, got {} (of type {}) instead.",
                operands.name,
                operands.shown(index),
                operands.type_name(index)
            ),
        )
    };
    let Some(mut rest) = operands.text(0) else {
        return wrong(0, 50699, "its input").map(|()| None);
    };
    let given: Vec<char>;
    let characters = match operands.given(1) {
        false => WHITE_SPACE,
        true if operands.nullish(1) => return null(),
        true => match operands.text(1) {
            Some(characters) => {
                given = characters.chars().collect();
                &given
            }
            None => return wrong(1, 50700, "'chars'").map(|()| None),
        },
    };
    if left {
        rest = rest.trim_start_matches(characters);
    }
    if right {
        rest = rest.trim_end_matches(characters);
    }
    text(rest)
}

pub(super) const REPLACE: Named = Named {
    not_object: 51751,
    unknown: 51750,
    wording: Wording::Requires,
    parameters: &[
        ("input", Some(51749)),
        ("find", Some(51748)),
        ("replacement", Some(51747)),
    ],
};

pub(super) fn replace_one(operands: &Operands<'_>) -> Computed {
    replaced(operands, |input, find, replacement| {
        input.replacen(find, replacement, 1)
    })
}

pub(super) fn replace_all(operands: &Operands<'_>) -> Computed {
    if let (Some(input), Some(find), Some(replacement)) =
        (operands.text(0), operands.text(1), operands.text(2))
    {
        let found = input.matches(find).count();
        budget::check_bytes(
            input
                .len()
                .saturating_add(found.saturating_mul(replacement.len())),
        )?;
    }
    replaced(operands, |input, find, replacement| {
        input.replace(find, replacement)
    })
}

fn replaced(operands: &Operands<'_>, function: fn(&str, &str, &str) -> String) -> Computed {
    const PARTS: [(&str, i32); 3] = [("input", 51746), ("find", 51745), ("replacement", 51744)];
    for (index, (part, code)) in PARTS.iter().enumerate() {
        if operands.text(index).is_none() && !operands.nullish(index) {
            return fail(
                *code,
                format!(
                    "{} requires that '{part}' be a string, found: {}",
                    operands.name,
                    operands.shown(index)
                ),
            );
        }
    }
    match (operands.text(0), operands.text(1), operands.text(2)) {
        (Some(input), Some(find), Some(replacement)) => text(function(input, find, replacement)),
        _ => null(),
    }
}
