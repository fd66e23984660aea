//! When a message was signed, and how far from now that may be.

use std::time::Duration;

use super::Names;
use crate::{signature::Reason, time::UnixTime};

/// Where a scheme says when a message was signed, in which unit, and how far from now that may be.
///
/// The tolerance holds in both directions, and a timestamp at exactly its edge is good. It is judged in the unit in which
/// the timestamp is written: under whole seconds, 300.9 s ago is 300 s ago.
///
/// ```
/// use std::time::Duration;
/// use portcullis::signature::{Timestamp, Unit};
///
/// let five_minutes = Timestamp::header("X-Slack-Request-Timestamp");
/// let ten_minutes = Timestamp::header("Twitch-Eventsub-Message-Timestamp").unit(Unit::Rfc3339).tolerance(Duration::from_secs(600));
/// # let _ = (five_minutes, ten_minutes);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Timestamp {
    pub(super) place: Place,
    unit: Unit,
    tolerance: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Header(Names),
    List(String),
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Whole seconds since 1970, digits only.
    #[default]
    Seconds,
    /// Whole milliseconds since 1970, digits only.
    Millis,
    /// A date as RFC 3339 has it, such as `2019-11-16T10:11:12.634Z`.
    Rfc3339,
}

impl Timestamp {
    const TOLERANCE: Duration = Duration::from_secs(300);

    /// In a header of its own.
    pub fn header(names: impl Into<Names>) -> Self {
        Self { place: Place::Header(names.into()), unit: Unit::default(), tolerance: Self::TOLERANCE }
    }

    /// In the signature header's list, under `key`.
    pub fn list_key(key: impl Into<String>) -> Self {
        Self { place: Place::List(key.into()), unit: Unit::default(), tolerance: Self::TOLERANCE }
    }

    /// The unit. Default: seconds.
    pub const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// How far from now it may be, either way. Default: 300 s, which nearly all providers use; `Duration::MAX` accepts any.
    pub const fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The date that `text` names, if it is near enough to `now`.
    pub(super) fn judge(&self, text: &[u8], now: UnixTime) -> Result<UnixTime, Reason> {
        let signed = self.unit.parse(text).ok_or(Reason::Malformed)?;
        let now = self.unit.floor(now.since_epoch());
        if now.saturating_sub(signed) > self.tolerance {
            return Err(Reason::Stale);
        }
        if signed.saturating_sub(now) > self.tolerance {
            return Err(Reason::Future);
        }
        Ok(UnixTime::new(signed))
    }

    /// `now` as the scheme writes it.
    pub(super) fn print(&self, now: UnixTime) -> String {
        let since = now.since_epoch();
        match self.unit {
            Unit::Seconds => since.as_secs().to_string(),
            Unit::Millis => since.as_millis().to_string(),
            Unit::Rfc3339 => rfc3339::print(since),
        }
    }
}

impl Unit {
    fn parse(self, text: &[u8]) -> Option<Duration> {
        match self {
            Self::Seconds => digits(text).map(Duration::from_secs),
            Self::Millis => digits(text).map(Duration::from_millis),
            Self::Rfc3339 => rfc3339::parse(text),
        }
    }

    fn floor(self, since_epoch: Duration) -> Duration {
        match self {
            Self::Seconds => Duration::from_secs(since_epoch.as_secs()),
            Self::Millis => Duration::new(since_epoch.as_secs(), since_epoch.subsec_millis() * 1_000_000),
            Self::Rfc3339 => since_epoch,
        }
    }
}

/// A number in its one way of being written: no sign, no space, no leading zero.
fn digits(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => {
            text.iter().try_fold(0u64, |number, byte| number.checked_mul(10)?.checked_add(digit(*byte)?))
        }
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

mod rfc3339 {
    //! Dates of RFC 3339 from 1970 on, with any fraction (kept to nanoseconds) and any offset.

    use std::time::Duration;

    use super::digit;

    const DAY: u64 = 86_400;

    pub(super) fn parse(text: &[u8]) -> Option<Duration> {
        let (head, rest) = text.split_at_checked(19)?;
        let &[_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b't', _, _, b':', _, _, b':', _, _] = head else {
            return None;
        };
        let field = |from: usize, to: usize| number(&head[from..to]);
        let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
        let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
        if !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
            return None;
        }
        // A leap second is the last of its minute, and counts as the one after it, as POSIX has it.
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (nanos, offset) = fraction(rest)?;
        let seconds = days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
        let seconds = match offset {
            [b'Z' | b'z'] => seconds,
            [b'+', offset @ ..] => seconds.checked_sub(shift(offset)?)?,
            [b'-', offset @ ..] => seconds + shift(offset)?,
            _ => return None,
        };
        Some(Duration::new(seconds, nanos))
    }

    fn number(text: &[u8]) -> Option<u64> {
        text.iter().try_fold(0, |number, byte| Some(number * 10 + digit(*byte)?))
    }

    /// The nanoseconds at the head of `text`, and what follows them.
    fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
        let Some(text) = text.strip_prefix(b".") else { return Some((0, text)) };
        let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        let (fraction, rest) = text.split_at(end);
        if fraction.is_empty() {
            return None;
        }
        let nanos =
            (0..9).fold(0, |nanos, place| nanos * 10 + fraction.get(place).map_or(0, |byte| u32::from(byte - b'0')));
        Some((nanos, rest))
    }

    fn shift(offset: &[u8]) -> Option<u64> {
        let &[_, _, b':', _, _] = offset else { return None };
        let (hours, minutes) = (number(&offset[..2])?, number(&offset[3..])?);
        (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
    }

    const fn leap(year: u64) -> bool {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    }

    const fn month_days(year: u64, month: u64) -> u64 {
        match month {
            2 if leap(year) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    const fn year_days(year: u64) -> u64 {
        if leap(year) { 366 } else { 365 }
    }

    /// Days since 1970-01-01.
    fn days(year: u64, month: u64, day: u64) -> Option<u64> {
        let leaps = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
        let years = year.checked_sub(1970)? * 365 + leaps(year) - leaps(1970);
        Some(years + (1..month).map(|month| month_days(year, month)).sum::<u64>() + day - 1)
    }

    pub(super) fn print(since_epoch: Duration) -> String {
        let (mut days, second) = (since_epoch.as_secs() / DAY, since_epoch.as_secs() % DAY);
        let (mut year, mut month) = (1970, 1);
        while days >= year_days(year) {
            days -= year_days(year);
            year += 1;
        }
        while days >= month_days(year, month) {
            days -= month_days(year, month);
            month += 1;
        }
        let (hour, minute, second, nanos) = (second / 3600, second / 60 % 60, second % 60, since_epoch.subsec_nanos());
        format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z", days + 1)
    }
}
