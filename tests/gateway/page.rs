//! The page at `/` as HTTP has it: what it may do, what it tells and to whom. How it looks is `browser`'s matter.

use std::{net::SocketAddr, time::Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Answer, Downstream, Gateway, PATIENCE, Request, SECRET, Setup, eventually, millis_of, sign, start,
};

/// A stream of events that is read.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(gateway: &Gateway) -> Self {
        let mut events = Self(BufReader::new(Request::get("/events").start(gateway.address).await));
        assert_eq!(events.line().await.as_deref(), Some("HTTP/1.1 200 OK"));
        events
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("a line in time").unwrap_or(0);
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next frame; `None` once the stream has ended.
    async fn frame(&mut self) -> Option<Value> {
        loop {
            if let Some(data) = self.line().await?.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    async fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..100 {
            let frame = self.frame().await.expect("the stream goes on");
            if is(&frame) {
                return frame;
            }
        }
        panic!("not within a hundred frames: {what}");
    }
}

/// What a page of this gateway itself sends.
fn control(method: &str, path: &str, to: SocketAddr) -> Request {
    Request::of(&to.to_string(), method, path).header("Origin", &format!("http://{to}"))
}

#[tokio::test]
async fn the_page_is_served_with_a_policy_that_lets_it_do_nothing_else() {
    let (_downstream, gateway) = start().await;
    let page = gateway.get("/").await;
    assert_eq!((page.status(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    for part in ["default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'"] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(page.text().contains("<title>Cognigy gateway</title>") && !page.text().contains(SECRET));
}

#[tokio::test]
async fn the_page_can_be_turned_off() {
    let gateway = Setup::bare().set("DASHBOARD", "off").start().await;
    for path in ["/", "/events"] {
        assert_eq!(gateway.get(path).await.status(), 404, "{path}");
    }
    assert_eq!(gateway.send(control("PUT", "/simulator/mood/failing", gateway.address)).await.status(), 404);
}

#[tokio::test]
async fn events_tell_state_rates_queue_and_calls() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url()).set("RETRY_MAX_ATTEMPTS", "2").set("BREAKER_CONSECUTIVE_FAILURES", "2");
    let gateway = setup.start().await;
    let mut events = Events::open(&gateway).await;
    let fresh = events.until("a sample", |frame| frame["history"][0][0] == "closed").await;
    let circuit = json!({
        "state": "closed", "failureRate": 0.0, "slowRate": 0.0, "calls": 0, "retryAfter": null, "tripped": null,
        "opened": 0, "lastTrip": null,
    });
    assert_eq!(fresh["circuit"], circuit);
    assert_eq!(fresh["queue"], json!({ "backend": "sqlite", "jobs": 0, "waited": 0 }));
    assert_eq!((&fresh["calls"], &fresh["simulator"]), (&json!([]), &Value::Null));

    assert_eq!(gateway.call().await, 200);
    downstream.always(Answer::status(503));
    gateway.job().await;
    gateway.call().await;
    let frame = events.until("the rejection", |frame| frame["calls"][0]["ending"] == "rejected").await;
    assert_eq!((&frame["circuit"]["state"], &frame["circuit"]["opened"]), (&json!("open"), &json!(1)));
    assert_eq!(frame["circuit"]["tripped"], "2 failures in a row");
    assert_eq!(frame["circuit"]["lastTrip"]["rule"], "consecutive_failures");
    assert!(frame["circuit"]["retryAfter"].as_u64().is_some_and(|wait| wait <= 15_000), "{frame}");
    let calls = frame["calls"].as_array().unwrap();
    let told: Vec<_> = calls.iter().map(|call| (&call["from"], &call["attempt"], &call["status"])).collect();
    let (job, proxy) = (json!("job"), json!("proxy"));
    assert_eq!(
        told,
        [
            (&proxy, &json!(0), &Value::Null),
            (&job, &json!(1), &json!(503)),
            (&job, &json!(0), &json!(503)),
            (&proxy, &json!(0), &json!(200)),
        ]
    );
    let history = frame["history"].as_array().unwrap();
    assert_eq!(history[0], json!(["closed", 0.0, 0.0]));
    let later = events.until("a sample of it", |frame| {
        frame["history"].as_array().is_some_and(|history| history.iter().any(|sample| sample[0] == "open"))
    });
    later.await;
}

#[tokio::test]
async fn events_tell_no_payload_no_secret_and_no_id() {
    let downstream = Downstream::start(Answer::json(r#"{"answer":"private-answer"}"#)).await;
    let setup = Setup::new(downstream.url()).set("DOWNSTREAM_BEARER_TOKEN", "downstream-token");
    let gateway = setup.start().await;
    let body = r#"{"conversationId":"private-conversation","currentNode":"private-node"}"#;
    let task = gateway.enqueue(body).await;
    gateway.result(&task).await;
    gateway.proxy(body).await;
    let mut events = Events::open(&gateway).await;
    let frame = events.until("both calls", |frame| frame["calls"].as_array().is_some_and(|calls| calls.len() == 2));
    let frame = frame.await.to_string();
    let signature = sign(SECRET, body.as_bytes());
    // Who knows the id of a task can ask for its result.
    for telltale in ["private", "downstream-token", SECRET, &signature, &task, &downstream.url()["http://".len()..]] {
        assert!(!frame.contains(telltale), "{telltale} in {frame}");
    }
}

#[tokio::test]
async fn a_queue_that_does_not_answer_is_shown_as_one() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url());
    let gateway = setup.start().await;
    let mut events = Events::open(&gateway).await;
    let lock = Connection::open(setup.path("queue.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let frame = events.until("no answer", |frame| frame["queue"]["jobs"].is_null()).await;
    assert_eq!(frame["queue"], json!({ "backend": "sqlite", "jobs": null, "waited": null }));
    eventually("the metrics say so too", async || {
        gateway.metric("cognigy_queue_depth", &[("lane", "lookups")]).await.is_nan().then_some(())
    })
    .await;
    lock.execute_batch("ROLLBACK").unwrap();
    events.until("an answer", |frame| frame["queue"]["jobs"] == 0).await;
}

#[tokio::test]
async fn those_who_watch_are_bounded_and_make_place_when_they_go() {
    let (_downstream, gateway) = start().await;
    let mut watching = Vec::new();
    for _ in 0..32 {
        watching.push(Events::open(&gateway).await);
    }
    let refused = gateway.get("/events").await;
    assert_eq!(refused.answer(), (503, json!({ "error": "too_many_listeners" })));
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(gateway.call().await, 200);
    for events in &mut watching {
        events.frame().await.unwrap();
    }
    watching.pop();
    eventually("a place is free", async || {
        let mut stream = BufReader::new(Request::get("/events").start(gateway.address).await);
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        line.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_watches_does_not_hold_up_the_end() {
    let downstream = Downstream::start(Answer::ok()).await;
    let mut gateway = Setup::new(downstream.url()).start().await;
    let mut watching = Events::open(&gateway).await;
    watching.frame().await.unwrap();
    // One who does not read, too.
    let asleep = Request::get("/events").start(gateway.address).await;
    gateway.signal("TERM").await;
    let started = Instant::now();
    assert_eq!(gateway.exit(millis_of(5000)).await, Some(0));
    assert!(started.elapsed() < millis_of(2500), "{:?}", started.elapsed());
    // The stream has ended, and was not cut off: its last chunk is the empty one.
    let mut last = String::new();
    while let Some(line) = watching.line().await {
        last = if line.is_empty() { last } else { line };
    }
    assert_eq!(last, "0");
    drop(asleep);
}

#[tokio::test]
async fn buttons_are_there_for_the_simulated_downstream_and_this_machine_alone() {
    let downstream = Downstream::start(Answer::ok()).await;
    let simulated = Setup::bare().start().await;
    let real = Setup::new(downstream.url()).start().await;
    // Reachable from the network.
    let open = Setup::bare().set("LISTEN_ADDR", "0.0.0.0:0").start().await;
    for (gateway, there) in [(&simulated, true), (&real, false), (&open, false)] {
        let address = SocketAddr::from(([127, 0, 0, 1], gateway.address.port()));
        let page = Request::get("/").send(address).await.unwrap();
        assert_eq!(page.text().contains("data-mood=\"failing\""), there);
        for (method, path) in
            [("PUT", "/simulator/mood/failing"), ("PUT", "/simulator/traffic"), ("DELETE", "/simulator/traffic")]
        {
            let answer = control(method, path, address).send(address).await.unwrap();
            assert_eq!(answer.status(), if there { 200 } else { 404 }, "{method} {path} {there}");
        }
    }
    assert_eq!(simulated.send(control("PUT", "/simulator/mood/moody", simulated.address)).await.status(), 404);
}

#[tokio::test]
async fn other_pages_cannot_press_the_buttons() {
    let gateway = Setup::bare().start().await;
    let here = gateway.address.to_string();
    let mood = async || {
        let mut events = Events::open(&gateway).await;
        events.frame().await.unwrap()["simulator"]["mood"].take()
    };
    let path = "/simulator/mood/failing";
    for (what, request) in [
        ("a name that was made to resolve to here", Request::of("evil.example", "PUT", path)),
        ("the same with its port", Request::of(&format!("evil.example:{}", gateway.address.port()), "PUT", path)),
        ("a page from elsewhere", Request::of(&here, "PUT", path).header("Origin", "http://evil.example")),
        ("a page without an origin", Request::of(&here, "PUT", path).header("Origin", "null")),
        ("another port of this machine", Request::of(&here, "PUT", path).header("Origin", "http://127.0.0.1:1")),
    ] {
        assert_eq!(gateway.send(request).await.answer(), (403, json!({ "error": "not_from_here" })), "{what}");
    }
    // What a form or a picture can send, and what is asked before a PUT.
    for method in ["GET", "POST", "OPTIONS"] {
        let answer = gateway.send(Request::of(&here, method, path).header("Origin", "http://evil.example")).await;
        assert!(matches!(answer.status(), 403 | 405), "{method}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{method}");
    }
    assert_eq!(mood().await, "well");
    assert_eq!(gateway.send(control("PUT", path, gateway.address)).await.answer(), (200, json!({ "mood": "failing" })));
    assert_eq!(mood().await, "failing");
}

#[tokio::test]
async fn test_webhooks_take_the_real_routes_until_they_are_stopped() {
    let gateway = Setup::bare().start().await;
    let traffic = async |method| gateway.send(control(method, "/simulator/traffic", gateway.address)).await.answer();
    assert_eq!(traffic("PUT").await, (200, json!({ "traffic": 60 })));
    let accepted =
        async |route| gateway.metric("cognigy_webhook_requests_total", &[("route", route), ("status", "200")]).await;
    eventually("webhooks of both styles were accepted", async || {
        (accepted("/webhooks/cognigy").await >= 2.0 && accepted("/webhook/cognigy").await >= 2.0).then_some(())
    })
    .await;
    let mut events = Events::open(&gateway).await;
    let frame = events.frame().await.unwrap();
    assert!(frame["simulator"]["traffic"].as_u64().is_some_and(|left| (30..60).contains(&left)), "{frame}");
    assert_eq!(traffic("DELETE").await, (200, json!({ "traffic": 0 })));
    let before = accepted("/webhook/cognigy").await + accepted("/webhooks/cognigy").await;
    crate::support::pause(1500).await;
    let after = accepted("/webhook/cognigy").await + accepted("/webhooks/cognigy").await;
    // One may have been under way.
    assert!(after <= before + 1.0, "{before} {after}");
}
