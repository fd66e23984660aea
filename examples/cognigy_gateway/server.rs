//! The HTTP server: one task a connection, limits on slow heads, and an end in good order.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
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
    let latest = Arc::new(Latest::default());
    let stream = Watched { stream, latest: Arc::clone(&latest) };
    let answered = Arc::clone(&latest);
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, answering, answered) = (router.clone(), Arc::clone(&answering), Arc::clone(&answered));
        async move {
            let _answering = answering;
            let answer = router.oneshot(request.map(|body| Body::new(Lingering(Some(body))))).await;
            let ends = answer.as_ref().is_ok_and(|answer| answer.body().size_hint().exact().is_some());
            answered.ends.store(ends, Ordering::Relaxed);
            answer
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
    let works = || requests.strong_count() > 1 || latest.is_stuck();
    // Nothing but a request's head may be under way: a client that is silent is not waited for.
    if !works() && timeout(LAST_BYTES, connection.as_mut()).await.is_ok() {
        return;
    }
    if works() {
        select! {
            _ = connection => {}
            () = shutdown.reached(Phase::Cut) => {}
        }
    }
}

/// What is known of the latest answer of a connection.
#[derive(Default)]
struct Latest {
    /// It has an end of its own, other than the page's events.
    ends: AtomicBool,
    /// Its client takes no more for now.
    full: AtomicBool,
}

impl Latest {
    /// Whether there is something left to write that its client does not take.
    fn is_stuck(&self) -> bool {
        self.ends.load(Ordering::Relaxed) && self.full.load(Ordering::Relaxed)
    }
}

/// A stream that tells whether its peer takes what is written. The server writes all that it has, as far as that goes.
struct Watched {
    stream: TcpStream,
    latest: Arc<Latest>,
}

impl Watched {
    fn write(&mut self, write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.stream));
        self.latest.full.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// More than the sockets' buffers take.
    const LONG: usize = 32 << 20;

    /// Whether the end waits for longer than that for a client that reads nothing of its answer.
    async fn waits_for(answer: fn() -> Body, limit: Duration) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(move || async move { answer() }));
        let (phase, shutdown) = Shutdown::new();
        let mut serving = tokio::spawn(serve(listener, router, Duration::from_secs(60), shutdown));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n").await.unwrap();
        client.readable().await.unwrap();
        // Time goes on by itself once nothing more can be written.
        pause(Duration::from_millis(1)).await;
        phase.send_replace(Phase::Draining);
        let waits = timeout(limit, &mut serving).await.is_err();
        phase.send_replace(Phase::Cut);
        if waits {
            timeout(LAST_BYTES, serving).await.expect("broken off").unwrap();
        }
        waits
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_until_it_is_read_and_a_stream_without_end_is_not() {
        assert!(waits_for(|| Body::from(vec![b'x'; LONG]), Duration::from_secs(60)).await);
        let endless =
            || Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![b'x'; 65_536]))));
        assert!(!waits_for(endless, LAST_BYTES * 2).await);
    }
}
