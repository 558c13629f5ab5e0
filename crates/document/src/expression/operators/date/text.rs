//! `$dateToString` and `$dateFromString`.

use bson::raw::RawBsonRef;

use super::super::Computed;
use super::super::named::{Named, Wording};
use super::super::operands::{Operands, date, fail, null, text};
use super::format::{self, ISO_LOCAL, ISO_UTC};
use super::parse;
use super::require_instant;
use super::zone::Zone;
use crate::expression::Value;
use crate::{DocumentError, ErrorKind};

pub(in crate::expression::operators) const TO_STRING: Named = Named {
    not_object: 18629,
    unknown: 18534,
    wording: Wording::Supports,
    parameters: &[
        ("date", Some(18628)),
        ("format", None),
        ("timezone", None),
        ("onNull", None),
    ],
};

pub(in crate::expression::operators) fn to_string(operands: &Operands<'_>) -> Computed {
    let on_null = || match operands.given(3) {
        true => Ok(operands[3].clone().map(Value::into_owned)),
        false => null(),
    };
    let pattern = match operands.value(1) {
        RawBsonRef::String(pattern) => Some(pattern),
        _ if !operands.given(1) => None,
        _ if operands.nullish(1) => return null(),
        _ => {
            return fail(
                18533,
                format!(
                    "$dateToString requires that 'format' be a string, found: {} with value {}",
                    operands.type_name(1),
                    operands.shown(1)
                ),
            );
        }
    };
    let Some(zone) = Zone::of(operands, 2)? else {
        return null();
    };
    if operands.nullish(0) {
        return on_null();
    }
    let instant = require_instant(operands.value(0))?;
    let default = match zone {
        Zone::Fixed(0) => ISO_UTC,
        _ => ISO_LOCAL,
    };
    text(format::format(pattern.unwrap_or(default), instant, &zone)?)
}

pub(in crate::expression::operators) const FROM_STRING: Named = Named {
    not_object: 40540,
    unknown: 40541,
    wording: Wording::Supports,
    parameters: &[
        ("dateString", Some(40542)),
        ("format", None),
        ("timezone", None),
        ("onError", None),
        ("onNull", None),
    ],
};

pub(in crate::expression::operators) fn from_string(operands: &Operands<'_>) -> Computed {
    let otherwise = |index: usize| operands[index].clone().map(Value::into_owned);
    if operands.given(1) && operands.nullish(1) {
        return null();
    }
    let pattern = match operands.value(1) {
        RawBsonRef::String(pattern) => Some(pattern),
        _ if !operands.given(1) => None,
        _ => {
            return fail(
                40684,
                format!(
                    "$dateFromString requires that 'format' be a string, found: {} with value {}",
                    operands.type_name(1),
                    operands.shown(1)
                ),
            );
        }
    };
    let zone = match operands.given(2) {
        true => match Zone::of(operands, 2)? {
            Some(zone) => Some(zone),
            None => return null(),
        },
        false => None,
    };
    if operands.nullish(0) {
        return match operands.given(4) {
            true => Ok(otherwise(4)),
            false => null(),
        };
    }
    let parsed = match operands.text(0) {
        Some(written) => parse::parse(written, pattern, zone.as_ref()),
        None => Err(DocumentError::new(
            ErrorKind::ConversionFailure,
            format!(
                "$dateFromString requires that 'dateString' be a string, found: {} with value {}",
                operands.type_name(0),
                operands.shown(0)
            ),
        )),
    };
    match parsed {
        Ok(millis) => date(millis),
        Err(error) if error.kind == ErrorKind::ConversionFailure && operands.given(3) => {
            Ok(otherwise(3))
        }
        Err(error) => Err(error),
    }
}
