//! Bodies that are too large, too slow, or no JSON; and in which order a request is judged.

use std::{net::SocketAddr, time::Instant};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Answer, Downstream, Message, PATIENCE, Request, SECRET, Setup, eventually, millis_of, pause, proxied, read_message,
    sign, start, start_with,
};

const BODY: &str = r#"{"conversationId":"c-1"}"#;

/// A connection on which a test writes what it likes.
async fn open(address: SocketAddr, head: &str) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn read(stream: &mut BufReader<TcpStream>) -> Message {
    let read = timeout(PATIENCE, read_message(stream)).await.expect("an answer in time");
    read.expect("an answer that can be read").expect("an answer")
}

/// Both routes, with credentials that pass; what they sign does not matter to the checks that come before the body.
fn heads() -> [String; 2] {
    let signature = sign(SECRET, BODY.as_bytes());
    [
        Request::new("POST", "/webhooks/cognigy").header("X-Cognigy-Signature", &signature).into_head(),
        Request::new("POST", "/webhook/cognigy").header("X-API-Key", SECRET).into_head(),
    ]
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_before_the_body() {
    let (downstream, gateway) = start().await;
    for head in heads() {
        let mut stream = open(gateway.address, &format!("{head}Content-Length: 1048577\r\n\r\n")).await;
        assert_eq!(read(&mut stream).await.answer(), (413, json!({ "error": "body_too_large" })));
    }
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked_only_for_what_may_come() {
    let (downstream, gateway) = start_with(Answer::ok(), &[("MAX_BODY_BYTES", "100")]).await;
    for head in heads() {
        let head = format!("{head}Expect: 100-continue\r\n");
        let mut stream = open(gateway.address, &format!("{head}Content-Length: 101\r\n\r\n")).await;
        assert_eq!(read(&mut stream).await.status(), 413);
        let mut stream = open(gateway.address, &format!("{head}Content-Length: {}\r\n\r\n", BODY.len())).await;
        assert_eq!(read(&mut stream).await.status(), 100);
        stream.write_all(BODY.as_bytes()).await.unwrap();
        assert_eq!(read(&mut stream).await.status(), 200);
    }
    downstream.called(2).await;
}

#[tokio::test]
async fn a_chunked_body_is_cut_off_at_the_limit() {
    let (downstream, gateway) = start_with(Answer::ok(), &[("MAX_BODY_BYTES", "1000")]).await;
    for head in heads() {
        let mut stream = open(gateway.address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
        for _ in 0..11 {
            stream.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).await.unwrap();
        }
        assert_eq!(read(&mut stream).await.answer(), (413, json!({ "error": "body_too_large" })));
    }
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn a_client_that_sends_everything_first_can_read_that_it_was_too_much() {
    let (_downstream, gateway) = start_with(Answer::ok(), &[("MAX_BODY_BYTES", "1000")]).await;
    let size = 4 << 20;
    for head in heads() {
        for declared in [true, false] {
            let (framing, piece) = if declared {
                (format!("Content-Length: {size}\r\n\r\n"), "x".repeat(1 << 16))
            } else {
                ("Transfer-Encoding: chunked\r\n\r\n".to_owned(), format!("10000\r\n{}\r\n", "x".repeat(1 << 16)))
            };
            let mut stream = open(gateway.address, &format!("{head}{framing}")).await;
            for _ in 0..size >> 16 {
                // A server that has heard enough may close its end; what it said must still arrive.
                if stream.write_all(piece.as_bytes()).await.is_err() {
                    break;
                }
            }
            let response = read(&mut stream).await;
            assert_eq!(response.answer(), (413, json!({ "error": "body_too_large" })), "declared: {declared}");
        }
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken() {
    let (_downstream, gateway) = start_with(Answer::ok(), &[("MAX_BODY_BYTES", "1000")]).await;
    let body = |length: usize| format!("{BODY}{}", " ".repeat(length - BODY.len()));
    assert_eq!(gateway.send(Request::queued(body(1000)).signed(SECRET)).await.status(), 200);
    assert_eq!(gateway.send(Request::queued(body(1001)).signed(SECRET)).await.status(), 413);
    assert_eq!(gateway.send(proxied(body(1000))).await.status(), 200);
    assert_eq!(gateway.send(proxied(body(1001))).await.status(), 413);
}

#[tokio::test]
async fn a_body_that_stalls_or_trickles_is_given_up() {
    let (downstream, gateway) = start_with(Answer::ok(), &[("BODY_TIMEOUT", "400ms")]).await;
    for head in heads() {
        let head = format!("{head}Content-Length: {}\r\n\r\n", BODY.len());

        let started = Instant::now();
        let mut stream = open(gateway.address, &format!("{head}{}", &BODY[..5])).await;
        assert_eq!(read(&mut stream).await.answer(), (408, json!({ "error": "body_timeout" })));
        assert!(started.elapsed() >= millis_of(390), "{:?}", started.elapsed());

        // A byte now and then does not buy more time.
        let mut stream = open(gateway.address, &head).await;
        for byte in BODY.bytes() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            pause(40).await;
        }
        assert_eq!(read(&mut stream).await.answer(), (408, json!({ "error": "body_timeout" })));
    }
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn a_slow_body_within_the_limit_is_taken() {
    let (_downstream, gateway) = start().await;
    let [head, _] = heads();
    let mut stream = open(gateway.address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    for byte in BODY.chars() {
        stream.write_all(format!("1\r\n{byte}\r\n").as_bytes()).await.unwrap();
        pause(2).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut stream).await.status(), 200);
}

/// Waits for the end of a connection on which a head is due.
async fn assert_cut_off(mut stream: BufReader<TcpStream>, what: &str) {
    let mut rest = Vec::new();
    // Closed or reset: both are the end.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap_or_else(|_| panic!("still open: {what}"));
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{what}: {}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_head_that_does_not_arrive_is_cut_off_first_or_later() {
    let (_downstream, gateway) = start_with(Answer::ok(), &[("HEADER_TIMEOUT", "300ms")]).await;
    let silent = open(gateway.address, "").await;
    let half = open(gateway.address, "POST /webhooks/cognigy HTTP/1.1\r\nHost: g").await;
    let mut later = open(gateway.address, "GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
    assert_eq!(read(&mut later).await.status(), 200);
    later.write_all(b"GET /health HTTP/1.1\r\nHo").await.unwrap();
    let mut idle = open(gateway.address, "GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
    assert_eq!(read(&mut idle).await.status(), 200);

    assert_cut_off(silent, "nothing").await;
    assert_cut_off(half, "half a head").await;
    assert_cut_off(later, "half of a second head").await;
    assert_cut_off(idle, "no second head").await;
    assert_eq!(gateway.get("/health").await.status(), 200);
}

#[tokio::test]
async fn a_long_call_outlives_the_limit_of_the_head() {
    let downstream = Downstream::start(Answer::ok().after(millis_of(700))).await;
    let gateway =
        Setup::new(downstream.url()).set("HEADER_TIMEOUT", "200ms").set("BODY_TIMEOUT", "200ms").start().await;
    assert_eq!(gateway.call().await, 200);
}

#[tokio::test]
async fn what_is_not_json_is_refused_on_both_routes() {
    let (downstream, gateway) = start().await;
    let bodies: [&[u8]; 13] = [
        b"",
        b" ",
        b"conversationId=c-1",
        b"{\"conversationId\":\"c-1\"",
        b"{\"conversationId\":\"c-1\"}}",
        b"{\"conversationId\":\"c-1\"} null",
        b"{\"conversationId\":\"c-1\",}",
        b"{'conversationId':'c-1'}",
        b"{\"conversationId\":\"\xff\"}",
        b"{\"conversationId\":\"c-1\",\"\xc3\x28\":1}",
        b"\xef\xbb\xbf{\"conversationId\":\"c-1\"}",
        b"{\0\"\0}\0",
        b"{\"conversationId\":NaN}",
    ];
    for body in bodies {
        let what = String::from_utf8_lossy(body);
        for request in [Request::queued(body).signed(SECRET), Request::proxied(body).signed(SECRET), proxied(body)] {
            assert_eq!(gateway.send(request).await.answer(), (400, json!({ "error": "invalid_json" })), "{what:?}");
        }
    }
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn a_job_needs_a_conversation() {
    let (downstream, gateway) = start().await;
    let bodies = [
        "null",
        "7",
        "\"conversationId\"",
        "[]",
        r#"[{"conversationId":"c-1"}]"#,
        "{}",
        r#"{"conversationid":"c-1"}"#,
        r#"{"conversationId":""}"#,
        r#"{"conversationId":null}"#,
        r#"{"conversationId":7}"#,
        r#"{"conversationId":["c-1"]}"#,
        r#"{"inner":{"conversationId":"c-1"}}"#,
    ];
    for body in bodies {
        let response = gateway.send(Request::queued(body).signed(SECRET)).await;
        assert_eq!(response.answer(), (400, json!({ "error": "missing_conversation_id" })), "{body}");
        // The proxied route has no opinion on what the JSON says.
        assert_eq!(gateway.send(proxied(body)).await.status(), 200, "{body}");
    }
    assert_eq!(downstream.calls(), bodies.len());
}

#[tokio::test]
async fn deep_nesting_crashes_nothing() {
    let (downstream, gateway) = start().await;
    let deep = format!("{}{}", "[".repeat(400_000), "]".repeat(400_000));
    let object = format!(r#"{{"conversationId":"c-1","currentNode":{deep}}}"#);
    for request in [Request::queued(object).signed(SECRET), proxied(deep.clone())] {
        let status = gateway.send(request).await.status();
        assert!(matches!(status, 200 | 400), "{status}");
    }
    downstream.always(Answer::json(&deep));
    assert!(matches!(gateway.call().await, 200 | 502));
    let task = gateway.enqueue(BODY).await;
    assert_eq!(gateway.result(&task).await.status(), 200);
    assert_eq!(gateway.get("/health").await.status(), 200);
}

#[tokio::test]
async fn headers_are_judged_first_then_the_declared_length_then_the_body() {
    let (downstream, gateway) = start_with(Answer::ok(), &[("MAX_BODY_BYTES", "100"), ("BODY_TIMEOUT", "30s")]).await;
    let unauthorized = (401, json!({ "error": "invalid_signature" }));
    for path in ["/webhooks/cognigy", "/webhook/cognigy"] {
        // Nothing of the body is needed to say that the headers will not do.
        for length in [50, 1000] {
            let head = Request::new("POST", path).header("X-Cognigy-Signature", "malformed").into_head();
            let mut stream = open(gateway.address, &format!("{head}Content-Length: {length}\r\n\r\n")).await;
            assert_eq!(read(&mut stream).await.answer(), unauthorized, "{path}, {length} bytes");
        }
        // Whether a signature is the right one cannot be known without the body, which is too long to be read.
        let head = Request::new("POST", path).header("X-Cognigy-Signature", &"0".repeat(64)).into_head();
        let mut stream = open(gateway.address, &format!("{head}Content-Length: 1000\r\n\r\n")).await;
        assert_eq!(read(&mut stream).await.answer(), (413, json!({ "error": "body_too_large" })), "{path}");
    }
    let mut stream = open(
        gateway.address,
        "POST /webhook/cognigy HTTP/1.1\r\nHost: gateway\r\nX-API-Key: wrong\r\nContent-Length: 1000\r\n\r\n",
    )
    .await;
    assert_eq!(read(&mut stream).await.answer(), unauthorized);
    // A body that nobody signed is not looked into.
    for request in [Request::queued("no JSON").signed("wrong"), Request::proxied("no JSON").signed("wrong")] {
        assert_eq!(gateway.send(request).await.answer(), unauthorized);
    }
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn a_length_that_lies_gets_nothing_through() {
    let (downstream, gateway) = start_with(Answer::ok(), &[("BODY_TIMEOUT", "300ms")]).await;
    let [queued, _] = heads();
    // Shorter than the body: what was declared is what is judged.
    let mut stream = open(gateway.address, &format!("{queued}Content-Length: 10\r\n\r\n{BODY}")).await;
    assert_eq!(read(&mut stream).await.status(), 401);
    for head in heads() {
        // Longer than the body, whose sender is done; the answer, if any, is a refusal.
        let mut stream = open(gateway.address, &format!("{head}Content-Length: 90\r\n\r\n{BODY}")).await;
        stream.shutdown().await.unwrap();
        let answer = timeout(PATIENCE, read_message(&mut stream)).await.expect("an end in time");
        if let Ok(Some(answer)) = answer {
            assert!((400..500).contains(&answer.status()), "{answer:?}");
        }
    }
    assert_eq!(downstream.calls(), 0);
    assert_eq!(gateway.get("/health").await.status(), 200);
}

#[tokio::test]
async fn the_type_of_the_body_is_not_judged() {
    let (_downstream, gateway) = start().await;
    for content_type in ["application/json", "text/plain", "nonsense"] {
        assert_eq!(gateway.send(proxied("{}").header("Content-Type", content_type)).await.status(), 200);
        let queued = Request::queued(BODY).signed(SECRET).header("Content-Type", content_type);
        assert_eq!(gateway.send(queued).await.status(), 200);
    }
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_leaves_a_line_in_the_log_and_nothing_of_itself() {
    let (_downstream, gateway) = start().await;
    let cases = [
        (Request::queued("private-1").signed(SECRET), r#"reason="invalid_json""#, 1),
        (Request::queued(r#"{"private-2":1}"#).signed(SECRET), r#"reason="missing_conversation_id""#, 1),
        (proxied("private-3"), r#"reason="invalid_json""#, 2),
    ];
    for (request, reason, lines) in cases {
        assert_eq!(gateway.send(request).await.status(), 400);
        eventually(reason, async || (gateway.stderr().matches(reason).count() == lines).then_some(())).await;
    }
    assert!(!gateway.stderr().contains("private"), "{}", gateway.stderr());
}
