//! The clock that names a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(any(test, feature = "test-util"))]
use super::manual::ManualWallClock;

/// A date, as the time since 1970-01-01T00:00:00Z without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// The date `since_epoch` after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn new(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// The date `seconds` after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The time since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn since_epoch(self) -> Duration {
        self.0
    }
}

/// A clock that names the date; it may step in either direction, so no span is measured with it.
#[derive(Clone, Debug, Default)]
pub struct WallClock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    #[cfg(any(test, feature = "test-util"))]
    Manual(ManualWallClock),
}

impl WallClock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    #[cfg(feature = "retry")]
    pub(crate) const fn is_system(&self) -> bool {
        matches!(self.0, Source::System)
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(super) const fn manual(clock: ManualWallClock) -> Self {
        Self(Source::Manual(clock))
    }

    /// The current date; a system clock that stands before 1970 reads as 1970.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        match &self.0 {
            Source::System => system(),
            #[cfg(any(test, feature = "test-util"))]
            Source::Manual(clock) => clock.now(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the door to the wall clock")]
fn system() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
