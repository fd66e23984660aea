//! The future of a call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    circuit::Circuit,
    core::Ticket,
    error::{BreakerError, Rejected},
    permit::{OnPanic, Permit},
    plan::Ending,
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
    // Of the futures of calls, whatever they make of the result.
    #[derive(Debug)]
    #[project = StateProj]
    pub(super) enum State<F, C> {
        Rejected { rejected: Rejected },
        Calling { #[pin] calling: Calling<F, C> },
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) const fn rejected(rejected: Rejected) -> Self {
        Self { state: State::Rejected { rejected } }
    }

    #[inline]
    pub(super) const fn calling(calling: Calling<F, C>) -> Self {
        Self { state: State::Calling { calling } }
    }
}

impl<F, C, Res, Err> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
{
    type Output = Result<Res, BreakerError<Err>>;

    #[inline]
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
        circuit: Circuit,
        // `None` once the call is settled.
        ticket: Option<Ticket>,
        classify: C,
    }

    impl<F, C> PinnedDrop for Calling<F, C> {
        fn drop(this: Pin<&mut Self>) {
            // Also while something else panics: this call has not failed.
            let this = this.project();
            if let Some(ticket) = *this.ticket {
                this.circuit.core().settle(ticket, Ending::Dropped);
            }
        }
    }
}

impl<F, C> Calling<F, C> {
    /// Makes the call that was admitted. A panic in it fails it, and so does one in the classifier, which each call has its own of.
    #[inline]
    pub(super) fn begin(circuit: Circuit, ticket: Ticket, classify: &C, call: impl FnOnce() -> F) -> Self
    where
        C: Clone,
    {
        let guard = OnPanic(|| circuit.core().settle(ticket, Ending::Finished(Outcome::Failure)));
        let (call, classify) = (call(), classify.clone());
        guard.disarm();
        Self::new(call, circuit, ticket, classify)
    }

    #[inline]
    pub(super) const fn new(call: F, circuit: Circuit, ticket: Ticket, classify: C) -> Self {
        Self { call, circuit, ticket: Some(ticket), classify }
    }

    /// What `ended` makes of the result, which is settled by then, unless it is a success that `goes_on`: then its permit is
    /// handed on.
    #[inline]
    pub(super) fn poll_head<Res, Err, T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        goes_on: impl FnOnce(&Res) -> bool,
        ended: impl FnOnce(F::Output, Option<Permit>) -> T,
    ) -> Poll<T>
    where
        F: Future<Output = Result<Res, Err>>,
        C: Classify<Res, Err>,
    {
        let this = self.project();
        let (circuit, ticket) = (this.circuit.core(), this.ticket);
        let guard = OnPanic(|| {
            if let Some(ticket) = ticket.take() {
                circuit.settle(ticket, Ending::Finished(Outcome::Failure));
            }
        });
        let polled = this.call.poll(cx).map(|result| {
            let outcome = this.classify.classify(result.as_ref());
            let hint = match circuit.hint_clock() {
                Some(clock) if outcome == Outcome::Failure => this.classify.retry_after(result.as_ref(), clock.now()),
                _ => None,
            };
            let goes_on = outcome == Outcome::Success && result.as_ref().is_ok_and(goes_on);
            (result, outcome, hint, goes_on)
        });
        guard.disarm();
        polled.map(|(result, outcome, hint, goes_on)| {
            if goes_on {
                let permit = ticket.take().map(|ticket| Permit::new(this.circuit.clone(), ticket));
                return ended(result, permit);
            }
            if let Some(ticket) = ticket.take() {
                circuit.settle_hinted(ticket, Ending::Finished(outcome), hint);
            }
            ended(result, None)
        })
    }
}

impl<F, C, Res, Err> Future for Calling<F, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_head(cx, |_| false, |result, _| result)
    }
}
