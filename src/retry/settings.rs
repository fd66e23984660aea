//! What the user chose, and what follows from it without regard to the request.

use std::time::Duration;

use super::{Backoff, Budget, Stopped, Withdrawal, backoff};
use crate::time::WallClock;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) deadline: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) retry_after_max: Duration,
    pub(super) hint_jitter: f64,
    pub(super) non_idempotent: bool,
    pub(super) budget: Option<Budget>,
    pub(super) wall_clock: WallClock,
    pub(super) random: fn() -> f64,
}

impl Settings {
    /// Takes a retry from the budget; nothing where there is none.
    pub(super) fn withdraw(&self) -> Result<Option<Withdrawal>, Stopped> {
        let Some(budget) = &self.budget else { return Ok(None) };
        budget.try_withdraw().map(Some).ok_or(Stopped::BudgetExhausted)
    }

    /// How long to wait, with `left` until the deadline, or why not to.
    pub(super) fn wait(
        &self,
        backoff: Duration,
        hint: Option<Duration>,
        left: Duration,
        random: f64,
    ) -> Result<Duration, Stopped> {
        // A hint of nothing is no hint: everybody would come back at once.
        let Some(hint) = hint.filter(|hint| !hint.is_zero()) else {
            let wait = whole_millis(backoff);
            return if wait < left { Ok(wait) } else { Err(Stopped::Deadline) };
        };
        if hint > self.retry_after_max {
            return Err(Stopped::HintTooLong);
        }
        let hint = whole_millis(hint);
        if hint >= left {
            return Err(Stopped::Deadline);
        }
        // Jitter takes at most half of what the hint leaves, so that the attempt has the other half.
        let most = backoff::seconds(hint.as_secs_f64() * self.hint_jitter).min((left - hint) / 2);
        let wait = whole_millis(hint.saturating_add(backoff::scale(most, random)));
        Ok(if wait < left { wait } else { hint })
    }
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// Rounded up to the millisecond, as timers are: what is compared with the deadline is what is waited.
fn whole_millis(wait: Duration) -> Duration {
    match wait.subsec_nanos() % 1_000_000 {
        0 => wait,
        rest => wait.saturating_add(MILLISECOND - Duration::from_nanos(rest.into())),
    }
}
