//! What a server says of when to come back: any bytes, at any time.
//!
//! An input is three lines: `Retry-After`, one in milliseconds, and `Date`. Eight bytes before them are the time of the receipt in
//! milliseconds. Beside not panicking, what is read has to be what another parser reads, where that one reads anything.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use portcullis::{outcome::retry_after, time::UnixTime};

fuzz_target!(|input: &[u8]| {
    let Some((now, text)) = input.split_first_chunk::<8>() else { return };
    let now = UnixTime::new(Duration::from_millis(u64::from_le_bytes(*now)));
    let mut lines = text.splitn(3, |&byte| byte == b'\n').map(HeaderValue::from_bytes);
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str| {
        if let Some(Ok(value)) = lines.next() {
            headers.append(name, value);
        }
    };
    for name in ["retry-after", "retry-after-ms", "date"] {
        put(name);
    }
    let read = retry_after(&headers, now);

    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim_ascii);
    // Zero in milliseconds is a hint of zero, so only where there is none the other headers count.
    if let Some(millis) = text("retry-after-ms").and_then(digits) {
        assert_eq!(read, Some(Duration::from_millis(millis)));
    } else if !text("retry-after-ms").is_some_and(|text| text.contains('.')) {
        if let Some(seconds) = text("retry-after").and_then(digits).filter(|&seconds| seconds < u64::MAX / 1000) {
            assert_eq!(read, Some(Duration::from_secs(seconds)));
        }
        // The other one reads two digits of a year by a rule of its own.
        let date =
            |name| text(name).filter(|text| !text.contains('-')).and_then(|text| httpdate::parse_http_date(text).ok());
        if let Some(until) = date(header::RETRY_AFTER.as_str()) {
            let sent = date(header::DATE.as_str());
            if sent.is_some() || text("date").is_none() {
                let since = |date: std::time::SystemTime| date.duration_since(UNIX_EPOCH).unwrap_or_default();
                let sent = sent.map_or(now.since_epoch(), since);
                assert_eq!(read, Some(since(until).saturating_sub(sent)));
            }
        }
    }
});

/// Saturates, as what is asked for beyond measure does.
fn digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}
