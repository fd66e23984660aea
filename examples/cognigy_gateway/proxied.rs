//! `POST /webhook/cognigy`: calls the downstream while Cognigy waits.
//!
//! The call is awaited in the handler: a client that hangs up cancels both.

use axum::response::Response;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, ready},
};
use http::{HeaderValue, Request, StatusCode, header};
use portcullis::{
    breaker::{BreakerError, Rejected},
    signature::VerifiedBody,
};
use serde_json::json;
use tracing::Instrument;

use crate::{
    answers::{answer, forwarded, no_event, whole_seconds},
    dialog,
    downstream::{CallError, Downstream, Failed},
    exchange::{self, Answer, post},
    queue::TaskId,
    trace::TraceContext,
};

/// What the route needs, for as long as the gateway runs: no call counts a reference to it.
pub(crate) struct Proxied {
    pub(crate) downstream: &'static Downstream,
    pub(crate) call: Calls,
}

/// Calls with retries and through the circuit.
pub(crate) type Calls =
    &'static (dyn Fn(exchange::Request) -> BoxFuture<'static, Result<Answer, Failed>> + Send + Sync);

pub(crate) fn forward(proxied: &Proxied, request: Request<VerifiedBody>) -> impl Future<Output = Response> + use<> {
    let trace = TraceContext::here(request.headers());
    let body = request.into_body().into_bytes();
    let span = match dialog::span(&body) {
        Ok(span) => span,
        Err(invalid) => return Either::Left(ready(no_event(&invalid))),
    };
    let request = post(&proxied.downstream.process, body, TaskId::random().into(), trace);
    Either::Right((proxied.call)(request).instrument(span).map(|result| match result {
        Ok(answer) => answered(answer),
        Err(failed) => unanswered(failed),
    }))
}

/// The downstream's last answer, good or bad.
fn answered(response: Answer) -> Response {
    let status = response.status();
    let bad = |error: &str| answer(StatusCode::BAD_GATEWAY, &json!({ "error": error, "status": status.as_u16() }));
    match (status.as_u16(), response.into_body()) {
        (200..=299, content) => match content.json() {
            Some(data) => forwarded(data),
            None => answer(StatusCode::BAD_GATEWAY, &json!({ "error": "invalid_downstream_response" })),
        },
        (429, _) => bad("rate_limited"),
        _ => bad("downstream_error"),
    }
}

/// No answer at all.
fn unanswered(failed: Failed) -> Response {
    let (status, error) = match failed.into_inner() {
        Some(BreakerError::Rejected(rejected)) => return circuit_open(&rejected),
        Some(BreakerError::Inner(CallError::Unreachable)) => (StatusCode::BAD_GATEWAY, "downstream_unreachable"),
        Some(BreakerError::Inner(CallError::NoToken)) => (StatusCode::BAD_GATEWAY, "token_unavailable"),
        // Nothing in it: PROXY_DEADLINE cut the attempt.
        Some(BreakerError::Inner(CallError::Timeout)) | None => (StatusCode::GATEWAY_TIMEOUT, "downstream_timeout"),
    };
    answer(status, &json!({ "error": error }))
}

fn circuit_open(rejected: &Rejected) -> Response {
    let seconds = whole_seconds(rejected.retry_after().unwrap_or_default()).max(1);
    let mut response =
        answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "circuit_open", "retryAfter": seconds }));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
