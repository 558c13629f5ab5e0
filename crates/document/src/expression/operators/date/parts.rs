//! `$year … $isoDayOfWeek`, `$dateToParts` and `$dateFromParts`.

use bson::raw::{RawBson, RawBsonRef};

use super::super::named::{Named, Wording};
use super::super::operands::{date, fail, null};
use super::super::{Computed, Evaluate, Node, Operands};
use super::civil::{Civil, days, iso_days};
use super::require_instant;
use super::zone::Zone;
use crate::expression::{Expression, Scope};
use crate::raw::{self, DocumentWriter};
use crate::{DocumentError, display};

/// `date`, or `{date, timezone}`, or a list of one date.
fn parse(
    name: &'static str,
    evaluate: fn(&Operands<'_>) -> Computed,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    let operands = match argument {
        RawBsonRef::Document(object)
            if !raw::elements(object)
                .next()
                .is_some_and(|first| first.name.starts_with('$')) =>
        {
            let (mut date, mut timezone) = (None, Expression::missing());
            for option in raw::elements(object) {
                let value = Expression::parse_in(option.value(), scope)?;
                match option.name {
                    "date" => date = Some(value),
                    "timezone" => timezone = value,
                    unknown => {
                        return fail(
                            40535,
                            format!("unrecognized option to {name}: \"{unknown}\""),
                        );
                    }
                }
            }
            let Some(date) = date else {
                return fail(
                    40539,
                    format!(
                        "missing 'date' argument to {name}, provided: {}",
                        display::document(object)
                    ),
                );
            };
            vec![date, timezone]
        }
        RawBsonRef::Array(array) => {
            let mut members = raw::members(array);
            let (Some(date), None) = (members.next(), members.next()) else {
                return fail(
                    40536,
                    format!(
                        "{name} accepts exactly one argument if given an array, but was given {}",
                        raw::members(array).count()
                    ),
                );
            };
            vec![Expression::parse_in(date, scope)?]
        }
        single => vec![Expression::parse_in(single, scope)?],
    };
    Ok(Node::Operator {
        name,
        operands,
        evaluate: Evaluate::Values(evaluate),
    }
    .into())
}

fn part(operands: &Operands<'_>, part: fn(&Civil) -> i64) -> Computed {
    if operands.nullish(0) {
        return null();
    }
    let millis = require_instant(operands.value(0))?;
    let Some(zone) = Zone::of(operands, 1)? else {
        return null();
    };
    Ok(Some(RawBson::Int32(
        part(&Civil::of(zone.local(millis))) as i32
    )))
}

/// A parser for each part, all alike.
macro_rules! parts {
    ($($function:ident $name:literal $compute:expr;)*) => {
        $(pub(in crate::expression::operators) fn $function(
            _: &str,
            argument: RawBsonRef<'_>,
            scope: &Scope<'_>,
        ) -> Result<Expression, DocumentError> {
            parse($name, |operands| part(operands, $compute), argument, scope)
        })*
    };
}

parts! {
    year "$year" |civil| civil.year;
    month "$month" |civil| civil.month;
    day_of_month "$dayOfMonth" |civil| civil.day;
    hour "$hour" |civil| civil.hour;
    minute "$minute" |civil| civil.minute;
    second "$second" |civil| civil.second;
    millisecond "$millisecond" |civil| civil.millisecond;
    day_of_year "$dayOfYear" |civil| civil.day_of_year();
    day_of_week "$dayOfWeek" |civil| civil.iso_weekday() % 7 + 1;
    week "$week" |civil| civil.week();
    iso_day_of_week "$isoDayOfWeek" |civil| civil.iso_weekday();
    iso_week "$isoWeek" |civil| civil.iso_week().1;
}

pub(in crate::expression::operators) fn iso_week_year(
    _: &str,
    argument: RawBsonRef<'_>,
    scope: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    // The only part that is a long.
    let evaluate = |operands: &Operands<'_>| {
        Ok(match part(operands, |civil| civil.iso_week().0)? {
            Some(RawBson::Int32(year)) => Some(RawBson::Int64(i64::from(year))),
            other => other,
        })
    };
    parse("$isoWeekYear", evaluate, argument, scope)
}

pub(in crate::expression::operators) const TO_PARTS: Named = Named {
    not_object: 40524,
    unknown: 40520,
    wording: Wording::Supports,
    parameters: &[("date", Some(40522)), ("timezone", None), ("iso8601", None)],
};

pub(in crate::expression::operators) fn to_parts(operands: &Operands<'_>) -> Computed {
    if operands.nullish(0) || operands.given(2) && operands.nullish(2) {
        return null();
    }
    let iso = match operands.value(2) {
        RawBsonRef::Boolean(iso) => iso,
        _ if !operands.given(2) => false,
        _ => {
            return fail(
                40521,
                format!(
                    "iso8601 must evaluate to a bool, found {}",
                    operands.type_name(2)
                ),
            );
        }
    };
    let Some(zone) = Zone::of(operands, 1)? else {
        return null();
    };
    let civil = Civil::of(zone.local(require_instant(operands.value(0))?));
    let (iso_year, iso_week) = civil.iso_week();
    let dates = match iso {
        true => [
            ("isoWeekYear", iso_year),
            ("isoWeek", iso_week),
            ("isoDayOfWeek", civil.iso_weekday()),
        ],
        false => [
            ("year", civil.year),
            ("month", civil.month),
            ("day", civil.day),
        ],
    };
    let times = [
        ("hour", civil.hour),
        ("minute", civil.minute),
        ("second", civil.second),
        ("millisecond", civil.millisecond),
    ];
    let mut out = DocumentWriter::with_capacity(96);
    for (name, value) in dates.into_iter().chain(times) {
        out.append(name, RawBsonRef::Int32(value as i32));
    }
    Ok(Some(RawBson::Document(out.finish())))
}

pub(in crate::expression::operators) const FROM_PARTS: Named = Named {
    not_object: 40519,
    unknown: 40518,
    wording: Wording::Supports,
    parameters: &[
        ("year", None),
        ("month", None),
        ("day", None),
        ("hour", None),
        ("minute", None),
        ("second", None),
        ("millisecond", None),
        ("timezone", None),
        ("isoWeekYear", None),
        ("isoWeek", None),
        ("isoDayOfWeek", None),
    ],
};

pub(in crate::expression::operators) fn from_parts(operands: &Operands<'_>) -> Computed {
    const YEAR: usize = 0;
    const ISO_YEAR: usize = 8;
    if operands.given(YEAR) == operands.given(ISO_YEAR) {
        return match operands.given(YEAR) {
            true => fail(
                40489,
                "$dateFromParts does not allow mixing natural dates with ISO dates",
            ),
            false => fail(
                40516,
                "$dateFromParts requires either 'year' or 'isoWeekYear' to be present",
            ),
        };
    }
    let iso = operands.given(ISO_YEAR);
    let mixed = if iso { [1, 2] } else { [9, 10] };
    if mixed.iter().any(|index| operands.given(*index)) {
        return fail(
            40525,
            "$dateFromParts does not allow mixing natural dates with ISO dates",
        );
    }
    let mut values = [0i64; 11];
    for (index, (name, _)) in FROM_PARTS.parameters.iter().enumerate() {
        if *name == "timezone" {
            continue;
        }
        let default = i64::from(matches!(
            *name,
            "month" | "day" | "isoWeek" | "isoDayOfWeek"
        ));
        match part_operand(operands, index, name, default)? {
            Some(value) => values[index] = value,
            None => return null(),
        }
    }
    let year = values[if iso { ISO_YEAR } else { YEAR }];
    if !(1..=9999).contains(&year) {
        let name = if iso { "isoWeekYear" } else { "year" };
        return fail(
            40523,
            format!("'{name}' must evaluate to an integer in the range 1 to 9999, found {year}"),
        );
    }
    let Some(zone) = Zone::of(operands, 7)? else {
        return null();
    };
    let day_number = match iso {
        true => iso_days(year, values[9], values[10]),
        false => days(year, values[1], 1) + values[2] - 1,
    };
    let local = Civil {
        year: 1970,
        month: 1,
        day: day_number + 1,
        hour: values[3],
        minute: values[4],
        second: values[5],
        millisecond: values[6],
    };
    match local.millis() {
        Some(local) => date(zone.instant(local)),
        None => fail(40515, "$dateFromParts: the date is out of range"),
    }
}

/// A whole number; the default when it is not written, `None` when it is null.
fn part_operand(
    operands: &Operands<'_>,
    index: usize,
    name: &str,
    default: i64,
) -> Result<Option<i64>, DocumentError> {
    if !operands.given(index) {
        return Ok(Some(default));
    }
    if operands.nullish(index) {
        return Ok(None);
    }
    let whole = operands.number(index).and_then(|number| number.as_whole());
    let Some(whole) = whole else {
        return fail(
            40515,
            format!(
                "'{name}' must evaluate to an integer, found {} with value {}",
                operands.type_name(index),
                operands.shown(index)
            ),
        );
    };
    // Seconds and milliseconds may carry far, the others no further than 16 bits.
    let wide = matches!(name, "second" | "millisecond" | "year" | "isoWeekYear");
    if !wide && i16::try_from(whole).is_err() {
        return fail(
            31034,
            format!(
                "'{name}' must evaluate to a value in the range [-32768, 32767]; value {whole} is not in range"
            ),
        );
    }
    Ok(Some(whole))
}
