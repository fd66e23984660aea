//! `GET /webhooks/cognigy/status/{taskId}`: what became of a queued webhook.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use http::StatusCode;
use serde_json::json;

use crate::{
    answers::{answer, queue_unavailable, raw},
    queue::{TaskId, TaskState, Unavailable},
    routes::Gateway,
};

pub(crate) async fn status(State(gateway): State<Arc<Gateway>>, id: Result<Path<String>, PathRejection>) -> Response {
    let state = match id.ok().and_then(|Path(id)| id.parse::<TaskId>().ok()) {
        Some(id) => gateway.queue.state(&id).await,
        // No task has such an id, be it text or not.
        None => Ok(TaskState::Unknown),
    };
    match state {
        Ok(TaskState::Processing) => answer(StatusCode::ACCEPTED, &json!({ "status": "processing" })),
        Ok(TaskState::Finished(result)) => {
            raw(StatusCode::from_u16(result.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), result.body)
        }
        Ok(TaskState::Unknown) => answer(StatusCode::NOT_FOUND, &json!({ "error": "unknown_task" })),
        Err(Unavailable) => queue_unavailable(),
    }
}
