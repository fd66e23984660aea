//! The coarse clock of the systems that have one.

use std::{sync::LazyLock, time::Duration};

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::{Clock, Tick};

pub(super) const fn clock() -> Clock {
    Clock::of_coarse()
}

#[inline]
pub(super) fn now() -> Tick {
    Tick::from_nanos(nanos(clock_gettime(ClockId::MonotonicCoarse)))
}

pub(super) fn resolution() -> Duration {
    static RESOLUTION: LazyLock<Duration> =
        LazyLock::new(|| Duration::from_nanos(nanos(clock_getres(ClockId::MonotonicCoarse))));
    *RESOLUTION
}

/// Neither part is ever negative.
#[inline]
fn nanos(span: Timespec) -> u64 {
    let seconds = u64::try_from(span.tv_sec).unwrap_or_default();
    seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(span.tv_nsec).unwrap_or_default())
}
