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
mod tests;
