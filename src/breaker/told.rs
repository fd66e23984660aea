//! What a step tells: that the state has changed, or why a call was not admitted.

use std::{fmt, time::Duration};

use super::{cause::Cause, rules::Trip, snapshot::State};

/// A change of a circuit's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The state that ended.
    pub from: State,
    /// The state that began. `Observing` from `Observing` tells of the first rule that was broken: it would have opened the
    /// circuit.
    pub to: State,
    /// The rule that opened the circuit, with the figures of that moment, until it is closed again.
    pub tripped: Option<Trip>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)?;
        match self.tripped {
            Some(trip) => write!(f, ": {trip}"),
            None => Ok(()),
        }
    }
}

/// Why a call was not admitted, and for how long none will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    /// In nanoseconds; [`UNKNOWN`](Self::UNKNOWN) where nobody can tell.
    pub(super) wait: u64,
}

impl Refusal {
    pub(super) const UNKNOWN: u64 = u64::MAX;

    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self.wait {
            Self::UNKNOWN => None,
            wait => Some(Duration::from_nanos(wait)),
        }
    }
}
