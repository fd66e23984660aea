//! The service: makes the first attempt, and keeps what others need.

use std::task::{Context, Poll};

use tower_service::Service;

use super::{
    CopyRequest, Protocol, ResponseFuture, RetryError, RetryPolicy, Stopped,
    error::Last,
    future::{Again, State},
    history::History,
};
use crate::{
    outcome::{Http, Retryable},
    time::sleep_until,
};

/// Tries again what failed: see [`RetryLayer`](super::RetryLayer).
#[derive(Clone, Debug)]
pub struct Retry<S, C = Http, P = Http> {
    inner: S,
    policy: RetryPolicy<C, P>,
}

impl<S, C, P> Retry<S, C, P> {
    /// Retries calls of `inner` as `policy` has it.
    pub const fn new(inner: S, policy: RetryPolicy<C, P>) -> Self {
        Self { inner, policy }
    }
}

impl<S, C, P, Req> Service<Req> for Retry<S, C, P>
where
    S: Service<Req> + Clone,
    C: Retryable<S::Response, S::Error> + Clone,
    P: Protocol<Req, S::Response> + CopyRequest<Req> + Clone,
{
    type Response = S::Response;
    type Error = RetryError<S::Error>;
    type Future = ResponseFuture<S, C, P, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner
            .poll_ready(cx)
            .map_err(|error| RetryError::new(0, Stopped::NotReady, History::default(), Last::Error(error)))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut policy = self.policy.fresh();
        if !policy.begin(&request) {
            // The instance that was polled ready is let go, with the place that it may have been given.
            self.inner = self.inner.clone();
            return ResponseFuture { state: State::TooLate, again: None, taken: None, timer: None, policy };
        }
        let until = policy.until();
        let copy = policy.send(&mut request, until);
        // This instance was polled ready, its clone was not: the first attempt is this one's.
        let state = State::Calling { future: self.inner.call(request) };
        let again = copy.map(|request| Again { service: self.inner.clone(), request });
        ResponseFuture { state, again, taken: None, timer: until.map(sleep_until), policy }
    }
}
