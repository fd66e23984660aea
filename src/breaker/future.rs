//! The future of a call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    error::{BreakerError, Rejected},
    permit::Permit,
};
use crate::outcome::Classify;

pin_project! {
    /// The future of a [`CircuitBreaker`](super::CircuitBreaker): the call, or its rejection.
    ///
    /// Dropping it settles its permit.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C> {
        #[pin]
        state: State<F, C>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProj]
    enum State<F, C> {
        Rejected { rejected: Rejected },
        Calling { #[pin] calling: Calling<F, C> },
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) const fn rejected(rejected: Rejected) -> Self {
        Self { state: State::Rejected { rejected } }
    }

    pub(super) const fn calling(call: F, permit: Permit, classify: C) -> Self {
        Self { state: State::Calling { calling: Calling::new(call, permit, classify) } }
    }
}

impl<F, C, Res, Err> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
{
    type Output = Result<Res, BreakerError<Err>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Rejected { rejected } => Poll::Ready(Err(BreakerError::Rejected(*rejected))),
            StateProj::Calling { calling } => calling.poll(cx).map_err(BreakerError::Inner),
        }
    }
}

pin_project! {
    /// A call under way with its permit, which hears of a result, a panic and a drop.
    #[derive(Debug)]
    pub(super) struct Calling<F, C> {
        #[pin]
        call: F,
        // `None` once the call is settled.
        permit: Option<Permit>,
        classify: C,
    }

    impl<F, C> PinnedDrop for Calling<F, C> {
        fn drop(this: Pin<&mut Self>) {
            // Not left to the permit: a call that is dropped because something else panics has not failed.
            if let Some(permit) = this.project().permit.take() {
                permit.cancel();
            }
        }
    }
}

impl<F, C> Calling<F, C> {
    pub(super) const fn new(call: F, permit: Permit, classify: C) -> Self {
        Self { call, permit: Some(permit), classify }
    }
}

impl<F, C, Res, Err> Future for Calling<F, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // On the stack while code that is not ours runs: a panic there drops it, and so settles it as a failure.
        let permit = this.permit.take();
        let Poll::Ready(result) = this.call.poll(cx) else {
            *this.permit = permit;
            return Poll::Pending;
        };
        let outcome = this.classify.classify(result.as_ref());
        if let Some(permit) = permit {
            permit.settle(outcome);
        }
        Poll::Ready(result)
    }
}
