//! What is tried again, and when.

use std::time::Duration;

use super::{
    Attempt, Attempts, Backoff, Cause, CopyRequest, Protocol, RetryError, RetryPolicyBuilder, Stopped, backoff,
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
    pub(super) wall_clock: WallClock,
    pub(super) random: fn() -> f64,
}

/// How far one request has got. It stays blank in the policy that requests share; each works on a clone of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    pub(super) attempts: u32,
    backoff: Duration,
    cause: Option<Cause>,
    pub(super) deadline: Option<Instant>,
}

/// What follows a finished attempt.
pub(super) enum Next {
    Retry { wait: Duration },
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
        self.session.deadline = self.settings.deadline.and_then(|deadline| now().checked_add(deadline));
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

    /// Judges a finished attempt; `copied` says whether there is a request to send again.
    pub(super) fn next<Req, Res, Err>(&mut self, result: Result<&Res, &Err>, copied: bool) -> Next
    where
        C: Retryable<Res, Err>,
        P: Protocol<Req, Res>,
    {
        if !self.classify.is_retryable(result) {
            let failed = result.is_err() || self.classify.classify(result) == Outcome::Failure;
            return self.finish(failed.then_some(Stopped::NotRetryable));
        }
        if self.session.attempts >= self.settings.max_attempts {
            return self.finish(Some(Stopped::Exhausted));
        }
        if !copied {
            return self.finish(Some(Stopped::NotRepeatable));
        }
        let random = (self.settings.random)();
        // The growth goes on where a hint takes a wait's place.
        self.session.backoff = self.settings.backoff.delay(self.session.attempts, self.session.backoff, random);
        let hint = self.classify.retry_after(result, self.settings.wall_clock.now());
        let left = self.session.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(now()));
        match self.settings.wait(self.session.backoff, hint, left, random) {
            Ok(wait) => {
                self.session.cause = Some(result.map_or(Cause::Error, |response| self.protocol.cause(response)));
                event!(
                    DEBUG,
                    "retrying",
                    attempts = self.session.attempts,
                    wait = format_args!("{wait:?}"),
                    cause = format_args!("{:?}", self.session.cause)
                );
                Next::Retry { wait }
            }
            Err(stopped) => self.finish(Some(stopped)),
        }
    }

    fn finish(&self, stopped: Option<Stopped>) -> Next {
        if stopped.is_some() {
            event!(DEBUG, "giving up", attempts = self.session.attempts, reason = stopped.map(Stopped::as_str));
        }
        Next::Finish(stopped)
    }

    /// The error of an attempt that the deadline cut.
    pub(super) fn cut<Err>(&self) -> RetryError<Err> {
        self.finish(Some(Stopped::Deadline));
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
            return if backoff < left { Ok(backoff) } else { Err(Stopped::Deadline) };
        };
        if hint > self.retry_after_max {
            return Err(Stopped::HintTooLong);
        }
        if hint >= left {
            return Err(Stopped::Deadline);
        }
        // Jitter takes at most half of what the hint leaves, so that the attempt has the other half.
        let most = backoff::seconds(hint.as_secs_f64() * self.hint_jitter).min((left - hint) / 2);
        Ok(hint.saturating_add(backoff::scale(most, random)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(retry_after_max: Duration, hint_jitter: f64) -> Settings {
        RetryPolicy::http().retry_after_max(retry_after_max).hint_jitter(hint_jitter).build().unwrap().settings
    }

    #[test]
    fn a_hint_takes_the_place_of_the_backoff_and_is_lengthened_at_most() {
        let settings = settings(SECOND * 10, 0.5);
        let wait = |hint, random| settings.wait(SECOND, Some(hint), Duration::MAX, random);
        assert_eq!(wait(SECOND * 5, 0.0), Ok(SECOND * 5));
        assert_eq!(wait(SECOND * 5, 1.0), Ok(SECOND * 15 / 2));
        assert_eq!(wait(SECOND / 4, 0.0), Ok(SECOND / 4));
        assert_eq!(wait(Duration::ZERO, 0.0), Ok(SECOND));
        assert_eq!(wait(SECOND * 10, 1.0), Ok(SECOND * 15));
        assert_eq!(wait(SECOND * 10 + Duration::from_nanos(1), 0.0), Err(Stopped::HintTooLong));
    }

    #[test]
    fn no_wait_reaches_the_deadline() {
        let settings = settings(SECOND * 60, 0.1);
        let wait = |hint, left| settings.wait(SECOND, hint, left, 1.0);
        assert_eq!(wait(None, SECOND), Err(Stopped::Deadline));
        assert_eq!(wait(None, SECOND + Duration::from_nanos(1)), Ok(SECOND));
        assert_eq!(wait(Some(SECOND * 10), SECOND * 10), Err(Stopped::Deadline));
        // A tenth would be a second, and half of what the hint leaves is half of one.
        assert_eq!(wait(Some(SECOND * 10), SECOND * 11), Ok(SECOND * 21 / 2));
        assert_eq!(wait(Some(SECOND * 10), SECOND * 60), Ok(SECOND * 11));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_the_hint_nor_reaches_the_deadline(
            backoff: Duration,
            hint: Option<Duration>,
            left: Duration,
            jitter in prop_oneof![0.0..10.0, Just(f64::MAX)],
            random in 0.0..=1.0,
            max: Duration,
        ) {
            match settings(max, jitter).wait(backoff, hint, left, random) {
                Ok(wait) => prop_assert!(wait < left && wait >= hint.unwrap_or_default()),
                Err(Stopped::HintTooLong) => prop_assert!(hint > Some(max)),
                Err(stopped) => {
                    prop_assert_eq!(stopped, Stopped::Deadline);
                    prop_assert!(hint.filter(|hint| !hint.is_zero()).unwrap_or(backoff) >= left);
                }
            }
        }
    }
}
