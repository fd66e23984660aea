//! hyper's client and server, over HTTP/1, with an answer that comes before the upload has ended.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, channel::Channel};
use hyper::{body::Incoming, client::conn::http1, server, service::service_fn};
use hyper_util::rt::TokioIo;
use portcullis::{
    BoxError,
    retry::{Attempts, Backoff, ReplayBody, ReplayLayer, RetryLayer, RetryPolicy, Stopped},
};
use tokio::sync::Notify;
use tower::{ServiceBuilder, ServiceExt};

type Upload = Channel<Bytes, Infallible>;
type Read = (Bytes, Option<HeaderMap>);

/// A server that answers the first request with a 503 once it has seen a byte of the body, reads all of others, and closes each
/// connection; and a client that makes one for each request, as long as the test says.
#[derive(Clone, Default)]
struct Net {
    requests: Arc<AtomicUsize>,
    answered: Arc<Notify>,
    read: Arc<Mutex<Vec<Read>>>,
    /// What the connections of the client came to.
    closed: Arc<Mutex<Vec<bool>>>,
}

impl Net {
    async fn serve(self, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, BoxError> {
        let mut body = request.into_body();
        if self.requests.fetch_add(1, SeqCst) == 0 {
            let frame = body.frame().await.unwrap()?;
            self.read.lock().unwrap().push((frame.into_data().unwrap(), None));
            self.answered.notify_one();
            return Ok(Response::builder().status(503).body(Empty::new())?);
        }
        let whole = body.collect().await?;
        let trailers = whole.trailers().cloned();
        self.read.lock().unwrap().push((whole.to_bytes(), trailers));
        Ok(Response::new(Empty::new()))
    }

    async fn send(self, request: Request<ReplayBody<Upload>>) -> Result<Response<Incoming>, BoxError> {
        let (client, server) = tokio::io::duplex(1024);
        let net = self.clone();
        tokio::spawn(
            server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(server), service_fn(move |request| net.clone().serve(request)))
                .into_future(),
        );
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await?;
        let closed = self.closed;
        tokio::spawn(connection.map(move |ended| closed.lock().unwrap().push(ended.is_ok())));
        Ok(sender.send_request(request).await?)
    }
}

async fn put(net: &Net, cap: usize, upload: Upload) -> Response<Incoming> {
    let policy = RetryPolicy::http().backoff(Backoff::constant(Duration::from_secs(1))).build().unwrap();
    let sending = net.clone();
    ServiceBuilder::new()
        .layer(ReplayLayer::new(cap))
        .layer(RetryLayer::new(policy))
        .service(tower::service_fn(move |request| sending.clone().send(request)))
        .oneshot(Request::put("/upload").header("host", "a").header("trailer", "x-sum").body(upload).unwrap())
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_answered_early_is_sent_again_with_what_comes_later() {
    let (mut sender, upload) = Channel::new(8);
    let net = Net::default();
    sender.send_data(Bytes::from_static(b"one ")).await.unwrap();
    let response = tokio::spawn({
        let net = net.clone();
        async move { put(&net, 1 << 20, upload).await }
    });
    net.answered.notified().await;
    // The rest of it does not exist before the first attempt was answered.
    sender.send_data(Bytes::from_static(b"two ")).await.unwrap();
    sender.send_data(Bytes::from(vec![b'3'; 10_000])).await.unwrap();
    sender.send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "91".parse().unwrap())])).await.unwrap();
    drop(sender);
    let response = response.await.unwrap();
    assert_eq!((response.status().as_u16(), response.extensions().get::<Attempts>().unwrap().count()), (200, 2));
    let read = net.read.lock().unwrap().clone();
    assert_eq!(read[0].0, "one ");
    assert_eq!(read[1].0, [&b"one two "[..], &[b'3'; 10_000]].concat());
    assert_eq!(read[1].1.as_ref().unwrap()["x-sum"], "91");
    drop(response);
    // Nothing hangs: the connection of the first attempt has ended, too.
    tokio::time::timeout(Duration::from_secs(60), async {
        while net.closed.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_outgrew_the_cap_gets_the_servers_own_answer() {
    let (mut sender, upload) = Channel::new(8);
    let net = Net::default();
    sender.send(Frame::data(Bytes::from_static(b"more than eight"))).await.unwrap();
    drop(sender);
    let response = put(&net, 8, upload).await;
    let attempts = *response.extensions().get::<Attempts>().unwrap();
    assert_eq!((response.status().as_u16(), attempts.stopped()), (503, Some(Stopped::NotRepeatable)));
    assert_eq!(net.requests.load(SeqCst), 1);
}
