//! Timers and tokio's own clock: the one file that calls tokio's time.

#[cfg(any(feature = "retry", feature = "signature"))]
use std::time::Duration;

#[cfg(any(test, feature = "retry", feature = "test-util"))]
pub(crate) use tokio::time::Instant;
#[cfg(any(feature = "retry", feature = "signature"))]
pub(crate) use tokio::time::Sleep;
#[cfg(feature = "breaker")]
pub(crate) use tokio::time::timeout;

/// The current moment of the clock that tokio's timers run on.
#[cfg(any(test, feature = "retry", feature = "test-util"))]
#[expect(clippy::disallowed_methods, reason = "the door to tokio's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A timer that runs for `span`.
#[cfg(any(feature = "retry", feature = "signature"))]
#[expect(clippy::disallowed_methods, reason = "the door to tokio's timers")]
pub(crate) fn sleep(span: Duration) -> Sleep {
    tokio::time::sleep(span)
}

/// A timer that runs until `moment`.
#[cfg(feature = "retry")]
#[expect(clippy::disallowed_methods, reason = "the door to tokio's timers")]
pub(crate) fn sleep_until(moment: Instant) -> Sleep {
    tokio::time::sleep_until(moment)
}
