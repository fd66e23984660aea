//! How a half-open circuit probes.

use std::time::Duration;

/// How a half-open circuit finds out whether the service is well again.
///
/// ```
/// use std::time::Duration;
/// use portcullis::breaker::HalfOpen;
///
/// // Five calls are let through, two at a time; four successes close the circuit, a second failure opens it again, and
/// // so does a minute without a verdict.
/// let half_open = HalfOpen::permits(5).successes(4).max_concurrent(2).timeout(Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct HalfOpen {
    pub(super) permits: u32,
    pub(super) successes: u32,
    pub(super) max_concurrent: u32,
    pub(super) timeout: Duration,
}

impl HalfOpen {
    /// Permits, where nobody chose.
    pub(super) const DEFAULT: u32 = 3;

    /// Lets `permits` calls through in one half-open period, and closes the circuit once all of them succeeded.
    ///
    /// A call that is ignored or dropped gives its permit back. A period that has no verdict after 30 seconds ends, and
    /// the circuit opens again.
    pub const fn permits(permits: u32) -> Self {
        Self { permits, successes: permits, max_concurrent: u32::MAX, timeout: Duration::from_secs(30) }
    }

    /// How many of the calls have to succeed to close the circuit; it opens again as soon as they cannot be reached.
    /// Default: all of them.
    pub const fn successes(mut self, successes: u32) -> Self {
        self.successes = successes;
        self
    }

    /// How many of the calls may be in flight at once. Default: as many as there are permits.
    pub const fn max_concurrent(mut self, max_concurrent: u32) -> Self {
        self.max_concurrent = max_concurrent;
        self
    }

    /// How long a period may last without a verdict, so that a probe that never ends cannot keep the circuit half-open.
    /// Default: 30 seconds.
    ///
    /// All permits have to be used within it: a circuit whose calls come more rarely opens again although its probes succeeded,
    /// and does not close. Such a circuit needs fewer permits, or a longer timeout.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}
