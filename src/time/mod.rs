//! The crate's two clocks, as two types: what measures a span of time can never be compared with what names a date.
//!
//! * [`Clock`] is monotonic, and reads as a [`Tick`]: circuits measure windows, latencies and open times with it, and budgets,
//!   tokens and the store of replays their spans.
//! * [`WallClock`] is the calendar's, and reads as a [`UnixTime`]: signature timestamps, the ends of secrets and `Retry-After`
//!   dates are compared with it, and nothing else.
//!
//! # Testing
//!
//! Give a circuit `Clock::tokio()` and it follows `tokio::time::pause` and `advance`; give it a `ManualClock` and the
//! test moves it by hand. Waits between attempts and body deadlines are tokio's timers, so `pause` moves them too.
//! `Clock::tokio()`, `ManualClock` and `ManualWallClock` need the feature `test-util`, which only adds: no other clock changes
//! because a test wants one. The guide has [a page](crate::guide::testing) on it.
//!
//! ```
//! # #[cfg(feature = "test-util")] {
//! use std::time::Duration;
//! use portcullis::time::ManualClock;
//!
//! let manual = ManualClock::new();
//! let clock = manual.clock();
//! let before = clock.now();
//! manual.advance(Duration::from_secs(15));
//! assert_eq!(clock.now().since(before), Duration::from_secs(15));
//! # }
//! ```

mod civil;
#[cfg(any(test, feature = "test-util"))]
mod manual;
mod monotonic;
#[cfg_attr(
    not(all(feature = "breaker", any(target_os = "linux", target_os = "freebsd"), not(miri))),
    path = "portable.rs"
)]
mod system;
mod tokio;
mod wall;

pub(crate) use self::civil::Civil;
#[cfg(any(test, feature = "test-util"))]
pub use self::manual::{ManualClock, ManualWallClock};
#[cfg(any(feature = "breaker", feature = "retry"))]
pub(crate) use self::monotonic::{nanos, whole_millis};
#[cfg(any(feature = "breaker", feature = "retry", feature = "signature"))]
pub(crate) use self::tokio::*;
pub use self::{
    monotonic::{Clock, Tick},
    wall::{UnixTime, WallClock},
};
