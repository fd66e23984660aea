//! hyper-util's client behind retries and a circuit, with a body that comes as a stream.
//!
//! `cargo run --example hyper_client`: a client and its server, on a port of this machine.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use axum::{Router, body::Bytes, http::StatusCode, response::IntoResponse, routing::put};
use http::{Request, Response};
use http_body_util::{BodyExt, channel::Channel};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, Rejected},
    retry::{Attempts, Backoff, ReplayLayer, RetryLayer, RetryPolicy},
};
use tower::{Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Busy twice, well once, and then down.
async fn upload(body: Bytes) -> impl IntoResponse {
    match CALLS.fetch_add(1, Relaxed) {
        2 => (StatusCode::OK, body),
        _ => (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, Router::new().route("/", put(upload))).into_future());

    let circuit = Circuit::builder("uploads").consecutive_failures(3).build()?;
    let backoff = Backoff::exponential(Duration::from_millis(5), Duration::from_millis(20));
    let mut client = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(ReplayLayer::new(64 * 1024))
        .layer(RetryLayer::new(RetryPolicy::http().max_attempts(3).backoff(backoff).build()?))
        .layer(CircuitBreakerLayer::http(circuit.clone()))
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let mut send = async || -> Result<Response<Incoming>, BoxError> {
        // A body that can be read once; the layer keeps what has been sent of it.
        let (mut frames, body) = Channel::<Bytes>::new(4);
        tokio::spawn(async move {
            for part in ["in ", "three ", "parts"] {
                let _ = frames.send_data(Bytes::from(part)).await;
            }
        });
        client.ready().await?.call(Request::put(format!("http://{address}/")).body(body)?).await
    };

    let response = send().await?;
    let attempts = response.extensions().get::<Attempts>().map_or(0, Attempts::count);
    assert_eq!((response.status(), attempts), (StatusCode::OK, 3));
    let body = response.into_body().collect().await?.to_bytes();
    assert_eq!(body, "in three parts");
    println!("after {attempts} attempts: {}", String::from_utf8_lossy(&body));

    let response = send().await?;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    println!("{}, and the circuit is {}", response.status(), circuit.snapshot().state);

    let error = send().await.unwrap_err();
    assert!(error.is::<Rejected>());
    assert_eq!(CALLS.load(Relaxed), 6, "three attempts each, and the last call was not sent");
    println!("{error}");
    Ok(())
}
