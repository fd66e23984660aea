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
fn nanos(span: Timespec) -> u64 {
    let seconds = u64::try_from(span.tv_sec).unwrap_or_default();
    seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(span.tv_nsec).unwrap_or_default())
}
