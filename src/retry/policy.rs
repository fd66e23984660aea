//! What is tried again, and when.

use std::time::Duration;

use super::{
    Attempts, Cause, Protocol, RetryError, RetryPolicyBuilder, Stopped, Withdrawal,
    basis::{Basis, is_over},
    budget::Receipt,
    error::Last,
    history::History,
    settings::MILLISECOND,
    span::Span,
};
use crate::{
    outcome::{Http, Outcome, Results, Retryable},
    time::{Instant, now},
    trace::{count, event},
};

/// What is tried again, how often and when: plain data, cheap to clone, and never changed by a call.
#[derive(Clone, Debug)]
pub struct RetryPolicy<C = Http, P = Http> {
    pub(super) basis: Basis<C, P>,
    pub(super) session: Session,
}

/// How far one request has got. It stays blank in the policy that requests share; each works on a clone of its own.
///
/// In this order: bytes between fields that nothing is written to would be copied along with what is beside them, as one word
/// that was written as two, which a processor takes its time for.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Session {
    /// What was named last.
    backoff: Span,
    pub(super) history: History,
    pub(super) deadline: Option<Instant>,
    /// What the budget gave for the attempt that is being made, where it did.
    paid: Receipt,
    pub(super) attempts: u32,
}

/// What a result says about trying again.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Success,
    /// Not worth a retry.
    Failure,
    /// Worth a retry.
    Retry,
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

impl Session {
    /// One whose first attempt is being made.
    #[inline]
    pub(super) const fn begun(deadline: Option<Instant>) -> Self {
        Self { attempts: 1, backoff: Span::NONE, history: History::NONE, deadline, paid: Receipt::NONE }
    }

    /// Whether the deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        is_over(self.deadline)
    }
}

impl<C, P> RetryPolicy<C, P> {
    /// Judges what an attempt ended with, and counts the request.
    #[inline]
    pub(super) fn judge<Res, Err>(&self, result: Result<&Res, &Err>) -> Verdict
    where
        C: Retryable<Res, Err>,
    {
        let retryable = self.basis.classify.is_retryable(result);
        // What was never sent earns nothing.
        if retryable || !self.basis.classify.is_rejected(result) {
            self.count_request();
        }
        if retryable {
            Verdict::Retry
        } else if result.is_err() || self.basis.classify.classify(result) != Outcome::Success {
            Verdict::Failure
        } else {
            Verdict::Success
        }
    }

    /// What follows an attempt that ended with `result`, of which [`judge`](Self::judge) has said the verdict; `copy` is the
    /// request to send again, if there is one.
    pub(super) fn next<Req, Res, Err>(
        &mut self,
        result: Result<&Res, &Err>,
        verdict: Verdict,
        copy: Option<&Req>,
    ) -> Next
    where
        C: Retryable<Res, Err>,
        P: Protocol<Req, Res>,
    {
        match verdict {
            Verdict::Success => return Next::Finish(None),
            Verdict::Failure => {
                // What was never sent costs nothing: the circuit opened while this retry was waited for.
                if let Some(budget) = self.basis.settings.budget()
                    && self.basis.classify.is_rejected(result)
                {
                    budget.take_back(self.session.paid);
                }
                return Next::Finish(Some(Stopped::NotRetryable));
            }
            Verdict::Retry => {}
        }
        let hint = |policy: &Self| policy.basis.classify.retry_after(result, policy.basis.settings.date());
        let cause = |protocol: &P| result.map_or(Cause::Error, |response| protocol.cause(response));
        self.again(copy, hint, cause)
    }

    /// Judges an attempt that was cut at its own limit.
    pub(super) fn next_after_timeout<Req, Res>(&mut self, copy: Option<&Req>) -> Next
    where
        P: Protocol<Req, Res>,
    {
        self.count_request();
        self.again(copy, |_| None, |_| Cause::Timeout)
    }

    /// Whether what is worth a retry gets one.
    fn again<Req, Res>(
        &mut self,
        copy: Option<&Req>,
        hint: impl FnOnce(&Self) -> Option<Duration>,
        cause: impl FnOnce(&P) -> Cause,
    ) -> Next
    where
        P: Protocol<Req, Res>,
    {
        if self.session.attempts >= self.basis.settings.max_attempts() {
            return Next::Finish(Some(Stopped::Exhausted));
        }
        let Some(copy) = copy else { return Next::Finish(Some(Stopped::NotRepeatable)) };
        let random = self.basis.settings.random();
        // The growth goes on where a hint takes a wait's place.
        let backoff = self.basis.settings.delay(self.session.attempts, self.session.backoff.get(), random);
        self.session.backoff = Span::new(backoff);
        let hint = hint(self);
        // A timer ends with the tick of a millisecond in which its time is over, so up to one later.
        let until = |at: Instant| at.saturating_duration_since(now()).saturating_sub(MILLISECOND);
        let left = self.session.deadline.map_or(Duration::MAX, until);
        // The budget is asked last: what is not going to be made costs nothing.
        let wait = self.basis.settings.wait(backoff, hint, left, random);
        match wait.and_then(|wait| Ok((wait, self.basis.settings.withdraw()?))) {
            // Only this comes later, since a yes ends what was sent before; where it is no, the budget gets back what it gave.
            Ok(_) if !self.basis.protocol.reclaim(copy) => Next::Finish(Some(Stopped::NotRepeatable)),
            Ok((wait, taken)) => {
                let cause = cause(&self.basis.protocol);
                event!(
                    DEBUG,
                    "retrying",
                    attempts = self.session.attempts,
                    wait = format_args!("{wait:?}"),
                    cause = format_args!("{cause}"),
                );
                count!("portcullis_retries_total", "cause" = cause.to_string());
                self.session.history.push(cause);
                self.session.paid = taken.as_ref().map_or(Receipt::NONE, Withdrawal::receipt);
                Next::Retry { wait, taken }
            }
            Err(stopped) => Next::Finish(Some(stopped)),
        }
    }

    /// Counts the request where there is a budget: once, when its first attempt has ended.
    fn count_request(&self) {
        if let Some(budget) = self.basis.settings.budget()
            && self.session.attempts == 1
        {
            budget.record_request();
        }
    }

    /// Tells of giving up, where that is how it ended.
    pub(super) fn tell(&self, stopped: Option<Stopped>) {
        if let Some(stopped) = stopped {
            event!(DEBUG, "giving up", attempts = self.session.attempts, reason = stopped.as_str());
            count!("portcullis_retry_giveups_total", "reason" = stopped.as_str());
        }
    }

    /// The error of an attempt that the deadline cut.
    pub(super) fn cut<Err>(&self) -> RetryError<Err> {
        self.count_request();
        self.fail(Stopped::Deadline, Last::Deadline)
    }

    /// The error of a call whose deadline has passed while no attempt was running.
    pub(super) fn too_late<Err>(&self) -> RetryError<Err> {
        self.fail(Stopped::Deadline, Last::Deadline)
    }

    /// The error of a call whose last attempt was cut at its own limit.
    pub(super) fn timed_out<Err>(&self, stopped: Option<Stopped>) -> RetryError<Err> {
        self.fail(stopped.unwrap_or(Stopped::Exhausted), Last::TimedOut)
    }

    fn fail<Err>(&self, stopped: Stopped, last: Last<Err>) -> RetryError<Err> {
        self.tell(Some(stopped));
        RetryError::new(self.session.attempts, stopped, self.session.history, last)
    }

    /// Tells the caller how many attempts it took.
    pub(super) fn mark_response<Req, Res>(&self, response: &mut Res, stopped: Option<Stopped>)
    where
        P: Protocol<Req, Res>,
    {
        self.basis
            .protocol
            .mark_response(response, Attempts::new(self.session.attempts, stopped, self.session.history));
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
                self.tell(stopped);
                self.mark_response(&mut response, stopped);
                Ok(response)
            }
            Err(error) => Err(self.fail(stopped.unwrap_or(Stopped::NotRetryable), Last::Error(error))),
        }
    }
}
