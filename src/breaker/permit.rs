//! The right to make one call.

use std::{mem, thread, time::Duration};

use super::{circuit::Circuit, core::Ticket, plan::Ending};
use crate::outcome::Outcome;

/// The right to make one call, and the duty to say how it ended.
///
/// Each of its methods settles it. Dropped, it settles itself: while the thread is panicking as a failure; else as a
/// cancelled call, which is not counted, unless it has already run for longer than
/// [`slow_call`](super::CircuitBuilder::slow_call): then it counts as slow and failed. Either way a probe's place is free
/// again, or decided.
///
/// The call's latency is the time from [`Circuit::acquire`] until it is settled.
///
/// ```
/// use portcullis::breaker::Circuit;
///
/// let circuit = Circuit::builder("printer").failure_rate(0.5).build()?;
/// circuit.acquire().unwrap().success();
/// circuit.acquire().unwrap().failure();
/// drop(circuit.acquire().unwrap());
/// assert_eq!(circuit.snapshot().calls, 2);
/// assert_eq!(circuit.snapshot().failure_rate(), 0.5);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Permit {
    circuit: Circuit,
    /// `None` once it is settled.
    ticket: Option<Ticket>,
}

impl Permit {
    #[inline]
    pub(super) const fn new(circuit: Circuit, ticket: Ticket) -> Self {
        Self { circuit, ticket: Some(ticket) }
    }

    /// The call succeeded.
    #[inline]
    pub fn success(self) {
        self.settle(Outcome::Success);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.settle(Outcome::Failure);
    }

    /// The call failed, and the service asked to be left alone for so long.
    ///
    /// Where the circuit [honours](super::CircuitBuilder::honour_retry_after) that, and opens because of this call, it stays
    /// open for so long at least.
    pub fn failure_with(mut self, retry_after: Duration) {
        if let Some(ticket) = self.ticket.take() {
            self.circuit.core().settle_hinted(ticket, Ending::Finished(Outcome::Failure), Some(retry_after));
        }
    }

    /// The call says nothing about the service.
    pub fn ignored(self) {
        self.settle(Outcome::Ignored);
    }

    /// The call ended with this outcome. An ignored one gives a half-open place back.
    #[inline]
    pub fn settle(mut self, outcome: Outcome) {
        self.end(Ending::Finished(outcome));
    }

    /// The call was given up: what dropping the permit says, also while the thread is panicking.
    pub fn cancel(mut self) {
        self.end(Ending::Dropped);
    }

    #[inline]
    fn end(&mut self, ending: Ending) {
        if let Some(ticket) = self.ticket.take() {
            self.circuit.core().settle(ticket, ending);
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let panicking = thread::panicking();
            self.end(if panicking { Ending::Finished(Outcome::Failure) } else { Ending::Dropped });
        }
    }
}

/// Does it unless it is disarmed: while code runs that is not ours, and may panic.
pub(super) struct OnPanic<F: FnMut()>(pub(super) F);

impl<F: FnMut()> OnPanic<F> {
    #[inline]
    pub(super) fn disarm(self) {
        mem::forget(self);
    }
}

impl<F: FnMut()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        self.0();
    }
}
