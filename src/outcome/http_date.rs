//! The three forms of an HTTP-date (RFC 9110 §5.6.7), as strict as the grammar: case and spacing count.

use std::time::Duration;

use crate::time::UnixTime;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// The date that `text` names, or `None` where it names none; one before 1970 is 1970.
///
/// The weekday has to be one, and is not compared with the date, as RFC 9110 asks for no such check. Second 60 is the
/// first of the next minute. A year of two digits is the latest that is not more than 50 years after `now`.
pub(super) fn http_date(text: &[u8], now: UnixTime) -> Option<UnixTime> {
    let now = i64::try_from(now.since_epoch().as_secs()).unwrap_or(i64::MAX);
    let short = WEEKDAYS.iter().find_map(|day| text.strip_prefix(&day.as_bytes()[..3]));
    let long = WEEKDAYS.iter().find_map(|day| text.strip_prefix(day.as_bytes()));
    let seconds = if let Some(date) = short.and_then(|text| Civil::read(text, b", dd ### yyyy hh:mm:ss GMT")) {
        date.unix_seconds()
    } else if let Some(date) = short.and_then(|text| Civil::read(text, b" ### _d hh:mm:ss yyyy")) {
        date.unix_seconds()
    } else {
        let mut date = Civil::read(long?, b", dd-###-yy hh:mm:ss GMT")?;
        date.year += 9900;
        while date.fifty_years_before() > now {
            date.year -= 100;
        }
        date.unix_seconds()
    };
    Some(UnixTime::new(Duration::from_secs(u64::try_from(seconds?).unwrap_or(0))))
}

#[derive(Default)]
struct Civil {
    year: i64,
    /// From 1.
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Civil {
    /// Reads `text` by `layout`, where `y`, `d`, `h`, `m` and `s` are digits, `_` is a digit or the space in place of a
    /// leading zero, `###` is the name of a month, and everything else is itself.
    fn read(text: &[u8], layout: &[u8]) -> Option<Self> {
        if text.len() != layout.len() {
            return None;
        }
        let mut date = Self::default();
        for (&byte, &place) in text.iter().zip(layout) {
            let field = match place {
                b'y' => &mut date.year,
                b'_' if byte == b' ' => continue,
                b'd' | b'_' => &mut date.day,
                b'h' => &mut date.hour,
                b'm' => &mut date.minute,
                b's' => &mut date.second,
                b'#' => continue,
                other if byte == other => continue,
                _ => return None,
            };
            let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
            *field = *field * 10 + digit;
        }
        let at = layout.iter().position(|&place| place == b'#')?;
        let month = &text[at..at + 3];
        date.month = MONTHS.iter().zip(1..).find_map(|(name, number)| (month == name.as_slice()).then_some(number))?;
        Some(date)
    }

    fn unix_seconds(&self) -> Option<i64> {
        let &Self { year, month, day, hour, minute, second } = self;
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let last = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let valid = (1..=last).contains(&day) && hour < 24 && minute < 60 && second <= 60;
        valid.then(|| self.seconds_in(year))
    }

    /// The moment of the same name fifty years earlier.
    fn fifty_years_before(&self) -> i64 {
        self.seconds_in(self.year - 50)
    }

    /// Seconds from 1970 to this day and time of `year`.
    fn seconds_in(&self, year: i64) -> i64 {
        // Years that begin in March have their leap day at the end; 719,468 days lie between 0000-03-01 and 1970-01-01.
        let year = if self.month > 2 { year } else { year - 1 };
        let month = (self.month + 9) % 12;
        let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
            + year.div_euclid(400)
            + (153 * month + 2) / 5
            + (self.day - 1)
            - 719_468;
        ((days * 24 + self.hour) * 60 + self.minute) * 60 + self.second
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_559_559_600); // 2019-06-03T11:00:00Z

    fn parse(text: &str) -> Option<u64> {
        http_date(text.as_bytes(), NOW).map(|date| date.since_epoch().as_secs())
    }

    #[test]
    fn the_three_forms_of_the_rfc_name_one_moment() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn asctime_pads_its_day_with_a_space_or_has_two_digits() {
        assert_eq!(parse("Wed Nov 16 08:49:37 1994"), Some(784_111_777 + 10 * 86_400));
        assert_eq!(parse("Sun Nov 06 08:49:37 1994"), Some(784_111_777));
        assert_eq!(parse("Sun Nov 6 08:49:37 1994"), None);
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
        let at = |text: &str| parse(text).unwrap();
        assert_eq!(at("Monday, 03-Jun-69 11:00:00 GMT"), at("Mon, 03 Jun 2069 11:00:00 GMT"));
        assert_eq!(at("Monday, 03-Jun-69 11:00:01 GMT"), 0); // 1969
        assert_eq!(at("Monday, 03-Jun-70 11:00:00 GMT"), at("Mon, 03 Jun 1970 11:00:00 GMT"));
        let late = UnixTime::from_secs(at("Mon, 03 Jun 2095 11:00:00 GMT"));
        let next_century = http_date(b"Monday, 03-Jun-05 11:00:00 GMT", late).unwrap();
        assert_eq!(next_century.since_epoch().as_secs(), at("Mon, 03 Jun 2105 11:00:00 GMT"));
    }

    #[test]
    fn the_calendar_is_kept() {
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Mon, 01 Jan 0000 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(parse("Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400));
        assert_eq!(parse("Fri, 31 Dec 9999 23:59:59 GMT"), Some(253_402_300_799));
        assert_eq!(parse("Mon, 03 Jun 2019 10:59:60 GMT"), Some(NOW.since_epoch().as_secs()));
    }

    #[test]
    fn what_the_grammar_does_not_have_is_no_date() {
        for text in [
            "Thu, 29 Feb 2100 00:00:00 GMT",
            "Fri, 29 Feb 2019 00:00:00 GMT",
            "Fri, 31 Jun 2019 00:00:00 GMT",
            "Fri, 00 Jun 2019 00:00:00 GMT",
            "Fri, 01 Jun 2019 24:00:00 GMT",
            "Fri, 01 Jun 2019 00:60:00 GMT",
            "Fri, 01 Jun 2019 00:00:61 GMT",
            "fri, 01 Jun 2019 00:00:00 GMT",
            "Fri, 01 jun 2019 00:00:00 GMT",
            "Fri, 01 Jun 2019 00:00:00 gmt",
            "Fri, 1 Jun 2019 00:00:00 GMT",
            "Fri, 01 Jun 2019 00:00:00 UTC",
            "Fri, 01 Jun 2019 00:00:00 +0000",
            "Fri,  1 Jun 2019 00:00:00 GMT",
            "Fri, 01 Jun 2019 00:00:00 GMT ",
            "Friday, 01 Jun 2019 00:00:00 GMT",
            "Fri, 01-Jun-19 00:00:00 GMT",
            "Xyz, 01 Jun 2019 00:00:00 GMT",
            "Fri Jun  1 00:00:00 2019 GMT",
            "2019-06-03T11:00:00Z",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// The calendar, one day after the other.
    fn naive(days: u64) -> (u64, usize, u64) {
        let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for _ in 0..days {
            let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            day += 1;
            if day > lengths[month] {
                (day, month) = (1, month + 1);
            }
            if month == 12 {
                (month, year) = (0, year + 1);
            }
        }
        (year, month, day)
    }

    proptest! {
        #[test]
        fn every_day_is_where_a_naive_calendar_has_it(days in 0_u64..60_000, second in 0_u64..86_400) {
            let (year, month, day) = naive(days);
            let month = std::str::from_utf8(MONTHS[month]).unwrap();
            let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
            let expected = Some(days * 86_400 + second);
            let fixed = format!("Mon, {day:02} {month} {year} {time} GMT");
            let asctime = format!("Mon {month} {day:2} {time} {year}");
            prop_assert_eq!(parse(&fixed), expected);
            prop_assert_eq!(parse(&asctime), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(text: Vec<u8>, now: Duration) {
            let _ = http_date(&text, UnixTime::new(now));
        }

        #[test]
        fn nothing_that_looks_like_a_date_makes_it_panic(
            text in "(Mon|Monday)[, ]{1,2}[0-9A-Za-z]{2,3}[ -][0-9A-Z][a-z0-9]{2}[ -][0-9: ]{2,13} (GMT|[0-9]{4})",
            now: Duration,
        ) {
            let _ = http_date(text.as_bytes(), UnixTime::new(now));
        }
    }
}
