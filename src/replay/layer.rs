//! The layer.

use tower_layer::Layer;

use super::Replay;

/// Keeps the bodies of requests while they are sent, up to so many bytes of each, so that they can be sent again.
///
/// It belongs outside of what sends again, a [`RetryLayer`](crate::retry::RetryLayer) or a
/// [`BearerLayer`](crate::bearer::BearerLayer), and turns `Request<B>` into `Request<`[`ReplayBody<B>`](super::ReplayBody)`>`.
/// It is for bodies that come as a stream, such as one that is passed on. A body that is `Clone` anyway, as `Full<Bytes>`
/// is, needs no layer.
///
/// The first sending passes frames on as they come; it waits for nothing. A later one begins with what was kept, and reads
/// on where the one before had stopped: an answer that comes before the body was read to its end can be retried too. Once
/// more has passed than the cap, what was kept is let go, and the request can no longer be sent again: a retry then stops
/// with [`NotRepeatable`](crate::retry::Stopped::NotRepeatable), and hands back the response that it has.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, StreamBody};
/// use portcullis::{BoxError, retry::{Attempt, Backoff, ReplayBody, ReplayLayer, RetryLayer, RetryPolicy}};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// type Upload = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<http_body::Frame<Bytes>, BoxError>>>>;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
/// let client = ServiceBuilder::new()
///     .layer(ReplayLayer::new(64 * 1024))
///     .layer(RetryLayer::new(RetryPolicy::http().backoff(backoff).build()?))
///     .service(service_fn(async |request: Request<ReplayBody<Upload>>| {
///         let first = request.extensions().get::<Attempt>().unwrap().number() == 0;
///         let body = request.into_body().collect().await?.to_bytes();
///         Ok::<_, BoxError>(Response::builder().status(if first { 503 } else { 200 }).body(body)?)
///     }));
///
/// // It can be read once, and was.
/// let frames = ["one ", "two"].map(|text| Ok(http_body::Frame::data(Bytes::from(text))));
/// let upload: Upload = StreamBody::new(futures_util::stream::iter(Vec::from(frames)));
/// let response = client.oneshot(Request::put("/").body(upload)?).await?;
/// assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"one two"[..]));
/// # Ok::<(), BoxError>(())
/// # }).unwrap();
/// ```
///
/// # What it costs
///
/// Nothing for an empty body. For another one a handful of allocations, a place in the request's extensions, and four
/// uncontended locks a frame. Frames of 4 KiB and more are kept without a copy, smaller ones are copied together. Nothing is kept where nobody
/// could send again, as with a `POST` that is not idempotent, or in the last attempt.
///
/// # What it does not do
///
/// The cap counts the bytes of one request, as data and trailers have them. What a shared frame is a slice of, such as a server's
/// read buffer, may be larger, and how many requests are under way is for a concurrency limit to say.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ReplayLayer {
    cap: usize,
}

impl ReplayLayer {
    /// A layer that keeps at most `cap` bytes of each body; with 0, every body that is not empty is sent once.
    pub const fn new(cap: usize) -> Self {
        Self { cap }
    }
}

impl<S> Layer<S> for ReplayLayer {
    type Service = Replay<S>;

    fn layer(&self, inner: S) -> Replay<S> {
        Replay::new(inner, self.cap)
    }
}
