//! The same policy for `tower`'s own retry service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    CopyRequest, Protocol, RetryPolicy, Withdrawal,
    policy::{Next, Session},
};
use crate::{
    outcome::Retryable,
    time::{Sleep, sleep},
};

/// For stacks that have `tower::retry::Retry` already. What is lost there, since its trait has no place for it:
///
/// * The first attempt carries no [`Attempt`](super::Attempt) and no [`Deadline`](super::Deadline) of the policy's.
/// * A running attempt is not cut, neither at the deadline nor at the limit of one attempt; no wait that would reach the
///   deadline is begun, as here. A request whose own deadline has passed is sent once all the same.
/// * The last attempt, and one that cannot be repeated, is not shown to the policy: its response carries no
///   [`Attempts`](super::Attempts), and an error never does.
/// * A request that is not to be repeated is not shown to the policy at all, and earns no retry in a
///   [`Budget`](super::Budget). A retry is paid for when its wait is over; one that is dropped while its service becomes
///   ready does not get it back.
impl<C, P, Req, Res, Err> tower::retry::Policy<Req, Res, Err> for RetryPolicy<C, P>
where
    C: Retryable<Res, Err>,
    P: Protocol<Req, Res> + CopyRequest<Req>,
{
    type Future = Wait;

    fn retry(&mut self, request: &mut Req, result: &mut Result<Res, Err>) -> Option<Wait> {
        self.session.attempts = self.session.attempts.max(1);
        let verdict = self.judge(result.as_ref());
        match self.next(result.as_ref(), verdict, Some(&*request)) {
            Next::Retry { wait, taken } => {
                self.session.attempts = self.session.attempts.saturating_add(1);
                let Session { attempts, history, deadline, .. } = self.session;
                self.basis.mark_request(request, (attempts, history), deadline);
                Some(Wait { sleep: (!wait.is_zero()).then(|| sleep(wait)), taken })
            }
            Next::Finish(stopped) => {
                self.tell(stopped);
                if let Ok(response) = result {
                    self.mark_response(response, stopped);
                }
                None
            }
        }
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        // The policy that all requests share is asked first, and is cloned for this request then.
        if self.session.attempts == 0 {
            (self.session.deadline, _) = self.basis.deadline(request);
        }
        self.basis.copy(request, self.session.attempts)
    }
}

pin_project! {
    /// The wait before a retry by `tower::retry::Retry`.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Wait {
        #[pin]
        sleep: Option<Sleep>,
        // Dropped before the end of the wait, it goes back to the budget.
        taken: Option<Withdrawal>,
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if let Some(sleep) = this.sleep.as_pin_mut() {
            ready!(sleep.poll(cx));
        }
        if let Some(taken) = this.taken.take() {
            taken.spend();
        }
        Poll::Ready(())
    }
}
