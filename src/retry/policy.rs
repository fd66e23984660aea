//! What is tried again, and when.

use std::time::Duration;

use super::{
    Attempt, Attempts, Cause, CopyRequest, Deadline, Protocol, RetryError, RetryPolicyBuilder, Stopped, Withdrawal,
    error::Last,
    history::History,
    settings::{MILLISECOND, Settings},
};
use crate::{
    outcome::{Http, Outcome, Results, Retryable},
    time::{Instant, after, can_be_waited_for, now},
    trace::{count, event},
};

/// What is tried again, how often and when: plain data, cheap to clone, and never changed by a call.
#[derive(Clone, Debug)]
pub struct RetryPolicy<C = Http, P = Http> {
    pub(super) settings: Settings,
    pub(super) classify: C,
    pub(super) protocol: P,
    pub(super) session: Session,
}

/// How far one request has got. It stays blank in the policy that requests share; each works on a clone of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    pub(super) attempts: u32,
    backoff: Duration,
    history: History,
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

impl<C: Clone, P: Clone> RetryPolicy<C, P> {
    /// A clone to work on, for one request.
    pub(super) fn fresh(&self) -> Self {
        // The session of a policy that is shared is blank, and a blank one is cheaper to make than to copy.
        Self {
            settings: self.settings.clone(),
            classify: self.classify.clone(),
            protocol: self.protocol.clone(),
            session: Session::default(),
        }
    }
}

impl<C, P> RetryPolicy<C, P> {
    /// Starts the clock of one request; says whether there is any time.
    pub(super) fn begin<Req, Res>(&mut self, request: &Req) -> bool
    where
        P: Protocol<Req, Res>,
    {
        let given = self.protocol.deadline(request).map(Deadline::moment).filter(can_be_waited_for);
        self.session.deadline = earlier(self.settings.deadline.and_then(after), given);
        given.is_none() || !self.is_late()
    }

    /// Whether the deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.session.deadline.is_some_and(|deadline| now() >= deadline)
    }

    /// When an attempt that begins now is cut: at the deadline or before.
    pub(super) fn until(&self) -> Option<Instant> {
        earlier(self.settings.attempt_timeout.and_then(after), self.session.deadline)
    }

    /// Counts and marks an attempt that is about to be made, and keeps a copy where another could follow.
    pub(super) fn send<Req, Res>(&mut self, request: &mut Req, until: Option<Instant>) -> Option<Req>
    where
        P: Protocol<Req, Res> + CopyRequest<Req>,
    {
        self.session.attempts = self.session.attempts.saturating_add(1);
        // The copy is made before the marks, which are of this attempt alone.
        let copy = self.copy(request);
        self.mark_request(request, until);
        copy
    }

    /// Tells the inner service which attempt it gets, and until when somebody waits for it.
    pub(super) fn mark_request<Req, Res>(&self, request: &mut Req, until: Option<Instant>)
    where
        P: Protocol<Req, Res>,
    {
        let number = self.session.attempts.saturating_sub(1);
        self.protocol.mark_request(request, Attempt::new(number, self.session.history));
        if let Some(until) = until {
            self.protocol.mark_deadline(request, Deadline::new(until));
        }
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
        let hint = |policy: &Self| policy.classify.retry_after(result, policy.settings.wall_clock.now());
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
        if self.session.attempts >= self.settings.max_attempts {
            return Next::Finish(Some(Stopped::Exhausted));
        }
        let Some(copy) = copy else { return Next::Finish(Some(Stopped::NotRepeatable)) };
        let random = (self.settings.random)();
        // The growth goes on where a hint takes a wait's place.
        self.session.backoff = self.settings.backoff.delay(self.session.attempts, self.session.backoff, random);
        let hint = hint(self);
        // A timer ends with the tick of a millisecond in which its time is over, so up to one later.
        let until = |at: Instant| at.saturating_duration_since(now()).saturating_sub(MILLISECOND);
        let left = self.session.deadline.map_or(Duration::MAX, until);
        // The budget is asked last: what is not going to be made costs nothing.
        let wait = self.settings.wait(self.session.backoff, hint, left, random);
        match wait.and_then(|wait| Ok((wait, self.settings.withdraw()?))) {
            // Only this comes later, since a yes ends what was sent before; where it is no, the budget gets back what it gave.
            Ok(_) if !self.protocol.reclaim(copy) => Next::Finish(Some(Stopped::NotRepeatable)),
            Ok((wait, taken)) => {
                let cause = cause(&self.protocol);
                event!(
                    DEBUG,
                    "retrying",
                    attempts = self.session.attempts,
                    wait = format_args!("{wait:?}"),
                    cause = format_args!("{cause}"),
                );
                count!("portcullis_retries_total", "cause" = cause.to_string());
                self.session.history.push(cause);
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
            count!("portcullis_retry_giveups_total", "reason" = stopped.as_str());
        }
    }

    /// The error of an attempt that the deadline cut.
    pub(super) fn cut<Err>(&mut self) -> RetryError<Err> {
        self.count_request();
        self.fail(Stopped::Deadline, Last::Deadline)
    }

    /// The error of a call whose deadline had passed when it came: nothing was sent.
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
        self.protocol.mark_response(response, Attempts::new(self.session.attempts, stopped, self.session.history));
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

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
