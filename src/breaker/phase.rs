//! The phases of a circuit, and what each means to a call that comes.

use std::time::Duration;

use super::{plan::Plan, probes::Probes, snapshot::State, window::Counts, word::Gate};
use crate::time::Tick;

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Closed,
    /// `counts` are those of the moment it opened.
    Open {
        until: Tick,
        counts: Counts,
    },
    HalfOpen {
        until: Tick,
        probes: Probes,
    },
    ForcedOpen,
    Disabled,
    /// `noted` once a rule was broken: it is told once.
    Observing {
        noted: bool,
    },
}

/// A state that is set by hand.
#[derive(Clone, Copy, Debug)]
pub(super) enum ByHand {
    Closed,
    ForcedOpen,
    Disabled,
    Observing,
}

impl From<ByHand> for Phase {
    fn from(state: ByHand) -> Self {
        match state {
            ByHand::Closed => Self::Closed,
            ByHand::ForcedOpen => Self::ForcedOpen,
            ByHand::Disabled => Self::Disabled,
            ByHand::Observing => Self::Observing { noted: false },
        }
    }
}

impl Phase {
    /// What a call may do without the lock.
    pub(super) const fn gate(&self, plan: &Plan) -> Gate {
        match *self {
            Self::Closed | Self::Observing { noted: false } => Gate::Counting,
            Self::Observing { noted: true } => Gate::Noted,
            Self::Disabled => Gate::Uncounted,
            Self::ForcedOpen => Gate::Shut,
            Self::Open { .. } => Gate::Open,
            Self::HalfOpen { probes, .. } if probes.has_place(&plan.half_open) => Gate::Ask,
            Self::HalfOpen { .. } => Gate::Full,
        }
    }

    /// Whether it is half-open with all places taken.
    pub(super) fn is_full(&self, plan: &Plan) -> bool {
        matches!(*self, Self::HalfOpen { probes, .. } if !probes.has_place(&plan.half_open))
    }

    /// The moment until which the state stays what it is unless an outcome changes it.
    pub(super) const fn until(&self) -> Tick {
        match *self {
            Self::Open { until, .. } | Self::HalfOpen { until, .. } => until,
            _ => Tick::from_nanos(u64::MAX),
        }
    }

    /// Whether a call at `now` would be let through.
    pub(super) fn would_admit(&self, plan: &Plan, now: Tick) -> bool {
        match *self {
            Self::Closed | Self::Disabled | Self::Observing { .. } => true,
            Self::ForcedOpen => false,
            Self::Open { until, .. } => now >= until,
            Self::HalfOpen { probes, .. } => probes.has_place(&plan.half_open),
        }
    }

    pub(super) const fn state(&self) -> State {
        match *self {
            Self::Closed => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen { .. } => State::HalfOpen,
            Self::ForcedOpen => State::ForcedOpen,
            Self::Disabled => State::Disabled,
            Self::Observing { .. } => State::Observing,
        }
    }

    pub(super) fn retry_after(&self, now: Tick) -> Option<Duration> {
        match *self {
            Self::Open { until, .. } => Some(until.since(now)),
            _ => None,
        }
    }
}
