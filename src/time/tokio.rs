//! Timers and tokio's own clock: the one file that calls tokio's time.

#[cfg(feature = "retry")]
use std::pin::Pin;
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

/// The moment `span` from now, where there is one that a timer can wait for.
#[cfg(feature = "retry")]
pub(crate) fn after(span: Duration) -> Option<Instant> {
    now().checked_add(span).filter(can_be_waited_for)
}

/// A moment that is as good as never, and that every system's clock can name.
#[cfg(feature = "retry")]
pub(crate) fn far() -> Instant {
    now() + Duration::from_secs(60 * 60 * 24 * 365 * 30)
}

/// Timers round up to the next millisecond, which has to exist.
#[cfg(feature = "retry")]
pub(crate) fn can_be_waited_for(moment: &Instant) -> bool {
    moment.checked_add(Duration::from_millis(1)).is_some()
}

/// A timer that runs until `moment`.
#[cfg(feature = "retry")]
#[expect(clippy::disallowed_methods, reason = "the door to tokio's timers")]
pub(crate) fn sleep_until(moment: Instant) -> Sleep {
    tokio::time::sleep_until(moment)
}

/// Has `timer` run until `moment`, or not at all; it is made anew only where there was none.
#[cfg(feature = "retry")]
pub(crate) fn run_until(mut timer: Pin<&mut Option<Sleep>>, moment: Option<Instant>) {
    match (timer.as_mut().as_pin_mut(), moment) {
        (Some(running), Some(moment)) if running.deadline() == moment => {}
        (Some(running), Some(moment)) => running.reset(moment),
        (_, moment) => timer.set(moment.map(sleep_until)),
    }
}
