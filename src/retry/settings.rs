//! What the user chose, and what follows from it without regard to the request.

use std::{
    num::{NonZero, NonZeroU64},
    sync::Arc,
    time::Duration,
};

use super::{
    Backoff, Budget, Stopped, Withdrawal,
    backoff::{self, Waits},
    span::Span,
};
use crate::{
    config::{ConfigError, above_zero, at_least_one},
    time::{UnixTime, WallClock, nanos, whole_millis},
};

/// What the builder was told.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) deadline: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) retry_after_max: Duration,
    pub(super) hint_jitter: f64,
    pub(super) non_idempotent: bool,
    pub(super) budget: Option<Budget>,
    pub(super) wall_clock: WallClock,
    /// The thread's own generator unless set.
    pub(super) random: Option<fn() -> f64>,
}

/// The same, laid out to be copied: each call has its own, and one that succeeds does nothing else with them.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    plain: Plain,
    /// What is not copied: one thing at most, so that a call that has none takes one branch.
    shared: Option<Shared>,
}

#[derive(Clone, Copy, Debug)]
struct Plain {
    /// Of no account where there is a user's function.
    backoff: Waits<Span>,
    /// In nanoseconds; none where it is endless, as the next.
    deadline: Option<NonZeroU64>,
    attempt_timeout: Option<NonZeroU64>,
    retry_after_max: Span,
    hint_jitter: f64,
    max_attempts: u32,
    non_idempotent: bool,
}

#[derive(Clone, Debug)]
enum Shared {
    Budget(Budget),
    Rare(Arc<Rare>),
}

/// What few policies have.
#[derive(Debug)]
struct Rare {
    budget: Option<Budget>,
    /// A user's function.
    backoff: Option<Backoff>,
    wall_clock: WallClock,
    random: Option<fn() -> f64>,
}

impl Choice {
    /// Checks them.
    pub(super) fn settle(self) -> Result<Settings, ConfigError> {
        let Self { max_attempts, backoff, deadline, attempt_timeout, retry_after_max, hint_jitter, .. } = self;
        at_least_one("max_attempts", NonZero::new(max_attempts))?;
        for (setting, span) in [("deadline", deadline), ("attempt_timeout", attempt_timeout)] {
            span.map(|span| above_zero(setting, span)).transpose()?;
        }
        if !(hint_jitter.is_finite() && hint_jitter >= 0.0) {
            return Err(ConfigError::new("hint_jitter", "a finite number of at least 0", hint_jitter));
        }
        backoff.validate()?;
        let waits = backoff.plain();
        let plain = Plain {
            backoff: waits.map_or(Waits::Constant(Span::default()), |waits| waits.map(Span::new)),
            deadline: deadline.and_then(limit),
            attempt_timeout: attempt_timeout.and_then(limit),
            retry_after_max: Span::new(retry_after_max),
            hint_jitter,
            max_attempts,
            non_idempotent: self.non_idempotent,
        };
        let Self { budget, wall_clock, random, .. } = self;
        let shared = if waits.is_none() || random.is_some() || !wall_clock.is_system() {
            let backoff = waits.is_none().then_some(backoff);
            Some(Shared::Rare(Arc::new(Rare { budget, backoff, wall_clock, random })))
        } else {
            budget.map(Shared::Budget)
        };
        Ok(Settings { plain, shared })
    }
}

impl Settings {
    pub(super) const fn max_attempts(&self) -> u32 {
        self.plain.max_attempts
    }

    pub(super) const fn non_idempotent(&self) -> bool {
        self.plain.non_idempotent
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.plain.deadline.map(span)
    }

    pub(super) fn attempt_timeout(&self) -> Option<Duration> {
        self.plain.attempt_timeout.map(span)
    }

    pub(super) fn budget(&self) -> Option<&Budget> {
        match &self.shared {
            None => None,
            Some(Shared::Budget(budget)) => Some(budget),
            Some(Shared::Rare(rare)) => rare.budget.as_ref(),
        }
    }

    fn rare(&self) -> Option<&Rare> {
        match &self.shared {
            Some(Shared::Rare(rare)) => Some(rare),
            None | Some(Shared::Budget(_)) => None,
        }
    }

    /// The date, for hints that name one.
    pub(super) fn date(&self) -> UnixTime {
        self.rare().map_or_else(|| WallClock::system().now(), |rare| rare.wall_clock.now())
    }

    /// What is drawn for one retry.
    pub(super) fn random(&self) -> f64 {
        self.rare().and_then(|rare| rare.random).map_or_else(rand::random, |random| random())
    }

    /// See [`Backoff::delay`].
    pub(super) fn delay(&self, retry: u32, previous: Duration, random: f64) -> Duration {
        match self.rare().and_then(|rare| rare.backoff.as_ref()) {
            Some(users) => users.delay(retry, previous, random),
            None => self.plain.backoff.map(Span::get).delay(retry, previous, random),
        }
    }

    /// Takes a retry from the budget; nothing where there is none.
    pub(super) fn withdraw(&self) -> Result<Option<Withdrawal>, Stopped> {
        let Some(budget) = self.budget() else { return Ok(None) };
        budget.try_withdraw().map(Some).ok_or(Stopped::BudgetExhausted)
    }

    /// How long to wait, with `left` until the deadline, or why not to; in whole milliseconds, since what is compared with the
    /// deadline has to be what is waited.
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
        if hint > self.plain.retry_after_max.get() {
            return Err(Stopped::HintTooLong);
        }
        let hint = whole_millis(hint);
        if hint >= left {
            return Err(Stopped::Deadline);
        }
        // Jitter takes at most half of what the hint leaves, so that the attempt has the other half.
        let most = backoff::seconds(hint.as_secs_f64() * self.plain.hint_jitter).min((left - hint) / 2);
        let wait = whole_millis(hint.saturating_add(backoff::scale(most, random)));
        Ok(if wait < left { wait } else { hint })
    }
}

/// In nanoseconds; a limit of 584 years or more is none.
fn limit(span: Duration) -> Option<NonZeroU64> {
    NonZeroU64::new(nanos(span)).filter(|nanos| *nanos != NonZeroU64::MAX)
}

fn span(nanos: NonZeroU64) -> Duration {
    Duration::from_nanos(nanos.get())
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
