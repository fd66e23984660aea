//! What a circuit looks like from outside.

use std::{fmt, time::Duration};

use super::rules::Trip;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls go through and are counted.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls go through, to learn whether the service is well again.
    HalfOpen,
    /// Calls are rejected, because somebody [said so](super::Circuit::force_open).
    ForcedOpen,
    /// Calls go through and are not counted, because somebody [said so](super::Circuit::disable).
    Disabled,
    /// Calls go through and are counted, and no rule opens the circuit, because somebody [said so](super::Circuit::observe).
    Observing,
}

impl State {
    /// The state as a label: `closed`, `open`, `half_open`, `forced_open`, `disabled` or `observing`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::Observing => "observing",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A circuit at one moment. Calls that end meanwhile, in other threads, may be in one count and not yet in another.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state. It stays `Open` after the open time has passed, until a call is let through.
    pub state: State,
    /// Calls that were counted: while closed or observed those of the window, while open those that opened it, while half-open the
    /// probes that have ended.
    pub calls: u64,
    /// Failed calls among them.
    pub failures: u64,
    /// Slow calls among them.
    pub slow: u64,
    /// Mean latency of those calls, where the circuit has a rule for it and there are any.
    pub mean_latency: Option<Duration>,
    /// Time until calls are let through; `None` unless the circuit is open, and zero once the next call is let through.
    pub retry_after: Option<Duration>,
    /// What opened the circuit, until it is closed again; what would have opened it, while it is observed.
    pub tripped: Option<Trip>,
    /// How often the circuit has opened since it was made, from half-open too.
    pub opened: u64,
}

impl Snapshot {
    /// The share of failed calls, from 0 to 1, and 0 where there are none.
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        share(self.failures, self.calls)
    }

    /// The share of slow calls, from 0 to 1, and 0 where there are none.
    #[must_use]
    pub fn slow_call_rate(&self) -> f64 {
        share(self.slow, self.calls)
    }
}

/// For people to read: the rules compare integers.
#[expect(clippy::cast_precision_loss, reason = "a figure to look at, exact up to 2⁵³ calls")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
