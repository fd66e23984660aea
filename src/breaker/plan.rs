//! What a circuit is told to do, and what of a call it counts.

use std::time::Duration;

use super::{
    half_open::HalfOpen,
    opening::Opening,
    rules::Rules,
    window::{Call, Length},
};
use crate::outcome::Outcome;

/// What a circuit is told to do; it does not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) window: Length,
    /// A call that takes longer is slow; the last moment where none is.
    pub(super) slow_call: u64,
    pub(super) opening: Opening,
    pub(super) half_open: HalfOpen,
}

impl Plan {
    /// Whether what is counted depends on the order of all calls, or every success changes it: then it is kept in one place.
    pub(super) const fn counts_in_order(&self) -> bool {
        matches!(self.window, Length::Calls(_)) || self.rules.mean_latency.is_some()
    }

    /// Whether anything depends on how long a call takes.
    pub(super) const fn measures_latency(&self) -> bool {
        self.slow_call < u64::MAX || self.rules.mean_latency.is_some()
    }

    pub(super) const fn time_window(&self) -> Option<Duration> {
        match self.window {
            Length::Time(span) => Some(span),
            Length::Calls(_) => None,
        }
    }

    /// The shortest span that is measured.
    pub(super) fn shortest_span(&self) -> Duration {
        [self.time_window(), Some(Duration::from_nanos(self.slow_call)), self.rules.mean_latency]
            .into_iter()
            .flatten()
            .fold(Duration::from_nanos(self.opening.first).min(self.half_open.timeout), Duration::min)
    }

    /// What a call counts as that ended so after `nanos`; `None` for one that is not counted.
    pub(super) const fn call(&self, ending: Ending, nanos: u64) -> Option<Call> {
        let slow = nanos > self.slow_call;
        let failed = match ending {
            Ending::Finished(Outcome::Success) => false,
            Ending::Finished(Outcome::Failure) => true,
            // A timeout outside the breaker drops the call; it must not hide that the service has stopped answering.
            Ending::Dropped if slow => true,
            Ending::Finished(Outcome::Ignored) | Ending::Dropped => return None,
        };
        Some(Call { failed, slow, nanos })
    }
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finished(Outcome),
    Dropped,
}
