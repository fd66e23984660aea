//! The clock that only moves forward.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

#[cfg(any(test, feature = "test-util"))]
use super::manual::ManualClock;

/// A moment of a [`Clock`], in nanoseconds since that clock began; it saturates after 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// A moment `nanos` nanoseconds after the clock began.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock began.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to this moment, or zero where `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `span` later, or the clock's last one where that is beyond it.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// The whole of `span` in nanoseconds, saturating.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A monotonic clock, chosen at run time: it costs no type parameter.
///
/// The default reads the system's precise one, [`Instant`], at about 25 ns a reading.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Precise,
    #[cfg(any(test, feature = "test-util"))]
    Tokio(super::tokio::Instant),
    #[cfg(any(test, feature = "test-util"))]
    Manual(ManualClock),
}

/// All precise clocks count from the same moment, so that ticks of one circuit's clones can be compared.
static ORIGIN: LazyLock<Instant> = LazyLock::new(precise);

#[expect(clippy::disallowed_methods, reason = "the door to the precise clock")]
fn precise() -> Instant {
    Instant::now()
}

impl Clock {
    /// The system's precise monotonic clock.
    #[must_use]
    pub const fn precise() -> Self {
        Self(Source::Precise)
    }

    /// tokio's clock, which `tokio::time::pause` stops and `tokio::time::advance` moves.
    #[cfg(any(test, feature = "test-util"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn tokio() -> Self {
        Self(Source::Tokio(super::tokio::now()))
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(super) const fn manual(clock: ManualClock) -> Self {
        Self(Source::Manual(clock))
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Tick {
        match &self.0 {
            Source::Precise => {
                // The origin is read first: the clock would otherwise begin after its own first reading.
                let origin = *ORIGIN;
                Tick(nanos(precise().saturating_duration_since(origin)))
            }
            #[cfg(any(test, feature = "test-util"))]
            Source::Tokio(origin) => Tick(nanos(super::tokio::now().saturating_duration_since(*origin))),
            #[cfg(any(test, feature = "test-util"))]
            Source::Manual(clock) => clock.now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_saturate_at_both_ends() {
        let last = Tick::from_nanos(u64::MAX);
        assert_eq!(last.after(Duration::MAX), last);
        assert_eq!(Tick::default().since(last), Duration::ZERO);
    }

    #[test]
    fn the_precise_clock_never_steps_back() {
        let clock = Clock::default();
        let first = clock.now();
        assert!(clock.now() >= first);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_follows_pause_and_advance() {
        let clock = Clock::tokio();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(3));
    }
}
