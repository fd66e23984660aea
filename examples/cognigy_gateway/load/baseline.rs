//! What the gateway's speed is compared with: the same proxy on axum and hyper-util, without any layer; and the downstream
//! that both call.
//!
//! `baseline downstream` answers at once. `baseline proxy URL` passes JSON on to it with a key of its own, and JSON back. It has no
//! signature, retry, circuit, timeout, span or metric.

use std::{convert::Infallible, env, pin::pin, sync::Arc};

use axum::{Router, extract::State, response::IntoResponse, routing::post};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::value::RawValue;
use tokio::net::TcpListener;

/// Futures are boxed on one thread and dropped on another, and many are too large for the C library's caches: there each of
/// them would take the lock of an arena.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut arguments = env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("downstream"), None) => downstream(listener).await,
        (Some("proxy"), Some(url)) => proxy(listener, url).await,
        _ => Err(std::io::Error::other("baseline downstream | baseline proxy URL")),
    }
}

/// With as little as hyper needs, so that it takes the least from the machine that it shares with what is measured.
async fn downstream(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(|request: Request<hyper::body::Incoming>| async {
            let mut body = pin!(request.into_body());
            while body.frame().await.is_some() {}
            let mut response =
                Response::new(Full::<Bytes>::from(r#"{"customer":{"name":"Ada Lovelace","tier":"gold"}}"#));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

struct Upstream {
    url: http::Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

async fn proxy(listener: TcpListener, url: String) -> std::io::Result<()> {
    let url = format!("{url}/v2/process/cognigy").parse().map_err(std::io::Error::other)?;
    let upstream = Arc::new(Upstream { url, client: Client::builder(TokioExecutor::new()).build_http() });
    axum::serve(listener, Router::new().route("/webhook/cognigy", post(forward)).with_state(upstream)).await
}

async fn forward(State(upstream): State<Arc<Upstream>>, body: Bytes) -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    if serde_json::from_slice::<&RawValue>(&body).is_err() {
        return (StatusCode::BAD_REQUEST, json, r#"{"error":"invalid_json"}"#.to_owned());
    }
    match call(&upstream, body).await {
        Ok(data) => (StatusCode::OK, json, data),
        Err(_) => (StatusCode::BAD_GATEWAY, json, r#"{"error":"downstream_unreachable"}"#.to_owned()),
    }
}

async fn call(upstream: &Upstream, body: Bytes) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let request = Request::post(&upstream.url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header("idempotency-key", format!("{:032x}", rand::random::<u128>()))
        .body(Full::new(body))?;
    let body = upstream.client.request(request).await?.into_body().collect().await?.to_bytes();
    let data: &RawValue = serde_json::from_slice(&body)?;
    Ok(format!(r#"{{"status":"forwarded","data":{data}}}"#))
}
