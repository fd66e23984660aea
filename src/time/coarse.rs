//! The coarse clock of the systems that have one.

use std::sync::LazyLock;

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::Tick;

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
