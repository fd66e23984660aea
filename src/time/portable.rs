//! The monotonic clock where the system has no coarse one that could be read, or nothing needs it.

use std::{sync::LazyLock, time::Instant};

use super::{Tick, monotonic::nanos};

/// All readings count from the same moment, so that ticks of one circuit's clones can be compared.
static ORIGIN: LazyLock<Instant> = LazyLock::new(instant);

#[expect(clippy::disallowed_methods, reason = "the door to the precise clock")]
fn instant() -> Instant {
    Instant::now()
}

pub(super) fn precise() -> Tick {
    // The origin is read first: the clock would otherwise begin after its own first reading.
    let origin = *ORIGIN;
    Tick::from_nanos(nanos(instant().saturating_duration_since(origin)))
}

/// There is none.
#[cfg(feature = "breaker")]
#[derive(Clone, Copy, Debug)]
pub(super) enum Coarse {}

#[cfg(feature = "breaker")]
impl Coarse {
    pub(super) const fn system() -> Option<Self> {
        None
    }

    pub(super) const fn now(self) -> Tick {
        match self {}
    }

    pub(super) const fn lag(self) -> u64 {
        match self {}
    }
}
