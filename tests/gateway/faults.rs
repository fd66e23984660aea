//! What can go wrong around the gateway, and no other part of the tests shows: no accepted webhook is lost, no good one is
//! kept waiting, and memory stays bounded.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    crashes::Heir,
    support::{
        Answer, Downstream, Hold, PATIENCE, RECOVERY, Request, SECRET, Setup, eventually, millis_of, pause, start,
    },
};

#[tokio::test]
async fn a_webhook_whose_gateway_dies_before_the_commit_was_not_accepted() {
    tokio::join!(dies_before_the_commit(Heir::Itself, &[]), dies_before_the_commit(Heir::Another, &[]));
}

pub(crate) async fn dies_before_the_commit(heir: Heir, settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url()).with(settings);
    let gateway = setup.start().await;
    gateway.until_ready().await;
    let other = heir.beside(&setup).await;
    let hold = Hold::of(&setup);
    let mut webhook = Request::queued(r#"{"conversationId":"c-1"}"#).signed(SECRET).start(gateway.address).await;
    pause(500).await;
    gateway.kill().await;
    hold.release();
    let mut answer = Vec::new();
    // A connection that is reset says no more than one that is closed.
    let _ = webhook.read_to_end(&mut answer).await;
    assert_eq!(String::from_utf8(answer).unwrap(), "");

    let gateway = Heir::take_over(other, &setup).await;
    gateway.until_ready().await;
    assert_eq!(gateway.job().await.0, 200);
    assert_eq!(downstream.calls(), 1, "the other one would have come first");
}

#[tokio::test]
async fn a_job_whose_gateway_dies_between_the_answer_and_its_record_is_run_again() {
    tokio::join!(dies_before_the_record(Heir::Itself, &[]), dies_before_the_record(Heir::Another, &[]));
}

pub(crate) async fn dies_before_the_record(heir: Heir, settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::ok().after(millis_of(1500))).await;
    let setup = Setup::new(downstream.url()).with(settings);
    let gateway = setup.start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    let other = heir.beside(&setup).await;
    // From here on nothing can be recorded.
    let hold = Hold::of(&setup);
    eventually("the answer has arrived", async || {
        let count = gateway.metric("cognigy_downstream_duration_seconds_count", &[]).await;
        (count == 1.0).then_some(())
    })
    .await;
    gateway.kill().await;
    hold.release();

    let gateway = Heir::take_over(other, &setup).await;
    gateway.until_ready().await;
    assert_eq!(gateway.status(&task).await.answer(), (202, json!({ "status": "processing" })));
    let result = gateway.result_within(RECOVERY, &task).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("continue_dialog")));
    assert_eq!(downstream.keys(), [task.clone(), task]);
}

/// A downstream that answers every request with one gibibyte, as `head` declares it, and counts what it got rid of.
async fn floods(head: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if stream.read(&mut [0; 4096]).await? == 0 {
                    return Ok(());
                }
                stream.write_all(head.as_bytes()).await?;
                let chunk = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
                for _ in 0..1024 {
                    stream.write_all(&chunk).await?;
                }
                stream.write_all(b"0\r\n\r\n").await
            });
        }
    });
    url
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_gibibyte_from_the_downstream_is_an_answer_that_is_too_long() {
    for (status, head) in [
        (200, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"),
        (200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (200, "HTTP/1.1 200 OK\r\n\r\n"),
        (404, "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        let gateway = Setup::new(floods(head).await).start().await;
        let (proxied, job) = if status == 200 {
            let variables = json!({
                "lookupStatus": "failed", "failureReason": "downstream_unavailable", "maxRetries": 3,
            });
            let fallback = json!({
                "status": "success", "nextNode": "default_fallback_branch", "variables": variables,
            });
            ((502, json!({ "error": "invalid_downstream_response" })), (200, fallback))
        } else {
            let rejected = json!({ "status": "failed", "error": "downstream_rejected", "downstreamStatus": status });
            ((502, json!({ "error": "downstream_error", "status": status })), (500, rejected))
        };
        let calls = join_all((0..10).map(|_| gateway.proxy("{}"))).await;
        assert!(calls.iter().all(|call| call.answer() == proxied), "{head}");
        assert_eq!(gateway.job().await, job, "{head}");
        // Each of them may hold `DOWNSTREAM_MAX_BYTES`, which is 1 MiB.
        assert!(gateway.peak_memory() < 64, "{head}: {} MiB", gateway.peak_memory());
    }
}

#[tokio::test]
async fn open_connections_and_slow_senders_do_not_stop_good_traffic() {
    // This process holds the other ends.
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(files > 6_000, "the machine allows {files} files at once");
    let (_downstream, gateway) = start().await;
    let idle = join_all((0..2_000).map(|_| TcpStream::connect(gateway.address))).await;
    assert!(idle.iter().all(Result::is_ok));
    let head = Request::queued("").header("X-Cognigy-Signature", &"0".repeat(64)).into_head();
    let head = format!("{head}Content-Length: 100000\r\n\r\n");
    let slow = join_all((0..500).map(async |_| {
        let mut stream = TcpStream::connect(gateway.address).await?;
        stream.write_all(head.as_bytes()).await?;
        std::io::Result::Ok(stream)
    }))
    .await;
    let slow: Vec<_> = slow.into_iter().collect::<Result<_, _>>().unwrap();
    let trickle = tokio::spawn(async move {
        loop {
            for stream in &slow {
                // Those that the gateway has given up are closed.
                let _ = stream.try_write(b"x");
            }
            pause(100).await;
        }
    });
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(gateway.call().await, 200);
        assert_eq!(gateway.job().await.0, 200);
    }
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    assert!(!trickle.is_finished());
    drop(idle);
}
