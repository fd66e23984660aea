//! The service: makes the first attempt, and keeps what others need.

use std::task::{Context, Poll};

use tower_service::Service;

use super::{
    CopyRequest, Protocol, ResponseFuture, RetryError, RetryPolicy, Stopped,
    error::Last,
    future::{Again, State},
    history::History,
    policy::Session,
};
use crate::outcome::{Http, Retryable};

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

impl<S: Clone, C: Clone, P: Clone> Retry<S, C, P> {
    /// A call whose deadline had passed when it came.
    #[cold]
    fn too_late<Req>(&mut self) -> ResponseFuture<S, C, P, Req>
    where
        S: Service<Req>,
    {
        // The instance that was polled ready is let go, with the place that it may have been given.
        self.inner = self.inner.clone();
        ResponseFuture { state: State::TooLate, again: None, timer: None, policy: self.policy.clone() }
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
        let basis = &self.policy.basis;
        let (deadline, is_over) = basis.deadline(&request);
        if is_over {
            return self.too_late();
        }
        let until = basis.until(deadline);
        let copy = basis.send(&mut request, (1, History::default()), until);
        // This instance was polled ready, its clone was not: the first attempt is this one's.
        let future = self.inner.call(request);
        let again = copy.map(|request| Again { service: self.inner.clone(), request });
        // All of it is made where it stays: to make and then move it would cost more than all else that a success does. What
        // cannot unwind is last, and so needs no place of its own meanwhile.
        ResponseFuture {
            again,
            timer: None,
            policy: RetryPolicy { basis: self.policy.basis.clone(), session: Session::begun(deadline) },
            state: State::Calling { future, until },
        }
    }
}
