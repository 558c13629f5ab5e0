//! `$dateAdd $dateSubtract $dateDiff $dateTrunc`. Units of a day and more follow the local calendar, smaller ones time
//! itself.

use bson::raw::RawBsonRef;

use super::super::Computed;
use super::super::named::{Named, Wording};
use super::super::operands::{Operands, date, fail, null};
use super::civil::{Civil, DAY_MS, days, days_in_month, iso_weekday};
use super::zone::{UTC, Zone};
use super::{instant_of, require_instant};
use crate::DocumentError;
use bson::raw::RawBson;

/// What dates are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    /// A fixed number of milliseconds.
    Fixed(i64),
}

impl Unit {
    pub fn parse(name: &str) -> Option<Unit> {
        Some(match name {
            "year" => Unit::Year,
            "quarter" => Unit::Quarter,
            "month" => Unit::Month,
            "week" => Unit::Week,
            "day" => Unit::Day,
            "hour" => Unit::Fixed(3_600_000),
            "minute" => Unit::Fixed(60_000),
            "second" => Unit::Fixed(1000),
            "millisecond" => Unit::Fixed(1),
            _ => return None,
        })
    }

    /// The unit in a value.
    pub fn of(value: RawBsonRef<'_>) -> Result<Unit, DocumentError> {
        let RawBsonRef::String(name) = value else {
            return fail(5_439_013, "the time unit must be a string");
        };
        Unit::parse(name).ok_or_else(|| {
            DocumentError::failed_to_parse(format!("unknown time unit value: {name}"))
        })
    }

    /// Milliseconds of a unit that always has as many.
    pub fn millis(self) -> Option<i64> {
        match self {
            Unit::Fixed(millis) => Some(millis),
            unit => unit.days().map(|days| days * DAY_MS),
        }
    }

    fn months(self) -> Option<i64> {
        match self {
            Unit::Year => Some(12),
            Unit::Quarter => Some(3),
            Unit::Month => Some(1),
            _ => None,
        }
    }

    fn days(self) -> Option<i64> {
        match self {
            Unit::Week => Some(7),
            Unit::Day => Some(1),
            _ => None,
        }
    }
}

/// The instant `amount` units later; `None` beyond the range of dates.
pub(crate) fn later(instant: i64, unit: Unit, amount: i64, zone: &Zone) -> Option<i64> {
    if let Unit::Fixed(millis) = unit {
        return instant.checked_add(amount.checked_mul(millis)?);
    }
    let local = zone.local(instant);
    let moved = match (unit.months(), unit.days()) {
        (Some(months), _) => {
            let mut civil = Civil::of(local);
            let moved = (civil.month - 1).checked_add(amount.checked_mul(months)?)?;
            if moved.abs() > 12 * 300_000_000 {
                return None;
            }
            civil.year += moved.div_euclid(12);
            civil.month = moved.rem_euclid(12) + 1;
            civil.day = civil.day.min(days_in_month(civil.year, civil.month));
            civil.millis()?
        }
        (None, days) => {
            let step = DAY_MS * days.unwrap_or(1);
            local.checked_add(amount.checked_mul(step)?)?
        }
    };
    Some(zone.instant(moved))
}

/// The same in UTC.
pub(crate) fn later_in_utc(instant: i64, unit: Unit, amount: i64) -> Option<i64> {
    later(instant, unit, amount, &UTC)
}

pub(in crate::expression::operators) const ADD: Named = Named {
    not_object: 5_166_400,
    unknown: 5_166_401,
    wording: Wording::Supports,
    parameters: &[
        ("startDate", Some(5_166_402)),
        ("unit", Some(5_166_402)),
        ("amount", Some(5_166_402)),
        ("timezone", None),
    ],
};

pub(in crate::expression::operators) fn add(operands: &Operands<'_>) -> Computed {
    moved(operands, 1)
}

pub(in crate::expression::operators) fn subtract(operands: &Operands<'_>) -> Computed {
    moved(operands, -1)
}

fn moved(operands: &Operands<'_>, sign: i64) -> Computed {
    let name = operands.name;
    let Some(zone) = Zone::of(operands, 3)? else {
        return null();
    };
    if operands.nullish(0) || operands.nullish(1) || operands.nullish(2) {
        return null();
    }
    let Some(start) = instant_of(operands.value(0)) else {
        return fail(
            5_166_403,
            format!("{name} requires startDate to be convertible to a date"),
        );
    };
    let unit = match operands.value(1) {
        RawBsonRef::String(_) => Unit::of(operands.value(1))?,
        _ => {
            return fail(
                5_166_404,
                format!("{name} expects string defining the time unit"),
            );
        }
    };
    let amount = operands.number(2).and_then(|number| number.as_whole());
    let Some(amount) = amount else {
        return fail(
            5_166_405,
            format!("{name} expects integer amount of time units"),
        );
    };
    let amount = amount.checked_mul(sign);
    match amount.and_then(|amount| later(start, unit, amount, &zone)) {
        Some(millis) => date(millis),
        None => fail(5_166_406, format!("{name} overflowed")),
    }
}

/// The number of days from Monday at which weeks begin.
fn start_of_week(operands: &Operands<'_>, index: usize) -> Result<Option<i64>, DocumentError> {
    if !operands.given(index) {
        return Ok(Some(6));
    }
    if operands.nullish(index) {
        return Ok(None);
    }
    let Some(name) = operands.text(index) else {
        return fail(
            5_439_015,
            format!("{} requires 'startOfWeek' to be a string", operands.name),
        );
    };
    const DAYS: [&str; 7] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let lower = name.to_ascii_lowercase();
    let found = DAYS
        .iter()
        .position(|day| *day == lower || day[..3] == *lower);
    match found {
        Some(day) => Ok(Some(day as i64)),
        None => fail(
            5_439_016,
            format!("{}: unknown day of week value: {name}", operands.name),
        ),
    }
}

pub(in crate::expression::operators) const DIFF: Named = Named {
    not_object: 5_166_301,
    unknown: 5_166_302,
    wording: Wording::Supports,
    parameters: &[
        ("startDate", Some(5_166_303)),
        ("endDate", Some(5_166_304)),
        ("unit", Some(5_166_305)),
        ("timezone", None),
        ("startOfWeek", None),
    ],
};

/// How many boundaries of the unit lie between two dates.
pub(in crate::expression::operators) fn difference(operands: &Operands<'_>) -> Computed {
    let Some(zone) = Zone::of(operands, 3)? else {
        return null();
    };
    if (0..3).any(|index| operands.nullish(index)) {
        return null();
    }
    let instant = |index: usize, name: &str| match instant_of(operands.value(index)) {
        Some(millis) => Ok(millis),
        None => fail(
            5_166_307,
            format!(
                "$dateDiff requires '{name}' to be a date, but got {}",
                operands.type_name(index)
            ),
        ),
    };
    let (start, end) = (instant(0, "startDate")?, instant(1, "endDate")?);
    let unit = Unit::of(operands.value(2))?;
    let first_day = match unit {
        Unit::Week => match start_of_week(operands, 4)? {
            Some(day) => day,
            None => return null(),
        },
        _ => 0,
    };
    let count = |instant: i64| match unit {
        Unit::Fixed(millis) => {
            // Zones a fraction of an hour off begin their hours there.
            instant
                .saturating_add(zone.offset(instant).rem_euclid(millis))
                .div_euclid(millis)
        }
        _ => {
            let civil = Civil::of(zone.local(instant));
            let months = civil.year * 12 + civil.month - 1;
            match (unit.months(), unit) {
                (Some(length), _) => months.div_euclid(length),
                // The epoch's day is a Thursday.
                (None, Unit::Week) => (civil.day_number() + 3 - first_day).div_euclid(7),
                _ => civil.day_number(),
            }
        }
    };
    Ok(Some(RawBson::Int64(count(end) - count(start))))
}

pub(in crate::expression::operators) const TRUNC: Named = Named {
    not_object: 5_439_007,
    unknown: 5_439_008,
    wording: Wording::Supports,
    parameters: &[
        ("date", Some(5_439_009)),
        ("unit", Some(5_439_010)),
        ("binSize", None),
        ("timezone", None),
        ("startOfWeek", None),
    ],
};

pub(in crate::expression::operators) fn truncate(operands: &Operands<'_>) -> Computed {
    let Some(zone) = Zone::of(operands, 3)? else {
        return null();
    };
    if operands.nullish(0) || operands.nullish(1) {
        return null();
    }
    let instant = match operands.value(0) {
        value if instant_of(value).is_some() => require_instant(value)?,
        _ => {
            return fail(
                5_439_012,
                format!(
                    "$dateTrunc requires 'date' to be a date, but got {}",
                    operands.type_name(0)
                ),
            );
        }
    };
    let unit = Unit::of(operands.value(1))?;
    let bin = match operands.given(2) {
        false => 1,
        true if operands.nullish(2) => return null(),
        true => match operands.number(2).and_then(|number| number.as_whole()) {
            None => {
                return fail(
                    5_439_017,
                    format!(
                        "$dateTrunc requires 'binSize' to be a 64-bit integer, but got value '{}' of type {}",
                        operands.shown(2),
                        operands.type_name(2)
                    ),
                );
            }
            Some(bin @ 1..=100_000_000_000) => bin,
            Some(_) => {
                return fail(
                    5_439_018,
                    "$dateTrunc requires 'binSize' to be greater than 0",
                );
            }
        },
    };
    let first_day = match unit {
        Unit::Week => match start_of_week(operands, 4)? {
            Some(day) => day,
            None => return null(),
        },
        _ => 0,
    };
    match truncated(instant, unit, bin, first_day, &zone) {
        Some(millis) => date(millis),
        None => fail(5_439_019, "$dateTrunc overflowed"),
    }
}

/// The begin of the bin that holds `instant`; bins are counted from the year 2000.
fn truncated(instant: i64, unit: Unit, bin: i64, first_day: i64, zone: &Zone) -> Option<i64> {
    let origin_day = days(2000, 1, 1);
    let floor = |value: i64, size: i64| value - value.rem_euclid(size);
    if let Unit::Fixed(millis) = unit {
        let origin = zone.instant(origin_day * DAY_MS);
        return origin.checked_add(floor(
            instant.checked_sub(origin)?,
            bin.checked_mul(millis)?,
        ));
    }
    let civil = Civil::of(zone.local(instant));
    let day = match (unit.months(), unit.days()) {
        (Some(length), _) => {
            let months = (civil.year - 2000) * 12 + civil.month - 1;
            days(2000, 1 + floor(months, bin.checked_mul(length)?), 1)
        }
        (None, length) => {
            let origin = match unit {
                Unit::Week => {
                    origin_day + (first_day - (iso_weekday(origin_day) - 1)).rem_euclid(7)
                }
                _ => origin_day,
            };
            let size = bin.checked_mul(length.unwrap_or(1))?;
            origin + floor(civil.day_number() - origin, size)
        }
    };
    Some(zone.instant(day.checked_mul(DAY_MS)?))
}
