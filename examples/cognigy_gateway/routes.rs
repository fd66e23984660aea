//! The routes, and what stands before the webhooks: a valid signature or credential.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    middleware::{Next, from_fn},
    response::Response,
    routing::{get, post_service},
};
use futures_util::FutureExt;
use portcullis::{
    breaker::Circuit,
    signature::{Refusal, RefusalKind, SignatureLayer},
};
use serde_json::json;
use tower::{Layer, service_fn};
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    answers::answer,
    downstream::{Calls, Downstream},
    health,
    metrics::{self, count},
    proxied,
    queue::Queue,
    queued, status,
    telemetry::{SPANS, Shown, fail},
    trace::TraceContext,
};

/// The routes whose requests are counted.
pub(crate) const QUEUED: &str = "/webhooks/cognigy";
pub(crate) const PROXIED: &str = "/webhook/cognigy";
pub(crate) const STATUS: &str = "/webhooks/cognigy/status/{taskId}";

/// What the routes share.
pub(crate) struct Gateway {
    pub(crate) queue: Queue,
    pub(crate) circuit: Circuit,
    pub(crate) downstream: Arc<Downstream>,
    pub(crate) client: Calls,
    pub(crate) metrics: metrics::Page,
}

/// All routes. `signature` knows the secrets; the proxied route takes them as credentials too.
pub(crate) fn router(gateway: Arc<Gateway>, signature: SignatureLayer) -> Router {
    let signature = signature.refuse_with(refuse);
    let (accept, forward) = (Arc::clone(&gateway), Arc::clone(&gateway));
    let queued =
        signature.clone().layer(service_fn(move |request| queued::accept(Arc::clone(&accept), request).map(never)));
    let proxied =
        signature.accept_credentials().layer(service_fn(move |request| proxied::forward(&forward, request).map(never)));
    Router::new()
        .route(QUEUED, post_service(queued).route_layer(from_fn(verifying)).layer(count(QUEUED)))
        .route(PROXIED, post_service(proxied).route_layer(from_fn(verifying)).layer(count(PROXIED)))
        .route(STATUS, get(status::status).layer(count(STATUS)))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::page))
        .with_state(gateway)
}

/// A handler as a service that does not fail.
const fn never(response: Response) -> Result<Response, Infallible> {
    Ok(response)
}

/// The span of a webhook, from its first byte to its answer. The handler finds the trace in the request's extensions.
async fn verifying(route: MatchedPath, mut request: Request, next: Next) -> Response {
    let span = info_span!(
        target: SPANS,
        "verify_signature",
        otel.kind = "server",
    );
    span.set_attribute("http.request.method", Shown(request.method()));
    span.set_attribute("http.route", Shown(route.as_str()));
    let trace = TraceContext::of(request.headers()).enter(&span);
    request.extensions_mut().insert(trace);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        fail(&span, status.as_str(), status.to_string());
    }
    response
}

/// The answer to a refused webhook, which is the same for all that is wrong with a signature.
fn refuse(refusal: &Refusal) -> Response {
    tracing::warn!(reason = refusal.as_str(), "a webhook was refused");
    let error = match refusal.kind() {
        RefusalKind::Unauthorized(_) => "invalid_signature",
        RefusalKind::BodyTooLarge => "body_too_large",
        RefusalKind::BodyTimeout => "body_timeout",
        // Nobody is there to read it.
        _ => "body_aborted",
    };
    fail(&Span::current(), error, format!("the webhook was refused: {refusal}"));
    answer(refusal.status(), &json!({ "error": error }))
}
