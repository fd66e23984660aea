//! When a message was signed, and how far from now that may be.

use std::time::Duration;

use super::{Names, rfc3339};
use crate::{signature::Reason, time::UnixTime};

/// Where a scheme says when a message was signed, in which unit, and how far from now that may be.
///
/// The tolerance holds in both directions, and a timestamp at exactly its edge is good. It is judged in the unit in which
/// the timestamp is written: under whole seconds, 300.9 s ago is 300 s ago.
///
/// ```
/// use std::time::Duration;
/// use portcullis::signature::{Scheme, Segment, Timestamp, Unit};
///
/// let ten_minutes = Timestamp::header("x-sent").unit(Unit::Rfc3339).tolerance(Duration::from_secs(600));
/// let scheme = Scheme::builder("ours")
///     .header("x-signature")
///     .timestamp(ten_minutes)
///     .signed([Segment::header("x-id"), Segment::Timestamp, Segment::Body])
///     .build();
/// assert!(scheme.is_ok());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Timestamp {
    pub(super) place: Place,
    pub(super) unit: Unit,
    pub(super) tolerance: Duration,
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
        // So many hold any number of seconds or milliseconds that will come up, and no overflow.
        [b'1'..=b'9', ..] if text.len() < 20 => {
            text.iter().try_fold(0, |number, byte| Some(number * 10 + u64::from(digit(*byte)?)))
        }
        [b'1'..=b'9', ..] => {
            text.iter().try_fold(0u64, |number, byte| number.checked_mul(10)?.checked_add(digit(*byte)?.into()))
        }
        _ => None,
    }
}

pub(super) fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_one_way() {
        for (text, number) in [("0", 0), ("7", 7), ("1700000000", 1_700_000_000), ("18446744073709551615", u64::MAX)] {
            assert_eq!(digits(text.as_bytes()), Some(number));
        }
        for text in ["", "+1", "-1", " 1", "1 ", "01", "00", "1.0", "1e3", "0x1", "\u{663}", "18446744073709551616"] {
            assert_eq!(digits(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn each_unit_is_judged_as_finely_as_it_is_written() {
        let now = UnixTime::new(Duration::from_micros(1_573_899_372_900_900));
        let judge = |unit, text: &str| {
            Timestamp::list_key("t").unit(unit).judge(text.as_bytes(), now).map(|time| time.since_epoch().as_millis())
        };
        assert_eq!(judge(Unit::Seconds, "1573899072"), Ok(1_573_899_072_000));
        assert_eq!(judge(Unit::Seconds, "1573899071"), Err(Reason::Stale));
        assert_eq!(judge(Unit::Seconds, "1573899672"), Ok(1_573_899_672_000));
        assert_eq!(judge(Unit::Seconds, "1573899673"), Err(Reason::Future));
        assert_eq!(judge(Unit::Millis, "1573899072900"), Ok(1_573_899_072_900));
        assert_eq!(judge(Unit::Millis, "1573899072899"), Err(Reason::Stale));
        assert_eq!(judge(Unit::Rfc3339, "2019-11-16T10:11:12.9009Z"), Ok(1_573_899_072_900));
        assert_eq!(judge(Unit::Rfc3339, "2019-11-16T10:11:12.9008Z"), Err(Reason::Stale));
    }

    #[test]
    fn a_tolerance_without_end_accepts_every_date() {
        let any = Timestamp::header("t").tolerance(Duration::MAX);
        for (text, now) in [("0", u64::MAX), ("18446744073709551615", 0)] {
            assert!(any.judge(text.as_bytes(), UnixTime::from_secs(now)).is_ok());
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let now = UnixTime::new(Duration::from_millis(1_700_000_000_123));
        for unit in [Unit::Seconds, Unit::Millis, Unit::Rfc3339] {
            let timestamp = Timestamp::header("t").unit(unit).tolerance(Duration::ZERO);
            assert!(timestamp.judge(timestamp.print(now).as_bytes(), now).is_ok(), "{unit:?}");
        }
    }
}
