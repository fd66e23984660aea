//! Clocks that stand still until a test moves them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Clock, Tick, UnixTime, WallClock, monotonic::nanos};

/// A monotonic clock that begins at zero and moves only when it is told to; clones share their time.
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A [`Clock`] that reads this one.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::manual(self.clone())
    }

    /// The moment at which it stands.
    #[must_use]
    pub fn now(&self) -> Tick {
        // Relaxed: the time is the only thing that is passed on here.
        Tick::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Moves it forward by `span`.
    pub fn advance(&self, span: Duration) {
        // The closure always answers, so this cannot fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |nanos| {
            Some(Tick::from_nanos(nanos).after(span).as_nanos())
        });
    }

    /// Moves it to `moment`, or leaves it where it is when that has passed.
    pub fn set(&self, moment: Tick) {
        self.0.fetch_max(moment.as_nanos(), Ordering::Relaxed);
    }
}

/// A wall clock that a test sets; it may go back, as a real one may. Clones share their time.
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
#[derive(Clone, Debug)]
pub struct ManualWallClock(Arc<AtomicU64>);

impl ManualWallClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: UnixTime) -> Self {
        Self(Arc::new(AtomicU64::new(nanos(now.since_epoch()))))
    }

    /// A [`WallClock`] that reads this one.
    #[must_use]
    pub fn clock(&self) -> WallClock {
        WallClock::manual(self.clone())
    }

    /// The date at which it stands.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        // Relaxed: the time is the only thing that is passed on here.
        UnixTime::new(Duration::from_nanos(self.0.load(Ordering::Relaxed)))
    }

    /// Sets it to `now`, forward or back.
    pub fn set(&self, now: UnixTime) {
        self.0.store(nanos(now.since_epoch()), Ordering::Relaxed);
    }
}
