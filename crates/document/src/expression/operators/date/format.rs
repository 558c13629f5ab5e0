//! Dates as text after a format.

use super::super::operands::fail;
use super::civil::Civil;
use super::zone::Zone;
use crate::DocumentError;

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Without a format: UTC says so at the end.
pub(crate) const ISO_UTC: &str = "%Y-%m-%dT%H:%M:%S.%LZ";
pub(crate) const ISO_LOCAL: &str = "%Y-%m-%dT%H:%M:%S.%L";

/// The text of an instant in a zone.
pub(crate) fn format(pattern: &str, instant: i64, zone: &Zone) -> Result<String, DocumentError> {
    let offset = zone.offset(instant);
    let civil = Civil::of(instant.saturating_add(offset));
    let mut text = String::with_capacity(32);
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let specifier = characters.next();
        text.push_str(&match specifier {
            Some('d') => format!("{:02}", civil.day),
            Some('G') => year(civil.iso_week().0)?,
            Some('H') => format!("{:02}", civil.hour),
            Some('j') => format!("{:03}", civil.day_of_year()),
            Some('L') => format!("{:03}", civil.millisecond),
            Some('m') => format!("{:02}", civil.month),
            Some('M') => format!("{:02}", civil.minute),
            Some('S') => format!("{:02}", civil.second),
            Some('u') => civil.iso_weekday().to_string(),
            Some('U') => format!("{:02}", civil.week()),
            Some('V') => format!("{:02}", civil.iso_week().1),
            Some('w') => (civil.iso_weekday() % 7 + 1).to_string(),
            Some('Y') => year(civil.year)?,
            Some('z') => {
                let minutes = offset.abs() / 60_000;
                let sign = if offset < 0 { '-' } else { '+' };
                format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            Some('Z') => (offset / 60_000).to_string(),
            Some('b') => MONTHS[civil.month as usize - 1][..3].to_owned(),
            Some('B') => MONTHS[civil.month as usize - 1].to_owned(),
            Some('%') => "%".to_owned(),
            Some(unknown) => {
                return fail(
                    18536,
                    format!("Invalid format character '%{unknown}' in format string"),
                );
            }
            None => return fail(18535, "Unmatched '%' at end of format string"),
        });
    }
    Ok(text)
}

fn year(year: i64) -> Result<String, DocumentError> {
    match year {
        0..=9999 => Ok(format!("{year:04}")),
        _ => fail(
            18537,
            format!("$dateToString is only defined on year 0-9999, tried to use year {year}"),
        ),
    }
}

/// `2020-01-31T12:00:00.000Z`, for years of any length.
pub(crate) fn iso(instant: i64) -> String {
    let civil = Civil::of(instant);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        civil.year,
        civil.month,
        civil.day,
        civil.hour,
        civil.minute,
        civil.second,
        civil.millisecond
    )
}
