//! `GET /health`: the circuit and the queue, for load balancers and people.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use portcullis::breaker;
use serde_json::json;

use crate::{
    answers::{answer, whole_seconds},
    routes::Gateway,
};

pub(crate) async fn health(State(gateway): State<Arc<Gateway>>) -> Response {
    let ready = gateway.queue.ping().await.is_ok();
    let circuit = gateway.circuit.snapshot();
    let (code, status) = match circuit.state {
        _ if !ready => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        breaker::State::Closed => (StatusCode::OK, "ok"),
        _ => (StatusCode::OK, "degraded"),
    };
    let body = json!({
        "status": status,
        "circuit": {
            "state": circuit.state.as_str(),
            "errorRate": circuit.failure_rate(),
            "slowRate": circuit.slow_call_rate(),
            "calls": circuit.calls,
            "retryAfter": circuit.retry_after.map(whole_seconds),
        },
        "queue": { "backend": gateway.queue.backend(), "ready": ready },
    });
    answer(code, &body)
}
