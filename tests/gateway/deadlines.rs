//! The limits of a whole call and of a whole job.

use std::time::Instant;

use serde_json::json;

use crate::support::{Answer, eventually, millis_of, start_with};

#[tokio::test]
async fn a_wait_that_would_pass_the_deadline_is_not_begun() {
    let slow = ("RETRY_BASE_DELAY", "10s");
    let (downstream, gateway) =
        start_with(Answer::status(503), &[("PROXY_DEADLINE", "5s"), ("JOB_TIMEOUT", "5s"), slow]).await;
    let started = Instant::now();
    let last = (502, json!({ "error": "downstream_error", "status": 503 }));
    assert_eq!(gateway.proxy("{}").await.answer(), last);
    assert_eq!(gateway.job().await.1["nextNode"], "default_fallback_branch");
    downstream.always(Answer::retry_after(429, "6"));
    assert_eq!(gateway.proxy("{}").await.answer(), (502, json!({ "error": "rate_limited", "status": 429 })));
    assert_eq!(gateway.job().await.1["nextNode"], "default_fallback_branch");
    downstream.always(Answer::raw("", crate::support::End::Reset));
    assert_eq!(gateway.proxy("{}").await.answer(), (502, json!({ "error": "downstream_unreachable" })));
    assert_eq!(downstream.calls(), 5);
    assert!(started.elapsed() < millis_of(4500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_call_that_runs_at_the_deadline_is_cut() {
    let (downstream, gateway) = start_with(Answer::hang(), &[("PROXY_DEADLINE", "400ms")]).await;
    let started = Instant::now();
    assert_eq!(gateway.proxy("{}").await.answer(), (504, json!({ "error": "downstream_timeout" })));
    assert!(started.elapsed() >= millis_of(390) && started.elapsed() < millis_of(3000), "{:?}", started.elapsed());
    // Cut before it was slow, it tells nothing of the downstream.
    assert_eq!(gateway.circuit().await["calls"], 0);
    eventually("the call is cancelled", async || downstream.received()[0].abandoned.then_some(())).await;
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn a_slow_call_that_is_cut_is_a_failure() {
    let (_downstream, gateway) =
        start_with(Answer::hang(), &[("PROXY_DEADLINE", "400ms"), ("BREAKER_SLOW_CALL", "100ms")]).await;
    assert_eq!(gateway.call().await, 504);
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["calls"], &circuit["errorRate"]), (&json!(1), &json!(1.0)));
}

#[tokio::test]
async fn the_deadline_holds_over_all_attempts() {
    let settings = [("PROXY_DEADLINE", "700ms"), ("DOWNSTREAM_TIMEOUT", "300ms"), ("RETRY_MAX_ATTEMPTS", "50")];
    let (downstream, gateway) = start_with(Answer::hang(), &settings).await;
    let started = Instant::now();
    assert_eq!(gateway.proxy("{}").await.answer(), (504, json!({ "error": "downstream_timeout" })));
    assert!(started.elapsed() < millis_of(3000), "{:?}", started.elapsed());
    assert!((2..=3).contains(&downstream.calls()), "{}", downstream.calls());
}

#[tokio::test]
async fn a_job_ends_with_the_fallback_when_its_time_has_passed() {
    let (downstream, gateway) = start_with(Answer::hang(), &[("JOB_TIMEOUT", "400ms")]).await;
    let started = Instant::now();
    let (status, result) = gateway.job().await;
    let variables = json!({ "lookupStatus": "failed", "failureReason": "downstream_unavailable", "maxRetries": 3 });
    assert_eq!((status, &result["variables"]), (200, &variables));
    assert!(started.elapsed() >= millis_of(390) && started.elapsed() < millis_of(3000), "{:?}", started.elapsed());
    assert_eq!(gateway.circuit().await["calls"], 0);
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn a_slow_job_that_is_cut_is_a_failure() {
    let (_downstream, gateway) =
        start_with(Answer::hang(), &[("JOB_TIMEOUT", "400ms"), ("BREAKER_SLOW_CALL", "100ms")]).await;
    gateway.job().await;
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["calls"], &circuit["errorRate"]), (&json!(1), &json!(1.0)));
}

#[tokio::test]
async fn the_deadlines_do_not_shorten_what_ends_in_time() {
    let (_downstream, gateway) = start_with(
        Answer::ok().after(millis_of(200)),
        &[("PROXY_DEADLINE", "5s"), ("JOB_TIMEOUT", "5s"), ("DOWNSTREAM_TIMEOUT", "4s")],
    )
    .await;
    assert_eq!(gateway.call().await, 200);
    assert_eq!(gateway.job().await.1["nextNode"], "continue_dialog");
}
