//! Dates from text: ISO 8601 in its usual forms, a few others, or after a format.

use super::civil::{Civil, DAY_MS, days, days_in_month, is_leap, iso_days};
use super::format::MONTHS;
use super::zone::{UTC, Zone, fixed_offset};
use crate::{DocumentError, ErrorKind};

/// What a text has said so far.
#[derive(Debug, Clone, Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_weekday: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    millisecond: i64,
    zone: Option<Zone>,
}

/// A place in a text.
#[derive(Debug, Clone, Copy)]
struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// From `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self
            .rest
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        number.parse().ok()
    }

    fn skip(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_any(&mut self, expected: &[char]) -> bool {
        expected.iter().any(|character| self.skip(*character))
    }

    /// Letters.
    fn word(&mut self) -> &'t str {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// The name of a month or its first three letters.
    fn month(&mut self) -> Option<i64> {
        let word = self.word();
        let found = MONTHS.iter().position(|name| {
            name.eq_ignore_ascii_case(word) || name[..3].eq_ignore_ascii_case(word)
        });
        found.map(|index| index as i64 + 1)
    }

    /// A fraction of a second as milliseconds; what follows them is cut off.
    fn fraction(&mut self) -> Option<i64> {
        let before = self.rest;
        self.number(1, 9)?;
        let digits = &before[..before.len() - self.rest.len()];
        let padded = format!("{digits:0<3}");
        padded[..3].parse().ok()
    }

    /// The rest as a zone; `None` where it is none.
    fn zone(&mut self) -> Option<Option<Zone>> {
        let text = self.rest.trim();
        self.rest = "";
        match text {
            "" => Some(None),
            "z" => Some(Some(UTC)),
            _ => match fixed_offset(text) {
                Some(seconds) => Some(Some(Zone::Fixed(seconds))),
                None => Zone::parse(text).ok().map(Some),
            },
        }
    }

    /// `hh:mm[:ss[.fraction]]`, or the same without colons.
    fn time(&mut self, read: &mut Read) -> Option<()> {
        read.hour = self.number(1, 2)?;
        let colons = self.skip(':');
        read.minute = self.number(2, 2)?;
        if if colons {
            self.skip(':')
        } else {
            self.rest.starts_with(|c: char| c.is_ascii_digit())
        } {
            read.second = self.number(2, 2)?;
            if self.skip_any(&['.', ',']) {
                read.millisecond = self.fraction()?;
            }
        }
        Some(())
    }
}

fn failure(written: &str, why: &str) -> DocumentError {
    DocumentError::new(
        ErrorKind::ConversionFailure,
        format!("Error parsing date string '{written}'; {why}"),
    )
}

/// The instant that `written` names. A zone in the text and one given beside it exclude each other.
pub(crate) fn parse(
    written: &str,
    pattern: Option<&str>,
    zone: Option<&Zone>,
) -> Result<i64, DocumentError> {
    let read = match pattern {
        Some(pattern) => formatted(written, pattern)?,
        None => free(written).ok_or_else(|| failure(written, "0: Unexpected character"))?,
    };
    if read.zone.is_some() && zone.is_some_and(|zone| !matches!(zone, Zone::Fixed(0))) {
        return Err(DocumentError::new(
            ErrorKind::ConversionFailure,
            format!(
                "you cannot pass in a date/time string with GMT offset together with a timezone argument: \"{written}\""
            ),
        ));
    }
    let local = local(&read, written)?;
    let zone = read.zone.as_ref().or(zone).unwrap_or(&UTC);
    Ok(zone.instant(local))
}

fn local(read: &Read, written: &str) -> Result<i64, DocumentError> {
    let incomplete = || {
        DocumentError::new(
            ErrorKind::ConversionFailure,
            format!(
                "an incomplete date/time string has been found, with elements missing: \"{written}\""
            ),
        )
    };
    let invalid = || failure(written, "the parsed date was invalid");
    let day_number = match (read.iso_year, read.year) {
        (Some(year), _) => iso_days(
            year,
            read.iso_week.unwrap_or(1),
            read.iso_weekday.unwrap_or(1),
        ),
        (None, None) => return Err(incomplete()),
        (None, Some(year)) => match (read.day_of_year, read.month, read.day) {
            (Some(day), _, _) => {
                if day < 1 || day > 365 + i64::from(is_leap(year)) {
                    return Err(invalid());
                }
                days(year, 1, day)
            }
            (None, Some(month), Some(day)) => {
                if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
                    return Err(invalid());
                }
                days(year, month, day)
            }
            _ => return Err(incomplete()),
        },
    };
    if read.hour > 24 || read.minute > 59 || read.second > 60 {
        return Err(invalid());
    }
    let civil = Civil {
        year: 1970,
        month: 1,
        day: day_number + 1,
        hour: read.hour,
        minute: read.minute,
        second: read.second,
        millisecond: read.millisecond,
    };
    civil
        .millis()
        .filter(|millis| millis / DAY_MS < i64::MAX / DAY_MS)
        .ok_or_else(invalid)
}

/// Without a format.
fn free(written: &str) -> Option<Read> {
    let text = written.trim();
    const FORMS: [fn(&str) -> Option<Read>; 4] = [iso, american, day_month_year, month_day_year];
    FORMS.iter().find_map(|form| form(text))
}

/// `yyyy-mm-dd`, `yyyymmdd`, `yyyy/mm/dd`, `yyyy-ddd`, `yyyy-Www-d`, then a time and a zone.
fn iso(text: &str) -> Option<Read> {
    let mut reader = Reader { rest: text };
    let mut read = Read::default();
    let year = reader.number(4, 4)?;
    let separated = reader.skip('-') || reader.skip('/');
    if reader.skip('W') {
        read.iso_year = Some(year);
        read.iso_week = Some(reader.number(2, 2)?);
        if !separated || reader.skip('-') {
            read.iso_weekday = reader.number(1, 1);
        }
    } else {
        read.year = Some(year);
        let three_digits = reader.rest.bytes().take_while(u8::is_ascii_digit).count() == 3;
        if three_digits {
            read.day_of_year = reader.number(3, 3);
        } else {
            read.month = Some(reader.number(if separated { 1 } else { 2 }, 2)?);
            if !separated || reader.skip('-') || reader.skip('/') {
                read.day = Some(reader.number(if separated { 1 } else { 2 }, 2)?);
            }
        }
    }
    finish(reader, read)
}

/// A time and a zone may follow a date.
fn finish(mut reader: Reader<'_>, mut read: Read) -> Option<Read> {
    if reader.rest.is_empty() {
        return Some(read);
    }
    reader.skip(',');
    if reader.skip_any(&['T', 't']) || reader.skip(' ') {
        reader.rest = reader.rest.trim_start();
        if reader.rest.starts_with(|c: char| c.is_ascii_digit()) {
            reader.time(&mut read)?;
        }
    }
    let mut after = reader;
    after.rest = after.rest.trim_start();
    let lower = after.word().to_ascii_lowercase();
    if matches!(lower.as_str(), "am" | "pm") {
        if !(1..=12).contains(&read.hour) {
            return None;
        }
        read.hour = read.hour % 12 + if lower == "pm" { 12 } else { 0 };
        reader = after;
    }
    read.zone = reader.zone()?;
    Some(read)
}

/// `mm/dd/yyyy`.
fn american(text: &str) -> Option<Read> {
    let mut reader = Reader { rest: text };
    let month = reader.number(1, 2)?;
    reader.skip('/').then_some(())?;
    let day = reader.number(1, 2)?;
    reader.skip('/').then_some(())?;
    let year = reader.number(4, 4)?;
    finish(
        reader,
        Read {
            year: Some(year),
            month: Some(month),
            day: Some(day),
            ..Read::default()
        },
    )
}

/// `4 July 2017`, `4-Jul-2017`.
fn day_month_year(text: &str) -> Option<Read> {
    let mut reader = Reader { rest: text };
    let day = reader.number(1, 2)?;
    reader.skip_any(&[' ', '-']).then_some(())?;
    let month = reader.month()?;
    reader.skip_any(&[' ', '-']).then_some(())?;
    let year = reader.number(4, 4)?;
    finish(
        reader,
        Read {
            year: Some(year),
            month: Some(month),
            day: Some(day),
            ..Read::default()
        },
    )
}

/// `July 4th, 2017`, `Tue, July 4 2017`.
fn month_day_year(text: &str) -> Option<Read> {
    const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let mut reader = Reader { rest: text };
    let start = reader;
    let word = reader.word().to_ascii_lowercase();
    if word.get(..3).is_some_and(|begin| WEEKDAYS.contains(&begin)) {
        reader.skip(',');
        reader.rest = reader.rest.trim_start();
        if let Some(read) = day_month_year(reader.rest) {
            return Some(read);
        }
    } else {
        reader = start;
    }
    let month = reader.month()?;
    reader.rest = reader.rest.trim_start_matches([' ', '.']);
    let day = reader.number(1, 2)?;
    if matches!(reader.rest.get(..2), Some("st" | "nd" | "rd" | "th")) {
        reader.rest = &reader.rest[2..];
    }
    reader.skip(',');
    reader.rest = reader.rest.trim_start();
    let year = reader.number(4, 4)?;
    finish(
        reader,
        Read {
            year: Some(year),
            month: Some(month),
            day: Some(day),
            ..Read::default()
        },
    )
}

fn formatted(written: &str, pattern: &str) -> Result<Read, DocumentError> {
    let mut reader = Reader { rest: written };
    let mut read = Read::default();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let mismatch = || {
            let at = written.len() - reader.rest.len();
            failure(written, &format!("{at}: Format literal not found"))
        };
        if character != '%' {
            let expected = mismatch();
            if !reader.skip(character) {
                return Err(expected);
            }
            continue;
        }
        let unmatched = mismatch();
        let Some(specifier) = characters.next() else {
            return Err(DocumentError::location(
                18535,
                "Unmatched '%' at end of format string",
            ));
        };
        specified(specifier, &mut reader, &mut read)?.ok_or(unmatched)?;
    }
    if !reader.rest.is_empty() {
        return Err(failure(written, "Trailing data"));
    }
    let mixes = read.iso_year.is_some() && (read.year.is_some() || read.month.is_some());
    if mixes {
        return Err(failure(
            written,
            "Mixing of ISO dates with natural dates is not allowed",
        ));
    }
    Ok(read)
}

/// Reads what one specifier stands for; `None` where the text does not have it.
fn specified(
    specifier: char,
    reader: &mut Reader<'_>,
    read: &mut Read,
) -> Result<Option<()>, DocumentError> {
    let number = |reader: &mut Reader<'_>, slot: &mut Option<i64>, digits| {
        *slot = reader.number(1, digits);
        slot.map(|_| ())
    };
    let time =
        |reader: &mut Reader<'_>, slot: &mut i64| reader.number(1, 2).map(|number| *slot = number);
    Ok(match specifier {
        'd' => number(reader, &mut read.day, 2),
        'G' => number(reader, &mut read.iso_year, 4),
        'H' => time(reader, &mut read.hour),
        'j' => number(reader, &mut read.day_of_year, 3),
        'L' => reader.fraction().map(|millis| read.millisecond = millis),
        'm' => number(reader, &mut read.month, 2),
        'M' => time(reader, &mut read.minute),
        'S' => time(reader, &mut read.second),
        'u' => number(reader, &mut read.iso_weekday, 1),
        'V' => number(reader, &mut read.iso_week, 2),
        'Y' => number(reader, &mut read.year, 4),
        'b' | 'B' => {
            read.month = reader.month();
            read.month.map(|_| ())
        }
        'z' => {
            let end = reader
                .rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| !c.is_ascii_digit() && *c != ':');
            let end = end.map_or(reader.rest.len(), |(end, _)| end);
            let (zone, rest) = reader.rest.split_at(end);
            reader.rest = rest;
            read.zone = match zone {
                "Z" => Some(UTC),
                zone => fixed_offset(zone).map(Zone::Fixed),
            };
            read.zone.as_ref().map(|_| ())
        }
        'Z' => {
            let negative = reader.skip('-');
            if !negative {
                reader.skip('+');
            }
            reader.number(1, 4).map(|minutes| {
                let seconds = minutes * 60;
                read.zone = Some(Zone::Fixed(if negative { -seconds } else { seconds }));
            })
        }
        '%' => reader.skip('%').then_some(()),
        unknown => {
            return Err(DocumentError::location(
                18536,
                format!("Invalid format character '%{unknown}' in format string"),
            ));
        }
    })
}
