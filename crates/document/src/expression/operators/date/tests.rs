//! The calendar against counting days one by one, zones against their rules, formats against reading them back.

use proptest::prelude::*;

use super::arithmetic::{Unit, later};
use super::civil::{Civil, DAY_MS, days, days_in_month, iso_days};
use super::format::{ISO_UTC, format};
use super::parse::parse;
use super::zone::{UTC, Zone};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn parts_give_their_instant_back(millis in -9_000_000_000_000_000i64..9_000_000_000_000_000) {
        let civil = Civil::of(millis);
        prop_assert_eq!(civil.millis(), Some(millis));
        prop_assert!((1..=12).contains(&civil.month));
        prop_assert!((1..=days_in_month(civil.year, civil.month)).contains(&civil.day));
        let (year, week) = civil.iso_week();
        prop_assert_eq!(iso_days(year, week, civil.iso_weekday()), civil.day_number());
    }

    #[test]
    fn what_is_written_is_read(millis in -60_000_000_000_000i64..250_000_000_000_000) {
        let text = format(ISO_UTC, millis, &UTC).expect("years of four digits");
        prop_assert_eq!(parse(&text, None, None), Ok(millis));
        prop_assert_eq!(parse(&text, Some(ISO_UTC), None), Ok(millis));
    }

    #[test]
    fn local_times_come_back(millis in 0i64..4_000_000_000_000, hours in -14i64..15) {
        let fixed = Zone::Fixed(hours * 3600);
        prop_assert_eq!(fixed.instant(fixed.local(millis)), millis);
        let named = Zone::parse("Europe/Berlin").expect("built in");
        let back = named.instant(named.local(millis));
        // The hour that comes twice is read as the first of the two.
        prop_assert!(back == millis || back == millis - 3_600_000);
    }

    #[test]
    fn months_later_and_back_stay_in_their_month(millis in 0i64..4_000_000_000_000, months in -500i64..500) {
        let there = later(millis, Unit::Month, months, &UTC).expect("in range");
        let (from, to) = (Civil::of(millis), Civil::of(there));
        prop_assert_eq!(to.year * 12 + to.month, from.year * 12 + from.month + months);
        prop_assert!(to.day == from.day || to.day == days_in_month(to.year, to.month));
    }

    #[test]
    fn no_text_breaks_the_parser(text in ".{0,24}", pattern in "[%YmdHMSLGVujzZbB :-]{0,12}") {
        let _ = parse(&text, None, None);
        let _ = parse(&text, Some(&pattern), None);
    }
}

#[test]
fn days_are_counted_without_gaps() {
    let mut expected = days(1895, 1, 1);
    for year in 1895..2105 {
        for month in 1..=12 {
            for day in 1..=days_in_month(year, month) {
                assert_eq!(days(year, month, day), expected);
                let civil = Civil::of(expected * DAY_MS);
                assert_eq!((civil.year, civil.month, civil.day), (year, month, day));
                expected += 1;
            }
        }
    }
}

#[test]
fn clocks_that_change() {
    let zone = Zone::parse("America/New_York").expect("built in");
    // 2024-03-10 02:30 does not exist, 2024-11-03 01:30 exists twice.
    let skipped = parse("2024-03-10T02:30:00", None, Some(&zone));
    assert_eq!(skipped, parse("2024-03-10T07:30:00Z", None, None));
    let twice = parse("2024-11-03T01:30:00", None, Some(&zone));
    assert_eq!(twice, parse("2024-11-03T05:30:00Z", None, None));
}
