//! The same policy for `tower`'s own retry service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{CopyRequest, Protocol, RetryPolicy, policy::Next};
use crate::{
    outcome::Retryable,
    time::{Sleep, sleep},
};

/// For stacks that have `tower::retry::Retry` already. What is lost there, since its trait has no place for it:
///
/// * The first attempt carries no [`Attempt`](super::Attempt).
/// * A running attempt is not cut at the deadline; no wait that would reach it is begun, as here.
/// * The last attempt, and one that cannot be repeated, is not shown to the policy: its response carries no
///   [`Attempts`](super::Attempts), and an error never does.
impl<C, P, Req, Res, Err> tower::retry::Policy<Req, Res, Err> for RetryPolicy<C, P>
where
    C: Retryable<Res, Err>,
    P: Protocol<Req, Res> + CopyRequest<Req>,
{
    type Future = Wait;

    fn retry(&mut self, request: &mut Req, result: &mut Result<Res, Err>) -> Option<Wait> {
        self.session.attempts = self.session.attempts.max(1);
        match self.next(result.as_ref(), true) {
            Next::Retry { wait } => {
                self.session.attempts = self.session.attempts.saturating_add(1);
                self.mark_request(request);
                Some(Wait { sleep: (!wait.is_zero()).then(|| sleep(wait)) })
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
            self.begin();
        }
        self.copy(request)
    }
}

pin_project! {
    /// The wait before a retry by `tower::retry::Retry`.
    #[derive(Debug)]
    pub struct Wait {
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.as_pin_mut().map_or(Poll::Ready(()), |sleep| sleep.poll(cx))
    }
}
