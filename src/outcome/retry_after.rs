//! `Retry-After` and its relatives.

use std::time::Duration;

use http::HeaderMap;

use crate::time::UnixTime;

/// How long a response asks its caller to wait.
#[must_use]
pub fn retry_after(headers: &HeaderMap, _now: UnixTime) -> Option<Duration> {
    let seconds: u64 = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
