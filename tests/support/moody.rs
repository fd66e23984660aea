//! A service that changes its mind about whether it is ready.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use portcullis::BoxError;
use tower::Service;

/// Ready once, then as it is told. It answers 503.
#[derive(Clone)]
pub(crate) struct Moody {
    pub(crate) polls: Arc<AtomicUsize>,
    pub(crate) then: fn() -> Poll<Result<(), BoxError>>,
}

impl Service<Request<()>> for Moody {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.polls.fetch_add(1, SeqCst) == 0 { Poll::Ready(Ok(())) } else { (self.then)() }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::builder().status(503).body(()).unwrap()))
    }
}
