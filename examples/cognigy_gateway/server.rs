//! The HTTP server: one task a connection, limits on slow heads, and an end in good order.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    task::JoinSet,
    time::timeout,
};
use tower::ServiceExt;

use crate::shutdown::{Phase, Shutdown, pause};

/// How much of a refused body is still read, and for how long, so that its sender comes to read the answer.
const LINGER_BYTES: u64 = 64 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(5);

/// How long a connection without a request may stay once the shutdown has begun.
const LAST_BYTES: Duration = Duration::from_millis(500);

/// Serves until the shutdown begins, and until the requests that run then are answered or broken off.
pub(crate) async fn serve(listener: TcpListener, router: Router, header_timeout: Duration, mut shutdown: Shutdown) {
    let mut connections = JoinSet::new();
    loop {
        select! {
            () = shutdown.reached(Phase::Draining) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), header_timeout, shutdown.clone()));
                }
                Err(error) => refused(&error).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection that went before it was accepted is nothing; a lack of file descriptors has to pass.
async fn refused(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%error, "no connection can be accepted");
        pause(Duration::from_millis(100)).await;
    }
}

async fn connection(stream: TcpStream, router: Router, header_timeout: Duration, mut shutdown: Shutdown) {
    // Answers are small, and written at once.
    drop(stream.set_nodelay(true));
    // Each request that is being answered holds one more reference.
    let answering = Arc::new(());
    let requests = Arc::downgrade(&answering);
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, answering) = (router.clone(), Arc::clone(&answering));
        async move {
            let _answering = answering;
            router.oneshot(request.map(|body| Body::new(Lingering(Some(body))))).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut draining = shutdown.clone();
    // How a connection ends is the client's affair.
    select! {
        _ = connection.as_mut() => return,
        () = draining.reached(Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    if requests.strong_count() <= 1 {
        // Nothing but the end of an answer may be under way: a client that is silent is not waited for.
        drop(timeout(LAST_BYTES, connection).await);
    } else {
        select! {
            _ = connection => {}
            () = shutdown.reached(Phase::Cut) => {}
        }
    }
}

/// A request's body that is read on for a while when it is dropped before its end.
///
/// A server that answers and closes while the client still sends makes the client's kernel throw the answer away.
struct Lingering(Option<Incoming>);

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(timeout(LINGER, drain(body)));
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}
