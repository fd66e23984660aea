//! What the gateway's speed is compared with, and the downstream that all of them call.
//!
//! - `baseline downstream` answers at once.
//! - `baseline proxy URL` is the gateway's proxied route without its layers.
//!   It has the same server, log, spans and client, the same bound on a body and on an answer, the same look at the JSON of both, the
//!   trace that the webhook came with or one that is begun, a key for each call, a timeout around the exchange, and answers that are
//!   made the same way.
//!   It has no signature, credential or limit of time in front, no retry, deadline, breaker, token, metrics and recent calls around
//!   the exchange, nor the box that holds all these; no export of spans, no other routes, and one answer for whatever goes wrong
//!   downstream, which is not logged.
//! - `baseline hold URL` makes a call to the gateway on each of 1,000 connections, and keeps them open.
//! - `baseline bare URL` is as little as a proxy can be with axum and hyper-util: bytes in, bytes out.

#[expect(dead_code, reason = "parts of the gateway, of which not all is needed here")]
#[path = "../answers.rs"]
mod answers;
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
#[expect(dead_code, reason = "parts of the gateway, of which not all is needed here")]
#[path = "../trace.rs"]
mod trace;

/// What the gateway's own says where no collector is configured.
mod telemetry {
    pub(crate) const SPANS: &str = "cognigy_gateway::trace";

    pub(crate) const fn are_exported() -> bool {
        false
    }
}

use std::{
    convert::Infallible,
    env,
    io::{self, IsTerminal},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::IntoResponse,
    routing::{post, post_service},
};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{Either, lazy, ready},
};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use portcullis::BoxError;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{ServiceBuilder, ServiceExt};
use tracing::{Instrument, Level, info_span};
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

use crate::{
    answers::{answer, forwarded, no_event},
    exchange::{Answer, exchange},
    telemetry::SPANS,
    trace::TraceContext,
};

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

/// The gateway's defaults.
const MAX_BYTES: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the route needs, for as long as the program runs.
struct Proxy {
    url: Uri,
    client: exchange::Client,
}

async fn proxy(listener: TcpListener, url: Uri) -> io::Result<()> {
    let log =
        fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).log_internal_errors(false).boxed();
    registry().with(Targets::new().with_default(Level::INFO)).with(log).init();
    let client = exchange::client(tls::system().map_err(io::Error::other)?);
    let proxy: &'static Proxy = Box::leak(Box::new(Proxy { url, client }));
    let route = post_service(tower::service_fn(move |request| received(proxy, request)));
    let (_running, shutdown) = shutdown::Shutdown::new();
    server::serve(listener, Router::new().route("/webhook/cognigy", route), TIMEOUT, shutdown).await;
    Ok(())
}

/// Takes in the body, where the gateway verifies it as well.
fn received(
    proxy: &'static Proxy,
    request: Request<Body>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
    let span = info_span!(target: SPANS, "verify_signature", otel.kind = "server");
    async {
        let (head, body) = request.into_parts();
        Ok(match Limited::new(body, MAX_BYTES).collect().await {
            Ok(body) => forward(proxy, Request::from_parts(head, body.to_bytes())).await,
            Err(error) if error.is::<LengthLimitError>() => {
                answer(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "error": "body_too_large" }))
            }
            Err(_) => answer(StatusCode::BAD_REQUEST, &json!({ "error": "body_aborted" })),
        })
    }
    .instrument(span)
}

fn forward(proxy: &Proxy, request: Request<Bytes>) -> impl Future<Output = Response<Body>> + use<> {
    let trace = TraceContext::here(request.headers());
    let body = request.into_body();
    let span = match dialog::span(&body) {
        Ok(span) => span,
        Err(invalid) => return Either::Left(ready(no_event(&invalid))),
    };
    let key = format!("{:032x}", rand::random::<u128>()).try_into().expect("hexadecimal digits can be a header");
    let request = exchange::post(&proxy.url, body, key, trace);
    let service = ServiceBuilder::new().timeout(TIMEOUT).service(exchange(proxy.client, MAX_BYTES));
    // Its span is made within the other one.
    let call = lazy(move |_| {
        let span = info_span!(target: SPANS, "downstream_api_call", otel.kind = "client", retry.attempt = 0_i64);
        service.oneshot(request).instrument(span)
    });
    Either::Right(call.flatten().instrument(span).map(answered))
}

fn answered(result: Result<Answer, BoxError>) -> Response<Body> {
    let content = result.ok().filter(|answer| answer.status().is_success()).map(Response::into_body);
    match content.as_ref().and_then(exchange::Content::json) {
        Some(data) => forwarded(data),
        None => answer(StatusCode::BAD_GATEWAY, &json!({ "error": "downstream_error" })),
    }
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
