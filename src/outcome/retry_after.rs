//! `Retry-After` and its relatives.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

use super::http_date::http_date;
use crate::time::UnixTime;

/// Azure's, and those of the services that followed it; in this order, as Azure's own clients look.
const MILLISECONDS: [HeaderName; 2] =
    [HeaderName::from_static("x-ms-retry-after-ms"), HeaderName::from_static("retry-after-ms")];

/// How long a response that was received at `now` asks its caller to wait; zero where the date has passed.
///
/// | header | value |
/// | --- | --- |
/// | `x-ms-retry-after-ms`, else `retry-after-ms` | milliseconds |
/// | else `Retry-After` | seconds, or a date in any of the three forms of RFC 9110 §5.6.7 |
///
/// Numbers are digits alone, with a fraction, if any, that is rounded up to the whole millisecond; those beyond measure
/// saturate. Of several lines the first counts. A value that is neither is no hint: `None`, as if the header were missing.
///
/// A date is the server's, so it is compared with the server's own `Date`, where the response has one, and with `now`
/// else: the clocks may differ. A response that was long under way, or out of a cache, is therefore waited for too long
/// rather than too short.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, header::{DATE, RETRY_AFTER}};
/// use portcullis::{outcome::retry_after, time::UnixTime};
///
/// let mut headers = HeaderMap::new();
/// let now = UnixTime::from_secs(784_111_777);
/// assert_eq!(retry_after(&headers, now), None);
///
/// headers.insert(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:47 GMT".parse()?);
/// assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(10)));
///
/// // The server's clock is three seconds ahead.
/// headers.insert(DATE, "Sun, 06 Nov 1994 08:49:40 GMT".parse()?);
/// assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(7)));
///
/// headers.insert("retry-after-ms", "6200.5".parse()?);
/// assert_eq!(retry_after(&headers, now), Some(Duration::from_millis(6201)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<Duration> {
    let precise = MILLISECONDS.iter().find_map(|name| decimal(first(headers, name)?, 0));
    precise.or_else(|| {
        let text = first(headers, &header::RETRY_AFTER)?;
        decimal(text, 3).or_else(|| {
            let sent = first(headers, &header::DATE).and_then(|text| http_date(text, now)).unwrap_or(now);
            let until = http_date(text, sent)?;
            Some(until.since_epoch().saturating_sub(sent.since_epoch()))
        })
    })
}

fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    Some(headers.get(name)?.as_bytes().trim_ascii())
}

/// Reads digits, and a fraction if there is one, as a number of milliseconds times 10 to the power of `scale`.
fn decimal(text: &[u8], scale: usize) -> Option<Duration> {
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b"0"[..]),
    };
    if whole.is_empty() || fraction.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let shifted = whole.iter().chain(fraction.iter().chain(std::iter::repeat(&b'0')).take(scale));
    let millis = shifted.fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    let rest = fraction.iter().skip(scale).any(|&digit| digit != b'0');
    Some(Duration::from_millis(millis.saturating_add(u64::from(rest))))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_559_559_600); // 2019-06-03T11:00:00Z

    /// What the lines, in this order, ask for in milliseconds.
    fn read(lines: &[(&'static str, &str)]) -> Option<u128> {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        retry_after(&headers, NOW).map(|wait| wait.as_millis())
    }

    #[test]
    fn fractions_round_up_to_the_millisecond() {
        for (text, millis) in [
            ("2.5", 2500),
            ("2.0", 2000),
            ("0.5", 500),
            ("0.0001", 1),
            ("1.0009", 1001),
            ("1.0010000", 1001),
            ("1.00100001", 1002),
            ("0.000", 0),
        ] {
            assert_eq!(read(&[("retry-after", text)]), Some(millis), "{text}");
        }
        for text in [".5", "5.", ".", "1.2.3", "1.-2", "1. 2", "1,5", "1e3", "-1.5"] {
            assert_eq!(read(&[("retry-after", text)]), None, "{text}");
        }
    }

    #[test]
    fn numbers_beyond_measure_saturate() {
        let most = Some(u128::from(u64::MAX));
        for text in ["18446744073709551615", "18446744073709551616", "99999999999999999999999999999999.9999"] {
            assert_eq!(read(&[("retry-after", text)]), most, "{text}");
            assert_eq!(read(&[("retry-after-ms", text)]), most, "{text}");
        }
    }

    #[test]
    fn milliseconds_come_before_seconds_and_garbage_is_passed_over() {
        assert_eq!(read(&[("retry-after", "2"), ("retry-after-ms", "1500")]), Some(1500));
        assert_eq!(read(&[("retry-after-ms", "1500"), ("x-ms-retry-after-ms", "1400")]), Some(1400));
        assert_eq!(read(&[("retry-after-ms", "1.5")]), Some(2));
        assert_eq!(read(&[("retry-after", "2"), ("retry-after-ms", "-1")]), Some(2000));
        assert_eq!(read(&[("retry-after", "soon"), ("retry-after-ms", "Mon, 03 Jun 2019 11:00:02 GMT")]), None);
    }

    #[test]
    fn of_several_lines_the_first_counts() {
        assert_eq!(read(&[("retry-after", "3"), ("retry-after", "120")]), Some(3000));
        assert_eq!(read(&[("retry-after", "soon"), ("retry-after", "120")]), None);
    }

    #[test]
    fn space_around_a_value_is_no_part_of_it() {
        assert_eq!(read(&[("retry-after", "  7\t")]), Some(7000));
    }

    #[test]
    fn a_date_is_compared_with_the_servers_own() {
        let until = ("retry-after", "Mon, 03 Jun 2019 12:00:10 GMT");
        assert_eq!(read(&[until, ("date", "Mon, 03 Jun 2019 12:00:03 GMT")]), Some(7000));
        assert_eq!(read(&[until, ("date", "Mon Jun  3 12:00:03 2019")]), Some(7000));
        assert_eq!(read(&[until, ("date", "Mon, 03 Jun 2019 12:00:11 GMT")]), Some(0));
        assert_eq!(read(&[until, ("date", "today")]), Some(3_610_000));
        assert_eq!(read(&[("retry-after", "5"), ("date", "Mon, 03 Jun 2019 12:00:11 GMT")]), Some(5000));
    }

    #[test]
    fn a_fraction_of_a_second_does_not_make_the_wait_short() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Mon, 03 Jun 2019 11:00:07 GMT"));
        let now = UnixTime::new(NOW.since_epoch() + Duration::from_nanos(999_999_999));
        assert_eq!(retry_after(&headers, now), Some(Duration::from_nanos(6_000_000_001)));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value: Vec<u8>, date: Vec<u8>, name in 0_usize..3, now: Duration) {
            let names = ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"];
            let mut headers = HeaderMap::new();
            if let (Ok(value), Ok(date)) = (HeaderValue::from_bytes(&value), HeaderValue::from_bytes(&date)) {
                headers.insert(names[name], value);
                headers.insert(header::DATE, date);
            }
            let _ = retry_after(&headers, UnixTime::new(now));
        }

        #[test]
        fn seconds_are_seconds(seconds in 0..u64::MAX / 1000, zeros in 0_usize..5) {
            let text = format!("{}{seconds}", "0".repeat(zeros));
            prop_assert_eq!(read(&[("retry-after", &text)]), Some(u128::from(seconds) * 1000));
        }

        #[test]
        fn a_fraction_never_shortens(whole in 0_u64..1_000_000, fraction in "[0-9]{1,12}") {
            let asked: f64 = format!("{whole}.{fraction}").parse().unwrap();
            let read = read(&[("retry-after", &format!("{whole}.{fraction}"))]).unwrap();
            #[expect(clippy::cast_precision_loss, reason = "at most a billion")]
            let read = read as f64 / 1000.0;
            prop_assert!(read >= asked - 1e-9 && read < asked + 0.001 + 1e-9);
        }
    }
}
