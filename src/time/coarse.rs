//! The coarse clock of the systems that have one.

use std::{sync::LazyLock, time::Duration};

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::Tick;

#[derive(Clone, Copy, Debug)]
pub(super) struct Coarse;

impl Coarse {
    pub(super) const SYSTEM: Option<Self> = Some(Self);

    #[inline]
    pub(super) fn now(self) -> Tick {
        Tick::from_nanos(nanos(clock_gettime(ClockId::MonotonicCoarse)))
    }

    pub(super) fn resolution(self) -> Duration {
        static RESOLUTION: LazyLock<Duration> =
            LazyLock::new(|| Duration::from_nanos(nanos(clock_getres(ClockId::MonotonicCoarse))));
        *RESOLUTION
    }
}

/// Neither part is ever negative.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "a monotonic clock counts from its system's start")]
const fn nanos(span: Timespec) -> u64 {
    (span.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(span.tv_nsec as u64)
}
