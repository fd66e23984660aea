//! The response: read, verify, reserve, make the inner service ready, call it, settle.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    body::VerifiedBody,
    reading::Reading,
    refusal::{Refusal, RefusalKind, Refuse},
    replay::{ReplayStore, Reserved},
    settings::Settings,
    tell,
    verify::Check,
};
use crate::time::{Sleep, sleep};

pin_project! {
    /// The future of [`VerifySignature`](super::VerifySignature).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R, P>
    where
        S: Service<Request<VerifiedBody>>,
        B: Body,
        P: ReplayStore,
    {
        settings: Arc<Settings<R, P>>,
        #[pin]
        state: State<S, B, B::Data, P>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, D, P>
    where
        S: Service<Request<VerifiedBody>>,
        P: ReplayStore,
    {
        // The body is on its way. The timer is made when it first has to be waited for.
        Reading { #[pin] body: B, #[pin] deadline: Option<Sleep>, reading: Option<Reading<S, D>> },
        // Verified; the store has to say whether it is new.
        Reserving { #[pin] reserving: P::Reserving, next: Option<Next<S>> },
        // New; the inner service has to have room.
        Readying { next: Option<Next<S>>, lease: Option<P::Lease> },
        // The inner service is at work. Dropped, it takes the lease along.
        Calling { #[pin] future: S::Future, lease: Option<P::Lease> },
        // It has answered, and the store has to hear of it.
        Settling { #[pin] settling: P::Settling, result: Option<Result<S::Response, S::Error>> },
        // Not let through.
        Refused { refusal: Refusal },
    }
}

/// What is called, and with what.
struct Next<S> {
    inner: S,
    request: Request<VerifiedBody>,
}

impl<S, B, R, P> ResponseFuture<S, B, R, P>
where
    S: Service<Request<VerifiedBody>>,
    B: Body,
    P: ReplayStore,
{
    pub(super) fn reading(settings: Arc<Settings<R, P>>, check: Check, head: Parts, body: B, inner: S) -> Self {
        let reading = Reading::new(check, head, inner, settings.common.max_body);
        Self { settings, state: State::Reading { body, deadline: None, reading: Some(reading) } }
    }

    pub(super) const fn refused(settings: Arc<Settings<R, P>>, refusal: Refusal) -> Self {
        Self { settings, state: State::Refused { refusal } }
    }
}

impl<R, P: ReplayStore> Settings<R, P> {
    /// What the store hears of a message that was answered, well or not.
    fn settle(&self, lease: Option<P::Lease>, good: bool) -> Option<P::Settling> {
        let (store, lease) = self.replays.as_ref().zip(lease)?;
        Some(if good { store.commit(lease, self.common.remember()) } else { store.release(lease) })
    }
}

impl<S, B, R, P, ResB> Future for ResponseFuture<S, B, R, P>
where
    S: Service<Request<VerifiedBody>, Response = Response<ResB>>,
    B: Body,
    R: Refuse<ResB>,
    P: ReplayStore,
{
    type Output = Result<Response<ResB>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Reading { body, mut deadline, reading } => {
                    let running = reading.as_mut().expect(COMPLETED);
                    let read = match running.poll(body, cx) {
                        Poll::Ready(read) => read,
                        // It has arrived, and others get their turn: that is this server's time, and not the sender's.
                        Poll::Pending if running.is_behind() => return Poll::Pending,
                        Poll::Pending => {
                            if deadline.is_none() {
                                deadline.set(Some(sleep(this.settings.common.body_timeout)));
                            }
                            ready!(deadline.as_pin_mut().map_or(Poll::Pending, |deadline| deadline.poll(cx)));
                            Err(RefusalKind::BodyTimeout)
                        }
                    };
                    match read.and_then(|()| running.judge(this.settings.common.verifier.scheme())) {
                        Ok(key) => {
                            let (inner, request) = reading.take().expect(COMPLETED).finish();
                            let mut next = Next { inner, request };
                            match this.settings.replays.as_ref().zip(key) {
                                Some((store, key)) => {
                                    let reserving = store.reserve(key, this.settings.common.remember());
                                    State::Reserving { reserving, next: Some(next) }
                                }
                                // Mostly it is ready, and the request is not moved once more.
                                None => match next.inner.poll_ready(cx)? {
                                    Poll::Ready(()) => {
                                        State::Calling { future: next.inner.call(next.request), lease: None }
                                    }
                                    Poll::Pending => {
                                        this.state.set(State::Readying { next: Some(next), lease: None });
                                        return Poll::Pending;
                                    }
                                },
                            }
                        }
                        Err(kind) => State::Refused { refusal: Refusal::new(kind) },
                    }
                }
                StateProj::Reserving { reserving, next } => {
                    let kind = match ready!(reserving.poll(cx)) {
                        Ok(Reserved::New(lease)) => Ok(State::Readying { next: next.take(), lease: Some(lease) }),
                        Ok(Reserved::Running) => Err(RefusalKind::InProgress),
                        Ok(Reserved::Done) => Err(RefusalKind::Duplicate),
                        Err(error) => {
                            tell::not_reserved(error);
                            Err(RefusalKind::StoreUnavailable)
                        }
                    };
                    kind.unwrap_or_else(|kind| State::Refused { refusal: Refusal::new(kind) })
                }
                StateProj::Readying { next, lease } => {
                    let waiting = next.as_mut().expect(COMPLETED);
                    match ready!(waiting.inner.poll_ready(cx)) {
                        Ok(()) => {
                            let Next { mut inner, request } = next.take().expect(COMPLETED);
                            let lease = lease.take();
                            State::Calling { future: inner.call(request), lease }
                        }
                        Err(error) => match this.settings.settle(lease.take(), false) {
                            Some(settling) => State::Settling { settling, result: Some(Err(error)) },
                            None => return Poll::Ready(Err(error)),
                        },
                    }
                }
                StateProj::Calling { future, lease } => {
                    let result = ready!(future.poll(cx));
                    let good = result.as_ref().is_ok_and(|response| response.status().is_success());
                    match this.settings.settle(lease.take(), good) {
                        Some(settling) => State::Settling { settling, result: Some(result) },
                        None => return Poll::Ready(result),
                    }
                }
                StateProj::Settling { settling, result } => {
                    if let Err(error) = ready!(settling.poll(cx)) {
                        tell::not_settled(error);
                    }
                    return Poll::Ready(result.take().expect(COMPLETED));
                }
                StateProj::Refused { refusal } => {
                    tell::refused(this.settings.common.verifier.scheme(), &this.settings.common.refusals, refusal);
                    return Poll::Ready(Ok(this.settings.refuse.refuse(refusal)));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, B, R, P> fmt::Debug for ResponseFuture<S, B, R, P>
where
    S: Service<Request<VerifiedBody>>,
    B: Body,
    P: ReplayStore,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Only a future that has returned, or whose inner service panicked, can have nothing left.
const COMPLETED: &str = "polled after completion";
