//! The future: attempt, wait, readiness, attempt.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    CopyRequest, Protocol, RetryError, RetryPolicy, Stopped, Withdrawal,
    policy::{Next, Verdict},
};
use crate::{
    outcome::Retryable,
    time::{Instant, Sleep, after, far, run_until},
};

pin_project! {
    /// The response of a [`Retry`](super::Retry) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, C, P, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        pub(super) state: State<S::Future>,
        // What the next attempt needs; none where the running one is the last.
        pub(super) again: Option<Again<S, Req>>,
        // To the end of a wait, or to the moment at which what is under way is cut.
        #[pin]
        pub(super) timer: Option<Sleep>,
        pub(super) policy: RetryPolicy<C, P>,
    }
}

/// A service that was not polled ready yet, and the request for it.
pub(super) struct Again<S, Req> {
    pub(super) service: S,
    pub(super) request: Req,
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<F> {
        // An attempt is running, until it is cut. It has no timer before it is found to be pending.
        Calling { #[pin] future: F, until: Option<Instant> },
        // Between attempts: a wait, and when that is over, until the service has become ready. What the budget gave for the next
        // attempt goes back where this is dropped.
        Between { waiting: bool, taken: Option<Withdrawal> },
        // The deadline had passed before the call.
        TooLate,
    }
}

/// A wait is begun only with something to send again.
const AGAIN: &str = "polled after completion";

/// As many attempts are made in one poll where no wait lies between them.
const AT_ONCE: u32 = 32;

impl<S, C, P, Req> Future for ResponseFuture<S, C, P, Req>
where
    S: Service<Req>,
    C: Retryable<S::Response, S::Error>,
    P: Protocol<Req, S::Response> + CopyRequest<Req>,
{
    type Output = Result<S::Response, RetryError<S::Error>>;

    /// What most calls come to is small enough to be compiled into whoever polls.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let StateProj::Calling { future, .. } = this.state.project() else { return self.go_on(cx, None) };
        let ended = match future.poll(cx) {
            Poll::Pending => Ended::Not,
            Poll::Ready(result) => {
                let verdict = this.policy.judge(result.as_ref());
                match (result, verdict) {
                    (Ok(mut response), Verdict::Success) => {
                        this.policy.mark_response(&mut response, None);
                        return Poll::Ready(Ok(response));
                    }
                    (result, verdict) => Ended::With(result, verdict),
                }
            }
        };
        self.go_on(cx, Some(ended))
    }
}

/// What came of polling an attempt.
enum Ended<Res, Err> {
    Not,
    With(Result<Res, Err>, Verdict),
}

impl<S, C, P, Req> ResponseFuture<S, C, P, Req>
where
    S: Service<Req>,
    C: Retryable<S::Response, S::Error>,
    P: Protocol<Req, S::Response> + CopyRequest<Req>,
{
    /// Does what is left to do, where `polled` is what has just come of polling the attempt that is running.
    #[inline(never)]
    fn go_on(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut polled: Option<Ended<S::Response, S::Error>>,
    ) -> Poll<Result<S::Response, RetryError<S::Error>>> {
        let mut this = self.project();
        let mut at_once = 0;
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling { future, until } => {
                    let ended = polled.take().unwrap_or_else(|| match future.poll(cx) {
                        Poll::Ready(result) => {
                            let verdict = this.policy.judge(result.as_ref());
                            Ended::With(result, verdict)
                        }
                        Poll::Pending => Ended::Not,
                    });
                    let copy = this.again.as_ref().map(|again| &again.request);
                    let (result, next) = match ended {
                        Ended::With(result, verdict) => {
                            let next = this.policy.next(result.as_ref(), verdict, copy);
                            (Some(result), next)
                        }
                        Ended::Not => {
                            run_until(this.timer.as_mut(), *until);
                            ready!(poll_timer(this.timer.as_mut(), cx));
                            if this.policy.session.is_late() {
                                return Poll::Ready(Err(this.policy.cut()));
                            }
                            (None, this.policy.next_after_timeout(copy))
                        }
                    };
                    match next {
                        Next::Finish(stopped) => {
                            return Poll::Ready(match result {
                                Some(result) => this.policy.answer(result, stopped),
                                None => Err(this.policy.timed_out(stopped)),
                            });
                        }
                        Next::Retry { wait, taken } => {
                            // What the attempt held is let go before the wait begins: its response, and its place.
                            this.state.set(State::Between { waiting: !wait.is_zero(), taken });
                            drop(result);
                            if !wait.is_zero() {
                                run_until(this.timer.as_mut(), Some(after(wait).unwrap_or_else(far)));
                                continue;
                            }
                            run_until(this.timer.as_mut(), this.policy.session.deadline);
                            // Nothing is waited for, so nothing else might get its turn.
                            at_once += 1;
                            if at_once == AT_ONCE {
                                cx.waker().wake_by_ref();
                                return Poll::Pending;
                            }
                        }
                    }
                }
                StateProj::Between { waiting, taken } => {
                    if *waiting {
                        ready!(poll_timer(this.timer.as_mut(), cx));
                        run_until(this.timer.as_mut(), this.policy.session.deadline);
                        *waiting = false;
                    }
                    let again = this.again.as_mut().expect(AGAIN);
                    let readiness = match again.service.poll_ready(cx) {
                        Poll::Ready(readiness) => readiness,
                        Poll::Pending => {
                            ready!(poll_timer(this.timer.as_mut(), cx));
                            *taken = None;
                            return Poll::Ready(Err(this.policy.too_late()));
                        }
                    };
                    if let Err(error) = readiness {
                        *taken = None;
                        return Poll::Ready(this.policy.answer(Err(error), Some(Stopped::NotReady)));
                    }
                    // The task may have been woken late, or readiness may have come late: the timer would not know yet.
                    if this.policy.session.is_late() {
                        *taken = None;
                        return Poll::Ready(Err(this.policy.too_late()));
                    }
                    let Again { mut service, mut request } = this.again.take().expect(AGAIN);
                    if let Some(taken) = taken.take() {
                        taken.spend();
                    }
                    let RetryPolicy { basis, session } = this.policy;
                    session.attempts = session.attempts.saturating_add(1);
                    let until = basis.until(session.deadline);
                    let copy = basis.send(&mut request, (session.attempts, session.history), until);
                    this.state.set(State::Calling { future: service.call(request), until });
                    *this.again = copy.map(|request| Again { service, request });
                }
                StateProj::TooLate => return Poll::Ready(Err(this.policy.too_late())),
            }
        }
    }
}

/// Ready when the timer has run, and never without one.
fn poll_timer(timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
}

impl<S: Service<Req>, C, P, Req> fmt::Debug for ResponseFuture<S, C, P, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
