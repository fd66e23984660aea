//! The routes, and what stands before the webhooks: a valid signature or credential.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{MethodRouter, get},
};
use futures_util::{FutureExt, TryFutureExt};
use portcullis::{
    breaker::Circuit,
    signature::{Refusal, RefusalKind, SignatureLayer},
};
use serde_json::json;
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::{Instrument, info_span};

use crate::{
    answers::answer,
    health,
    metrics::{self, count},
    proxied::{Proxied, forward},
    queue::Queue,
    queued, status,
    telemetry::{SPANS, Shown, are_exported, fail, say, say_status},
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
    pub(crate) metrics: metrics::Page,
}

/// All routes. `signature` knows the secrets; the proxied route takes them as credentials too.
pub(crate) fn router(gateway: Arc<Gateway>, proxied: &'static Proxied, signature: SignatureLayer) -> Router {
    let signature = signature.refuse_with(refuse);
    let accept = Arc::clone(&gateway);
    let queued =
        signature.clone().layer(service_fn(move |request| queued::accept(Arc::clone(&accept), request).map(never)));
    let proxied = signature.accept_credentials().layer(service_fn(move |request| forward(proxied, request).map(never)));
    Router::new()
        .route(QUEUED, webhooks(QUEUED, queued))
        .route(PROXIED, webhooks(PROXIED, proxied))
        .route(STATUS, get(status::status).layer(count(STATUS)))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::page))
        .with_state(gateway)
}

/// A handler as a service that does not fail.
const fn never(response: Response) -> Result<Response, Infallible> {
    Ok(response)
}

/// A route that webhooks come to, and what it answers to other methods; all is counted.
fn webhooks<S>(route: &'static str, inner: S) -> MethodRouter<Arc<Gateway>>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    let count = count(route);
    // As a layer of the router's it would be boxed once more for each webhook.
    MethodRouter::<_, Infallible>::new().layer(count.clone()).post_service(count.layer(verifying(route, inner)))
}

/// Puts a span around what verifies the webhooks of a route. A function of axum's would be boxed three times for that.
fn verifying<S>(
    route: &'static str,
    inner: S,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    service_fn(move |request| verified(route, request, inner.clone()))
}

/// The span of a webhook, from its first byte to its answer.
fn verified<S>(
    route: &'static str,
    request: Request,
    inner: S,
) -> impl Future<Output = Result<Response, Infallible>> + use<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let span = info_span!(
        target: SPANS,
        "verify_signature",
        otel.kind = "server",
    );
    say(&span, "http.request.method", Shown(request.method()));
    say(&span, "http.route", route);
    if are_exported() {
        TraceContext::of(request.headers()).adopt(&span);
    }
    inner.oneshot(request).inspect_ok(told).instrument(span)
}

/// Says in its span how a webhook was answered.
fn told(response: &Response) {
    let status = response.status();
    say_status(status);
    if status.is_server_error() {
        fail(status.as_str(), status.to_string());
    }
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
    fail(error, format!("the webhook was refused: {refusal}"));
    answer(refusal.status(), &json!({ "error": error }))
}
