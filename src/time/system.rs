//! The monotonic clocks of the systems that have a coarse one: both read as the system's own figure.

use std::sync::LazyLock;

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::Tick;

/// The clock that `Instant` reads, without the way there and back that a span between two of those takes.
#[inline]
pub(super) fn precise() -> Tick {
    Tick::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
}

/// It knows how far it lags, in nanoseconds: a rejection asks for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coarse {
    lag: u64,
}

impl Coarse {
    #[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
    pub(super) fn system() -> Option<Self> {
        static LAG: LazyLock<u64> = LazyLock::new(|| nanos(clock_getres(ClockId::MonotonicCoarse)));
        Some(Self { lag: *LAG })
    }

    #[inline]
    pub(super) fn now(self) -> Tick {
        Tick::from_nanos(nanos(clock_gettime(ClockId::MonotonicCoarse)))
    }

    #[inline]
    pub(super) const fn lag(self) -> u64 {
        self.lag
    }
}

/// Neither part is ever negative.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "a monotonic clock counts from its system's start")]
const fn nanos(span: Timespec) -> u64 {
    (span.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(span.tv_nsec as u64)
}
