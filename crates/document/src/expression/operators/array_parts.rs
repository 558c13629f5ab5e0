//! Arrays from objects and back, arrays side by side, the first or greatest members, sorting.

use std::cmp::Ordering;

use bson::RawArrayBuf;
use bson::raw::{RawArray, RawBson, RawBsonRef};

use super::named::{Named, Wording};
use super::operands::{fail, null};
use super::{Computed, Operands};
use crate::DocumentError;
use crate::expression::number::Numeric;
use crate::expression::{Environment, Expression, Scope, Value, is_nullish};
use crate::raw::{self, DocumentWriter};
use crate::sort::SortSpec;
use crate::{display, order};

fn array_of(members: RawArrayBuf) -> Computed {
    Ok(Some(RawBson::Array(members)))
}

pub(super) fn array_to_object(operands: &Operands<'_>) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    let Some(array) = operands.array(0) else {
        return fail(
            40386,
            format!(
                "$arrayToObject requires an array input, found: {}",
                operands.type_name(0)
            ),
        );
    };
    let mut fields: Vec<(&str, RawBsonRef<'_>)> = Vec::new();
    let mut shape = None;
    for member in raw::members(array) {
        let (name, value) = pair(member, &mut shape)?;
        if name.contains('\0') {
            return fail(4_940_400, "Key field cannot contain an embedded null byte");
        }
        // A later value takes the place of an earlier one.
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, earlier)) => *earlier = value,
            None => fields.push((name, value)),
        }
    }
    let mut out = DocumentWriter::with_capacity(array.as_bytes().len());
    for (name, value) in fields {
        out.append(name, value);
    }
    Ok(Some(RawBson::Document(out.finish())))
}

/// `[key, value]` or `{k: key, v: value}`; all members have the same shape.
fn pair<'a>(
    member: RawBsonRef<'a>,
    shape: &mut Option<bool>,
) -> Result<(&'a str, RawBsonRef<'a>), DocumentError> {
    let is_array = matches!(member, RawBsonRef::Array(_));
    let kind = display::type_name(member.element_type());
    match (*shape.get_or_insert(is_array), member) {
        (true, RawBsonRef::Array(pair)) => {
            let parts: Vec<_> = raw::members(pair).collect();
            match parts[..] {
                [RawBsonRef::String(name), value] => Ok((name, value)),
                [other, _] => fail(
                    40395,
                    format!(
                        "$arrayToObject requires an array of key-value pairs, where the key must be of type string. Found \
                         key type: {}",
                        display::type_name(other.element_type())
                    ),
                ),
                _ => fail(
                    40397,
                    format!(
                        "$arrayToObject requires an array of size 2 arrays,found array of size: {}",
                        parts.len()
                    ),
                ),
            }
        }
        (false, RawBsonRef::Document(pair)) => {
            let count = raw::elements(pair).count();
            if count != 2 {
                return fail(
                    40392,
                    format!(
                        "$arrayToObject requires an object keys of 'k' and 'v'. Found incorrect number of keys:{count}"
                    ),
                );
            }
            match (pair.get("k").ok().flatten(), pair.get("v").ok().flatten()) {
                (Some(RawBsonRef::String(name)), Some(value)) => Ok((name, value)),
                (Some(other), Some(_)) => fail(
                    40394,
                    format!(
                        "$arrayToObject requires an object with keys 'k' and 'v', where the value of 'k' must be of type \
                         string. Found type: {}",
                        display::type_name(other.element_type())
                    ),
                ),
                _ => fail(
                    40393,
                    format!(
                        "$arrayToObject requires an object with keys 'k' and 'v'. Missing either or both keys from: {}",
                        display::document(pair)
                    ),
                ),
            }
        }
        (true, _) => fail(
            40396,
            format!(
                "$arrayToObject requires a consistent input format. Elements must all be arrays or all be objects. Array was detected, now found: {kind}"
            ),
        ),
        (false, RawBsonRef::Array(_)) => fail(
            40391,
            format!(
                "$arrayToObject requires a consistent input format. Elements must all be arrays or all be objects. Object was detected, now found: {kind}"
            ),
        ),
        (false, _) => fail(
            40398,
            format!("Unrecognised input type format for $arrayToObject: {kind}"),
        ),
    }
}

pub(super) fn object_to_array(operands: &Operands<'_>) -> Computed {
    let object = match operands.value(0) {
        RawBsonRef::Document(object) => object,
        _ if operands.nullish(0) => return null(),
        _ => {
            return fail(
                40390,
                format!(
                    "$objectToArray requires a document input, found: {}",
                    operands.type_name(0)
                ),
            );
        }
    };
    let mut array = RawArrayBuf::new();
    for element in raw::elements(object) {
        let mut out = DocumentWriter::with_capacity(element.bytes.len() + 24);
        out.append("k", RawBsonRef::String(element.name));
        out.append("v", element.value());
        array.push(out.finish());
    }
    array_of(array)
}

const ZIP: Named = Named {
    not_object: 34460,
    unknown: 34464,
    wording: Wording::Requires,
    parameters: &[
        ("inputs", Some(34465)),
        ("defaults", None),
        ("useLongestLength", None),
    ],
};

/// The operands are the defaults (as many as inputs, or none), then the inputs.
pub(super) fn parse_zip(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = ZIP.arguments(name, argument)?;
    let list = |argument: RawBsonRef<'_>, code, what| match argument {
        RawBsonRef::Array(array) => raw::members(array)
            .map(|member| Expression::parse_in(member, scope))
            .collect::<Result<Vec<_>, _>>(),
        other => fail(
            code,
            format!(
                "{what} must be an array of expressions, found {}",
                display::type_name(other.element_type())
            ),
        ),
    };
    let inputs = list(arguments[0].expect("required"), 34461, "inputs")?;
    if inputs.is_empty() {
        return fail(34465, "$zip requires at least one input array");
    }
    let longest = match arguments[2] {
        None => false,
        Some(RawBsonRef::Boolean(longest)) => longest,
        Some(other) => {
            return fail(
                34463,
                format!(
                    "useLongestLength must be a bool, found {}",
                    display::type_name(other.element_type())
                ),
            );
        }
    };
    let defaults = match arguments[1] {
        None => Vec::new(),
        Some(defaults) => list(defaults, 34462, "defaults")?,
    };
    if !defaults.is_empty() && !longest {
        return fail(
            34466,
            "cannot specify defaults unless useLongestLength is true",
        );
    }
    if !defaults.is_empty() && defaults.len() != inputs.len() {
        return fail(34467, "defaults and inputs must have the same length");
    }
    let mut operands = match (longest, defaults.is_empty()) {
        (true, true) => vec![Expression::constant(RawBsonRef::Null); inputs.len()],
        _ => defaults,
    };
    operands.extend(inputs);
    let evaluate = if longest { zip_longest } else { zip_shortest };
    Ok(super::Node::Operator {
        name: "$zip",
        operands,
        evaluate: super::Evaluate::Values(evaluate),
    }
    .into())
}

fn zip_longest(operands: &Operands<'_>) -> Computed {
    let (defaults, inputs) = operands.split_at(operands.len() / 2);
    zip(defaults, inputs)
}

fn zip_shortest(operands: &Operands<'_>) -> Computed {
    zip(&[], operands)
}

fn zip(defaults: &[Option<Value<'_>>], inputs: &[Option<Value<'_>>]) -> Computed {
    let mut arrays: Vec<Vec<RawBsonRef<'_>>> = Vec::with_capacity(inputs.len());
    for input in inputs {
        if is_nullish(input) {
            return null();
        }
        match input.as_ref().map(Value::as_ref) {
            Some(RawBsonRef::Array(array)) => arrays.push(raw::members(array).collect()),
            _ => {
                return fail(
                    34468,
                    format!(
                        "$zip found a non-array expression in input: {}",
                        input
                            .as_ref()
                            .map_or("missing".to_owned(), |v| display::value(v.as_ref()))
                    ),
                );
            }
        }
    }
    let lengths = arrays.iter().map(Vec::len);
    let rows = match defaults.is_empty() {
        true => lengths.min(),
        false => lengths.max(),
    };
    let mut zipped = RawArrayBuf::new();
    for row in 0..rows.unwrap_or(0) {
        let cells = arrays.iter().enumerate().map(|(column, array)| {
            let default = || {
                let default = defaults.get(column).and_then(Option::as_ref);
                default.map_or(RawBsonRef::Null, Value::as_ref)
            };
            array.get(row).copied().unwrap_or_else(default)
        });
        zipped.push(raw::array_of(cells));
    }
    array_of(zipped)
}

pub(super) const N_OF_INPUT: Named = Named {
    not_object: 5_787_900,
    unknown: 5_787_901,
    wording: Wording::Requires,
    parameters: &[("n", Some(5_787_906)), ("input", Some(5_787_907))],
};

/// The `n` of `$firstN` and its kin.
pub(crate) fn positive_n(value: RawBsonRef<'_>) -> Result<usize, DocumentError> {
    let Some(number) = Numeric::of(value) else {
        return fail(
            5_787_902,
            format!(
                "Value for 'n' must be of integral type, but found {}",
                display::value(value)
            ),
        );
    };
    let Some(whole) = number.as_whole() else {
        return fail(
            5_787_903,
            format!(
                "Value for 'n' must be of integral type, but found {}",
                display::value(value)
            ),
        );
    };
    match usize::try_from(whole) {
        Ok(n @ 1..) => Ok(n),
        _ => fail(
            5_787_908,
            format!("'n' must be greater than 0, found {whole}"),
        ),
    }
}

fn n_and_array<'o>(operands: &'o Operands<'_>) -> Result<(usize, &'o RawArray), DocumentError> {
    let n = positive_n(operands.value(0))?;
    match operands.array(1) {
        Some(array) => Ok((n, array)),
        None => fail(5_788_200, "Input must be an array"),
    }
}

pub(super) fn first_n(operands: &Operands<'_>) -> Computed {
    let (n, array) = n_and_array(operands)?;
    array_of(raw::array_of(raw::members(array).take(n)))
}

pub(super) fn last_n(operands: &Operands<'_>) -> Computed {
    let (n, array) = n_and_array(operands)?;
    let length = raw::members(array).count();
    array_of(raw::array_of(
        raw::members(array).skip(length.saturating_sub(n)),
    ))
}

pub(super) fn min_n(operands: &Operands<'_>) -> Computed {
    extreme_n(operands, |l, r| order::compare(*l, *r))
}

pub(super) fn max_n(operands: &Operands<'_>) -> Computed {
    extreme_n(operands, |l, r| order::compare(*r, *l))
}

fn extreme_n(
    operands: &Operands<'_>,
    compare: fn(&RawBsonRef<'_>, &RawBsonRef<'_>) -> Ordering,
) -> Computed {
    let (n, array) = n_and_array(operands)?;
    let mut members: Vec<_> = raw::members(array)
        .filter(|member| !matches!(member, RawBsonRef::Null | RawBsonRef::Undefined))
        .collect();
    members.sort_by(compare);
    members.truncate(n);
    array_of(raw::array_of(members))
}

const SORT_ARRAY: Named = Named {
    not_object: 2_942_500,
    unknown: 2_942_501,
    wording: Wording::Requires,
    parameters: &[("input", Some(2_942_502)), ("sortBy", Some(2_942_503))],
};

/// How `$sortArray` compares members.
#[derive(Debug)]
struct SortArray {
    input: Expression,
    by: By,
}

#[derive(Debug)]
enum By {
    /// The members themselves.
    Values { descending: bool },
    /// Fields of the members.
    Fields(SortSpec),
}

pub(super) fn parse_sort_array(
    name: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let arguments = SORT_ARRAY.arguments(name, argument)?;
    let by = match arguments[1].expect("required") {
        RawBsonRef::Document(fields) => By::Fields(SortSpec::parse(fields)?),
        other => match Numeric::of(other).and_then(Numeric::as_whole) {
            Some(1) => By::Values { descending: false },
            Some(-1) => By::Values { descending: true },
            _ => return fail(2_942_504, "The $sort element value must be either 1 or -1"),
        },
    };
    Ok(super::Node::Prepared(std::sync::Arc::new(SortArray {
        input: Expression::parse_in(arguments[0].expect("required"), scope)?,
        by,
    }))
    .into())
}

impl super::Compute for SortArray {
    fn compute(&self, environment: Environment<'_>) -> Computed {
        let input = self.input.evaluate_in(environment)?;
        if is_nullish(&input) {
            return null();
        }
        let value = input.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
        let RawBsonRef::Array(array) = value else {
            return fail(
                2_942_504,
                format!(
                    "The input argument to $sortArray must be an array, but was of type: {}",
                    display::type_name(value.element_type())
                ),
            );
        };
        let mut members: Vec<RawBsonRef<'_>> = raw::members(array).collect();
        match &self.by {
            By::Values { descending: false } => members.sort_by(|l, r| order::compare(*l, *r)),
            By::Values { descending: true } => members.sort_by(|l, r| order::compare(*r, *l)),
            By::Fields(fields) => {
                // Members that are no documents have no fields.
                let empty = bson::RawDocumentBuf::new();
                members.sort_by(|l, r| {
                    let as_document = |value: &RawBsonRef<'_>| match value {
                        RawBsonRef::Document(document) => (*document).to_owned(),
                        _ => empty.clone(),
                    };
                    fields.compare(&as_document(l), &as_document(r))
                });
            }
        }
        array_of(raw::array_of(members))
    }
}
