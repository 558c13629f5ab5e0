//! Time zones: UTC, fixed offsets and the names of the zone data that is built into the program.

use std::sync::OnceLock;

use bson::raw::RawBsonRef;
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::super::operands::{Operands, fail};
use super::civil::Civil;
use crate::{DocumentError, display};

/// A time zone.
#[derive(Debug, Clone)]
pub(crate) enum Zone {
    /// Seconds east of Greenwich.
    Fixed(i64),
    Named(TimeZone),
}

pub(crate) const UTC: Zone = Zone::Fixed(0);

fn database() -> &'static TimeZoneDatabase {
    static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
    DATABASE.get_or_init(TimeZoneDatabase::bundled)
}

impl Zone {
    /// `Z`, `UTC`, `+hh`, `+hhmm`, `+hh:mm` or a name of the zone data.
    pub fn parse(text: &str) -> Result<Zone, DocumentError> {
        if matches!(text, "Z" | "UTC" | "GMT") {
            return Ok(UTC);
        }
        if let Some(seconds) = fixed_offset(text) {
            return Ok(Zone::Fixed(seconds));
        }
        match database().get(text) {
            Ok(zone) => Ok(Zone::Named(zone)),
            Err(_) => fail(
                40485,
                format!("unrecognized time zone identifier: \"{text}\""),
            ),
        }
    }

    /// The zone in an operand: UTC where none is written, `None` where it is null.
    pub fn of(operands: &Operands<'_>, index: usize) -> Result<Option<Zone>, DocumentError> {
        if !operands.given(index) {
            return Ok(Some(UTC));
        }
        match operands.value(index) {
            RawBsonRef::String(text) => Zone::parse(text).map(Some),
            _ if operands.nullish(index) => Ok(None),
            other => fail(
                40517,
                format!(
                    "timezone must evaluate to a string, found {}",
                    display::type_name(other.element_type())
                ),
            ),
        }
    }

    /// Milliseconds east of Greenwich at an instant.
    pub fn offset(&self, millis: i64) -> i64 {
        match self {
            Zone::Fixed(seconds) => seconds * 1000,
            Zone::Named(zone) => {
                let (least, greatest) = (Timestamp::MIN, Timestamp::MAX);
                let within = millis.clamp(least.as_millisecond(), greatest.as_millisecond());
                let instant = Timestamp::from_millisecond(within).unwrap_or(greatest);
                i64::from(zone.to_offset(instant).seconds()) * 1000
            }
        }
    }

    /// Local milliseconds of an instant.
    pub fn local(&self, millis: i64) -> i64 {
        millis.saturating_add(self.offset(millis))
    }

    /// The instant of a local time. A time that a clock skips counts from before the change; of one that comes twice
    /// the first is meant.
    pub fn instant(&self, local: i64) -> i64 {
        let offset = match self {
            Zone::Fixed(seconds) => seconds * 1000,
            Zone::Named(zone) => match jiff_time(local) {
                None => self.offset(local),
                Some(time) => {
                    let offset = match zone.to_ambiguous_timestamp(time).offset() {
                        AmbiguousOffset::Unambiguous { offset } => offset,
                        AmbiguousOffset::Gap { before, .. } => before,
                        AmbiguousOffset::Fold { before, .. } => before,
                    };
                    i64::from(offset.seconds()) * 1000
                }
            },
        };
        local.saturating_sub(offset)
    }
}

fn jiff_time(local: i64) -> Option<civil::DateTime> {
    let parts = Civil::of(local);
    civil::DateTime::new(
        i16::try_from(parts.year).ok()?,
        i8::try_from(parts.month).ok()?,
        i8::try_from(parts.day).ok()?,
        i8::try_from(parts.hour).ok()?,
        i8::try_from(parts.minute).ok()?,
        i8::try_from(parts.second).ok()?,
        i32::try_from(parts.millisecond).ok()? * 1_000_000,
    )
    .ok()
}

/// `+hh`, `+hhmm`, `+hh:mm` as seconds.
pub(crate) fn fixed_offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits: String = match rest.len() {
        5 if rest.as_bytes()[2] == b':' => rest.replacen(':', "", 1),
        _ => rest.to_owned(),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    Some(sign * (hours * 3600 + minutes * 60))
}
