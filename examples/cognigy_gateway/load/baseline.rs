//! What the gateway's speed is compared with, and the downstream that all of them call.
//!
//! - `baseline downstream` answers at once.
//! - `baseline proxy URL` is the gateway's proxied route without a layer around the call and without a signature in front: the same
//!   server, client and spans, and the same promises about JSON and keys.
//! - `baseline hold URL` makes a call to the gateway on each of 1,000 connections, and keeps them open.
//! - `baseline bare URL` is as little as a proxy can be with axum and hyper-util: bytes in, bytes out.

#[expect(dead_code, reason = "parts of the gateway, of which not all is needed here")]
#[path = "../dialog.rs"]
mod dialog;
#[expect(dead_code, reason = "parts of the gateway, of which not all is needed here")]
#[path = "../exchange.rs"]
mod exchange;
#[path = "../json.rs"]
mod json;
#[path = "../server.rs"]
mod server;
#[expect(dead_code, reason = "parts of the gateway, of which not all is needed here")]
#[path = "../shutdown.rs"]
mod shutdown;
#[expect(dead_code, reason = "parts of the gateway, of which not all is needed here")]
#[path = "../tls.rs"]
mod tls;

use std::{convert::Infallible, env, io, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, response::IntoResponse, routing::post};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use portcullis::BoxError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;
use tracing::{Instrument, info_span};

use crate::dialog::{DialogEvent, Invalid};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

#[tokio::main]
async fn main() -> io::Result<()> {
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut arguments = env::args().skip(1);
    let (role, url) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    if role != "hold" {
        println!("listening on http://{}", listener.local_addr()?);
    }
    let url = || format!("{url}/v2/process/cognigy").parse::<Uri>().map_err(io::Error::other);
    match role.as_str() {
        "downstream" => downstream(listener).await,
        "proxy" => proxy(listener, url()?).await,
        "bare" => bare(listener, url()?).await,
        "hold" => hold(url()?).await,
        _ => Err(io::Error::other("baseline downstream | proxy URL | bare URL | hold URL")),
    }
}

/// With as little as hyper needs, so that it takes the least from the machine that it shares with what is measured.
async fn downstream(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(|request: Request<Incoming>| async {
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

type Forward = (Uri, exchange::Client);

async fn proxy(listener: TcpListener, url: Uri) -> io::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let client = exchange::client(tls::system().map_err(io::Error::other)?);
    let router = Router::new().route("/webhook/cognigy", post(forward)).with_state(Arc::new((url, client)));
    let (_running, shutdown) = shutdown::Shutdown::new();
    server::serve(listener, router, Duration::from_secs(10), shutdown).await;
    Ok(())
}

async fn forward(State(to): State<Arc<Forward>>, body: Bytes) -> impl IntoResponse {
    let span = info_span!("verify_signature", otel.kind = "server");
    async {
        let event = match DialogEvent::parse(&body) {
            Err(Invalid::Json) => return (StatusCode::BAD_REQUEST, JSON, r#"{"error":"invalid_json"}"#.to_owned()),
            event => event.ok(),
        };
        let span = info_span!(
            "process_dialog_event",
            cognigy.conversation_id = event.as_ref().and_then(DialogEvent::conversation_id),
            cognigy.current_node = event.as_ref().and_then(DialogEvent::current_node),
        );
        match call(&to, body.clone()).instrument(span).await {
            Ok(data) => (StatusCode::OK, JSON, data),
            Err(error) => (StatusCode::BAD_GATEWAY, JSON, error.to_string()),
        }
    }
    .instrument(span)
    .await
}

async fn call((url, client): &Forward, body: Bytes) -> Result<String, BoxError> {
    let (id, trace) = (rand::random::<u128>(), rand::random::<u128>());
    let trace = format!("00-{trace:032x}-{:016x}-00", rand::random::<u64>());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    request.uri_mut().clone_from(url);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(exchange::IDEMPOTENCY_KEY, format!("{id:032x}").try_into()?);
    headers.insert(HeaderName::from_static("traceparent"), trace.try_into()?);
    let span = info_span!("downstream_api_call", otel.kind = "client", retry.attempt = 0);
    let answer = exchange::exchange(client, 1 << 20).oneshot(request).instrument(span).await?;
    let data = answer.body().json().ok_or("no JSON")?;
    Ok([r#"{"status":"forwarded","data":"#, data, "}"].concat())
}

/// The header is that of the script beside this.
async fn hold(url: Uri) -> io::Result<()> {
    let address = url.authority().map(ToString::to_string).unwrap_or_default();
    let (name, value) = (env::var("HEADER").unwrap_or_default(), env::var("VALUE").unwrap_or_default());
    let call = format!(
        "POST /webhook/cognigy HTTP/1.1\r\nHost: {address}\r\n{name}: {value}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let mut connections = Vec::new();
    for _ in 0..1000 {
        let mut connection = TcpStream::connect(&address).await?;
        connection.write_all(call.as_bytes()).await?;
        let mut answer = [0; 4096];
        let length = connection.read(&mut answer).await?;
        if !answer[..length].starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other("a call failed"));
        }
        connections.push(connection);
    }
    println!("listening on {} connections", connections.len());
    std::future::pending().await
}

type Bare = (Uri, Client<HttpConnector, Full<Bytes>>);

async fn bare(listener: TcpListener, url: Uri) -> io::Result<()> {
    let client: Bare = (url, Client::builder(TokioExecutor::new()).build_http());
    axum::serve(listener, Router::new().route("/webhook/cognigy", post(pass)).with_state(Arc::new(client))).await
}

async fn pass(State(to): State<Arc<Bare>>, body: Bytes) -> impl IntoResponse {
    let (url, client) = &*to;
    let answer = async {
        let request = Request::post(url).header(header::CONTENT_TYPE, "application/json").body(Full::new(body))?;
        Ok::<_, BoxError>(client.request(request).await?.into_body().collect().await?.to_bytes())
    };
    answer.await.map_or((StatusCode::BAD_GATEWAY, JSON, Bytes::new()), |data| (StatusCode::OK, JSON, data))
}
