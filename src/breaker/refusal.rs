//! What a step tells of a call that it did not admit.

use std::time::Duration;

use super::cause::Cause;

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
