//! The service.

use std::{
    mem,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{circuit::Circuit, error::BreakerError, future::ResponseFuture};
use crate::outcome::Classify;

/// A service behind a [`Circuit`]; made by a [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
///
/// It is ready at once while its circuit is open, without asking the inner service, and then rejects the call. The permit
/// is taken in `call`, so a service that is polled ready and not called holds nothing.
#[derive(Debug)]
pub struct CircuitBreaker<S, C> {
    inner: S,
    circuit: Circuit,
    classify: C,
    /// Whether the inner service was polled ready by this instance, and not called since.
    ready: bool,
}

impl<S, C> CircuitBreaker<S, C> {
    pub(super) const fn new(inner: S, circuit: Circuit, classify: C) -> Self {
        Self { inner, circuit, classify, ready: false }
    }

    /// The circuit.
    pub const fn circuit(&self) -> &Circuit {
        &self.circuit
    }
}

/// Readiness is not cloned with the service.
impl<S: Clone, C: Clone> Clone for CircuitBreaker<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.circuit.clone(), self.classify.clone())
    }
}

impl<S, C, Req> Service<Req> for CircuitBreaker<S, C>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = BreakerError<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = false;
        if self.circuit.is_open() {
            return Poll::Ready(Ok(()));
        }
        let ready = ready!(self.inner.poll_ready(cx));
        self.ready = ready.is_ok();
        Poll::Ready(ready.map_err(|error| {
            if let Ok(permit) = self.circuit.acquire() {
                permit.failure();
            }
            BreakerError::Inner(error)
        }))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // An instance that was polled while the circuit was open has an inner service that was not polled at all: it
        // must not be called, even where the circuit has become half-open since.
        let admitted = if mem::take(&mut self.ready) { self.circuit.acquire() } else { Err(self.circuit.rejection()) };
        match admitted {
            Ok(permit) => ResponseFuture::calling(self.inner.call(request), permit, self.classify.clone()),
            Err(rejected) => ResponseFuture::rejected(rejected),
        }
    }
}
