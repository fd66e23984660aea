//! reqwest's client as a tower service, behind retries and a circuit.
//!
//! `cargo run --example reqwest_client`: a client and its server, on a port of this machine.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, Rejected},
    retry::{Attempts, RetryLayer, RetryPolicy},
    time::Clock,
};
use tower::{Service, ServiceBuilder, ServiceExt};

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Asks for patience once, answers once, and then is down.
async fn customer() -> impl IntoResponse {
    match CALLS.fetch_add(1, Relaxed) {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after-ms", "50")], ""),
        1 => (StatusCode::OK, [("x-served-by", "example")], "Ada"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, [("x-served-by", "example")], ""),
    }
}

/// The request is one of `http`'s until the last step, so that everything in front knows what it is: methods, `Retry-After`,
/// the marks in extensions. `reqwest::Client` is a service of its own type of request.
fn client(
    circuit: Circuit,
) -> Result<impl Service<Request<Bytes>, Response = Response<reqwest::Body>, Error = BoxError>, BoxError> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    Ok(ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(RetryLayer::new(RetryPolicy::http().max_attempts(2).build()?))
        .layer(CircuitBreakerLayer::http(circuit))
        .map_response(Response::<reqwest::Body>::from)
        .filter(|request: Request<Bytes>| reqwest::Request::try_from(request))
        .service(http))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, Router::new().route("/", get(customer))).into_future());

    let circuit = Circuit::builder("customers").consecutive_failures(2).build()?;
    let mut client = client(circuit.clone())?;
    let mut get =
        async || client.ready().await?.call(Request::get(format!("http://{address}/")).body(Bytes::new())?).await;

    let clock = Clock::precise();
    let begin = clock.now();
    let response = get().await?;
    let took = clock.now().since(begin);
    let attempts = response.extensions().get::<Attempts>().map_or(0, Attempts::count);
    assert_eq!((response.status(), attempts), (StatusCode::OK, 2));
    assert!(took >= Duration::from_millis(50), "no sooner than the server asked");
    // Back to reqwest, where its ways to read a body are wanted.
    let text = reqwest::Response::from(response).text().await?;
    assert_eq!(text, "Ada");
    println!("{text}, after {attempts} attempts");

    let response = get().await?;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    println!("{}, and the circuit is {}", response.status(), circuit.snapshot().state);

    let error = get().await.unwrap_err();
    assert!(error.is::<Rejected>());
    assert_eq!(CALLS.load(Relaxed), 4);
    println!("{error}");
    Ok(())
}
