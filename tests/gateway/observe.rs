//! What operators see: `/health`, `/metrics` and the logs.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{
    Answer, Downstream, Request, SECRET, Setup, eventually, millis_of, proxied, sign, start, start_with,
};

#[tokio::test]
async fn a_fresh_gateway_is_well() {
    let (downstream, gateway) = start().await;
    let circuit = json!({ "state": "closed", "errorRate": 0.0, "slowRate": 0.0, "calls": 0, "retryAfter": null });
    let health = json!({ "status": "ok", "circuit": circuit, "queue": { "backend": "sqlite", "ready": true } });
    assert_eq!(gateway.get("/health").await.answer(), (200, health));
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let (downstream, gateway) = start().await;
    let metrics = gateway.get("/metrics").await;
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{metrics:?}");

    downstream.next([Answer::status(503), Answer::status(429)]);
    gateway.job().await;
    downstream.next([Answer::status(503), Answer::raw("", crate::support::End::Reset)]);
    gateway.call().await;
    downstream.next([Answer::status(501)]);
    gateway.job().await;
    gateway.send(Request::queued("{}").signed("wrong")).await;

    let retries = "cognigy_webhook_retries_total";
    for (code, count) in [("503", 2.0), ("429", 1.0), ("error", 1.0)] {
        assert_eq!(gateway.metric(retries, &[("status_code", code)]).await, count, "{code}");
    }
    assert_eq!(gateway.metric(retries, &[]).await, 4.0);
    assert_eq!(gateway.metric("cognigy_webhook_fallbacks_total", &[]).await, 1.0);
    // Each attempt by itself.
    assert_eq!(gateway.metric("cognigy_downstream_duration_seconds_count", &[]).await, 7.0);
    assert_eq!(gateway.metric("cognigy_downstream_duration_seconds_bucket", &[("le", "+Inf")]).await, 7.0);

    let requests = "cognigy_webhook_requests_total";
    assert!(gateway.metric(requests, &[("status", "200")]).await >= 3.0);
    assert_eq!(gateway.metric(requests, &[("status", "401")]).await, 1.0);
    let text = gateway.get("/metrics").await;
    let series = text.text().lines().filter(|line| line.starts_with(requests));
    assert!(series.clone().all(|line| line.contains("route=\"")), "{:?}", series.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_path_makes_no_series_of_its_own() {
    let (_downstream, gateway) = start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    gateway.result(&task).await;
    for path in ["/webhooks/cognigy/status/made-up", "/made-up", "/webhook/made-up"] {
        assert_eq!(gateway.get(path).await.status(), 404, "{path}");
    }
    let metrics = gateway.get("/metrics").await;
    assert!(!metrics.text().contains(&task) && !metrics.text().contains("made-up"), "{}", metrics.text());
}

#[tokio::test]
async fn neither_a_method_nor_an_answer_of_the_downstream_makes_a_series_of_its_own() {
    let (downstream, gateway) = start().await;
    gateway.job().await;
    let series = async || {
        let metrics = gateway.get("/metrics").await;
        metrics.text().lines().filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect()
    };
    let before: Vec<String> = series().await;
    for method in ["GET", "PUT", "BREW", "MADE-UP"] {
        for path in ["/webhooks/cognigy", "/webhook/cognigy", "/webhooks/cognigy/status/1"] {
            gateway.send(Request::new(method, path)).await;
        }
    }
    for status in [301, 418, 499, 501, 599] {
        downstream.always(Answer::status(status));
        gateway.call().await;
    }
    let new = series().await.into_iter().filter(|series| !before.contains(series));
    let (of_layers, new): (Vec<_>, Vec<_>) = new.partition(|series| series.contains("portcullis_"));
    assert!(of_layers.iter().all(|series| series.contains("portcullis_retry_giveups_total")), "{of_layers:?}");
    // Not allowed is one more answer of a route.
    assert!(new.iter().all(|series| series.contains("status=\"405\"")), "{new:?}");
    assert_eq!(new.len(), 3, "{new:?}");
}

#[tokio::test]
async fn each_metric_says_what_it_is() {
    let (_downstream, gateway) = start_with(Answer::ok().after(millis_of(60)), &[]).await;
    gateway.call().await;
    let metrics = gateway.get("/metrics").await;
    for (name, kind) in [
        ("cognigy_webhook_requests_total", "counter"),
        ("cognigy_webhook_retries_total", "counter"),
        ("cognigy_webhook_fallbacks_total", "counter"),
        ("cognigy_inject_failures_total", "counter"),
        ("cognigy_circuit_breaker_trips_total", "counter"),
        ("cognigy_circuit_breaker_state", "gauge"),
        ("cognigy_downstream_duration_seconds", "histogram"),
    ] {
        let has = |line: &str| metrics.text().lines().any(|found| found.starts_with(line));
        assert!(has(&format!("# TYPE {name} {kind}")), "{name} in\n{}", metrics.text());
        assert!(has(&format!("# HELP {name} ")), "{name} in\n{}", metrics.text());
    }
    // In seconds: the call took longer than 50 ms, and less than the default limit of an attempt.
    let bucket = async |le| gateway.metric("cognigy_downstream_duration_seconds_bucket", &[("le", le)]).await;
    assert_eq!((bucket("0.05").await, bucket("10").await), (0.0, 1.0));
}

#[tokio::test]
async fn what_has_not_happened_yet_is_a_series_of_zero() {
    let (_downstream, gateway) = start().await;
    let metrics = gateway.get("/metrics").await;
    let mut expected = vec![
        "cognigy_circuit_breaker_trips_total 0".to_owned(),
        "cognigy_circuit_breaker_state{state=\"closed\"} 1".to_owned(),
        "cognigy_circuit_breaker_state{state=\"open\"} 0".to_owned(),
        "cognigy_circuit_breaker_state{state=\"half_open\"} 0".to_owned(),
        "cognigy_webhook_fallbacks_total 0".to_owned(),
        "cognigy_inject_failures_total 0".to_owned(),
        "cognigy_downstream_duration_seconds_count 0".to_owned(),
    ];
    for after in ["408", "425", "429", "500", "502", "503", "504", "error"] {
        expected.push(format!("cognigy_webhook_retries_total{{status_code=\"{after}\"}} 0"));
    }
    for (route, statuses) in [
        ("/webhooks/cognigy", &[200, 400, 401, 408, 413, 503][..]),
        ("/webhook/cognigy", &[200, 400, 401, 408, 413, 502, 503, 504]),
        ("/webhooks/cognigy/status/{taskId}", &[200, 202, 404, 500, 503]),
    ] {
        for status in statuses {
            expected.push(format!("cognigy_webhook_requests_total{{route=\"{route}\",status=\"{status}\"}} 0"));
        }
    }
    for series in expected {
        assert!(metrics.text().lines().any(|line| line == series), "{series} is missing in\n{}", metrics.text());
    }
}

#[tokio::test]
async fn depth_and_age_of_the_queue_are_told() {
    let downstream = Downstream::start(Answer::hang()).await;
    let gateway = Setup::new(downstream.url()).set("QUEUE_CONCURRENCY", "1").start().await;
    for n in 0..3 {
        gateway.enqueue(format!(r#"{{"conversationId":"c-{n}"}}"#)).await;
    }
    let lookups = [("lane", "lookups")];
    eventually("one job runs and two wait", async || {
        let depth = gateway.metric("cognigy_queue_depth", &lookups).await;
        let age = gateway.metric("cognigy_queue_age_seconds", &lookups).await;
        (depth == 3.0 && age > 1.0).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("cognigy_queue_depth", &[("lane", "injections")]).await, 0.0);
    downstream.always(Answer::ok());
}

/// What must never be found in a log, in any of its forms.
fn telltales() -> Vec<String> {
    let wrong = sign("wrong", WEBHOOK.as_bytes());
    [
        SECRET,
        PREVIOUS,
        TOKEN,
        INJECT_TOKEN,
        "guessed-credential",
        "private-body",
        "private-answer",
        &sign(SECRET, WEBHOOK.as_bytes()),
        &sign(PREVIOUS, WEBHOOK.as_bytes()),
        &wrong,
        &wrong.to_uppercase(),
        &STANDARD.encode(format!("user:{SECRET}")),
    ]
    .map(str::to_owned)
    .into()
}

const WEBHOOK: &str = r#"{"conversationId":"c-1","text":"private-body","variables":{"customerId":"private-body"}}"#;
const PREVIOUS: &str = "previous-secret";
const TOKEN: &str = "downstream-token";
const INJECT_TOKEN: &str = "inject-token";

#[tokio::test]
async fn logs_hold_no_secret_token_signature_or_body_at_any_level() {
    for format in ["text", "json"] {
        let downstream = Downstream::start(Answer::json(r#"{"answer":"private-answer"}"#)).await;
        let cognigy = Downstream::start(Answer::status(204)).await;
        let gateway = Setup::new(downstream.url())
            .set("COGNIGY_WEBHOOK_SECRET_PREVIOUS", PREVIOUS)
            .set("DOWNSTREAM_BEARER_TOKEN", TOKEN)
            .set("COGNIGY_INJECT_URL", format!("{}/{INJECT_TOKEN}?token={INJECT_TOKEN}", cognigy.url()))
            .set("HEALTH_PROBE_INTERVAL", "20ms")
            .set("BREAKER_CONSECUTIVE_FAILURES", "2")
            .set("BREAKER_OPEN_FOR", "50ms")
            .set("LOG_FORMAT", format)
            .set("RUST_LOG", "trace")
            .start()
            .await;

        let task = gateway.enqueue(WEBHOOK).await;
        assert_eq!(gateway.result(&task).await.status(), 200);
        cognigy.called(1).await;
        cognigy.next([Answer::status(500), Answer::raw("", crate::support::End::Reset), Answer::status(400)]);
        let task = gateway.enqueue(WEBHOOK).await;
        assert_eq!(gateway.result(&task).await.status(), 200);
        eventually("an injection that fails", async || gateway.stderr().contains("not injected").then_some(())).await;
        let basic = format!("Basic {}", STANDARD.encode(format!("user:{SECRET}")));
        for request in [
            proxied(WEBHOOK),
            Request::proxied(WEBHOOK).header("Authorization", &basic),
            Request::proxied(WEBHOOK).header("X-API-Key", PREVIOUS),
            Request::queued(WEBHOOK).signed(PREVIOUS),
            Request::queued(WEBHOOK).signed("wrong"),
            Request::queued(WEBHOOK).header("X-Cognigy-Signature", &sign("wrong", WEBHOOK.as_bytes()).to_uppercase()),
            Request::proxied(WEBHOOK).header("Authorization", "Bearer guessed-credential"),
            Request::proxied(WEBHOOK).header("X-API-Key", "guessed-credential"),
            Request::queued("private-body").signed(SECRET),
            Request::queued(r#"{"private-body":1}"#).signed(SECRET),
        ] {
            gateway.send(request).await;
        }
        for answer in [
            Answer::json("private-answer"),
            Answer::new(422, &[], "private-answer"),
            Answer::new(500, &[("Retry-After", "0")], "private-answer"),
            Answer::new(503, &[], "private-answer"),
        ] {
            downstream.always(answer.clone());
            gateway.proxy(WEBHOOK).await;
            downstream.always(answer);
            let task = gateway.enqueue(WEBHOOK).await;
            gateway.result(&task).await;
        }
        downstream.always(Answer::json(r#"{"answer":"private-answer"}"#));
        gateway.until_circuit("closed").await;

        let log = gateway.stderr();
        assert!(log.len() > 1000, "nothing was logged: {log}");
        for telltale in telltales() {
            assert!(!log.contains(&telltale), "{telltale} is in the log");
        }
        if format == "json" {
            for line in log.lines() {
                assert!(serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()), "no JSON: {line}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_collector_the_ends_of_spans_are_logged_where_the_filter_asks_for_more() {
    let downstream = Downstream::start(Answer::ok()).await;
    let logged = async |format: &str, filter: &str| {
        let settings = [("LOG_FORMAT", format), ("RUST_LOG", filter)];
        let gateway = Setup::new(downstream.url()).with(&settings).start().await;
        gateway.job().await;
        assert_eq!(gateway.call().await, 200);
        gateway
    };
    for filter in ["debug", "info,cognigy_gateway::trace=debug"] {
        let (text, json) = tokio::join!(logged("text", filter), logged("json", filter));
        for span in ["verify_signature", "process_dialog_event", "downstream_api_call"] {
            eventually(span, async || {
                text.stderr().lines().find_map(|line| {
                    let (spans, times) = line.split_once(": cognigy_gateway::trace: close ")?;
                    // The innermost one is the last, and its fields are in braces.
                    (spans.rsplit_once('{')?.0.ends_with(span) && times.contains("time.busy=")).then_some(())
                })
            })
            .await;
            eventually(span, async || {
                json.stderr().lines().find_map(|line| {
                    let line: Value = serde_json::from_str(line).ok()?;
                    (line["span"]["name"] == span && line["fields"]["time.busy"].is_string()).then_some(())
                })
            })
            .await;
        }
    }
    let usual = logged("text", "info").await.stderr();
    assert!(usual.contains("verify_signature") && !usual.contains("time.busy"), "{usual}");
}

#[tokio::test]
async fn logs_go_to_stderr_as_far_as_the_filter_says() {
    let downstream = Downstream::start(Answer::status(503)).await;
    let gateway = Setup::new(downstream.url()).set("RUST_LOG", "off").start().await;
    gateway.job().await;
    assert_eq!(gateway.stderr(), "");
    assert_eq!(gateway.stdout(), format!("listening on http://{}\n", gateway.address));

    let gateway = Setup::new(downstream.url()).start().await;
    gateway.job().await;
    eventually("a line about the fallback", async || (!gateway.stderr().is_empty()).then_some(())).await;
    assert_eq!(gateway.stdout(), format!("listening on http://{}\n", gateway.address));
}
