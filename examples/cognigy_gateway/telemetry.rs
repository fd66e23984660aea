//! Exports spans by OTLP over HTTP, in protobuf, where a collector is configured.
//!
//! Nothing here holds the gateway up: spans that end go into a bounded queue, which a thread of its own empties, and are dropped
//! where it is full.

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use opentelemetry::{KeyValue, Value, trace::Status};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use portcullis::BoxError;
use tokio::runtime::Handle;
use tower::{ServiceBuilder, ServiceExt};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    exchange::{Client, Content, SHORT, causes, exchange},
    settings::Settings,
};

/// The target of the spans that are exported. Logs and their filter stay out of it.
pub(crate) const SPANS: &str = "cognigy_gateway::trace";

/// Limit of one export, as the specification has it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last spans may take.
const FLUSH: Duration = Duration::from_millis(1500);

/// Takes the spans for the configured collector, if there is one.
pub(crate) fn provider(settings: &Settings, http: Client) -> Result<Option<SdkTracerProvider>, String> {
    let Some(collector) = settings.collector() else { return Ok(None) };
    let client = Exports { http, runtime: Handle::current(), failing: Arc::default() };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(collector)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    EXPORTED.store(true, Ordering::Relaxed);
    let resource = Resource::builder().with_service_name(settings.service_name().to_owned()).build();
    Ok(Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
}

/// Exports what is left, as far as that is possible in a moment.
pub(crate) async fn flush(provider: SdkTracerProvider) {
    drop(tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await);
}

/// Whether anybody gets the spans' attributes. To ask a span's subscriber for that costs more than the span.
static EXPORTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn are_exported() -> bool {
    EXPORTED.load(Ordering::Relaxed)
}

/// Says something in a span, where spans are exported.
pub(crate) fn say(span: &Span, name: &'static str, value: impl Into<Value>) {
    if are_exported() {
        span.set_attribute(name, value);
    }
}

/// What becomes the text of an attribute, and is not written where spans are not exported.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Display> From<Shown<T>> for Value {
    fn from(shown: Shown<T>) -> Self {
        shown.0.to_string().into()
    }
}

/// Says in the current span what status the answer has.
pub(crate) fn say_status(status: StatusCode) {
    if are_exported() {
        Span::current().set_attribute("http.response.status_code", i64::from(status.as_u16()));
    }
}

/// Says in the current span that what it stands for failed, and why.
pub(crate) fn fail(kind: &str, why: String) {
    if !are_exported() {
        return;
    }
    let (span, kind) = (Span::current(), kind.to_owned());
    span.set_status(Status::error(""));
    span.set_attribute("error.type", kind.clone());
    span.add_event("exception", vec![KeyValue::new("exception.type", kind), KeyValue::new("exception.message", why)]);
}

/// The exporter's client, which calls from a thread outside the runtime. Its own requests make no spans.
#[derive(Debug)]
struct Exports {
    http: Client,
    runtime: Handle,
    /// Said once, and not with each export.
    failing: Arc<AtomicBool>,
}

impl HttpClient for Exports {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        let export = self.runtime.spawn(export(self.http, request, Arc::clone(&self.failing)));
        Box::pin(async move { export.await? })
    }
}

async fn export(http: Client, request: Request<Bytes>, failing: Arc<AtomicBool>) -> Result<Response<Bytes>, BoxError> {
    let service = ServiceBuilder::new().timeout(TIMEOUT).service(exchange(http, SHORT));
    let result = service.oneshot(request.map(Full::new)).await;
    let trouble = match &result {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("status {}", answer.status())),
        Err(error) => Some(causes(error.as_ref())),
    };
    match (&trouble, failing.swap(trouble.is_some(), Ordering::Relaxed)) {
        (Some(why), false) => tracing::warn!(why, "spans cannot be exported, and are lost meanwhile"),
        (None, true) => tracing::info!("the collector takes spans again"),
        _ => {}
    }
    Ok(result?.map(Content::into_bytes))
}
