//! Counting a response once its body has ended.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    circuit::Circuit,
    error::BreakerError,
    future::{State, StateProj},
    layer::CircuitBreakerLayer,
    permit::{OnPanic, Permit},
    service::CircuitBreaker,
};
use crate::outcome::{Classify, Outcome};

/// Counts a response once its body has ended; made by [`CircuitBreakerLayer::until_body_end`].
#[derive(Clone, Debug)]
#[must_use]
pub struct BodyBreakerLayer<C, const GATED: bool = false>(CircuitBreakerLayer<C, GATED>);

impl<C, const GATED: bool> BodyBreakerLayer<C, GATED> {
    pub(super) const fn new(layer: CircuitBreakerLayer<C, GATED>) -> Self {
        Self(layer)
    }
}

impl<S, C: Clone, const GATED: bool> Layer<S> for BodyBreakerLayer<C, GATED> {
    type Service = BodyBreaker<S, C, GATED>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyBreaker(self.0.layer(inner))
    }
}

/// A service behind a [`Circuit`] that counts a response once its body has ended; made by a [`BodyBreakerLayer`].
pub struct BodyBreaker<S, C, const GATED: bool = false>(CircuitBreaker<S, C, GATED>);

impl<S, C, const GATED: bool> BodyBreaker<S, C, GATED> {
    /// The circuit.
    pub const fn circuit(&self) -> &Circuit {
        self.0.circuit()
    }
}

impl<S: Clone, C: Clone, const GATED: bool> Clone for BodyBreaker<S, C, GATED> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: fmt::Debug, C: fmt::Debug, const GATED: bool> fmt::Debug for BodyBreaker<S, C, GATED> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BodyBreaker").field(&self.0).finish()
    }
}

impl<S, C, Req, B, const GATED: bool> Service<Req> for BodyBreaker<S, C, GATED>
where
    S: Service<Req, Response = Response<B>>,
    C: Classify<Response<B>, S::Error> + Clone,
    B: Body,
{
    type Response = Response<CountedBody<B>>;
    type Error = BreakerError<S::Error>;
    type Future = BodyFuture<S::Future, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let state = |state| BodyFuture { state };
        let calling = |calling| state(State::Calling { calling });
        self.0.begin(request, calling, |rejected| state(State::Rejected { rejected }))
    }
}

pin_project! {
    /// The future of a [`BodyBreaker`]: the call until its response's head, or its rejection.
    ///
    /// Dropping it settles its permit.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct BodyFuture<F, C> {
        #[pin]
        state: State<F, C>,
    }
}

impl<F, C, B, Err> Future for BodyFuture<F, C>
where
    F: Future<Output = Result<Response<B>, Err>>,
    C: Classify<Response<B>, Err>,
    B: Body,
{
    type Output = Result<Response<CountedBody<B>>, BreakerError<Err>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Rejected { rejected } => Poll::Ready(Err(BreakerError::Rejected(*rejected))),
            StateProj::Calling { calling } => {
                // Nobody has to poll a body that has already ended.
                let goes_on = |response: &Response<B>| !response.body().is_end_stream();
                calling.poll_head(cx, goes_on, |result, permit| {
                    let counted = |response: Response<B>| response.map(|body| CountedBody { body, permit });
                    result.map(counted).map_err(BreakerError::Inner)
                })
            }
        }
    }
}

pin_project! {
    /// The body of a response that is counted when it ends: at its end as the response's head was judged, and as a failure
    /// when it breaks off with an error.
    ///
    /// Dropped half-way it settles its permit as a dropped call does: it is not counted, unless the call has run for longer than
    /// [`slow_call`](super::CircuitBuilder::slow_call) by then; then it counts as slow and failed.
    #[derive(Debug)]
    pub struct CountedBody<B> {
        #[pin]
        body: B,
        // `None` once it is settled.
        permit: Option<Permit>,
    }

    impl<B> PinnedDrop for CountedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // Also while something else panics: this call has not failed.
            if let Some(permit) = this.project().permit.take() {
                permit.cancel();
            }
        }
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let permit = this.permit;
        let mut settle = |outcome| {
            if let Some(permit) = permit.take() {
                permit.settle(outcome);
            }
        };
        let guard = OnPanic(|| settle(Outcome::Failure));
        let polled = this.body.as_mut().poll_frame(cx);
        let ended = match &polled {
            Poll::Pending => None,
            Poll::Ready(Some(Err(_))) => Some(Outcome::Failure),
            Poll::Ready(None) => Some(Outcome::Success),
            // Whoever asks this and hears that nothing follows does not poll again.
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream().then_some(Outcome::Success),
        };
        guard.disarm();
        if let Some(outcome) = ended {
            settle(outcome);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
