//! The clock that only moves forward.

use std::time::Duration;

#[cfg(any(test, feature = "test-util"))]
use super::manual::ManualClock;
use super::system;

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

    /// As [`since`](Self::since), in nanoseconds.
    #[cfg(feature = "breaker")]
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
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

/// Rounded up to the millisecond, as timers are.
#[cfg(any(feature = "breaker", feature = "retry"))]
pub(crate) const fn whole_millis(span: Duration) -> Duration {
    match span.subsec_nanos() % 1_000_000 {
        0 => span,
        part => span.saturating_add(Duration::from_nanos(1_000_000 - part as u64)),
    }
}

/// A monotonic clock, chosen at run time: it costs no type parameter.
///
/// The default is the precise one.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Precise,
    #[cfg(feature = "breaker")]
    Coarse(system::Coarse),
    #[cfg(any(test, feature = "test-util"))]
    Tokio(super::tokio::Instant),
    #[cfg(any(test, feature = "test-util"))]
    Manual(ManualClock),
}

impl Clock {
    /// The system's precise monotonic clock, that of [`Instant`](std::time::Instant), at about 21 ns a reading.
    #[must_use]
    pub const fn precise() -> Self {
        Self(Source::Precise)
    }

    /// The system's coarse monotonic clock, at about 2 ns a reading; it lags by up to its [`resolution`](Self::resolution), a
    /// few milliseconds.
    ///
    /// Linux and FreeBSD have one. Elsewhere it is the precise one.
    #[cfg(feature = "breaker")]
    #[must_use]
    pub fn coarse() -> Self {
        match system::Coarse::system() {
            Some(coarse) => Self(Source::Coarse(coarse)),
            None => Self::precise(),
        }
    }

    /// The coarse clock, where `span` is at least ten of its ticks, and else the precise one.
    #[cfg(feature = "breaker")]
    pub(crate) fn fine_enough_for(span: Duration) -> Self {
        let coarse = Self::coarse();
        if span >= coarse.resolution().saturating_mul(10) { coarse } else { Self::precise() }
    }

    /// How far a reading may lag; zero where that is less than anybody can wait.
    #[must_use]
    pub fn resolution(&self) -> Duration {
        Duration::from_nanos(self.lag())
    }

    /// The [`resolution`](Self::resolution) in nanoseconds.
    #[inline]
    pub(crate) fn lag(&self) -> u64 {
        match self.0 {
            #[cfg(feature = "breaker")]
            Source::Coarse(coarse) => coarse.lag(),
            _ => 0,
        }
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
    #[inline]
    pub fn now(&self) -> Tick {
        match &self.0 {
            // Small enough to be compiled into its callers: it is read twice a call.
            #[cfg(feature = "breaker")]
            Source::Coarse(coarse) => coarse.now(),
            source => source.now(),
        }
    }
}

impl Source {
    fn now(&self) -> Tick {
        match self {
            #[cfg(feature = "breaker")]
            Self::Coarse(coarse) => coarse.now(),
            Self::Precise => system::precise(),
            #[cfg(any(test, feature = "test-util"))]
            Self::Tokio(origin) => Tick(nanos(super::tokio::now().saturating_duration_since(*origin))),
            #[cfg(any(test, feature = "test-util"))]
            Self::Manual(clock) => clock.now(),
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

    #[cfg(any(feature = "breaker", feature = "retry"))]
    #[test]
    fn a_part_of_a_millisecond_is_rounded_up_to_a_whole_one() {
        for (nanos, millis) in [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (1_999_000_001, 2000)] {
            assert_eq!(whole_millis(Duration::from_nanos(nanos)), Duration::from_millis(millis), "{nanos} ns");
        }
        assert_eq!(whole_millis(Duration::MAX), Duration::MAX);
    }

    #[cfg(feature = "breaker")]
    #[test]
    fn the_systems_clocks_never_step_back() {
        for clock in [Clock::precise(), Clock::coarse()] {
            let first = clock.now();
            assert!(clock.now() >= first);
        }
    }

    #[cfg(feature = "breaker")]
    #[test]
    fn the_coarse_clock_lags_by_no_more_than_its_resolution() {
        let (precise, coarse) = (Clock::precise(), Clock::coarse());
        let (early, start) = (coarse.now(), precise.now());
        while precise.now().since(start) < Duration::from_millis(20) {}
        let told = coarse.now().since(early);
        let passed = precise.now().since(start);
        assert!(told + coarse.resolution() >= Duration::from_millis(20), "{told:?} of {passed:?}");
        assert!(told <= passed + coarse.resolution(), "{told:?} of {passed:?}");
    }

    #[cfg(feature = "breaker")]
    #[test]
    fn short_spans_are_measured_precisely() {
        let ten = Clock::coarse().resolution() * 10;
        assert!(matches!(Clock::fine_enough_for(ten.saturating_sub(Duration::from_nanos(1))), Clock(Source::Precise)));
        assert_eq!(Clock::fine_enough_for(ten).resolution() * 10, ten);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_follows_pause_and_advance() {
        let clock = Clock::tokio();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(3));
    }
}
