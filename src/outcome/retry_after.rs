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
mod tests;
