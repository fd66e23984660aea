//! The three forms of an HTTP-date (RFC 9110 §5.6.7), as strict as the grammar: case and spacing count.

use std::time::Duration;

use crate::time::{Civil, UnixTime};

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
    let seconds = if let Some(date) = short.and_then(|text| read(text, b", dd ### yyyy hh:mm:ss GMT")) {
        date.unix_seconds()
    } else if let Some(date) = short.and_then(|text| read(text, b" ### _d hh:mm:ss yyyy")) {
        date.unix_seconds()
    } else {
        let mut date = read(long?, b", dd-###-yy hh:mm:ss GMT")?;
        date.year += 9900;
        while date.seconds_in(date.year - 50) > now {
            date.year -= 100;
        }
        date.unix_seconds()
    };
    Some(UnixTime::new(Duration::from_secs(u64::try_from(seconds?).unwrap_or(0))))
}

/// Reads `text` by `layout`, where `y`, `d`, `h`, `m` and `s` are digits, `_` is a digit or the space in place of a
/// leading zero, `###` is the name of a month, and everything else is itself.
fn read(text: &[u8], layout: &[u8]) -> Option<Civil> {
    if text.len() != layout.len() {
        return None;
    }
    let mut date = Civil::default();
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

#[cfg(test)]
mod tests;
