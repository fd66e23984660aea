//! SIGTERM and SIGINT: what runs is finished or given back, and nothing is lost.

use std::time::Instant;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{
    Answer, Downstream, Gateway, PATIENCE, Request, SECRET, Setup, eventually, millis_of, pause, read_message, within,
};

#[tokio::test]
async fn running_work_is_finished() {
    let downstream = Downstream::start(Answer::ok().after(millis_of(600))).await;
    for signal in ["TERM", "INT"] {
        let before = downstream.calls();
        let setup = Setup::new(downstream.url()).set("QUEUE_CONCURRENCY", "1");
        let mut gateway = setup.start().await;
        let running = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
        downstream.called(before + 1).await;
        let queued = gateway.enqueue(r#"{"conversationId":"c-2"}"#).await;
        let call = async {
            let response = gateway.proxy("{}").await;
            assert_eq!(response.status(), 200, "{signal}");
        };
        let stop = async {
            downstream.called(before + 2).await;
            gateway.signal(signal).await;
            eventually("it takes no more", async || TcpStream::connect(gateway.address).await.err()).await;
        };
        tokio::join!(call, stop);
        assert_eq!(gateway.exit(millis_of(10_000)).await, Some(0), "{signal}");
        assert_eq!(downstream.calls(), before + 2, "the queued job is left in the queue");

        // The job that ran is done, the one that was queued is still there.
        let gateway = setup.start().await;
        let result = gateway.status(&running).await;
        assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("continue_dialog")), "{signal}");
        assert_eq!(gateway.result(&queued).await.status(), 200, "{signal}");
        assert_eq!(downstream.calls(), before + 3, "{signal}");
    }
}

#[tokio::test]
async fn a_job_that_does_not_end_in_time_goes_back_at_once() {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = Setup::new(downstream.url()).set("SHUTDOWN_TIMEOUT", "1s").set("DOWNSTREAM_TIMEOUT", "1m");
    // Being broken off is not the death of the gateway, and costs no run.
    let setup = setup.set("JOB_MAX_RUNS", "1");
    let mut gateway = setup.start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    gateway.signal("TERM").await;
    let started = Instant::now();
    assert_eq!(gateway.exit(millis_of(8000)).await, Some(0));
    assert!(started.elapsed() >= millis_of(900) && started.elapsed() < millis_of(4000), "{:?}", started.elapsed());

    downstream.always(Answer::ok());
    let gateway = setup.start().await;
    // Long before a lease would have run out.
    let result = gateway.result_within(millis_of(6000), &task).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("continue_dialog")));
    assert_eq!(downstream.calls(), 2);
    assert_eq!(downstream.received()[1].header("idempotency-key"), Some(task.as_str()));
}

#[tokio::test]
async fn a_job_that_waits_to_retry_is_not_lost() {
    let downstream = Downstream::start(Answer::status(503)).await;
    let setup = Setup::new(downstream.url()).set("SHUTDOWN_TIMEOUT", "500ms").set("RETRY_BASE_DELAY", "10s");
    let mut gateway = setup.start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    gateway.signal("TERM").await;
    assert_eq!(gateway.exit(millis_of(6000)).await, Some(0));
    downstream.always(Answer::ok());
    let gateway = setup.start().await;
    within(millis_of(6000), "the job runs again", async || (gateway.status(&task).await.status() == 200).then_some(()))
        .await;
}

async fn stops(mut gateway: Gateway, limit: u64, what: &str) {
    gateway.signal("TERM").await;
    assert_eq!(gateway.exit(millis_of(limit)).await, Some(0), "{what}");
}

#[tokio::test]
async fn with_nothing_to_finish_it_stops_at_once() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url());
    stops(setup.start().await, 5000, "nothing").await;

    let gateway = setup.start().await;
    let mut idle = TcpStream::connect(gateway.address).await.unwrap();
    let kept = Request::get("/health").start(gateway.address).await;
    gateway.job().await;
    stops(gateway, 5000, "idle connections").await;
    let mut rest = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut rest)).await.unwrap().ok();
    drop(kept);
}

#[tokio::test]
async fn a_proxied_call_that_does_not_end_is_broken_off() {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = Setup::new(downstream.url()).set("SHUTDOWN_TIMEOUT", "500ms").set("DOWNSTREAM_TIMEOUT", "1m");
    let gateway = setup.set("PROXY_DEADLINE", "1m").start().await;
    let client = crate::support::proxied("{}").start(gateway.address).await;
    downstream.called(1).await;
    stops(gateway, 6000, "a hanging call").await;
    drop(client);
}

#[tokio::test]
async fn a_client_that_never_ends_its_request_holds_nothing_up() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url()).set("HEADER_TIMEOUT", "1m").set("BODY_TIMEOUT", "1m");
    let gateway = setup.set("SHUTDOWN_TIMEOUT", "500ms").start().await;
    let mut head = TcpStream::connect(gateway.address).await.unwrap();
    head.write_all(b"POST /webhook/cognigy HTTP/1.1\r\nHo").await.unwrap();
    let mut body = TcpStream::connect(gateway.address).await.unwrap();
    let start = Request::new("POST", "/webhook/cognigy").header("X-API-Key", SECRET).into_head();
    body.write_all(format!("{start}Content-Length: 10\r\n\r\n{{").as_bytes()).await.unwrap();
    gateway.get("/health").await;
    stops(gateway, 6000, "half a head and half a body").await;
}

async fn takes_no_more(gateway: &Gateway) {
    eventually("it takes no more", async || TcpStream::connect(gateway.address).await.err()).await;
}

#[tokio::test]
async fn a_call_whose_head_was_on_its_way_is_answered() {
    let downstream = Downstream::start(Answer::ok().after(millis_of(1500))).await;
    let mut gateway = Setup::new(downstream.url()).start().await;
    let request = crate::support::proxied("{}").into_bytes();
    let (begin, rest) = request.split_at(20);
    let mut client = BufReader::new(TcpStream::connect(gateway.address).await.unwrap());
    client.write_all(begin).await.unwrap();
    pause(200).await;
    gateway.signal("TERM").await;
    takes_no_more(&gateway).await;
    client.write_all(rest).await.unwrap();
    let answer = timeout(PATIENCE, read_message(&mut client)).await.unwrap().unwrap();
    assert_eq!(answer.expect("an answer").status(), 200);
    assert_eq!(gateway.exit(millis_of(5000)).await, Some(0));
}

#[tokio::test]
async fn an_answer_is_written_to_its_end_however_slowly_its_client_reads() {
    // More than the sockets' buffers take.
    let data = format!("\"{}\"", "x".repeat(16 << 20));
    let downstream = Downstream::start(Answer::json(&data)).await;
    let setup = Setup::new(downstream.url()).set("DOWNSTREAM_MAX_BYTES", "33554432");
    let mut gateway = setup.start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut client = BufReader::new(socket.connect(gateway.address).await.unwrap());
    client.write_all(&crate::support::proxied("{}").into_bytes()).await.unwrap();
    client.fill_buf().await.unwrap();
    gateway.signal("TERM").await;
    takes_no_more(&gateway).await;
    pause(1500).await;
    let answer = timeout(PATIENCE, read_message(&mut client)).await.unwrap().expect("the whole answer").unwrap();
    assert_eq!(answer.text(), format!(r#"{{"status":"forwarded","data":{data}}}"#));
    assert_eq!(gateway.exit(millis_of(5000)).await, Some(0));
}

#[tokio::test]
async fn a_client_that_reads_no_answer_is_waited_for_no_longer_than_for_work() {
    let downstream = Downstream::start(Answer::json(&format!("\"{}\"", "x".repeat(16 << 20)))).await;
    let setup = Setup::new(downstream.url()).set("DOWNSTREAM_MAX_BYTES", "33554432").set("SHUTDOWN_TIMEOUT", "1s");
    let gateway = setup.start().await;
    let client = crate::support::proxied("{}").start(gateway.address).await;
    client.readable().await.unwrap();
    stops(gateway, 6000, "an answer that nobody reads").await;
    drop(client);
}
