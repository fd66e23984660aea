//! The service: leaves the work to its future.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use http_body::Body;
use tower_service::Service;

use super::{SignFuture, SignedBody, SigningError};
use crate::{BoxError, signature::Signer};

/// Signs requests before the inner service sends them; made by [`SignLayer`](super::SignLayer).
///
/// It is ready when the inner service is, and the instance that was polled ready is the one that is called, once the body is
/// there. So its place is taken while the body is gathered, and the inner service has to be `Clone`.
pub struct Sign<S> {
    inner: S,
    signer: Arc<Signer>,
    max_body: usize,
}

impl<S> Sign<S> {
    pub(super) const fn new(inner: S, signer: Arc<Signer>, max_body: usize) -> Self {
        Self { inner, signer, max_body }
    }
}

impl<S, B> Service<Request<B>> for Sign<S>
where
    S: Service<Request<SignedBody>> + Clone,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = SigningError<S::Error>;
    type Future = SignFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(SigningError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone was not polled ready; the one that was goes into the future.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        SignFuture::new(ready, Arc::clone(&self.signer), self.max_body, request)
    }
}

impl<S: Clone> Clone for Sign<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.signer), self.max_body)
    }
}

impl<S: fmt::Debug> fmt::Debug for Sign<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sign").field("inner", &self.inner).field("signer", &self.signer).finish_non_exhaustive()
    }
}
