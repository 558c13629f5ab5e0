//! The proleptic Gregorian calendar over the whole range of a BSON date, in local time and without zones.

pub(crate) const DAY_MS: i64 = 86_400_000;

/// Parts of a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub millisecond: i64,
}

/// Days since 1970-01-01. Months beyond the year and days beyond the month carry over.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year + (month - 1).div_euclid(12);
    let month = (month - 1).rem_euclid(12) + 1;
    // Years that begin in March have the leap day at their end.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year + day
        - 719_469
}

pub(crate) fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    days(year, month + 1, 1) - days(year, month, 1)
}

impl Civil {
    /// From milliseconds since the epoch, local.
    pub fn of(millis: i64) -> Civil {
        let day_number = millis.div_euclid(DAY_MS);
        let rest = millis.rem_euclid(DAY_MS);
        let shifted = day_number + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: rest / 3_600_000,
            minute: rest / 60_000 % 60,
            second: rest / 1000 % 60,
            millisecond: rest % 1000,
        }
    }

    /// Milliseconds since the epoch, local; parts beyond their range carry over. `None` beyond the range of dates.
    pub fn millis(&self) -> Option<i64> {
        let millis = i128::from(days(self.year, self.month, 1) + self.day - 1) * i128::from(DAY_MS)
            + i128::from(self.hour) * 3_600_000
            + i128::from(self.minute) * 60_000
            + i128::from(self.second) * 1000
            + i128::from(self.millisecond);
        i64::try_from(millis).ok()
    }

    /// Days since the epoch.
    pub fn day_number(&self) -> i64 {
        days(self.year, self.month, self.day)
    }

    /// From 1.
    pub fn day_of_year(&self) -> i64 {
        self.day_number() - days(self.year, 1, 1) + 1
    }

    /// From 1 (Monday) to 7 (Sunday).
    pub fn iso_weekday(&self) -> i64 {
        iso_weekday(self.day_number())
    }

    /// Weeks begin on Sunday; what precedes the first one is week 0.
    pub fn week(&self) -> i64 {
        (self.day_of_year() + 6 - self.iso_weekday() % 7) / 7
    }

    /// ISO 8601: year and week.
    pub fn iso_week(&self) -> (i64, i64) {
        let thursday = Civil::of((self.day_number() + 4 - self.iso_weekday()) * DAY_MS);
        (thursday.year, (thursday.day_of_year() - 1) / 7 + 1)
    }
}

/// From 1 (Monday) to 7 (Sunday).
pub(crate) fn iso_weekday(day_number: i64) -> i64 {
    (day_number + 3).rem_euclid(7) + 1
}

/// The day number of an ISO week date; parts beyond their range carry over.
pub(crate) fn iso_days(year: i64, week: i64, weekday: i64) -> i64 {
    let fourth = days(year, 1, 4);
    fourth - iso_weekday(fourth) + 1 + (week - 1) * 7 + weekday - 1
}
