//! What is tried again, and when.

use std::time::Duration;

use super::{
    Attempt, Attempts, Backoff, Budget, Cause, CopyRequest, Protocol, RetryError, RetryPolicyBuilder, Stopped,
    Withdrawal, backoff,
};
use crate::{
    outcome::{Http, Outcome, Results, Retryable},
    time::{Instant, WallClock, now},
    trace::event,
};

/// What is tried again, how often and when: plain data, cheap to clone, and never changed by a call.
#[derive(Clone, Debug)]
pub struct RetryPolicy<C = Http, P = Http> {
    pub(super) settings: Settings,
    pub(super) classify: C,
    pub(super) protocol: P,
    pub(super) session: Session,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) deadline: Option<Duration>,
    pub(super) retry_after_max: Duration,
    pub(super) hint_jitter: f64,
    pub(super) non_idempotent: bool,
    pub(super) budget: Option<Budget>,
    pub(super) wall_clock: WallClock,
    pub(super) random: fn() -> f64,
}

/// How far one request has got. It stays blank in the policy that requests share; each works on a clone of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    pub(super) attempts: u32,
    backoff: Duration,
    cause: Option<Cause>,
    /// Whether the budget knows of it.
    counted: bool,
    pub(super) deadline: Option<Instant>,
}

/// What follows a finished attempt.
pub(super) enum Next {
    /// `taken` is given back unless the attempt is made.
    Retry {
        wait: Duration,
        taken: Option<Withdrawal>,
    },
    Finish(Option<Stopped>),
}

impl RetryPolicy {
    /// A policy for HTTP: statuses as [`Http`] has them, idempotent requests only, `Retry-After` honoured.
    pub fn http() -> RetryPolicyBuilder {
        RetryPolicyBuilder::new(Http, Http)
    }
}

impl RetryPolicy<Results, Results> {
    /// A policy for any service: every error is worth a retry, and every request may be repeated.
    ///
    /// Not for HTTP, where a `500` arrives as `Ok`: see [`http`](RetryPolicy::http).
    pub fn results() -> RetryPolicyBuilder<Results, Results> {
        RetryPolicyBuilder::new(Results, Results)
    }
}

impl<C, P> RetryPolicy<C, P> {
    /// Starts the clock of one request.
    pub(super) fn begin(&mut self) {
        // Timers round up to the next millisecond, which has to exist.
        let exists = |deadline: &Instant| deadline.checked_add(MILLISECOND).is_some();
        self.session.deadline = self.settings.deadline.and_then(|deadline| now().checked_add(deadline)).filter(exists);
    }

    /// Whether the deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.session.deadline.is_some_and(|deadline| now() >= deadline)
    }

    /// Counts and marks an attempt that is about to be made, and keeps a copy where another could follow.
    pub(super) fn send<Req, Res>(&mut self, request: &mut Req) -> Option<Req>
    where
        P: Protocol<Req, Res> + CopyRequest<Req>,
    {
        self.session.attempts = self.session.attempts.saturating_add(1);
        // The copy is made before the mark, which is of this attempt alone.
        let copy = self.copy(request);
        self.mark_request(request);
        copy
    }

    /// Tells the inner service which attempt it gets.
    pub(super) fn mark_request<Req, Res>(&self, request: &mut Req)
    where
        P: Protocol<Req, Res>,
    {
        let number = self.session.attempts.saturating_sub(1);
        self.protocol.mark_request(request, Attempt::new(number, self.session.cause));
    }

    /// A copy of what is about to be sent, unless it is the last attempt or must not be repeated.
    pub(super) fn copy<Req, Res>(&self, request: &Req) -> Option<Req>
    where
        P: Protocol<Req, Res> + CopyRequest<Req>,
    {
        let another = self.session.attempts.max(1) < self.settings.max_attempts;
        let repeatable = another && (self.settings.non_idempotent || self.protocol.is_idempotent(request));
        if repeatable { self.protocol.copy(request) } else { None }
    }

    /// Judges a finished attempt; `copy` is the request to send again, if there is one.
    pub(super) fn next<Req, Res, Err>(&mut self, result: Result<&Res, &Err>, copy: Option<&Req>) -> Next
    where
        C: Retryable<Res, Err>,
        P: Protocol<Req, Res>,
    {
        let retryable = self.classify.is_retryable(result);
        // A circuit's rejection is an error that is not worth a retry: it was never sent, and earns none.
        if retryable || result.is_ok() {
            self.count_request();
        }
        if !retryable {
            let failed = result.is_err() || self.classify.classify(result) != Outcome::Success;
            return Next::Finish(failed.then_some(Stopped::NotRetryable));
        }
        if self.session.attempts >= self.settings.max_attempts {
            return Next::Finish(Some(Stopped::Exhausted));
        }
        let Some(copy) = copy else { return Next::Finish(Some(Stopped::NotRepeatable)) };
        let random = (self.settings.random)();
        // The growth goes on where a hint takes a wait's place.
        self.session.backoff = self.settings.backoff.delay(self.session.attempts, self.session.backoff, random);
        let hint = self.classify.retry_after(result, self.settings.wall_clock.now());
        // A timer ends with the tick of a millisecond in which its time is over, so up to one later.
        let until = |at: Instant| at.saturating_duration_since(now()).saturating_sub(MILLISECOND);
        let left = self.session.deadline.map_or(Duration::MAX, until);
        // The budget is asked last: what is not going to be made costs nothing.
        let wait = self.settings.wait(self.session.backoff, hint, left, random);
        match wait.and_then(|wait| Ok((wait, self.settings.withdraw()?))) {
            // Only this comes later, since a yes ends what was sent before; where it is no, the budget gets back what it gave.
            Ok(_) if !self.protocol.reclaim(copy) => Next::Finish(Some(Stopped::NotRepeatable)),
            Ok((wait, taken)) => {
                let cause = result.map_or(Cause::Error, |response| self.protocol.cause(response));
                event!(
                    DEBUG,
                    "retrying",
                    attempts = self.session.attempts,
                    wait = format_args!("{wait:?}"),
                    cause = format_args!("{cause}"),
                );
                self.session.cause = Some(cause);
                Next::Retry { wait, taken }
            }
            Err(stopped) => Next::Finish(Some(stopped)),
        }
    }

    /// Counts the request where there is a budget: once, when its first attempt has ended.
    fn count_request(&mut self) {
        if let Some(budget) = &self.settings.budget
            && !self.session.counted
        {
            self.session.counted = true;
            budget.record_request();
        }
    }

    /// Tells of giving up, where that is how it ended.
    pub(super) fn tell(&self, stopped: Option<Stopped>) {
        if let Some(stopped) = stopped {
            event!(DEBUG, "giving up", attempts = self.session.attempts, reason = stopped.as_str());
        }
    }

    /// The error of an attempt that the deadline cut.
    pub(super) fn cut<Err>(&mut self) -> RetryError<Err> {
        self.count_request();
        self.tell(Some(Stopped::Deadline));
        RetryError::new(self.session.attempts, Stopped::Deadline, None)
    }

    /// Tells the caller how many attempts it took.
    pub(super) fn mark_response<Req, Res>(&self, response: &mut Res, stopped: Option<Stopped>)
    where
        P: Protocol<Req, Res>,
    {
        self.protocol.mark_response(response, Attempts::new(self.session.attempts, stopped));
    }

    /// The answer to the caller.
    pub(super) fn answer<Req, Res, Err>(
        &self,
        result: Result<Res, Err>,
        stopped: Option<Stopped>,
    ) -> Result<Res, RetryError<Err>>
    where
        P: Protocol<Req, Res>,
    {
        self.tell(stopped);
        match result {
            Ok(mut response) => {
                self.mark_response(&mut response, stopped);
                Ok(response)
            }
            Err(error) => {
                Err(RetryError::new(self.session.attempts, stopped.unwrap_or(Stopped::NotRetryable), Some(error)))
            }
        }
    }
}

impl Settings {
    /// Takes a retry from the budget; nothing where there is none.
    fn withdraw(&self) -> Result<Option<Withdrawal>, Stopped> {
        let Some(budget) = &self.budget else { return Ok(None) };
        budget.try_withdraw().map(Some).ok_or(Stopped::BudgetExhausted)
    }

    /// How long to wait, with `left` until the deadline, or why not to.
    fn wait(
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

const MILLISECOND: Duration = Duration::from_millis(1);

/// Rounded up to the millisecond, as timers are: what is compared with the deadline is what is waited.
fn whole_millis(wait: Duration) -> Duration {
    match wait.subsec_nanos() % 1_000_000 {
        0 => wait,
        rest => wait.saturating_add(MILLISECOND - Duration::from_nanos(rest.into())),
    }
}
