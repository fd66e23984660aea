//! A collector that takes OTLP over HTTP, and what it was sent.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use serde_json::{Value, json};

use super::{Answer, Downstream, Setup, downstream::Received, eventually};

pub(crate) type Attributes = BTreeMap<String, Value>;

/// A span as it arrived; ids are in hex, as a `traceparent` has them.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for a root.
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) kind: SpanKind,
    pub(crate) attributes: Attributes,
    pub(crate) failed: bool,
    pub(crate) events: Vec<(String, Attributes)>,
    pub(crate) resource: Attributes,
    /// In nanoseconds.
    pub(crate) period: (u64, u64),
}

impl Exported {
    /// It failed, and says so once, for this kind of reason.
    pub(crate) fn assert_failed(&self, kind: &str) {
        assert!(self.failed, "{self:?}");
        let [(event, attributes)] = &self.events[..] else { panic!("one event: {self:?}") };
        assert_eq!((event.as_str(), &attributes["exception.type"]), ("exception", &json!(kind)), "{self:?}");
        assert!(attributes["exception.message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
    }

    pub(crate) fn assert_well(&self) {
        assert!(!self.failed && self.events.is_empty(), "{self:?}");
    }
}

/// It stops when this is dropped.
pub(crate) struct Collector(Downstream);

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::answering(Answer::new(200, &[("Content-Type", "application/x-protobuf")], "")).await
    }

    pub(crate) async fn answering(answer: Answer) -> Self {
        Self(Downstream::start(answer).await)
    }

    pub(crate) fn always(&self, answer: Answer) {
        self.0.always(answer);
    }

    /// The next request is answered so.
    pub(crate) fn next(&self, answer: Answer) {
        self.0.next([answer]);
    }

    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    /// A gateway that exports to it, at once.
    pub(crate) fn takes(&self, setup: Setup) -> Setup {
        setup.set("OTEL_EXPORTER_OTLP_ENDPOINT", self.url()).set("OTEL_BSP_SCHEDULE_DELAY", "20")
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.0.received()
    }

    /// All spans so far, in the order in which they began.
    pub(crate) fn spans(&self) -> Vec<Exported> {
        let mut spans = Vec::new();
        for request in self.requests() {
            let request = ExportTraceServiceRequest::decode(&request.message.body[..]).expect("a request for traces");
            for of in request.resource_spans {
                let resource = attributes(of.resource.unwrap_or_default().attributes);
                let scopes = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(scopes.map(|span| exported(span, resource.clone())));
            }
        }
        spans.sort_by_key(|span| span.period.0);
        spans
    }

    /// Waits until there are so many spans of this name.
    pub(crate) async fn named(&self, name: &str, count: usize) -> Vec<Exported> {
        let spans = eventually(&format!("{count} spans {name}"), async || {
            let spans: Vec<_> = self.spans().into_iter().filter(|span| span.name == name).collect();
            (spans.len() >= count).then_some(spans)
        })
        .await;
        assert_eq!(spans.len(), count, "{name}");
        spans
    }

    pub(crate) async fn one(&self, name: &str) -> Exported {
        self.named(name, 1).await.remove(0)
    }
}

fn exported(span: Span, resource: Attributes) -> Exported {
    Exported {
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        state: span.trace_state.clone(),
        kind: span.kind(),
        failed: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
        period: (span.start_time_unix_nano, span.end_time_unix_nano),
        name: span.name,
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(|event| (event.name, attributes(event.attributes))).collect(),
        resource,
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let value = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::BoolValue(flag)) => json!(flag),
        other => json!(format!("{other:?}")),
    };
    pairs.into_iter().map(|pair| (pair.key.clone(), value(&pair))).collect()
}
