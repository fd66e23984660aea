//! OAuth 2.0 client credentials: a token server beside the downstream, each doing as it is told.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    settings::all_refused,
    support::{Answer, Downstream, Gateway, Setup, eventually, millis_of, pause, refused},
};

const ID: &str = "client:1";
const CLIENT_SECRET: &str = "s3cr:et+ %ü";
/// Id and secret, each encoded as in a form, and joined by a colon.
const CREDENTIALS: &str = "client%3A1:s3cr%3Aet%2B+%25%C3%BC";

fn token_for(name: &str, expires_in: &str) -> Answer {
    Answer::json(&format!(r#"{{"access_token":"{name}","token_type":"bearer","expires_in":{expires_in}}}"#))
}

fn token(name: &str) -> Answer {
    token_for(name, "3600")
}

fn setup(downstream: &Downstream, token_url: String) -> Setup {
    Setup::new(downstream.url())
        .set("OAUTH_TOKEN_URL", token_url)
        .set("OAUTH_CLIENT_ID", ID)
        .set("OAUTH_CLIENT_SECRET", CLIENT_SECRET)
}

async fn start(downstream: Answer, tokens: Answer, settings: &[(&str, &str)]) -> (Downstream, Downstream, Gateway) {
    let (downstream, tokens) = (Downstream::start(downstream).await, Downstream::start(tokens).await);
    let setup = setup(&downstream, tokens.url() + "/oauth/token?tenant=a");
    let gateway = setup.with(settings).start().await;
    (downstream, tokens, gateway)
}

/// The tokens that the downstream saw, in order.
fn seen(downstream: &Downstream) -> Vec<String> {
    let token = |value: &str| value.strip_prefix("Bearer ").expect("a bearer token").to_owned();
    downstream.received().iter().map(|request| token(request.header("authorization").expect("a token"))).collect()
}

#[tokio::test]
async fn one_token_is_fetched_and_shared_by_all_calls() {
    let fixed = ("DOWNSTREAM_BEARER_TOKEN", "fixed");
    let (downstream, tokens, gateway) = start(Answer::ok(), token("t-1").after(millis_of(200)), &[fixed]).await;
    assert_eq!(tokens.calls(), 0, "before anybody needs it");
    let calls = futures_util::future::join_all((0..10).map(|_| gateway.call())).await;
    assert_eq!(calls, [200; 10]);
    assert_eq!(gateway.job().await.1["nextNode"], "continue_dialog");
    assert_eq!(seen(&downstream), ["t-1"; 11]);

    let [request] = &tokens.received()[..] else { panic!("{} requests for a token", tokens.calls()) };
    assert_eq!((&*request.method, &*request.path), ("POST", "/oauth/token?tenant=a"));
    let basic = request.header("authorization").unwrap().strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(basic).unwrap(), CREDENTIALS.as_bytes());
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.text(), "grant_type=client_credentials&scope=api%3Acustomer%3Aread");
}

#[tokio::test]
async fn the_scope_can_be_chosen() {
    let (_downstream, tokens, gateway) = start(Answer::ok(), token("t-1"), &[("OAUTH_SCOPE", "a b&c")]).await;
    assert_eq!(gateway.call().await, 200);
    assert_eq!(tokens.received()[0].text(), "grant_type=client_credentials&scope=a+b%26c");
}

#[tokio::test]
async fn a_token_is_replaced_before_it_expires_and_no_call_waits() {
    let (downstream, tokens, gateway) = start(Answer::ok(), token("t-2").after(millis_of(300)), &[]).await;
    tokens.next([token_for("t-1", "\"5\"")]);
    let began = Instant::now();
    eventually("the next token", async || {
        assert_eq!(gateway.call().await, 200);
        pause(30).await;
        (seen(&downstream).last()? == "t-2").then_some(())
    })
    .await;
    assert!(began.elapsed() < millis_of(5000), "{:?}", began.elapsed());
    let asked = tokens.received();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].at - asked[0].at >= millis_of(3900), "{:?}", asked[1].at - asked[0].at);
    let meanwhile = downstream.received().iter().filter(|request| request.at > asked[1].at).count();
    assert!(meanwhile > 2, "calls went on with the old token: {meanwhile}");
}

#[tokio::test]
async fn a_lifetime_that_makes_no_sense_counts_as_not_said() {
    for expires_in in ["0", "-5", "\"soon\"", "null", "1e400", "99999999999999999999"] {
        let (_downstream, tokens, gateway) = start(Answer::ok(), token_for("t-1", expires_in), &[]).await;
        assert_eq!(gateway.call().await, 200, "{expires_in}");
        pause(1200).await;
        assert_eq!(gateway.call().await, 200, "{expires_in}");
        assert_eq!(tokens.calls(), 1, "{expires_in}");
    }
}

#[tokio::test]
async fn a_401_is_followed_by_one_new_token_and_one_repeat() {
    let (downstream, tokens, gateway) = start(Answer::ok(), token("t-2"), &[]).await;
    tokens.next([token("t-1")]);
    downstream.next([Answer::status(401)]);
    assert_eq!(gateway.proxy(r#"{"a":1}"#).await.status(), 200);
    assert_eq!((seen(&downstream), tokens.calls()), (vec!["t-1".to_owned(), "t-2".to_owned()], 2));
    let [refused, repeated] = &downstream.received()[..] else { panic!() };
    assert_eq!(refused.header("idempotency-key"), repeated.header("idempotency-key"));
    assert_eq!((refused.text(), repeated.text()), (r#"{"a":1}"#, r#"{"a":1}"#));

    // Two exchanges, one call, and no retry.
    assert_eq!(gateway.metric("cognigy_downstream_duration_seconds_count", &[]).await, 2.0);
    assert_eq!(gateway.metric("cognigy_webhook_retries_total", &[]).await, 0.0);
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["calls"], &circuit["errorRate"]), (&json!(1), &json!(0.0)));
}

#[tokio::test]
async fn a_retry_that_is_repeated_after_a_401_is_counted_once() {
    let (downstream, _tokens, gateway) = start(Answer::ok(), token("t-1"), &[]).await;
    downstream.next([Answer::status(503), Answer::status(401)]);
    assert_eq!(gateway.call().await, 200);
    assert_eq!(downstream.calls(), 3);
    assert_eq!(gateway.metric("cognigy_webhook_retries_total", &[]).await, 1.0);
}

#[tokio::test]
async fn a_401_that_remains_is_one_failure_and_is_not_retried() {
    let (downstream, _tokens, gateway) = start(Answer::status(401), token("t-1"), &[]).await;
    let error = json!({ "error": "downstream_error", "status": 401 });
    assert_eq!(gateway.proxy("{}").await.answer(), (502, error));
    assert_eq!(downstream.calls(), 2);
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["calls"], &circuit["errorRate"]), (&json!(1), &json!(1.0)));

    let rejected = json!({ "status": "failed", "error": "downstream_rejected", "downstreamStatus": 401 });
    assert_eq!(gateway.job().await, (500, rejected));
    assert_eq!(gateway.circuit().await["calls"], 2);
}

#[tokio::test]
async fn a_downstream_that_refuses_every_token_does_not_make_every_call_fetch_one() {
    let many = ("BREAKER_CONSECUTIVE_FAILURES", "0");
    let (_downstream, tokens, gateway) =
        start(Answer::status(401), token("t-1"), &[many, ("BREAKER_MIN_CALLS", "1000")]).await;
    let began = Instant::now();
    for _ in 0..30 {
        assert_eq!(gateway.call().await, 502);
    }
    let most = 2 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(tokens.calls() <= most, "{} tokens, and {most} would be enough", tokens.calls());
}

#[tokio::test]
async fn without_oauth_a_401_is_not_repeated() {
    let downstream = Downstream::start(Answer::status(401)).await;
    let gateway = Setup::new(downstream.url()).set("DOWNSTREAM_BEARER_TOKEN", "fixed").start().await;
    assert_eq!(gateway.call().await, 502);
    assert_eq!(seen(&downstream), ["fixed"]);
}

/// No token: the answers of both routes, nothing for the circuit, nothing sent.
async fn gives_none(what: &str, downstream: &Downstream, gateway: &Gateway) {
    let unavailable = (502, json!({ "error": "token_unavailable" }));
    assert_eq!(gateway.proxy("{}").await.answer(), unavailable, "{what}");
    assert_eq!(gateway.job().await.1["nextNode"], "default_fallback_branch", "{what}");
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["state"], &circuit["calls"]), (&json!("closed"), &json!(0)), "{what}");
    assert_eq!(downstream.calls(), 0, "{what}");
}

#[tokio::test]
async fn no_token_to_be_had_is_told_and_not_held_against_the_downstream() {
    let elsewhere = Downstream::start(token("t-1")).await;
    let location = elsewhere.url();
    let invalid = Answer::new(401, &[], r#"{"error":"invalid_client","error_description":"told-too-much"}"#);
    let answers = [
        ("500", Answer::status(500)),
        ("401", invalid),
        ("a redirect", Answer::new(307, &[("Location", &location)], "")),
        ("no JSON", Answer::json("token")),
        ("no object", Answer::json(r#"["t-1"]"#)),
        ("no token", Answer::json(r#"{"token_type":"bearer"}"#)),
        ("an empty one", token("")),
        ("one with a line feed", token("t-1\\r\\nX-Evil: 1")),
        ("one of another type", Answer::json(r#"{"access_token":"t-1","token_type":"mac"}"#)),
        ("one that is too long", token(&"t".repeat(100 * 1024))),
        ("a reset", Answer::raw("", crate::support::End::Reset)),
        ("silence", Answer::hang()),
    ];
    let settings = [("RETRY_MAX_ATTEMPTS", "2"), ("BREAKER_SLOW_CALL", "50ms"), ("DOWNSTREAM_TIMEOUT", "300ms")];
    for (what, answer) in answers {
        let (downstream, tokens, gateway) = start(Answer::ok(), answer, &settings).await;
        gives_none(what, &downstream, &gateway).await;
        assert!(tokens.calls() >= 1, "{what}");
        let log = gateway.stderr();
        assert!(log.contains("token not fetched"), "{what}: {log}");
        assert_eq!(log.contains("invalid_client"), what == "401", "{what}: {log}");
        assert!(!log.contains("told-too-much"), "{what}: {log}");
    }
    assert_eq!(elsewhere.calls(), 0);

    let (url, _socket) = refused();
    let downstream = Downstream::start(Answer::ok()).await;
    gives_none("nobody there", &downstream, &setup(&downstream, url).start().await).await;
}

#[tokio::test]
async fn a_failing_token_server_is_asked_again_within_two_seconds_and_not_before_one() {
    let (downstream, tokens, gateway) = start(Answer::ok(), Answer::status(500), &[("RETRY_MAX_ATTEMPTS", "1")]).await;
    assert_eq!(gateway.call().await, 502);
    tokens.always(token("t-1"));
    eventually("a token", async || (gateway.call().await == 200).then_some(())).await;
    let gap = tokens.gaps()[0];
    assert!(gap >= millis_of(990) && gap < millis_of(2000), "{gap:?}");
    assert_eq!((tokens.calls(), downstream.calls()), (2, 1));
}

#[tokio::test]
async fn no_token_is_worth_a_retry() {
    let (downstream, tokens, gateway) = start(Answer::ok(), token("t-1"), &[("RETRY_BASE_DELAY", "1600ms")]).await;
    tokens.next([Answer::status(503)]);
    assert_eq!(gateway.call().await, 200);
    assert_eq!((tokens.calls(), downstream.calls()), (2, 1));
}

#[tokio::test]
async fn a_call_that_is_cut_while_it_waits_for_a_token_tells_nothing_of_the_downstream() {
    let settings = [("PROXY_DEADLINE", "400ms"), ("JOB_TIMEOUT", "400ms"), ("BREAKER_SLOW_CALL", "100ms")];
    let (downstream, tokens, gateway) = start(Answer::ok(), Answer::hang(), &settings).await;
    let began = Instant::now();
    assert_eq!(gateway.proxy("{}").await.answer(), (504, json!({ "error": "downstream_timeout" })));
    assert_eq!(gateway.job().await.1["nextNode"], "default_fallback_branch");
    assert!(began.elapsed() < millis_of(5000), "{:?}", began.elapsed());
    assert_eq!(gateway.circuit().await["calls"], 0);
    // The second went on with the fetch of the first.
    assert_eq!((downstream.calls(), tokens.calls()), (0, 1));
}

#[tokio::test]
async fn the_wait_for_a_new_token_after_a_401_is_a_part_of_the_call() {
    // One that was cut before it was slow tells nothing.
    for (slow, calls) in [("100ms", 1), ("5s", 0)] {
        let settings = [("PROXY_DEADLINE", "400ms"), ("BREAKER_SLOW_CALL", slow)];
        let (downstream, tokens, gateway) = start(Answer::status(401), Answer::hang(), &settings).await;
        tokens.next([token("t-1")]);
        assert_eq!(gateway.proxy("{}").await.answer(), (504, json!({ "error": "downstream_timeout" })));
        let circuit = gateway.circuit().await;
        assert_eq!((&circuit["calls"], &circuit["errorRate"]), (&json!(calls), &json!(f64::from(calls))), "{slow}");
        assert_eq!((downstream.calls(), tokens.calls()), (1, 2));
    }

    // Where none comes, it is the token that was missing.
    let (_downstream, tokens, gateway) = start(Answer::status(401), Answer::status(500), &[]).await;
    tokens.next([token("t-1")]);
    assert_eq!(gateway.proxy("{}").await.answer(), (502, json!({ "error": "token_unavailable" })));
    assert_eq!(gateway.circuit().await["calls"], 0);
}

#[tokio::test]
async fn the_health_probe_waits_for_a_token_without_a_place_in_the_circuit() {
    let settings = [
        ("RETRY_MAX_ATTEMPTS", "1"),
        ("BREAKER_CONSECUTIVE_FAILURES", "1"),
        ("BREAKER_OPEN_FOR", "1500ms"),
        ("HEALTH_PROBE_INTERVAL", "100ms"),
    ];
    let (downstream, tokens, gateway) = start(Answer::status(500), Answer::status(500), &settings).await;
    tokens.next([token_for("t-1", "1")]);
    assert_eq!(gateway.call().await, 502);
    downstream.always(Answer::ok());
    gateway.until_circuit("open").await;
    eventually("the token server is asked for the probe", async || (tokens.calls() >= 3).then_some(())).await;
    let circuit = gateway.circuit().await;
    assert_eq!((&circuit["state"], &circuit["retryAfter"]), (&json!("open"), &json!(0)));
    assert_eq!(downstream.probes().len(), 0);
    assert_eq!(gateway.metric("cognigy_circuit_breaker_trips_total", &[]).await, 1.0);

    tokens.always(token("t-2"));
    gateway.until_circuit("closed").await;
    let probes = downstream.probes();
    assert!(probes.iter().all(|probe| probe.header("authorization") == Some("Bearer t-2")));
    assert_eq!(gateway.call().await, 200);
}

#[tokio::test]
async fn half_a_client_is_refused_at_the_start() {
    let client =
        [("OAUTH_TOKEN_URL", "http://127.0.0.1:9/token"), ("OAUTH_CLIENT_ID", ID), ("OAUTH_CLIENT_SECRET", "secret")];
    let mut cases = Vec::new();
    for (missing, _) in client {
        for empty in [false, true] {
            let mut setup = Setup::bare();
            for (name, value) in client.into_iter().filter(|(name, _)| *name != missing) {
                setup = setup.set(name, value);
            }
            cases.push((missing, if empty { setup.set(missing, "") } else { setup }, missing));
        }
    }
    all_refused(cases).await;
}

#[tokio::test]
async fn no_secret_and_no_token_is_logged_at_any_level() {
    for format in ["text", "json"] {
        let settings = [("RUST_LOG", "trace"), ("LOG_FORMAT", format), ("RETRY_MAX_ATTEMPTS", "1")];
        let (downstream, tokens, gateway) = start(Answer::ok(), token("t0ken-2"), &settings).await;
        let echo = format!(r#"{{"error":"{CLIENT_SECRET}","error_description":"{CLIENT_SECRET} t0ken-0"}}"#);
        tokens.next([Answer::new(400, &[], echo), token("t0ken-1"), token("t0ken-2\\n")]);
        assert_eq!(gateway.call().await, 502);
        eventually("a token", async || (gateway.call().await == 200).then_some(())).await;
        downstream.next([Answer::status(401)]);
        assert_eq!(gateway.call().await, 502, "the next token cannot be used");
        eventually("a token", async || {
            downstream.next([Answer::status(401)]);
            (gateway.call().await == 200).then_some(())
        })
        .await;
        let log = gateway.stderr();
        assert!(log.contains("token fetched") && log.contains("token refused"), "{log}");
        let credentials = STANDARD.encode(CREDENTIALS);
        for telltale in [CLIENT_SECRET, "s3cr", CREDENTIALS, &credentials, "t0ken-"] {
            assert!(!log.contains(telltale), "{telltale} is in the log: {log}");
        }
    }
}
