//! Behind a real server, over HTTP/1 as peers write it.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceBuilder;

use crate::support::{Inner, layer, signed};

/// What a server with the layer answers to `sent`, until it closes the connection.
async fn exchange(sent: String) -> String {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let service = ServiceBuilder::new()
        .map_response(|response: Response<Bytes>| response.map(Full::new))
        .layer(layer().max_body_bytes(100))
        .service(Inner::default());
    let serving = tokio::spawn(
        http1::Builder::new().serve_connection(TokioIo::new(server), TowerToHyperService::new(service)).into_future(),
    );
    client.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    drop(serving.await.unwrap());
    answer
}

fn head(fields: &str) -> String {
    let signature = signed(b"hello", ()).headers()["x-cognigy-signature"].to_str().unwrap().to_owned();
    format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Cognigy-Signature: {signature}\r\n{fields}\r\n\r\n")
}

#[tokio::test]
async fn a_validly_signed_chunked_request_gets_an_answer() {
    let chunks: String = "hello".chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let answer =
        exchange(head("Transfer-Encoding: chunked\r\nTrailer: X-After") + &chunks + "0\r\nX-After: 1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");

    let answer = exchange(head("Content-Length: 5") + "hello").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_chunk_that_is_none_is_400() {
    let answer = exchange(head("Transfer-Encoding: chunked") + "5\r\nhello\r\nx\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// The server asks for the body when it is first polled, so a peer that waits to be asked keeps it to itself.
#[tokio::test]
async fn a_refused_peer_is_not_asked_for_its_body() {
    let expecting = |length: usize| head(&format!("Expect: 100-continue\r\nContent-Length: {length}"));
    let answer = exchange(expecting(101)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let answer = exchange(expecting(5).replace("X-Cognigy-Signature", "X-Cognigy-Signatures")).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = exchange(expecting(5) + "hello").await;
    assert!(answer.ends_with("hello"), "{answer}");
}
