//! What a step tells of a change of state.

use std::fmt;

use super::{rules::Trip, snapshot::State};

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
