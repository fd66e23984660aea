//! The proxied route: what goes on to the downstream, and what comes back.

use serde_json::json;

use crate::support::{Answer, Downstream, Request, SECRET, Setup, eventually, proxied, sign, start, start_with};

#[tokio::test]
async fn the_body_goes_on_byte_for_byte_and_so_does_the_answer() {
    let (downstream, gateway) = start().await;
    let odd = "{ \"b\":1,\"a\" : 1.0e+2,\r\n\t\"b\":2, \"n\":123456789012345678901234567890.10,\"\\u0061\":\"\\/\u{1f600}\" }  ";
    downstream.always(Answer::json(odd));
    let response = gateway.proxy(odd).await;
    let received = downstream.received().remove(0);
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/v2/process/cognigy"));
    assert_eq!(received.text(), odd);
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(response.text().contains(odd.trim()), "{}", response.text());
    assert_eq!(response.json()["status"], "forwarded");
}

#[tokio::test]
async fn the_attempts_of_one_call_share_a_key_that_no_other_call_has() {
    let (downstream, gateway) = start().await;
    downstream.always(Answer::status(429));
    gateway.proxy(r#"{"n":1}"#).await;
    gateway.proxy(r#"{"n":1}"#).await;
    let (received, keys) = (downstream.received(), downstream.keys());
    assert_eq!(keys.len(), 6);
    assert!(keys[..3].iter().all(|key| key == &keys[0]) && keys[3..].iter().all(|key| key == &keys[3]), "{keys:?}");
    assert!(!keys[0].is_empty() && keys[0] != keys[3], "{keys:?}");
    assert!(received.iter().all(|request| request.text() == r#"{"n":1}"#));
}

#[tokio::test]
async fn of_the_headers_only_the_trace_goes_on() {
    let (downstream, gateway) = start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = proxied("{}")
        .header("X-API-Key", SECRET)
        .header("X-Cognigy-Signature", &sign(SECRET, b"{}"))
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("tracestate", "vendor=1")
        .header("Idempotency-Key", "of the client")
        .header("Cookie", "session=1")
        .header("X-Custom", "1")
        .header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(gateway.send(request).await.status(), 200);
    let received = downstream.received().remove(0);
    assert_eq!(received.header("traceparent").and_then(|parent| parent.split('-').nth(1)), Some(trace));
    assert_eq!(received.header("tracestate"), Some("vendor=1"));
    assert_ne!(received.header("idempotency-key"), Some("of the client"));
    for name in ["cookie", "x-custom", "x-forwarded-for", "x-cognigy-signature", "authorization", "x-api-key"] {
        assert_eq!(received.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn the_downstream_gets_its_own_token_on_both_routes() {
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = Setup::new(downstream.url()).set("DOWNSTREAM_BEARER_TOKEN", "t0ken").start().await;
    assert_eq!(gateway.call().await, 200);
    gateway.job().await;
    let received = downstream.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|request| request.header("authorization") == Some("Bearer t0ken")));
}

#[tokio::test]
async fn the_path_of_the_base_url_is_kept() {
    for (base, prefix) in [("/crm/api", "/crm/api"), ("/crm/api/", "/crm/api"), ("/", "")] {
        let downstream = Downstream::start(Answer::ok()).await;
        let gateway = Setup::new(downstream.url() + base).start().await;
        assert_eq!(gateway.call().await, 200);
        gateway.job().await;
        let paths: Vec<_> = downstream.received().into_iter().map(|request| request.path).collect();
        assert_eq!(paths, [format!("{prefix}/v2/process/cognigy"), format!("{prefix}/v1/customer/lookup")]);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_the_call() {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = Setup::new(downstream.url()).set("PROXY_DEADLINE", "1m").set("DOWNSTREAM_TIMEOUT", "1m");
    let gateway = setup.start().await;

    let client = proxied("{}").start(gateway.address).await;
    downstream.called(1).await;
    drop(client);
    eventually("the call is cancelled", async || downstream.received()[0].abandoned.then_some(())).await;
    // It had not run for long, and tells nothing of the downstream.
    assert_eq!(gateway.circuit().await["calls"], 0);
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn a_client_that_gives_up_on_a_slow_call_tells_the_breaker() {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = Setup::new(downstream.url()).set("DOWNSTREAM_TIMEOUT", "1m").set("PROXY_DEADLINE", "1m");
    let gateway = setup.set("BREAKER_SLOW_CALL", "50ms").start().await;
    let client = proxied("{}").start(gateway.address).await;
    downstream.called(1).await;
    crate::support::pause(200).await;
    drop(client);
    let circuit = eventually("the call is counted", async || {
        let circuit = gateway.circuit().await;
        (circuit["calls"] == 1).then_some(circuit)
    })
    .await;
    assert_eq!(circuit["errorRate"], 1.0);
}

#[tokio::test]
async fn a_client_that_hangs_up_between_two_attempts_gets_no_second_one() {
    let downstream = Downstream::start(Answer::status(503)).await;
    let gateway = Setup::new(downstream.url()).set("RETRY_BASE_DELAY", "400ms").start().await;
    let client = proxied("{}").start(gateway.address).await;
    downstream.called(1).await;
    drop(client);
    crate::support::pause(700).await;
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn many_calls_run_at_once() {
    let (downstream, gateway) = start_with(Answer::ok().after(crate::support::millis_of(300)), &[]).await;
    let calls = (0..50).map(|_| gateway.proxy("{}"));
    let responses = futures_util::future::join_all(calls).await;
    assert!(
        responses
            .iter()
            .all(|response| response.answer() == (200, json!({ "status": "forwarded", "data": { "tier": "gold" } })))
    );
    assert!(downstream.most_running() > 10, "{}", downstream.most_running());
    let keys: std::collections::HashSet<_> = downstream.keys().into_iter().collect();
    assert_eq!(keys.len(), 50);
}

#[tokio::test]
async fn a_head_request_or_another_method_starts_nothing() {
    let (downstream, gateway) = start().await;
    for method in ["HEAD", "GET", "PUT", "DELETE"] {
        let request = Request::new(method, "/webhook/cognigy").header("X-API-Key", SECRET);
        assert_eq!(gateway.send(request).await.status(), 405, "{method}");
    }
    assert_eq!(downstream.calls(), 0);
}
