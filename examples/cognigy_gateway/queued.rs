//! `POST /webhooks/cognigy`: takes a webhook into the queue.

use std::sync::Arc;

use axum::response::Response;
use http::{Request, StatusCode};
use portcullis::signature::VerifiedBody;
use serde_json::json;

use crate::{
    answers::{answer, no_event, queue_unavailable},
    dialog::DialogEvent,
    queue::{Lane, NewJob, TaskId, Unavailable},
    routes::Gateway,
    trace::TraceContext,
};

pub(crate) async fn accept(gateway: Arc<Gateway>, request: Request<VerifiedBody>) -> Response {
    let trace = TraceContext::here(request.headers());
    let body = request.into_body().into_bytes();
    if let Err(invalid) = DialogEvent::parse(&body) {
        return no_event(&invalid);
    }
    let id = TaskId::random();
    let payload = String::from_utf8_lossy(&body).into_owned();
    let job = NewJob { id: id.clone(), lane: Lane::Lookups, payload, trace };
    match gateway.queue.push(job).await {
        Ok(()) => {
            tracing::info!(task_id = %id, "accepted");
            answer(StatusCode::OK, &json!({ "status": "accepted", "taskId": id.as_str() }))
        }
        Err(Unavailable) => queue_unavailable(),
    }
}
