//! The future of a call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    error::{BreakerError, Rejected},
    permit::Permit,
};
use crate::outcome::{Classify, Outcome};

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
        // Set while code that is not ours runs: still set when the future is dropped, it says that this code panicked.
        polling: bool,
    }

    impl<F, C> PinnedDrop for Calling<F, C> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(permit) = this.permit.take() {
                if *this.polling { permit.failure() } else { permit.cancel() }
            }
        }
    }
}

impl<F, C> Calling<F, C> {
    pub(super) const fn new(call: F, permit: Permit, classify: C) -> Self {
        Self { call, permit: Some(permit), classify, polling: false }
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
        *this.polling = true;
        let judged = this.call.poll(cx).map(|result| {
            let outcome: Outcome = this.classify.classify(result.as_ref());
            (result, outcome)
        });
        *this.polling = false;
        let (result, outcome) = ready!(judged);
        if let Some(permit) = this.permit.take() {
            permit.settle(outcome);
        }
        Poll::Ready(result)
    }
}
