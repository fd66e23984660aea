//! Answers in JSON that more than one route gives.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::dialog::Invalid;

/// The answer to a webhook that was let through and is no event. The log holds nothing of its body.
pub(crate) fn no_event(invalid: &Invalid) -> Response {
    tracing::warn!(reason = invalid.as_str(), "a webhook was refused");
    answer(StatusCode::BAD_REQUEST, &json!({ "error": invalid.as_str() }))
}

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, body: &Value) -> Response {
    raw(status, body.to_string())
}

/// An answer that is JSON already.
pub(crate) fn raw(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(body)).into_response()
}

/// The downstream's answer, put together by hand around its text, which is JSON.
pub(crate) fn forwarded(data: &str) -> Response {
    raw(StatusCode::OK, [r#"{"status":"forwarded","data":"#, data, "}"].concat())
}

/// 503: the queue cannot be reached.
pub(crate) fn queue_unavailable() -> Response {
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "queue_unavailable" }));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// Seconds, rounded up.
pub(crate) const fn whole_seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add((span.subsec_nanos() > 0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (millis, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
