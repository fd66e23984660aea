//! The calendar: dates as people write them, and as seconds since 1970.

/// From 0000-03-01 to 1970-01-01. Years that begin in March have their leap day at the end.
const DAYS_BEFORE_1970: i64 = 719_468;

/// A date of the Gregorian calendar with its time of day, in UTC; whatever was read, until it is [checked](Self::unix_seconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// From 1, as the day.
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

impl Civil {
    /// Seconds since 1970, fewer than none before it; `None` where there is no such date.
    ///
    /// Second 60, a leap second, is the first of the next minute, as POSIX has it.
    pub(crate) fn unix_seconds(&self) -> Option<i64> {
        let &Self { year, month, day, hour, minute, second } = self;
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let last = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
        (time && (1..=last).contains(&day)).then(|| self.seconds_in(year))
    }

    /// Seconds from 1970 to this day and time of another year, which may have no such day.
    pub(crate) const fn seconds_in(&self, year: i64) -> i64 {
        let year = if self.month > 2 { year } else { year - 1 };
        let month = (self.month + 9) % 12;
        let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
            + year.div_euclid(400)
            + (153 * month + 2) / 5
            + (self.day - 1)
            - DAYS_BEFORE_1970;
        ((days * 24 + self.hour) * 60 + self.minute) * 60 + self.second
    }

    /// The date so many seconds after the beginning of 1970.
    #[cfg(feature = "signature")]
    pub(crate) const fn at(unix_seconds: u64) -> Self {
        const DAY: u64 = 86_400;
        let (days, second) = ((unix_seconds / DAY).cast_signed(), (unix_seconds % DAY).cast_signed());
        // In cycles of 400 years, each of 97 leap years.
        let days = days + DAYS_BEFORE_1970;
        let (cycle, of_cycle) = (days / 146_097, days % 146_097);
        let of_years = of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096;
        let year = of_years / 365;
        let of_year = of_cycle - (year * 365 + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: cycle * 400 + year + if month > 2 { 0 } else { 1 },
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn civil([year, month, day, hour, minute, second]: [i64; 6]) -> Civil {
        Civil { year, month, day, hour, minute, second }
    }

    #[test]
    fn a_date_is_so_many_seconds_from_1970() {
        for (fields, seconds) in [
            ([1970, 1, 1, 0, 0, 0], 0),
            ([1969, 12, 31, 23, 59, 59], -1),
            ([1994, 11, 6, 8, 49, 37], 784_111_777),
            ([2000, 2, 29, 0, 0, 0], 951_782_400),
            ([2100, 3, 1, 0, 0, 0], 4_107_542_400),
            ([9999, 12, 31, 23, 59, 59], 253_402_300_799),
            ([0, 1, 1, 0, 0, 0], -62_167_219_200),
            ([2016, 12, 31, 23, 59, 60], 1_483_228_800),
        ] {
            assert_eq!(civil(fields).unix_seconds(), Some(seconds), "{fields:?}");
        }
    }

    #[test]
    fn what_no_calendar_has_is_no_date() {
        for fields in [
            [2019, 0, 1, 0, 0, 0],
            [2019, 13, 1, 0, 0, 0],
            [2019, 1, 0, 0, 0, 0],
            [2019, 1, 32, 0, 0, 0],
            [2019, 2, 29, 0, 0, 0],
            [2100, 2, 29, 0, 0, 0],
            [2020, 2, 30, 0, 0, 0],
            [2019, 4, 31, 0, 0, 0],
            [2019, 1, 1, 24, 0, 0],
            [2019, 1, 1, 0, 60, 0],
            [2019, 1, 1, 0, 0, 61],
            [2019, 1, 1, -1, 0, 0],
        ] {
            assert_eq!(civil(fields).unix_seconds(), None, "{fields:?}");
        }
    }

    /// All days of five centuries, and the last one that a clock could say.
    #[cfg(feature = "signature")]
    #[test]
    fn a_moment_is_at_the_date_that_is_at_the_moment() {
        let mut before = (1969, 12, 31);
        for days in 0..200_000_u64 {
            let moment = days * 86_400 + days * 7 % 86_400;
            let date = Civil::at(moment);
            assert_eq!(date.unix_seconds(), Some(moment.cast_signed()), "{date:?}");
            let next = (date.year, date.month, date.day);
            assert!(next > before, "{next:?} comes after {before:?}");
            before = next;
        }
        assert_eq!(before.0, 2517);
        assert_eq!(Civil::at(u64::MAX), civil([584_554_051_223, 11, 9, 7, 0, 15]));
    }
}
