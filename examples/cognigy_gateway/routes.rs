//! The routes, and what stands before the webhooks: a valid signature or credential.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{get, post_service},
};
use futures_util::FutureExt;
use portcullis::{
    breaker::Circuit,
    signature::{Refusal, RefusalKind, SignatureLayer},
};
use serde_json::json;
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::{Instrument, Span, info_span};

use crate::{
    answers::answer,
    downstream::{Calls, Downstream},
    health,
    metrics::{self, count},
    proxied,
    queue::Queue,
    queued, status,
    telemetry::{SPANS, Shown, fail, say},
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
        .route(QUEUED, post_service(verifying(QUEUED, queued)).layer(count(QUEUED)))
        .route(PROXIED, post_service(verifying(PROXIED, proxied)).layer(count(PROXIED)))
        .route(STATUS, get(status::status).layer(count(STATUS)))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::page))
        .with_state(gateway)
}

/// A handler as a service that does not fail.
const fn never(response: Response) -> Result<Response, Infallible> {
    Ok(response)
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

/// The span of a webhook, from its first byte to its answer. The handler finds the trace in the request's extensions.
async fn verified<S>(route: &'static str, mut request: Request, inner: S) -> Result<Response, Infallible>
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
    let trace = TraceContext::of(request.headers()).enter(&span);
    request.extensions_mut().insert(trace);
    let response = inner.oneshot(request).instrument(span.clone()).await?;
    let status = response.status();
    say(&span, "http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        fail(&span, status.as_str(), status.to_string());
    }
    Ok(response)
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
