//! The service: gives each request a body that can be sent again.

use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower_service::Service;

use super::ReplayBody;

/// Keeps the bodies of requests while they are sent: see [`ReplayLayer`](super::ReplayLayer).
#[derive(Clone, Copy, Debug)]
pub struct Replay<S> {
    inner: S,
    cap: usize,
}

impl<S> Replay<S> {
    /// Keeps at most `cap` bytes of the body of each request to `inner`.
    pub const fn new(inner: S, cap: usize) -> Self {
        Self { inner, cap }
    }
}

impl<S, B> Service<Request<B>> for Replay<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.inner.call(ReplayBody::wrap(request, self.cap))
    }
}
