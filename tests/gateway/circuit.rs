//! The circuit's whole cycle, as clients, `/health` and `/metrics` see it.

use serde_json::{Value, json};

use crate::support::{Answer, Downstream, Gateway, Message, Setup, eventually, millis_of, pause, proxied};

/// One attempt for each call, and only the rules that a test sets.
async fn start(answer: Answer, settings: &[(&str, &str)]) -> (Downstream, Gateway) {
    let downstream = Downstream::start(answer).await;
    let quiet = Setup::new(downstream.url())
        .set("RETRY_MAX_ATTEMPTS", "1")
        .set("BREAKER_CONSECUTIVE_FAILURES", "0")
        .set("BREAKER_MIN_CALLS", "1000")
        .set("BREAKER_OPEN_FOR", "1m");
    (downstream, quiet.with(settings).start().await)
}

/// 503 `circuit_open`, with the same whole seconds in the body and in the header.
#[track_caller]
fn assert_rejected(response: &Message) -> u64 {
    assert_eq!(response.status(), 503);
    let wait: u64 = response.header("retry-after").expect("Retry-After").parse().expect("whole seconds");
    assert_eq!(response.json(), json!({ "error": "circuit_open", "retryAfter": wait }));
    assert!(wait >= 1);
    wait
}

async fn trips(gateway: &Gateway) -> f64 {
    gateway.metric("cognigy_circuit_breaker_trips_total", &[]).await
}

/// The gauge of the state: one for the one that it is in, zero for the others.
async fn assert_gauge(gateway: &Gateway, state: &str) {
    for name in ["closed", "open", "half_open"] {
        let value = gateway.metric("cognigy_circuit_breaker_state", &[("state", name)]).await;
        assert!((value - f64::from(u8::from(name == state))).abs() < f64::EPSILON, "{name} is {value}, not {state}");
    }
}

async fn state(gateway: &Gateway) -> Value {
    gateway.circuit().await["state"].take()
}

#[tokio::test]
async fn consecutive_failures_open_it_and_it_rejects_without_a_call() {
    let (downstream, gateway) = start(Answer::status(500), &[("BREAKER_CONSECUTIVE_FAILURES", "3")]).await;
    assert_gauge(&gateway, "closed").await;
    for _ in 0..2 {
        assert_eq!(gateway.call().await, 502);
    }
    // A success starts the count again.
    downstream.next([Answer::ok()]);
    assert_eq!(gateway.call().await, 200);
    for _ in 0..3 {
        assert_eq!(state(&gateway).await, "closed");
        assert_eq!(gateway.call().await, 502);
    }

    let health = gateway.get("/health").await;
    assert_eq!((health.status(), &health.json()["status"]), (200, &json!("degraded")));
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["state"], &circuit["calls"]), (&json!("open"), &json!(6)));
    let wait = circuit["retryAfter"].as_f64().expect("seconds");
    assert!(wait > 30.0 && wait <= 60.0, "{wait}");
    let told = assert_rejected(&gateway.proxy("{}").await);
    assert!((31..=60).contains(&told), "{told}");
    assert_eq!(downstream.calls(), 6);
    assert_eq!(gateway.circuit().await["calls"], 6);
    assert!((trips(&gateway).await - 1.0).abs() < f64::EPSILON);
    assert_gauge(&gateway, "open").await;

    // A job does not wait for it.
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    let result = gateway.result_within(millis_of(5000), &task).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("default_fallback_branch")));
    assert_eq!(result.json()["variables"]["failureReason"], "downstream_unavailable");
    assert_eq!(downstream.calls(), 6);
}

#[tokio::test]
async fn both_routes_share_one_circuit() {
    let (downstream, gateway) = start(Answer::status(503), &[("BREAKER_CONSECUTIVE_FAILURES", "2")]).await;
    gateway.job().await;
    gateway.call().await;
    assert_eq!(state(&gateway).await, "open");
    assert_rejected(&gateway.proxy("{}").await);
    assert_eq!(downstream.calls(), 2);
}

#[tokio::test]
async fn an_open_circuit_ends_the_attempts_of_the_call_that_opened_it() {
    let settings = [("BREAKER_CONSECUTIVE_FAILURES", "2"), ("RETRY_MAX_ATTEMPTS", "5")];
    let (downstream, gateway) = start(Answer::status(503), &settings).await;
    let response = gateway.proxy("{}").await;
    // Both the last outcome and the rejection are right.
    if response.status() == 503 {
        assert_rejected(&response);
    } else {
        assert_eq!(response.answer(), (502, json!({ "error": "downstream_error", "status": 503 })));
    }
    assert_eq!(downstream.calls(), 2);
}

#[tokio::test]
async fn the_default_opens_after_five_failures_in_a_row() {
    let downstream = Downstream::start(Answer::status(501)).await;
    let gateway = Setup::new(downstream.url()).start().await;
    for _ in 0..5 {
        assert_eq!(state(&gateway).await, "closed");
        gateway.call().await;
    }
    let wait = gateway.circuit().await["retryAfter"].as_f64().expect("seconds");
    assert!(wait > 5.0 && wait <= 15.0, "{wait}");
}

#[tokio::test]
async fn failures_in_the_window_open_it_in_a_row_or_not() {
    let (downstream, gateway) = start(Answer::ok(), &[("BREAKER_FAILURES", "3")]).await;
    for _ in 0..3 {
        assert_eq!(state(&gateway).await, "closed");
        downstream.next([Answer::ok(), Answer::status(500)]);
        gateway.call().await;
        gateway.call().await;
    }
    assert_eq!(state(&gateway).await, "open");
}

#[tokio::test]
async fn the_error_rate_opens_it_from_the_minimum_of_calls_on() {
    let (downstream, gateway) =
        start(Answer::status(500), &[("BREAKER_MIN_CALLS", "6"), ("BREAKER_ERROR_RATE", "0.5")]).await;
    for _ in 0..3 {
        gateway.call().await;
    }
    let circuit = gateway.circuit().await;
    assert_eq!(
        circuit,
        json!({ "state": "closed", "errorRate": 1.0, "slowRate": 0.0, "calls": 3, "retryAfter": null })
    );
    downstream.always(Answer::ok());
    gateway.call().await;
    gateway.call().await;
    assert_eq!(state(&gateway).await, "closed");
    // A success can be the call that completes the minimum: three of six have failed.
    gateway.call().await;
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["state"], &circuit["errorRate"]), (&json!("open"), &json!(0.5)));
}

#[tokio::test]
async fn a_rate_below_the_limit_leaves_it_closed() {
    let (downstream, gateway) = start(Answer::ok(), &[("BREAKER_MIN_CALLS", "4"), ("BREAKER_ERROR_RATE", "0.5")]).await;
    for _ in 0..3 {
        downstream.next([Answer::ok(), Answer::ok(), Answer::status(500)]);
        for _ in 0..3 {
            gateway.call().await;
        }
    }
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["state"], &circuit["calls"]), (&json!("closed"), &json!(9)));
    assert!((circuit["errorRate"].as_f64().unwrap() - 1.0 / 3.0).abs() < 0.01, "{circuit}");
}

#[tokio::test]
async fn slow_calls_open_it() {
    let settings = [("BREAKER_MIN_CALLS", "4"), ("BREAKER_SLOW_CALL", "150ms"), ("BREAKER_SLOW_RATE", "0.5")];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    downstream.next([Answer::ok().after(millis_of(250)), Answer::ok(), Answer::ok()]);
    for _ in 0..3 {
        assert_eq!(gateway.call().await, 200);
    }
    let circuit = gateway.circuit().await;
    assert!((circuit["slowRate"].as_f64().unwrap() - 1.0 / 3.0).abs() < 0.01, "{circuit}");
    assert_eq!((&circuit["state"], &circuit["errorRate"]), (&json!("closed"), &json!(0.0)));
    downstream.next([Answer::ok().after(millis_of(250))]);
    assert_eq!(gateway.call().await, 200);
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["state"], &circuit["slowRate"]), (&json!("open"), &json!(0.5)));
}

#[tokio::test]
async fn latency_is_that_of_one_attempt_without_the_waits() {
    let settings = [("BREAKER_SLOW_CALL", "400ms"), ("RETRY_MAX_ATTEMPTS", "2"), ("RETRY_BASE_DELAY", "600ms")];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    downstream.next([Answer::status(503)]);
    assert_eq!(gateway.call().await, 200);
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["calls"], &circuit["slowRate"]), (&json!(2), &json!(0.0)));
}

#[tokio::test]
async fn the_mean_latency_opens_it_from_the_minimum_of_calls_on() {
    let settings = [("BREAKER_MIN_CALLS", "3"), ("BREAKER_MEAN_LATENCY", "150ms")];
    let (_downstream, gateway) = start(Answer::ok().after(millis_of(200)), &settings).await;
    for _ in 0..3 {
        assert_eq!(state(&gateway).await, "closed");
        assert_eq!(gateway.call().await, 200);
    }
    assert_eq!(state(&gateway).await, "open");
}

#[tokio::test]
async fn calls_leave_the_window() {
    let (_downstream, gateway) = start(Answer::status(500), &[("BREAKER_WINDOW", "1s")]).await;
    gateway.call().await;
    assert_eq!(gateway.circuit().await["errorRate"], 1.0);
    let empty = eventually("the window is empty", async || {
        let circuit = gateway.circuit().await;
        (circuit["calls"] == 0).then_some(circuit)
    })
    .await;
    assert_eq!(empty, json!({ "state": "closed", "errorRate": 0.0, "slowRate": 0.0, "calls": 0, "retryAfter": null }));
}

/// Opens it by one failure, and waits until a probe would be let through.
async fn until_due(downstream: &Downstream, gateway: &Gateway) {
    downstream.next([Answer::status(500)]);
    gateway.call().await;
    let circuit = gateway.circuit().await;
    assert_eq!(circuit["state"], "open", "{circuit}");
    eventually("probes are let through", async || {
        let circuit = gateway.circuit().await;
        // It stays open until one comes.
        assert_eq!(circuit["state"], "open");
        (circuit["retryAfter"].as_f64().expect("seconds") == 0.0).then_some(())
    })
    .await;
}

const HALF_OPEN: [(&str, &str); 2] = [("BREAKER_CONSECUTIVE_FAILURES", "1"), ("BREAKER_OPEN_FOR", "200ms")];

#[tokio::test]
async fn enough_probes_close_it() {
    let (downstream, gateway) = start(Answer::ok(), &HALF_OPEN).await;
    until_due(&downstream, &gateway).await;
    for _ in 0..2 {
        assert_eq!(gateway.call().await, 200);
        let circuit = gateway.circuit().await;
        assert_eq!((&circuit["state"], &circuit["retryAfter"]), (&json!("half_open"), &Value::Null));
        assert_eq!(gateway.get("/health").await.json()["status"], "degraded");
        assert_gauge(&gateway, "half_open").await;
    }
    assert_eq!(gateway.call().await, 200);
    let health = gateway.get("/health").await.json();
    let circuit = json!({ "state": "closed", "errorRate": 0.0, "slowRate": 0.0, "calls": 0, "retryAfter": null });
    assert_eq!(health, json!({ "status": "ok", "circuit": circuit, "queue": { "backend": "sqlite", "ready": true } }));
    assert_gauge(&gateway, "closed").await;
    assert!((trips(&gateway).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_failed_probe_opens_it_again() {
    let (downstream, gateway) = start(Answer::ok(), &HALF_OPEN).await;
    until_due(&downstream, &gateway).await;
    assert_eq!(gateway.call().await, 200);
    until_due(&downstream, &gateway).await;
    assert!((trips(&gateway).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_slow_probe_is_a_failed_one() {
    let (downstream, gateway) =
        start(Answer::ok(), &[HALF_OPEN[0], HALF_OPEN[1], ("BREAKER_SLOW_CALL", "100ms")]).await;
    until_due(&downstream, &gateway).await;
    downstream.next([Answer::ok().after(millis_of(200))]);
    assert_eq!(gateway.call().await, 200);
    assert_eq!(state(&gateway).await, "open");
    assert!((trips(&gateway).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn some_successes_among_the_probes_can_be_enough() {
    let settings = [HALF_OPEN[0], HALF_OPEN[1], ("BREAKER_PROBES", "3"), ("BREAKER_PROBE_SUCCESSES", "2")];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    until_due(&downstream, &gateway).await;
    downstream.next([Answer::status(500)]);
    assert_eq!(gateway.call().await, 502);
    assert_eq!(state(&gateway).await, "half_open");
    assert_eq!(gateway.call().await, 200);
    assert_eq!(gateway.call().await, 200);
    assert_eq!(state(&gateway).await, "closed");

    // As soon as two of three cannot be reached it opens again.
    until_due(&downstream, &gateway).await;
    downstream.next([Answer::status(500), Answer::status(500)]);
    gateway.call().await;
    assert_eq!(state(&gateway).await, "half_open");
    gateway.call().await;
    assert_eq!(state(&gateway).await, "open");
}

#[tokio::test]
async fn half_open_lets_so_many_through_and_a_cancelled_one_gives_its_place_back() {
    let settings = [HALF_OPEN[0], HALF_OPEN[1], ("BREAKER_PROBES", "2"), ("BREAKER_SLOW_CALL", "30s")];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    until_due(&downstream, &gateway).await;

    downstream.next([Answer::hang(), Answer::hang()]);
    let first = proxied("{}").start(gateway.address).await;
    let second = proxied("{}").start(gateway.address).await;
    downstream.called(3).await;
    for _ in 0..2 {
        assert_rejected(&gateway.proxy("{}").await);
    }
    assert_eq!(gateway.job().await.1["nextNode"], "default_fallback_branch");
    assert_eq!(downstream.calls(), 3);
    assert_eq!(state(&gateway).await, "half_open");

    drop(first);
    eventually("its place is free", async || (gateway.call().await == 200).then_some(())).await;
    assert_rejected(&gateway.proxy("{}").await);
    drop(second);
    eventually("its place is free", async || (gateway.call().await == 200).then_some(())).await;
    assert_eq!(state(&gateway).await, "closed");
    assert_eq!(downstream.calls(), 5);
}

#[tokio::test]
async fn half_open_without_a_verdict_opens_again() {
    let settings = [HALF_OPEN[0], HALF_OPEN[1], ("BREAKER_HALF_OPEN_TIMEOUT", "500ms")];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    until_due(&downstream, &gateway).await;
    assert_eq!(gateway.call().await, 200);
    assert_eq!(state(&gateway).await, "half_open");
    eventually("it is open again", async || (state(&gateway).await == "open").then_some(())).await;
    assert!((trips(&gateway).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_straggler_from_before_it_opened_closes_nothing() {
    let settings = [HALF_OPEN[0], HALF_OPEN[1], ("BREAKER_PROBES", "1"), ("BREAKER_SLOW_CALL", "30s")];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    downstream.next([Answer::ok().after(millis_of(900))]);
    let straggler = gateway.proxy("{}");
    let opened = async {
        downstream.called(1).await;
        until_due(&downstream, &gateway).await;
    };
    let (straggler, ()) = tokio::join!(straggler, opened);
    assert_eq!(straggler.status(), 200);
    pause(50).await;
    assert_eq!(state(&gateway).await, "open");
}

#[tokio::test]
async fn a_rejected_job_may_wait_for_the_circuit() {
    let settings = [
        ("BREAKER_CONSECUTIVE_FAILURES", "1"),
        ("BREAKER_OPEN_FOR", "600ms"),
        ("BREAKER_PROBES", "1"),
        ("JOB_CIRCUIT_WAIT", "30s"),
    ];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    downstream.next([Answer::status(500)]);
    gateway.call().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    pause(100).await;
    assert_eq!(gateway.status(&task).await.status(), 202);
    let result = gateway.result(&task).await;
    assert_eq!(result.json()["nextNode"], "continue_dialog");
    assert_eq!(downstream.calls(), 2);
    assert_eq!(downstream.received()[1].header("idempotency-key"), Some(task.as_str()));
}

#[tokio::test]
async fn a_rejected_job_waits_no_longer_than_it_may() {
    let settings = [("BREAKER_CONSECUTIVE_FAILURES", "1"), ("JOB_CIRCUIT_WAIT", "500ms")];
    let (downstream, gateway) = start(Answer::status(500), &settings).await;
    gateway.call().await;
    let started = std::time::Instant::now();
    let (status, result) = gateway.job().await;
    assert_eq!((status, &result["nextNode"]), (200, &json!("default_fallback_branch")));
    assert!(started.elapsed() >= millis_of(450) && started.elapsed() < millis_of(5000), "{:?}", started.elapsed());
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn a_job_that_has_waited_for_a_place_waits_no_longer_for_the_circuit() {
    let settings = [("BREAKER_CONSECUTIVE_FAILURES", "1"), ("JOB_CIRCUIT_WAIT", "500ms"), ("QUEUE_CONCURRENCY", "1")];
    let (downstream, gateway) = start(Answer::status(500).after(millis_of(1500)), &settings).await;
    for task in
        [gateway.enqueue(r#"{"conversationId":"c-1"}"#).await, gateway.enqueue(r#"{"conversationId":"c-1"}"#).await]
    {
        assert_eq!(gateway.result(&task).await.json()["nextNode"], "default_fallback_branch");
    }
    assert_eq!(downstream.calls(), 1);
    assert!(!gateway.stderr().contains("waits for the circuit"), "{}", gateway.stderr());
}

#[tokio::test]
async fn a_run_after_a_wait_for_the_circuit_has_all_its_attempts() {
    let settings = [
        ("BREAKER_CONSECUTIVE_FAILURES", "1"),
        ("BREAKER_OPEN_FOR", "600ms"),
        ("BREAKER_PROBES", "1"),
        ("JOB_CIRCUIT_WAIT", "30s"),
        ("RETRY_MAX_ATTEMPTS", "2"),
    ];
    let (downstream, gateway) = start(Answer::ok(), &settings).await;
    downstream.next([Answer::status(500), Answer::status(429)]);
    assert_eq!(gateway.job().await.1["nextNode"], "continue_dialog");
    assert_eq!(downstream.calls(), 3);
}
