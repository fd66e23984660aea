//! The future: attempt, wait, readiness, attempt.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{CopyRequest, Protocol, RetryError, RetryPolicy, Stopped, Withdrawal, policy::Next};
use crate::{
    outcome::Retryable,
    time::{Sleep, after, far, run_until},
};

pin_project! {
    /// The response of a [`Retry`](super::Retry) service.
    pub struct ResponseFuture<S, C, P, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        pub(super) state: State<S::Future>,
        // What the next attempt needs; none where the running one is the last.
        pub(super) again: Option<Again<S, Req>>,
        // What the budget gave for that attempt. Dropped before it is made, it goes back.
        pub(super) taken: Option<Withdrawal>,
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
        // An attempt is running.
        Calling { #[pin] future: F },
        // Between attempts.
        Waiting,
        // The wait is over, and the service has to become ready.
        Readying,
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut at_once = 0;
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling { future } => {
                    let result = match future.poll(cx) {
                        Poll::Ready(result) => Some(result),
                        Poll::Pending => {
                            ready!(poll_timer(this.timer.as_mut(), cx));
                            if this.policy.is_late() {
                                return Poll::Ready(Err(this.policy.cut()));
                            }
                            None
                        }
                    };
                    let copy = this.again.as_ref().map(|again| &again.request);
                    let next = match &result {
                        Some(result) => this.policy.next(result.as_ref(), copy),
                        None => this.policy.next_after_timeout(copy),
                    };
                    match next {
                        Next::Finish(stopped) => {
                            return Poll::Ready(match result {
                                Some(result) => this.policy.answer(result, stopped),
                                None => Err(this.policy.timed_out(stopped)),
                            });
                        }
                        Next::Retry { wait, taken } => {
                            *this.taken = taken;
                            // What the attempt held is let go before the wait begins: its response, and its place.
                            this.state.set(State::Readying);
                            drop(result);
                            if !wait.is_zero() {
                                run_until(this.timer.as_mut(), Some(after(wait).unwrap_or_else(far)));
                                this.state.set(State::Waiting);
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
                StateProj::Waiting => {
                    ready!(poll_timer(this.timer.as_mut(), cx));
                    run_until(this.timer.as_mut(), this.policy.session.deadline);
                    this.state.set(State::Readying);
                }
                StateProj::Readying => {
                    let again = this.again.as_mut().expect(AGAIN);
                    let readiness = match again.service.poll_ready(cx) {
                        Poll::Ready(readiness) => readiness,
                        Poll::Pending => {
                            ready!(poll_timer(this.timer.as_mut(), cx));
                            *this.taken = None;
                            return Poll::Ready(Err(this.policy.cut()));
                        }
                    };
                    if let Err(error) = readiness {
                        *this.taken = None;
                        return Poll::Ready(this.policy.answer(Err(error), Some(Stopped::NotReady)));
                    }
                    // The task may have been woken late, or readiness may have come late: the timer would not know yet.
                    if this.policy.is_late() {
                        *this.taken = None;
                        return Poll::Ready(Err(this.policy.cut()));
                    }
                    let Again { mut service, mut request } = this.again.take().expect(AGAIN);
                    if let Some(taken) = this.taken.take() {
                        taken.spend();
                    }
                    let until = this.policy.until();
                    let copy = this.policy.send(&mut request, until);
                    run_until(this.timer.as_mut(), until);
                    this.state.set(State::Calling { future: service.call(request) });
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
