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
    permit::OnPanic,
    plan::Ending,
};
use crate::{
    outcome::{Classify, Outcome},
    time::timeout,
};

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
pub struct CircuitBreaker<S, C> {
    inner: S,
    circuit: Circuit,
    classify: C,
    /// Whether the inner service was polled ready by this instance, and not called since.
    ready: bool,
    /// Whether it is not ready while the circuit would reject.
    gated: bool,
    /// The circuit's next change, while the inner service is not ready: waiting for that one may be in vain. While the gate is
    /// shut, also the time when it opens.
    changed: Option<Changed>,
}

type Changed = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl<S, C> CircuitBreaker<S, C> {
    pub(super) const fn new(inner: S, circuit: Circuit, classify: C, gated: bool) -> Self {
        Self { inner, circuit, classify, ready: false, gated, changed: None }
    }

    /// The circuit.
    pub const fn circuit(&self) -> &Circuit {
        &self.circuit
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
        let admitted = if mem::take(&mut self.ready) { core.admit() } else { Err(core.rejection()) };
        match admitted {
            Ok(ticket) => {
                let guard = OnPanic(|| core.settle(ticket, Ending::Finished(Outcome::Failure)));
                let call = self.inner.call(request);
                guard.disarm();
                calling(Calling::new(call, self.circuit.clone(), ticket, self.classify.clone()))
            }
            Err(refused) => rejected(refused),
        }
    }
}

impl<S, C> CircuitBreaker<S, C> {
    /// What the inner service's answer makes of this one's readiness.
    #[inline]
    fn polled<E>(&mut self, ready: Result<(), E>) -> Result<(), BreakerError<E>> {
        self.changed = None;
        self.ready = ready.is_ok();
        ready.map_err(|error| {
            if let Ok(permit) = self.circuit.acquire() {
                permit.failure();
            }
            BreakerError::Inner(error)
        })
    }

    /// Goes on where the circuit would reject (it is `shut`), or where the inner service was not ready.
    #[cold]
    fn poll_unready<Req>(&mut self, cx: &mut Context<'_>, mut shut: bool) -> Poll<Result<(), BreakerError<S::Error>>>
    where
        S: Service<Req>,
    {
        loop {
            if shut && !self.gated {
                self.changed = None;
                return Poll::Ready(Ok(()));
            }
            match &mut self.changed {
                // Once a change would be heard, the state is read again, so that none is missed.
                None => self.changed = Some(next_change(&self.circuit, shut)),
                Some(changed) => {
                    ready!(changed.as_mut().poll(cx));
                    self.changed = None;
                }
            }
            shut = self.circuit.core().would_reject();
            if !shut && let Poll::Ready(ready) = self.inner.poll_ready(cx) {
                return Poll::Ready(self.polled(ready));
            }
        }
    }
}

/// Resolves when the circuit's state changes, and where it is `shut` also when it may let calls through by the time.
#[cold]
fn next_change(circuit: &Circuit, shut: bool) -> Changed {
    let changed = circuit.changed();
    match circuit.core().standing() {
        (_, Some(left)) if shut => Box::pin(async move { drop(timeout(left, changed).await) }),
        _ => Box::pin(changed),
    }
}

/// Readiness is not cloned with the service.
impl<S: Clone, C: Clone> Clone for CircuitBreaker<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.circuit.clone(), self.classify.clone(), self.gated)
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

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = false;
        let shut = self.circuit.core().would_reject();
        if !shut && let Poll::Ready(ready) = self.inner.poll_ready(cx) {
            return Poll::Ready(self.polled(ready));
        }
        self.poll_unready(cx, shut)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.begin(request, ResponseFuture::calling, ResponseFuture::rejected)
    }
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for CircuitBreaker<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("circuit", &self.circuit)
            .field("classify", &self.classify)
            .finish_non_exhaustive()
    }
}
