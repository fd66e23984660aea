//! What each downstream outcome means to the client, the job, the breaker and the retries: the table of the contract, row
//! by row, on both routes.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{Answer, Downstream, End, Gateway, Setup, millis_of, refused, start, start_with};

/// One row: what the downstream does, and what comes of it.
struct Row {
    name: &'static str,
    answer: Answer,
    expected: Expected,
}

#[derive(Clone, Debug, PartialEq)]
struct Expected {
    job: (u16, Value),
    proxied: (u16, Value),
    /// Requests that arrive downstream, for each route.
    attempts: usize,
    /// What the breaker recorded of them.
    calls: u64,
    error_rate: f64,
}

const ALL: usize = 3;

fn rejected(status: u16) -> (u16, Value) {
    (500, json!({ "status": "failed", "error": "downstream_rejected", "downstreamStatus": status }))
}

fn fallback() -> (u16, Value) {
    let variables = json!({ "lookupStatus": "failed", "failureReason": "downstream_unavailable", "maxRetries": 3 });
    (200, json!({ "status": "success", "nextNode": "default_fallback_branch", "variables": variables }))
}

fn completed(lookup: Value) -> (u16, Value) {
    let variables = json!({ "lookupStatus": "completed", "lookup": lookup });
    (200, json!({ "status": "success", "nextNode": "continue_dialog", "variables": variables }))
}

fn error(status: u16, error: &str) -> (u16, Value) {
    (status, json!({ "error": error }))
}

fn downstream_error(status: u16) -> (u16, Value) {
    (502, json!({ "error": "downstream_error", "status": status }))
}

/// A 2xx with JSON.
fn good(name: &'static str, answer: Answer, lookup: Value) -> Row {
    let proxied = (200, json!({ "status": "forwarded", "data": lookup }));
    let expected = Expected { job: completed(lookup), proxied, attempts: 1, calls: 1, error_rate: 0.0 };
    Row { name, answer, expected }
}

/// A 2xx that cannot be passed on.
fn invalid(name: &'static str, answer: Answer) -> Row {
    let proxied = error(502, "invalid_downstream_response");
    Row { name, answer, expected: Expected { job: fallback(), proxied, attempts: 1, calls: 1, error_rate: 0.0 } }
}

/// Refused by a downstream that is up: no retry, and nothing against the breaker.
fn refusal(name: &'static str, status: u16, answer: Answer) -> Row {
    let proxied = downstream_error(status);
    Row { name, answer, expected: Expected { job: rejected(status), proxied, attempts: 1, calls: 1, error_rate: 0.0 } }
}

/// A failure that is worth all attempts.
fn failing(name: &'static str, answer: Answer, proxied: (u16, Value)) -> Row {
    let expected = Expected { job: fallback(), proxied, attempts: ALL, calls: 3, error_rate: 1.0 };
    Row { name, answer, expected }
}

/// A failure that is not worth a second attempt.
fn broken(name: &'static str, status: u16) -> Row {
    let proxied = downstream_error(status);
    let expected = Expected { job: fallback(), proxied, attempts: 1, calls: 1, error_rate: 1.0 };
    Row { name, answer: Answer::status(status), expected }
}

/// Worth all attempts, and ignored by the breaker.
fn throttled(name: &'static str, status: u16, proxied: (u16, Value)) -> Row {
    let expected = Expected { job: fallback(), proxied, attempts: ALL, calls: 0, error_rate: 0.0 };
    Row { name, answer: Answer::status(status), expected }
}

fn successes() -> Vec<Row> {
    let gold = || json!({ "tier": "gold" });
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"tier\"\r\n8\r\n:\"gold\"}\r\n0\r\n\r\n";
    let until_close = "HTTP/1.1 200 OK\r\n\r\n{\"tier\":\"gold\"}";
    vec![
        good("200", Answer::ok(), gold()),
        good("201", Answer::new(201, &[], r#"{"tier":"gold"}"#), gold()),
        good("200 of another type", Answer::new(200, &[("Content-Type", "text/html")], r#"{"tier":"gold"}"#), gold()),
        good("200 in chunks", Answer::raw(chunks, End::KeepAlive), gold()),
        good("200 until the end of the connection", Answer::raw(until_close, End::Close), gold()),
        good("200 byte by byte", Answer::ok().trickled(millis_of(1)), gold()),
        good("200 with a scalar", Answer::json(" 7 "), json!(7)),
        good("200 empty", Answer::json(""), Value::Null),
        good("200 white space", Answer::json(" \r\n\t"), Value::Null),
        good("204", Answer::new(204, &[], ""), Value::Null),
        invalid("200 not JSON", Answer::json("<html>")),
        invalid("200 cut JSON", Answer::json(r#"{"tier":"#)),
        invalid("200 with more after the JSON", Answer::json("{} {}")),
        invalid("200 not UTF-8", Answer::new(200, &[], b"\"\xff\"")),
        invalid("200 too long", Answer::json(&format!("\"{}\"", "x".repeat(999)))),
        invalid("200 too long in chunks", too_long(200)),
        good("200 as long as may be", Answer::json(&format!("\"{}\"", "x".repeat(998))), json!("x".repeat(998))),
    ]
}

/// 1024 bytes in chunks.
fn too_long(status: u16) -> Answer {
    let chunk = format!("400\r\n{}\r\n0\r\n\r\n", "1".repeat(0x400));
    Answer::raw(format!("HTTP/1.1 {status} Scripted\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"), End::KeepAlive)
}

fn refusals() -> Vec<Row> {
    let to = |status| Answer::new(status, &[("Location", "/elsewhere")], "moved");
    let unauthorized =
        Expected { job: rejected(401), proxied: downstream_error(401), attempts: 1, calls: 1, error_rate: 1.0 };
    vec![
        refusal("301", 301, to(301)),
        refusal("302", 302, to(302)),
        refusal("303", 303, to(303)),
        refusal("304", 304, Answer::new(304, &[], "")),
        refusal("307", 307, to(307)),
        refusal("308", 308, to(308)),
        refusal("400", 400, Answer::status(400)),
        Row { name: "401", answer: Answer::status(401), expected: unauthorized },
        refusal("403", 403, Answer::status(403)),
        refusal("404", 404, Answer::status(404)),
        refusal("404 with a long body", 404, too_long(404)),
        refusal("404 with an empty body", 404, Answer::new(404, &[], "")),
        refusal("405", 405, Answer::status(405)),
        refusal("409", 409, Answer::status(409)),
        refusal("410", 410, Answer::status(410)),
        refusal("418", 418, Answer::status(418)),
        refusal("422", 422, Answer::status(422)),
        refusal("499", 499, Answer::status(499)),
    ]
}

fn failures() -> Vec<Row> {
    let half = |end| Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"tier\":", end);
    let half_chunk = Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"tier\"\r\n", End::Close);
    let unreachable = || error(502, "downstream_unreachable");
    vec![
        failing("408", Answer::status(408), downstream_error(408)),
        throttled("425", 425, downstream_error(425)),
        throttled("429", 429, (502, json!({ "error": "rate_limited", "status": 429 }))),
        failing("500", Answer::status(500), downstream_error(500)),
        failing("500 with a long body", too_long(500), downstream_error(500)),
        broken("501", 501),
        failing("502", Answer::status(502), downstream_error(502)),
        failing("503", Answer::status(503), downstream_error(503)),
        failing("504", Answer::status(504), downstream_error(504)),
        broken("505", 505),
        broken("507", 507),
        broken("511", 511),
        broken("599", 599),
        failing("reset", Answer::raw("", End::Reset), unreachable()),
        failing("closed without an answer", Answer::raw("", End::Close), unreachable()),
        failing("closed within the head", Answer::raw("HTTP/1.1 200 OK\r\nConte", End::Close), unreachable()),
        failing("body breaks off", half(End::Close), unreachable()),
        failing("body is reset", half(End::Reset), unreachable()),
        failing("chunked body breaks off", half_chunk, unreachable()),
    ]
}

/// What is only known by the clock.
fn silences() -> Vec<Row> {
    let half = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"tier\":", End::Hang);
    let timeout = || error(504, "downstream_timeout");
    vec![
        failing("hang", Answer::hang(), timeout()),
        failing("head stalls", Answer::raw("HTTP/1.1 200 OK\r\n", End::Hang), timeout()),
        failing("body stalls", half, timeout()),
        failing("body trickles for longer than the limit", Answer::ok().trickled(millis_of(40)), timeout()),
    ]
}

/// One gateway for each route, so that the breaker's figures are those of the row alone.
async fn observe(answer: &Answer, limit: &str) -> [Expected; 2] {
    let start = async || {
        let downstream = Downstream::start(answer.clone()).await;
        let setup = Setup::new(downstream.url()).set("DOWNSTREAM_TIMEOUT", limit).set("DOWNSTREAM_MAX_BYTES", "1000");
        (setup.start().await, downstream)
    };
    let job = async {
        let (gateway, downstream) = start().await;
        let job = gateway.job().await;
        (job, counted(&gateway, downstream.calls()).await)
    };
    let call = async {
        let (gateway, downstream) = start().await;
        let proxied = gateway.proxy(r#"{"text":"hello"}"#).await.answer();
        (proxied, counted(&gateway, downstream.calls()).await)
    };
    let ((job, after_job), (proxied, after_call)) = tokio::join!(job, call);
    [after_job, after_call].map(|(attempts, calls, error_rate)| Expected {
        job: job.clone(),
        proxied: proxied.clone(),
        attempts,
        calls,
        error_rate,
    })
}

async fn counted(gateway: &Gateway, attempts: usize) -> (usize, u64, f64) {
    let circuit = gateway.circuit().await;
    assert_eq!(circuit["state"], "closed");
    (attempts, circuit["calls"].as_u64().unwrap(), circuit["errorRate"].as_f64().unwrap())
}

/// Some rows at once, and all differences together.
async fn check(rows: Vec<Row>, limit: &str) {
    let mut differences = stream::iter(rows)
        .map(async |row| {
            let [job, proxied] = observe(&row.answer, limit).await;
            let wrong = [("job", job), ("proxied", proxied)].into_iter().filter(|(_, seen)| *seen != row.expected).map(
                |(route, seen)| {
                    format!("{} ({route}):\n  expected {:?}\n  but saw  {seen:?}\n", row.name, row.expected)
                },
            );
            wrong.collect::<String>()
        })
        .buffer_unordered(5);
    let mut report = String::new();
    while let Some(difference) = differences.next().await {
        report += &difference;
    }
    assert!(report.is_empty(), "{report}");
}

#[tokio::test]
async fn successes_and_invalid_answers() {
    check(successes(), "10s").await;
}

#[tokio::test]
async fn redirects_and_client_errors() {
    check(refusals(), "10s").await;
}

#[tokio::test]
async fn failures_and_throttling() {
    check(failures(), "10s").await;
}

#[tokio::test]
async fn timeouts() {
    check(silences(), "500ms").await;
}

#[tokio::test]
async fn refused_connections() {
    let (url, _socket) = refused();
    let expected = (3, 1.0);

    let gateway = Setup::new(url.clone()).start().await;
    assert_eq!(gateway.job().await, fallback());
    let (_, calls, rate) = counted(&gateway, 0).await;
    assert_eq!((calls, rate), expected);

    let gateway = Setup::new(url).start().await;
    assert_eq!(gateway.proxy("{}").await.answer(), error(502, "downstream_unreachable"));
    let (_, calls, rate) = counted(&gateway, 0).await;
    assert_eq!((calls, rate), expected);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (downstream, gateway) = start_with(Answer::new(307, &[("Location", "/elsewhere")], ""), &[]).await;
    gateway.proxy("{}").await;
    gateway.job().await;
    let paths: Vec<_> = downstream.received().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v2/process/cognigy", "/v1/customer/lookup"]);
}

#[tokio::test]
async fn the_last_outcome_is_the_one_that_counts() {
    let (downstream, gateway) = start().await;

    downstream.next([Answer::status(503), Answer::raw("", End::Reset)]);
    assert_eq!(gateway.job().await, completed(json!({ "tier": "gold" })));
    assert_eq!(downstream.calls(), 3);

    downstream.next([Answer::raw("", End::Close), Answer::status(429)]);
    let response = gateway.proxy("{}").await;
    assert_eq!(response.answer(), (200, json!({ "status": "forwarded", "data": { "tier": "gold" } })));
    assert_eq!(downstream.calls(), 6);

    downstream.next([Answer::status(500), Answer::status(422)]);
    assert_eq!(gateway.job().await, rejected(422));
    assert_eq!(downstream.calls(), 8);
}
