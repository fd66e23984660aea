//! Results that are posted to Cognigy, as its inject API takes them.

use std::collections::HashSet;

use serde_json::json;

use crate::support::{Answer, Downstream, Gateway, Setup, eventually, millis_of, pause, refused};

const FAILURES: &str = "cognigy_inject_failures_total";
const EVENT: &str = r#"{"conversationId":"c-1","userId":"u-1","sessionId":"s-1"}"#;

pub(crate) async fn start() -> (Downstream, Downstream, Setup) {
    let downstream = Downstream::start(Answer::ok()).await;
    let cognigy = Downstream::start(Answer::status(200)).await;
    let setup = Setup::new(downstream.url()).set("COGNIGY_INJECT_URL", format!("{}/inject/url-token", cognigy.url()));
    (downstream, cognigy, setup)
}

async fn failed(gateway: &Gateway, times: f64) {
    eventually("a failure is counted", async || (gateway.metric(FAILURES, &[]).await >= times).then_some(())).await;
    assert_eq!(gateway.metric(FAILURES, &[]).await, times);
}

#[tokio::test]
async fn results_of_every_kind_are_injected_and_nothing_else_is() {
    let (downstream, cognigy, setup) = start().await;
    let gateway = setup.set("DOWNSTREAM_BEARER_TOKEN", "downstream-token").start().await;
    downstream.next([Answer::ok(), Answer::status(422), Answer::status(501)]);
    for (n, body) in [EVENT, r#"{"conversationId":"c-2","userId":null}"#, r#"{"conversationId":"c-3","sessionId":"s"}"#]
        .into_iter()
        .enumerate()
    {
        let task = gateway.enqueue(body).await;
        let result = gateway.result(&task).await.json();
        let request = cognigy.called(n + 1).await.pop().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/inject/url-token"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("authorization"), None);
        let (user, session) = [("u-1", "s-1"), ("c-2", "c-2"), ("c-3", "s")][n];
        let expected = json!({ "userId": user, "sessionId": session, "text": "", "data": result });
        assert_eq!(request.message.json(), expected);
        assert_eq!(request.message.json().as_object().unwrap().len(), 4);
    }
    gateway.call().await;
    pause(700).await;
    assert_eq!(cognigy.calls(), 3, "a proxied call has no result to inject, and no result is injected twice");
    assert_eq!(gateway.metric(FAILURES, &[]).await, 0.0);
}

#[tokio::test]
async fn a_result_does_not_wait_for_its_injection_nor_change_with_it() {
    let (downstream, cognigy, setup) = start().await;
    cognigy.always(Answer::hang());
    let gateway = setup.set("QUEUE_CONCURRENCY", "1").set("DOWNSTREAM_TIMEOUT", "500ms").start().await;
    for _ in 0..3 {
        let task = gateway.enqueue(EVENT).await;
        assert_eq!(gateway.result(&task).await.json()["nextNode"], "continue_dialog");
    }
    assert_eq!(downstream.calls(), 3);
    failed(&gateway, 3.0).await;
    assert_eq!(gateway.circuit().await["state"], "closed");
    assert_eq!(gateway.circuit().await["calls"], 3);
}

#[tokio::test]
async fn an_injection_is_repeated_and_one_that_fails_is_counted_and_logged() {
    let (_downstream, cognigy, setup) = start().await;
    let gateway = setup.start().await;
    cognigy.next([Answer::status(503), Answer::retry_after(429, "1"), Answer::status(204)]);
    gateway.enqueue(EVENT).await;
    cognigy.called(3).await;
    assert!(cognigy.gaps()[1] >= millis_of(1000), "{:?}", cognigy.gaps());
    let keys: HashSet<_> = cognigy.keys().into_iter().collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(gateway.metric(FAILURES, &[]).await, 0.0);

    cognigy.always(Answer::new(400, &[], "private-answer"));
    let task = gateway.enqueue(EVENT).await;
    failed(&gateway, 1.0).await;
    assert_eq!(cognigy.calls(), 4, "a 400 is not worth a retry");
    assert_eq!(gateway.result(&task).await.json()["nextNode"], "continue_dialog");
    assert!(gateway.stderr().contains("not injected"), "{}", gateway.stderr());
    assert!(!gateway.stderr().contains("private-answer"));
}

#[tokio::test]
async fn cognigy_has_a_circuit_of_its_own() {
    let (_downstream, cognigy, setup) = start().await;
    cognigy.always(Answer::status(500));
    let gateway = setup.set("BREAKER_CONSECUTIVE_FAILURES", "2").set("RETRY_MAX_ATTEMPTS", "1").start().await;
    for n in 1..=4 {
        gateway.enqueue(EVENT).await;
        failed(&gateway, f64::from(n)).await;
    }
    assert_eq!(cognigy.calls(), 2);
    assert_eq!(gateway.circuit().await["state"], "closed");
    assert_eq!(gateway.metric("cognigy_circuit_breaker_trips_total", &[]).await, 0.0);
}

#[tokio::test]
async fn an_injection_waits_in_the_queue_for_its_circuit_as_long_as_a_job_may() {
    let (_downstream, cognigy, setup) = start().await;
    cognigy.next([Answer::status(500)]);
    let gateway = setup
        .set("BREAKER_CONSECUTIVE_FAILURES", "1")
        .set("RETRY_MAX_ATTEMPTS", "1")
        .set("BREAKER_OPEN_FOR", "1s")
        .set("JOB_CIRCUIT_WAIT", "30s")
        .start()
        .await;
    gateway.enqueue(EVENT).await;
    failed(&gateway, 1.0).await;
    gateway.enqueue(EVENT).await;
    cognigy.called(2).await;
    assert_eq!(gateway.metric(FAILURES, &[]).await, 1.0);
}

#[tokio::test]
async fn an_injection_outlives_its_gateway() {
    let (downstream, cognigy, setup) = start().await;
    let (nobody, held) = refused();
    let away = setup.clone().set("COGNIGY_INJECT_URL", nobody).set("RETRY_BASE_DELAY", "20s").start().await;
    let task = away.enqueue(EVENT).await;
    let result = away.result(&task).await;
    // In good order: what waits for its next attempt goes back into the queue.
    let mut away = away;
    away.signal("TERM").await;
    assert_eq!(away.exit(millis_of(30_000)).await, Some(0));
    drop(held);
    let gateway = setup.start().await;
    let request = cognigy.called(1).await.remove(0);
    assert_eq!(request.message.json()["data"], result.json());
    pause(500).await;
    assert_eq!((cognigy.calls(), downstream.calls()), (1, 1));
    assert_eq!(gateway.status(&task).await.answer(), result.answer());
}

#[tokio::test]
async fn cognigy_sees_no_more_requests_than_it_takes() {
    let (_downstream, cognigy, setup) = start().await;
    assert_no_more_than_it_takes(&[setup.start().await], &cognigy).await;
}

/// These gateways share a queue, and have more results to tell than Cognigy takes at once.
pub(crate) async fn assert_no_more_than_it_takes(gateways: &[Gateway], cognigy: &Downstream) {
    for _ in 0..21 {
        let webhooks = (0..50).map(|n| gateways[n % gateways.len()].enqueue(EVENT));
        futures_util::future::join_all(webhooks).await;
    }
    cognigy.called(1000).await;
    pause(1500).await;
    assert_eq!(cognigy.calls(), 1000);
    for gateway in gateways {
        assert_eq!(gateway.job().await.1["nextNode"], "continue_dialog", "results go on");
        assert_eq!(gateway.metric(FAILURES, &[]).await, 0.0);
    }
}

/// How many of Cognigy's places are taken.
fn places(setup: &Setup) -> u32 {
    let queue = rusqlite::Connection::open(setup.path("queue.db")).unwrap();
    queue.query_row("SELECT count(*) FROM injected", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn an_injection_that_its_circuit_rejects_takes_none_of_cognigys_places() {
    let (_downstream, cognigy, setup) = start().await;
    cognigy.next([Answer::status(500)]);
    cognigy.always(Answer::hang());
    let setup = setup
        .set("BREAKER_CONSECUTIVE_FAILURES", "1")
        .set("RETRY_MAX_ATTEMPTS", "1")
        .set("BREAKER_OPEN_FOR", "2s")
        .set("BREAKER_PROBES", "1")
        .set("DOWNSTREAM_TIMEOUT", "1m");
    let gateway = setup.start().await;
    for n in 1..=5 {
        gateway.enqueue(EVENT).await;
        failed(&gateway, f64::from(n)).await;
    }
    assert_eq!((cognigy.calls(), places(&setup)), (1, 1), "while it is open");
    pause(2100).await;
    gateway.enqueue(EVENT).await;
    cognigy.called(2).await;
    for n in 6..=9 {
        gateway.enqueue(EVENT).await;
        failed(&gateway, f64::from(n)).await;
    }
    assert_eq!((cognigy.calls(), places(&setup)), (2, 2), "while its probe has not ended");
}
