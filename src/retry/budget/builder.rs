//! The settings of a budget, checked when it is built.

use std::time::Duration;

use super::{
    Budget,
    account::{BUCKETS, Terms, WHOLE},
};
use crate::{
    ConfigError,
    time::{Clock, nanos},
};

/// The settings of a [`Budget`].
///
/// ```
/// use std::time::Duration;
/// use portcullis::retry::Budget;
///
/// let budget = Budget::builder().share(0.1).reserve(3).window(Duration::from_secs(60)).build()?;
///
/// let error = Budget::builder().share(1.5).build().unwrap_err();
/// assert_eq!(error.to_string(), "share must be from 0 to 1, but is 1.5");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BudgetBuilder {
    share: f64,
    reserve: u32,
    window: Duration,
    clock: Clock,
}

/// The longest window for which a budget's arithmetic holds at any rate that a machine can reach.
const LONGEST: Duration = Duration::from_secs(3600);

impl BudgetBuilder {
    pub(super) const fn new() -> Self {
        Self { share: 0.2, reserve: 10, window: Duration::from_secs(10), clock: Clock::precise() }
    }

    /// Retries per request of the window, from 0 to 1; 0.2 unless set, which is one retry to five requests.
    ///
    /// It is kept in ten-thousandths, to the nearest, and from there on all arithmetic is exact.
    pub const fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Retries that a window has in any case; 10 unless set.
    ///
    /// A client that makes few requests lives by it, and so does one whose first failure follows a long calm.
    pub const fn reserve(mut self, retries: u32) -> Self {
        self.reserve = retries;
        self
    }

    /// How long requests and retries count, from 1 ms to 1 h; 10 s unless set.
    ///
    /// It slides in ten steps: each leaves within a tenth of the window before its end, and none later.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The clock; the precise one unless set. It is read when a retry is asked for.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// If `share` or `window` is out of its range.
    pub fn build(self) -> Result<Budget, ConfigError> {
        let Self { share, reserve, window, clock } = self;
        if !(0.0..=1.0).contains(&share) {
            return Err(ConfigError::new("share", "from 0 to 1", share));
        }
        if !(Duration::from_millis(1)..=LONGEST).contains(&window) {
            return Err(ConfigError::new("window", "from 1ms to 1h", format_args!("{window:?}")));
        }
        let terms = Terms::new(parts(share), reserve, nanos(window) / BUCKETS as u64);
        Ok(Budget::new(terms, clock))
    }
}

/// A share from 0 to 1 in ten-thousandths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10,000")]
#[expect(clippy::cast_precision_loss, reason = "10,000 is exact")]
fn parts(share: f64) -> u64 {
    (share * WHOLE as f64).round() as u64
}
