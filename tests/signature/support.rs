//! Bodies that follow a script, and an inner service that insists on the contract.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use portcullis::signature::{Scheme, Secret, SignatureLayer, Signer, Verified, VerifiedBody};
use tokio::time::Interval;
use tower::{Layer, Service, ServiceExt};

pub(crate) const SECRET: &str = "an example of a secret";

pub(crate) fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

pub(crate) fn layer() -> SignatureLayer {
    SignatureLayer::new(Scheme::cognigy(), secret())
}

/// A request with this body, signed for `content`.
pub(crate) fn signed<B>(content: &[u8], body: B) -> Request<B> {
    let mut request = Request::new(body);
    Signer::new(Scheme::cognigy(), secret()).sign(request.headers_mut(), content).unwrap();
    request
}

/// What `layer` over an [`Inner`] answers.
pub(crate) async fn answer<R, B>(layer: &SignatureLayer<R>, request: Request<B>) -> Response<Bytes>
where
    R: portcullis::signature::Refuse<Bytes> + Clone,
    B: Body,
{
    layer.layer(Inner::default()).oneshot(request).await.unwrap()
}

pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Not ready once, and woken at once.
    Yield,
    Error,
    /// Never ready again, and never woken.
    Hang,
}

/// A body that follows a script. As one of HTTP/1 in chunks, it knows neither its length nor that it has ended.
#[derive(Default)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    pub(crate) hint: SizeHint,
    pub(crate) polls: Arc<AtomicUsize>,
    pace: Option<Interval>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn frames(content: &[u8], size: usize) -> Self {
        Self::new(content.chunks(size).map(|chunk| Step::Data(Bytes::copy_from_slice(chunk))))
    }

    /// One step at each `period`, the first at once.
    pub(crate) fn paced(mut self, period: Duration) -> Self {
        self.pace = Some(tokio::time::interval(period));
        self
    }

    pub(crate) fn claiming(mut self, length: u64) -> Self {
        self.hint = SizeHint::with_exact(length);
        self
    }

    pub(crate) fn polls(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.polls)
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.polls.fetch_add(1, Relaxed);
        if let Some(pace) = &mut self.pace
            && pace.poll_tick(cx).is_pending()
        {
            return Poll::Pending;
        }
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Error) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            Some(Step::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                Poll::Pending
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// Echoes the body, counts, and panics when it is called without being ready. Clones begin unready, as tower has it.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    ready: bool,
    pub(crate) counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) clones: AtomicUsize,
    pub(crate) readied: AtomicUsize,
    pub(crate) calls: AtomicUsize,
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        self.counts.clones.fetch_add(1, Relaxed);
        Self { ready: false, counts: Arc::clone(&self.counts) }
    }
}

impl Service<Request<VerifiedBody>> for Inner {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.counts.readied.fetch_add(1, Relaxed);
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<VerifiedBody>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being polled ready");
        self.counts.calls.fetch_add(1, Relaxed);
        let verified = request.extensions().get::<Verified>().expect("verified").clone();
        let mut response = Response::new(request.into_body().into_bytes());
        response.extensions_mut().insert(verified);
        std::future::ready(Ok(response))
    }
}
