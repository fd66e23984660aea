//! The service: waits for a token, then for the inner service, and makes the call.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    BearerError, NoToken, ResponseFuture, Token,
    cache::{Cache, Waiting},
    future::{Again, put},
};
use crate::{BoxError, copy::CopyRequest, outcome::Http};

/// Puts a bearer token on requests; made by a [`BearerLayer`](super::BearerLayer).
///
/// It is ready once there is a token and the inner service is ready. Where the source fails it is ready too, and the call is
/// answered with that error, without the inner service: a breaker outside counts an error of readiness as a failed call.
pub struct Bearer<S, T: Service<()>, C = Http> {
    inner: S,
    cache: Arc<Cache<T>>,
    copy: C,
    /// Whether the inner service was polled ready by this instance, and not called since.
    ready: bool,
    /// Why the next call has no token.
    failed: Option<NoToken>,
    waiting: Option<Waiting<T>>,
}

impl<S, T: Service<()>, C> Bearer<S, T, C> {
    pub(super) const fn new(inner: S, cache: Arc<Cache<T>>, copy: C) -> Self {
        Self { inner, cache, copy, ready: false, failed: None, waiting: None }
    }
}

/// Readiness is not cloned with the service.
impl<S: Clone, T: Service<()>, C: Clone> Clone for Bearer<S, T, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.cache), self.copy.clone())
    }
}

impl<S, T, C, B, ResB> Service<Request<B>> for Bearer<S, T, C>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    T: Service<(), Response = Token>,
    T::Error: Into<BoxError>,
    C: CopyRequest<Request<B>> + Clone,
{
    type Response = Response<ResB>;
    type Error = BearerError<S::Error>;
    type Future = ResponseFuture<S, T, C, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = false;
        self.failed = ready!(self.cache.poll_ready(&mut self.waiting, cx)).err();
        if self.failed.is_none() {
            ready!(self.inner.poll_ready(cx)).map_err(BearerError::Inner)?;
            self.ready = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (ready, copy) = (mem::take(&mut self.ready), self.copy.clone());
        if let Some(error) = self.failed.take() {
            return ResponseFuture::failed(error, &self.cache, copy);
        }
        if ready && let Ok(token) = self.cache.usable() {
            let copied = copy.copy(&request);
            put(&mut request, &token);
            let future = self.inner.call(request);
            let again = copied.map(|request| Again { service: self.inner.clone(), request });
            return ResponseFuture::calling(future, again, &token, &self.cache, copy);
        }
        // The token has expired since, or nobody asked for readiness: the future waits in its place. If an instance was polled
        // ready it is this one, and not its clone.
        let clone = self.inner.clone();
        let again = Again { service: mem::replace(&mut self.inner, clone), request };
        ResponseFuture::waiting(again, &self.cache, copy)
    }
}

impl<S: fmt::Debug, T: Service<()>, C> fmt::Debug for Bearer<S, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("inner", &self.inner).finish_non_exhaustive()
    }
}
