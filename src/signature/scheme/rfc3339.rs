//! Dates of RFC 3339 that are not before 1970, with any fraction (kept to nanoseconds) and any offset.

use std::time::Duration;

use super::timestamp::digit;
use crate::time::Civil;

pub(super) fn parse(text: &[u8]) -> Option<Duration> {
    let (head, rest) = text.split_at_checked(19)?;
    let &[_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b't', _, _, b':', _, _, b':', _, _] = head else {
        return None;
    };
    let field = |from: usize, to: usize| number(&head[from..to]);
    let date = Civil {
        year: field(0, 4)?,
        month: field(5, 7)?,
        day: field(8, 10)?,
        hour: field(11, 13)?,
        minute: field(14, 16)?,
        second: field(17, 19)?,
    };
    let (nanos, offset) = fraction(rest)?;
    let shift = match offset {
        [b'Z' | b'z'] => 0,
        [b'+', offset @ ..] => shift(offset)?,
        [b'-', offset @ ..] => -shift(offset)?,
        _ => return None,
    };
    let seconds = u64::try_from(date.unix_seconds()? - shift).ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Whether a date that follows `text` is the first one there: bytes of an earlier one, within `text` or across the seam, could
/// be told to be the date, and what follows them the rest of the message.
pub(super) fn is_first_after(text: &[u8], date: &[u8]) -> bool {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let byte = |place: usize| text.get(place).or_else(|| date.get(place - text.len()));
    let fits =
        |shape: u8, byte: u8| if shape == b'0' { byte.is_ascii_digit() } else { byte.eq_ignore_ascii_case(&shape) };
    let begins = |place: usize| {
        SHAPE.iter().enumerate().all(|(n, shape)| byte(place + n).is_some_and(|byte| fits(*shape, *byte)))
    };
    !(0..text.len()).any(begins)
}

fn number(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| Some(number * 10 + i64::from(digit(*byte)?)))
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

fn shift(offset: &[u8]) -> Option<i64> {
    let &[_, _, b':', _, _] = offset else { return None };
    let (hours, minutes) = (number(&offset[..2])?, number(&offset[3..])?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

pub(super) fn print(since_epoch: Duration) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::at(since_epoch.as_secs());
    let nanos = since_epoch.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_read_as_they_are_written() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2019-11-16T10:11:12.634234626Z", 1_573_899_072, 634_234_626),
            ("2019-11-16t10:11:12.6z", 1_573_899_072, 600_000_000),
            ("2019-11-16T11:11:12.6342346269+01:00", 1_573_899_072, 634_234_626),
            ("2019-11-16T04:41:12-05:30", 1_573_899_072, 0),
            ("2000-02-29T23:59:60Z", 951_868_800, 0),
            ("2100-03-01T00:00:00Z", 4_107_542_400, 0),
            ("1969-12-31T23:30:00-01:00", 1800, 0),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Duration::new(seconds, nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in [
            "",
            "1573899072",
            "2019-11-16",
            "2019-11-16T10:11:12",
            "2019-11-16 10:11:12Z",
            "2019-11-16T10:11:12.Z",
            "2019-11-16T10:11:12ZZ",
            "2019-11-16T10:11:12+0100",
            "2019-11-16T10:11:12+24:00",
            "2019-13-16T10:11:12Z",
            "2019-00-16T10:11:12Z",
            "2019-02-29T10:11:12Z",
            "2100-02-29T10:11:12Z",
            "2019-11-00T10:11:12Z",
            "2019-11-31T10:11:12Z",
            "2019-11-16T24:00:00Z",
            "2019-11-16T10:60:12Z",
            "2019-11-16T10:11:61Z",
            "+019-11-16T10:11:12Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(seconds in 0u64..253_402_300_800, nanos in 0u32..1_000_000_000) {
            let time = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(print(time).as_bytes()), Some(time));
        }

        #[test]
        fn nothing_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&text);
        }
    }
}
