//! What several test binaries share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tower::Service;

/// A service that holds its callers to tower's contract: it panics when it is called without having been polled ready,
/// and its clones are not ready because it was.
#[derive(Debug)]
pub(crate) struct Strict<F> {
    answer: F,
    ready: bool,
    calls: Arc<AtomicUsize>,
    polls: Arc<AtomicUsize>,
}

impl<F> Strict<F> {
    pub(crate) fn new(answer: F) -> Self {
        Self { answer, ready: false, calls: Arc::default(), polls: Arc::default() }
    }

    /// Counts the calls of this service and all its clones.
    pub(crate) fn calls(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.calls)
    }

    /// Counts the readiness polls of this service and all its clones.
    pub(crate) fn polls(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.polls)
    }
}

impl<F: Clone> Clone for Strict<F> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), ready: false, calls: self.calls(), polls: self.polls() }
    }
}

impl<F, Fut, Req, Res, Err> Service<Req> for Strict<F>
where
    F: FnMut(Req) -> Fut,
    Fut: Future<Output = Result<Res, Err>>,
{
    type Response = Res;
    type Error = Err;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Err>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Fut {
        assert!(std::mem::take(&mut self.ready), "called without being polled ready");
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.answer)(request)
    }
}
