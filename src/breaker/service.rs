//! The service.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{
    circuit::Circuit,
    error::{BreakerError, Rejected},
    future::{Calling, ResponseFuture},
};
use crate::{outcome::Classify, time::timeout};

/// A service behind a [`Circuit`]; made by a [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
///
/// While its circuit would reject a call it is ready at once, without asking the inner service, and then rejects, unless it is
/// [gated](super::CircuitBreakerLayer::gated): then it is not ready. The permit
/// is taken in `call`, so a service that is polled ready and not called holds none. An error from the inner service's
/// readiness is one failed call, whatever the classifier; a panic there is not counted.
///
/// A service that was polled ready and is then rejected, because the circuit opened in between, keeps what the inner service
/// reserved for it until it is polled again, called or dropped. So a limit on concurrency belongs outside the breaker, or
/// below it with clones that are dropped after the call.
pub struct CircuitBreaker<S, C, const GATED: bool = false> {
    inner: S,
    circuit: Circuit,
    classify: C,
    /// Whether the inner service was polled ready by this instance, and not called since.
    ready: bool,
    /// The circuit's next change, while the inner service is not ready, since waiting for that one may be in vain, and while the
    /// gate is shut.
    changed: Option<Changed>,
}

type Changed = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl<S, C, const GATED: bool> CircuitBreaker<S, C, GATED> {
    pub(super) const fn new(inner: S, circuit: Circuit, classify: C) -> Self {
        Self { inner, circuit, classify, ready: false, changed: None }
    }

    /// The circuit.
    pub const fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Resolves when the circuit may say otherwise than it just did: once its state changes and, gated, once that ends by the time
    /// alone, which nobody else would notice. At first it resolves at once: a change would be heard from then on, so the state is
    /// read again, and none is missed.
    ///
    /// The wait for the inner service and the one for the gate are the same, and one may go on as the other: somebody else takes
    /// the last place, and no state has changed.
    #[cold]
    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(changed) = &mut self.changed else {
            let changed = self.circuit.changed();
            let left = if GATED { self.circuit.core().standing().1 } else { None };
            self.changed = Some(match left {
                Some(left) if !left.is_zero() => Box::pin(async move { drop(timeout(left, changed).await) }),
                // An open time that is over ends with the next call, and not by a timer.
                _ => Box::pin(changed),
            });
            return Poll::Ready(());
        };
        ready!(changed.as_mut().poll(cx));
        self.changed = None;
        Poll::Ready(())
    }

    /// An error from the inner service's readiness is one failed call.
    #[cold]
    fn unready<E>(&self, error: E) -> BreakerError<E> {
        if let Ok(permit) = self.circuit.acquire() {
            permit.failure();
        }
        BreakerError::Inner(error)
    }

    /// Takes a permit and makes the call, or tells why not; either becomes the same future, in its place.
    #[inline]
    pub(super) fn begin<Req, T>(
        &mut self,
        request: Req,
        calling: impl FnOnce(Calling<S::Future, C>) -> T,
        rejected: impl FnOnce(Rejected) -> T,
    ) -> T
    where
        S: Service<Req>,
        C: Clone,
    {
        // An instance that was polled while the circuit would reject has an inner service that was not polled at all: it
        // must not be called, even where the circuit would admit by now. And what the rejection says is true now, and not as
        // of the poll, which may be long ago.
        let core = self.circuit.core();
        let admitted = if mem::take(&mut self.ready) { core.admit_apart() } else { Err(core.barred()) };
        match admitted {
            Ok(ticket) => {
                calling(Calling::begin(self.circuit.clone(), ticket, &self.classify, || self.inner.call(request)))
            }
            Err(barred) => core.reject(barred, rejected),
        }
    }
}

/// Readiness is not cloned with the service.
impl<S: Clone, C: Clone, const GATED: bool> Clone for CircuitBreaker<S, C, GATED> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.circuit.clone(), self.classify.clone())
    }
}

impl<S, C, Req, const GATED: bool> Service<Req> for CircuitBreaker<S, C, GATED>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = BreakerError<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = false;
        loop {
            if self.circuit.core().would_reject() {
                if GATED {
                    ready!(self.poll_changed(cx));
                    continue;
                }
                self.changed = None;
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(ready) = self.inner.poll_ready(cx) {
                self.changed = None;
                self.ready = ready.is_ok();
                return Poll::Ready(ready.map_err(|error| self.unready(error)));
            }
            ready!(self.poll_changed(cx));
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.begin(request, ResponseFuture::calling, ResponseFuture::rejected)
    }
}

impl<S: fmt::Debug, C: fmt::Debug, const GATED: bool> fmt::Debug for CircuitBreaker<S, C, GATED> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("circuit", &self.circuit)
            .field("classify", &self.classify)
            .finish_non_exhaustive()
    }
}
