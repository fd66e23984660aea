//! The right to make one call.

use std::thread;

use super::{circuit::Circuit, machine::Ending};
use crate::{outcome::Outcome, time::Tick};

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
    /// `None` once it is settled.
    circuit: Option<Circuit>,
    epoch: u64,
    started: Tick,
}

impl Permit {
    pub(super) const fn new(circuit: Circuit, epoch: u64, started: Tick) -> Self {
        Self { circuit: Some(circuit), epoch, started }
    }

    /// The call succeeded.
    pub fn success(self) {
        self.settle(Outcome::Success);
    }

    /// The call failed.
    pub fn failure(self) {
        self.settle(Outcome::Failure);
    }

    /// The call says nothing about the service.
    pub fn ignored(self) {
        self.settle(Outcome::Ignored);
    }

    /// The call ended with this outcome. An ignored one gives a half-open place back.
    pub fn settle(mut self, outcome: Outcome) {
        self.end(Ending::Finished(outcome));
    }

    /// The call was given up: what dropping the permit says, also while the thread is panicking.
    pub fn cancel(mut self) {
        self.end(Ending::Dropped);
    }

    fn end(&mut self, ending: Ending) {
        if let Some(circuit) = self.circuit.take() {
            circuit.settle(self.epoch, ending, self.started);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let panicking = thread::panicking();
        self.end(if panicking { Ending::Finished(Outcome::Failure) } else { Ending::Dropped });
    }
}
