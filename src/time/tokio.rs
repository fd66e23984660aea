//! Timers and tokio's own clock: the one file that calls tokio's time.
#![expect(clippy::disallowed_methods, reason = "the door to tokio's time")]

pub(crate) use tokio::time::Instant;
#[cfg(any(feature = "breaker", feature = "retry", feature = "signature"))]
pub(crate) use tokio::time::{Sleep, sleep, sleep_until, timeout};

/// The current moment of the clock that tokio's timers run on.
pub(crate) fn now() -> Instant {
    Instant::now()
}
