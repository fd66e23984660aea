//! What a circuit is told to do, and what of a call it counts.

use std::time::Duration;

use super::{
    half_open::HalfOpen,
    opening::Opening,
    rules::Rules,
    window::{Call, Length},
};
use crate::{config::ConfigError, outcome::Outcome};

/// What a circuit is told to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) window: Length,
    /// A call that takes longer is slow; the last moment where none is.
    pub(super) slow_call: u64,
    pub(super) opening: Opening,
    pub(super) half_open: HalfOpen,
}

/// What of a plan is read under the lock alone; the rest is kept where threads read it without, and only there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) window: Length,
    pub(super) mean_latency: Option<Duration>,
    pub(super) opening: Opening,
    pub(super) half_open: HalfOpen,
}

impl From<&Plan> for Rest {
    fn from(plan: &Plan) -> Self {
        let &Plan { rules: Rules { mean_latency, .. }, window, opening, half_open, .. } = plan;
        Self { window, mean_latency, opening, half_open }
    }
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

    /// Whether a circuit that was built for `other` can do this too, or else the setting that cannot change: what is counted,
    /// and what of a call is measured, is settled when it is built.
    pub(super) fn check_change(&self, other: &Self) -> Result<(), ConfigError> {
        let changed = [
            ("window", self.window != other.window),
            (
                "consecutive_failures",
                self.rules.consecutive_failures.is_some() != other.rules.consecutive_failures.is_some(),
            ),
            ("mean_latency", self.rules.mean_latency.is_some() != other.rules.mean_latency.is_some()),
            ("slow_call", self.measures_latency() != other.measures_latency()),
            ("honour_retry_after", (self.opening.hint_max > 0) != (other.opening.hint_max > 0)),
        ];
        match changed.iter().find(|(_, changed)| *changed) {
            Some((setting, _)) => Err(ConfigError::new(setting, "as it was when the circuit was built", "changed")),
            None => Ok(()),
        }
    }
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finished(Outcome),
    Dropped,
}

impl Ending {
    /// What a call counts as that ended so after `nanos`; `None` for one that is not counted.
    #[inline]
    pub(super) const fn call(self, nanos: u64, slow_call: u64) -> Option<Call> {
        let slow = nanos > slow_call;
        match self {
            Self::Finished(Outcome::Success) => Some(Call { failed: false, slow, nanos }),
            Self::Finished(Outcome::Failure) => Some(Call { failed: true, slow, nanos }),
            // A timeout outside the breaker drops the call; it must not hide that the service has stopped answering.
            Self::Dropped if slow => Some(Call { failed: true, slow, nanos }),
            Self::Finished(Outcome::Ignored) | Self::Dropped => None,
        }
    }
}
