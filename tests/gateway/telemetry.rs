//! Traces: what a collector gets to see of a webhook, and what it costs when the collector is away.

use std::time::Instant;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use crate::support::{
    Answer, Collector, Downstream, Exported, Request, SECRET, Setup, eventually, millis_of, proxied, refused, sign,
};

const EVENT: &str = r#"{"conversationId":"c-1","currentNode":"n-1","variables":{"customerId":"private-body"}}"#;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// What a request downstream says of its trace.
fn parent_of(span: &Exported) -> Option<String> {
    Some(format!("00-{}-{}-01", span.trace, span.id))
}

#[tokio::test]
async fn a_queued_webhook_is_one_trace_across_the_queue() {
    let downstream = Downstream::start(Answer::ok()).await;
    let collector = Collector::start().await;
    let gateway = collector.takes(Setup::new(downstream.url())).start().await;
    downstream.next([Answer::status(503)]);
    let task = gateway.enqueue(EVENT).await;
    assert_eq!(gateway.result(&task).await.status(), 200);

    let verify = collector.one("verify_signature").await;
    assert_eq!((verify.parent.as_str(), verify.kind), ("", SpanKind::Server));
    assert_eq!(verify.attributes["http.request.method"], json!("POST"));
    assert_eq!(verify.attributes["http.route"], json!("/webhooks/cognigy"));
    assert_eq!(verify.attributes["http.response.status_code"], json!(200));
    assert_eq!(verify.resource["service.name"], json!("cognigy-gateway"));
    verify.assert_well();

    let process = collector.one("process_dialog_event").await;
    assert_eq!((&process.trace, &process.parent), (&verify.trace, &verify.id));
    assert_eq!(process.kind, SpanKind::Consumer);
    assert_eq!(process.attributes["cognigy.conversation_id"], json!("c-1"));
    assert_eq!(process.attributes["cognigy.current_node"], json!("n-1"));
    process.assert_well();

    let attempts = collector.named("downstream_api_call", 2).await;
    for ((number, attempt), received) in attempts.iter().enumerate().zip(downstream.received()) {
        assert_eq!((&attempt.trace, &attempt.parent), (&verify.trace, &process.id));
        assert_eq!(attempt.kind, SpanKind::Client);
        assert_eq!(attempt.attributes["http.request.method"], json!("POST"));
        assert_eq!(attempt.attributes["url.full"], json!(format!("{}/v1/customer/lookup", downstream.url())));
        assert_eq!(attempt.attributes["retry.attempt"], json!(number));
        assert_eq!(received.header("traceparent").map(str::to_owned), parent_of(attempt));
        assert!(attempt.period.0 >= process.period.0 && attempt.period.1 <= process.period.1);
    }
    assert_eq!(attempts[0].attributes["http.response.status_code"], json!(503));
    attempts[0].assert_failed("503");
    assert_eq!(attempts[1].attributes["http.response.status_code"], json!(200));
    attempts[1].assert_well();
    assert_eq!(collector.spans().len(), 4, "{:#?}", collector.spans());
}

#[tokio::test]
async fn a_proxied_webhook_is_one_trace() {
    let downstream = Downstream::start(Answer::status(422)).await;
    let collector = Collector::start().await;
    let gateway = collector.takes(Setup::new(downstream.url())).set("OTEL_SERVICE_NAME", "other-name").start().await;
    assert_eq!(gateway.proxy(EVENT).await.status(), 502);

    let verify = collector.one("verify_signature").await;
    assert_eq!(verify.attributes["http.route"], json!("/webhook/cognigy"));
    assert_eq!(verify.resource["service.name"], json!("other-name"));
    verify.assert_failed("502");
    let process = collector.one("process_dialog_event").await;
    assert_eq!((&process.trace, &process.parent), (&verify.trace, &verify.id));
    assert_eq!(process.attributes["cognigy.conversation_id"], json!("c-1"));
    let attempt = collector.one("downstream_api_call").await;
    assert_eq!((&attempt.trace, &attempt.parent), (&verify.trace, &process.id));
    // A failure as the conventions have it, although asking again would be in vain.
    attempt.assert_failed("422");
    assert_eq!(attempt.attributes["error.type"], json!("422"));
    assert_eq!(downstream.received()[0].header("traceparent").map(str::to_owned), parent_of(&attempt));
}

#[tokio::test]
async fn a_redirect_is_no_failed_attempt() {
    let downstream = Downstream::start(Answer::new(302, &[("Location", "/elsewhere")], "")).await;
    let collector = Collector::start().await;
    let gateway = collector.takes(Setup::new(downstream.url())).start().await;
    gateway.proxy("{}").await;
    collector.one("downstream_api_call").await.assert_well();
}

#[tokio::test]
async fn a_refused_signature_is_a_failed_span() {
    let downstream = Downstream::start(Answer::ok()).await;
    let collector = Collector::start().await;
    let gateway = collector.takes(Setup::new(downstream.url())).start().await;
    gateway.send(Request::queued(EVENT).signed("wrong")).await;
    gateway.send(Request::proxied(EVENT).header("X-API-Key", "guessed-credential")).await;
    let spans = collector.named("verify_signature", 2).await;
    for span in &spans {
        span.assert_failed("invalid_signature");
        assert_eq!(span.attributes["http.response.status_code"], json!(401));
    }
    assert_ne!(spans[0].trace, spans[1].trace);

    // Where there is nothing to verify there is no span.
    assert_eq!(gateway.get("/webhooks/cognigy").await.status(), 405);
    assert_eq!(gateway.get("/health").await.status(), 200);
    assert_eq!(gateway.get("/elsewhere").await.status(), 404);
    gateway.send(Request::queued("{").signed(SECRET)).await;
    let spans = collector.named("verify_signature", 3).await;
    assert_eq!(spans[2].attributes["http.response.status_code"], json!(400));
    spans[2].assert_well();
    assert_eq!(collector.spans().len(), 3);
}

#[tokio::test]
async fn attempts_without_an_answer_and_the_fallback_are_failed_spans() {
    let (nowhere, _socket) = refused();
    let collector = Collector::start().await;
    let gateway = collector.takes(Setup::new(nowhere)).start().await;
    gateway.job().await;
    for attempt in collector.named("downstream_api_call", 3).await {
        attempt.assert_failed("unreachable");
        assert!(!attempt.attributes.contains_key("http.response.status_code"), "{attempt:?}");
    }
    collector.one("process_dialog_event").await.assert_failed("downstream_unavailable");
    collector.one("verify_signature").await.assert_well();
}

#[tokio::test]
async fn attempts_that_hang_are_failed_spans() {
    let downstream = Downstream::start(Answer::hang()).await;
    let collector = Collector::start().await;
    let setup = Setup::new(downstream.url()).set("RETRY_MAX_ATTEMPTS", "1");
    let gateway = collector.takes(setup.clone().set("DOWNSTREAM_TIMEOUT", "100ms")).start().await;
    assert_eq!(gateway.proxy("{}").await.status(), 504);
    collector.one("downstream_api_call").await.assert_failed("timeout");

    let collector = Collector::start().await;
    let gateway = collector.takes(setup.set("PROXY_DEADLINE", "100ms")).start().await;
    assert_eq!(gateway.proxy("{}").await.status(), 504);
    let attempt = collector.one("downstream_api_call").await;
    attempt.assert_failed("cancelled");
    assert!(attempt.period.1 - attempt.period.0 >= 90_000_000, "{attempt:?}");
    // It took its time all the same.
    assert_eq!(gateway.metric("cognigy_downstream_duration_seconds_count", &[]).await, 1.0);
}

#[tokio::test]
async fn a_callers_trace_is_continued() {
    let downstream = Downstream::start(Answer::ok()).await;
    let collector = Collector::start().await;
    let gateway = collector.takes(Setup::new(downstream.url())).start().await;
    let traced = |request: Request, parent: &str| {
        request.header("traceparent", parent).header("tracestate", "vendor=1").header("tracestate", "other=2")
    };
    gateway.send(traced(proxied("{}"), &traceparent("01"))).await;
    gateway.send(traced(Request::queued(EVENT).signed(SECRET), &traceparent("01"))).await;

    for verify in collector.named("verify_signature", 2).await {
        assert_eq!((verify.trace.as_str(), verify.parent.as_str()), (TRACE, CALLER));
        assert_eq!(verify.state, "vendor=1,other=2");
    }
    let attempts = collector.named("downstream_api_call", 2).await;
    for (attempt, received) in attempts.iter().zip(downstream.received()) {
        assert_eq!(attempt.trace, TRACE);
        assert_eq!(received.header("traceparent").map(str::to_owned), parent_of(attempt));
        assert_eq!(received.header("tracestate"), Some("vendor=1,other=2"));
    }
}

#[tokio::test]
async fn a_traceparent_that_is_none_begins_a_trace() {
    let downstream = Downstream::start(Answer::ok()).await;
    let collector = Collector::start().await;
    let exporting = collector.takes(Setup::new(downstream.url())).start().await;
    let silent = Setup::new(downstream.url()).start().await;
    let bad = [
        format!("00-{}-{CALLER}-01", "0".repeat(32)),
        format!("ff-{TRACE}-{CALLER}-01"),
        format!("00-{}-{CALLER}-01", TRACE.to_uppercase()),
        "anything".to_owned(),
    ];
    for gateway in [&exporting, &silent] {
        for parent in &bad {
            gateway.send(proxied("{}").header("traceparent", parent).header("tracestate", "vendor=1")).await;
        }
    }
    for span in collector.named("verify_signature", bad.len()).await {
        assert!(span.parent.is_empty() && !span.trace.eq_ignore_ascii_case(TRACE), "{span:?}");
    }
    let traces: Vec<_> = downstream
        .received()
        .iter()
        .map(|received| {
            assert_eq!(received.header("tracestate"), None);
            received.header("traceparent").expect("it gets one").split('-').nth(1).unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(traces.len(), 2 * bad.len());
    for (at, trace) in traces.iter().enumerate() {
        assert!(trace.len() == 32 && !trace.eq_ignore_ascii_case(TRACE), "{trace}");
        assert!(!traces[..at].contains(trace), "two webhooks share a trace");
    }
}

#[tokio::test]
async fn without_a_collector_a_trace_goes_on_as_it_came() {
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = Setup::new(downstream.url()).set("OTEL_EXPORTER_OTLP_ENDPOINT", "").start().await;
    let parent = traceparent("01");
    gateway.send(proxied("{}").header("traceparent", &parent).header("tracestate", "vendor=1")).await;
    let queued = Request::queued(EVENT).signed(SECRET);
    gateway.send(queued.header("traceparent", &parent).header("tracestate", "vendor=1")).await;
    for received in downstream.called(2).await {
        assert_eq!(received.header("traceparent"), Some(parent.as_str()));
        assert_eq!(received.header("tracestate"), Some("vendor=1"));
    }
    // All attempts of a job are of one trace, also where nobody began it.
    downstream.next([Answer::status(503)]);
    gateway.job().await;
    let begun: Vec<_> = downstream.received()[2..].iter().map(|r| r.header("traceparent").map(str::to_owned)).collect();
    assert!(begun.len() == 2 && begun[0].is_some() && begun[0] == begun[1], "{begun:?}");
}

#[tokio::test]
async fn what_the_caller_does_not_sample_is_not_exported() {
    let downstream = Downstream::start(Answer::ok()).await;
    let collector = Collector::start().await;
    let gateway = collector.takes(Setup::new(downstream.url())).start().await;
    gateway.send(proxied("{}").header("traceparent", &traceparent("00"))).await;
    gateway.send(proxied("{}")).await;
    let span = collector.one("downstream_api_call").await;
    assert_ne!(span.trace, TRACE);
    let received = downstream.received();
    let sent = received[0].header("traceparent").expect("it gets one");
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
}

#[tokio::test]
async fn an_injection_belongs_to_the_webhooks_trace() {
    let downstream = Downstream::start(Answer::ok()).await;
    let cognigy = Downstream::start(Answer::ok()).await;
    let collector = Collector::start().await;
    let setup =
        Setup::new(downstream.url()).set("COGNIGY_INJECT_URL", format!("{}/inject?token=private-token", cognigy.url()));
    let gateway = collector.takes(setup).start().await;
    gateway.enqueue(EVENT).await;
    cognigy.called(1).await;
    let inject = collector.one("inject_result").await;
    let process = collector.one("process_dialog_event").await;
    assert_eq!((&inject.trace, &inject.parent), (&process.trace, &process.id));
    inject.assert_well();
}

#[tokio::test]
async fn exports_are_otlp_in_protobuf_whatever_the_log_says() {
    let downstream = Downstream::start(Answer::status(422)).await;
    let collector = Collector::start().await;
    let setup = Setup::new(downstream.url()).set("RUST_LOG", "off").set("OTEL_BSP_SCHEDULE_DELAY", "20");
    let setup = setup.set("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=k3y");
    let gateway = setup.set("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/base/", collector.url())).start().await;
    assert_eq!(gateway.proxy("{}").await.status(), 502);
    let verify = collector.one("verify_signature").await;
    assert_eq!(verify.attributes["http.response.status_code"], json!(502));
    verify.assert_failed("502");
    let attempt = collector.one("downstream_api_call").await;
    assert_eq!(attempt.attributes["http.response.status_code"], json!(422));
    attempt.assert_failed("422");
    for request in collector.requests() {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/base/v1/traces"));
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(request.header("x-collector-key"), Some("k3y"));
        assert_eq!(request.header("traceparent"), None);
    }
    assert_eq!(gateway.stderr(), "");
}

#[tokio::test]
async fn spans_are_flushed_at_the_end() {
    let downstream = Downstream::start(Answer::ok().after(millis_of(300))).await;
    let collector = Collector::start().await;
    // Nothing but the end sends them.
    let setup = Setup::new(downstream.url()).set("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let mut gateway = setup.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).start().await;
    gateway.proxy("{}").await;
    gateway.enqueue(EVENT).await;
    downstream.called(2).await;
    gateway.signal("TERM").await;
    assert_eq!(gateway.exit(millis_of(10_000)).await, Some(0));
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
    for name in ["verify_signature", "process_dialog_event", "downstream_api_call"] {
        assert_eq!(names.iter().filter(|found| *found == name).count(), 2, "{name} in {names:?}");
    }
}

#[tokio::test]
async fn a_job_that_another_gateway_runs_again_stays_in_its_trace() {
    let downstream = Downstream::start(Answer::hang()).await;
    let collector = Collector::start().await;
    let setup = collector.takes(Setup::new(downstream.url())).set("SHUTDOWN_TIMEOUT", "100ms");
    let mut gateway = setup.start().await;
    let task = gateway.enqueue(EVENT).await;
    downstream.called(1).await;
    gateway.signal("TERM").await;
    assert_eq!(gateway.exit(millis_of(10_000)).await, Some(0));
    downstream.always(Answer::ok());
    let gateway = setup.start().await;
    assert_eq!(gateway.result(&task).await.status(), 200);

    let verify = collector.one("verify_signature").await;
    let runs = collector.named("process_dialog_event", 2).await;
    let attempts = collector.named("downstream_api_call", 2).await;
    for (run, attempt) in runs.iter().zip(&attempts) {
        assert_eq!((&run.trace, &run.parent), (&verify.trace, &verify.id));
        assert_eq!((&attempt.trace, &attempt.parent), (&verify.trace, &run.id));
    }
    attempts[0].assert_failed("cancelled");
    attempts[1].assert_well();
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_costs_nothing() {
    let (nowhere, _socket) = refused();
    let hanging = Collector::answering(Answer::hang()).await;
    for collector in [nowhere, hanging.url()] {
        let downstream = Downstream::start(Answer::ok()).await;
        // A queue of ten spans is full at once.
        let setup =
            Setup::new(downstream.url()).set("OTEL_BSP_SCHEDULE_DELAY", "20").set("OTEL_BSP_MAX_QUEUE_SIZE", "10");
        let mut gateway = setup.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector).start().await;
        let started = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..25 {
            assert_eq!(gateway.proxy("{}").await.status(), 200);
            tasks.push(gateway.enqueue(EVENT).await);
        }
        assert!(started.elapsed() < millis_of(5000), "{:?} with {collector}", started.elapsed());
        for task in tasks {
            assert_eq!(gateway.result(&task).await.json()["nextNode"], json!("continue_dialog"));
        }
        let stopped = Instant::now();
        gateway.signal("TERM").await;
        assert_eq!(gateway.exit(millis_of(10_000)).await, Some(0));
        assert!(stopped.elapsed() < millis_of(4000), "{:?} with {collector}", stopped.elapsed());
    }
}

#[tokio::test]
async fn a_collector_that_hung_is_given_the_next_spans() {
    let downstream = Downstream::start(Answer::ok()).await;
    let collector = Collector::start().await;
    collector.next(Answer::hang());
    let gateway = collector.takes(Setup::new(downstream.url())).start().await;
    gateway.proxy("{}").await;
    eventually("an export that hangs", async || (collector.requests().len() == 1).then_some(())).await;
    gateway.proxy(EVENT).await;
    // After the ten seconds that an export may take.
    eventually("another export", async || (collector.requests().len() > 1).then_some(())).await;
    assert!(collector.spans().iter().any(|span| span.attributes.get("cognigy.conversation_id") == Some(&json!("c-1"))));
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_of_once_and_taken_back() {
    let downstream = Downstream::start(Answer::ok()).await;
    let collector = Collector::answering(Answer::status(400)).await;
    let gateway = collector.takes(Setup::new(downstream.url())).start().await;
    for count in 1..4 {
        gateway.proxy("{}").await;
        eventually("another export", async || (collector.requests().len() >= count).then_some(())).await;
    }
    collector.always(Answer::new(200, &[], ""));
    gateway.proxy("{}").await;
    let log =
        eventually("it is taken back", async || Some(gateway.stderr()).filter(|log| log.contains("takes spans again")))
            .await;
    assert_eq!(log.matches("spans cannot be exported").count(), 1, "{log}");
}

#[tokio::test]
async fn spans_hold_no_secret_token_signature_or_body() {
    let downstream = Downstream::start(Answer::json(r#"{"answer":"private-answer"}"#)).await;
    let collector = Collector::start().await;
    let cognigy = Downstream::start(Answer::status(400)).await;
    let setup = Setup::new(downstream.url())
        .set("DOWNSTREAM_BEARER_TOKEN", "downstream-token")
        .set("COGNIGY_INJECT_URL", format!("{}/inject-token?token=inject-token", cognigy.url()));
    let gateway = collector.takes(setup).start().await;
    cognigy.next([Answer::status(204), Answer::status(503)]);
    for answer in [Answer::ok(), Answer::new(422, &[], "private-answer"), Answer::new(503, &[], "private-answer")] {
        downstream.always(answer);
        gateway.proxy(EVENT).await;
        let task = gateway.enqueue(EVENT).await;
        gateway.result(&task).await;
    }
    gateway.send(Request::queued(EVENT).signed("wrong")).await;
    gateway.send(Request::proxied(EVENT).header("X-API-Key", "guessed-credential")).await;
    let object = r#"{"conversationId":"c-2","currentNode":{"id":"private-body"}}"#;
    gateway.send(Request::queued(object).signed(SECRET)).await;
    collector.named("verify_signature", 9).await;
    collector.named("process_dialog_event", 7).await;
    collector.named("inject_result", 4).await;

    let spans = format!("{:?}", collector.spans());
    let (right, wrong) = (sign(SECRET, EVENT.as_bytes()), sign("wrong", EVENT.as_bytes()));
    let tokens = ["downstream-token", "inject-token", "guessed-credential"];
    for secret in [SECRET, "private-body", "private-answer", &right, &wrong].into_iter().chain(tokens) {
        assert!(!spans.contains(secret), "{secret} is in a span");
    }
}
