//! The response: read, verify, make the inner service ready, call it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Response, request::Parts};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Scheme,
    body::{Intake, TooLarge, VerifiedBody},
    credentials,
    layer::Gate,
    refusal::{Refusal, RefusalKind, Refuse},
    verify::Check,
};
use crate::{
    time::{Sleep, sleep},
    trace::event,
};

/// As many bytes are hashed in one poll, over all MACs, before other tasks get their turn.
const SLICE: usize = 64 * 1024;
/// What a frame costs beside its bytes, in bytes of hashing: an endless row of empty frames has to yield too.
const FRAME: usize = 256;

pin_project! {
    /// The future of [`VerifySignature`](super::VerifySignature).
    #[must_use = "futures do nothing unless they are polled"]
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<VerifiedBody>>,
        B: Body,
    {
        gate: Arc<Gate<R>>,
        #[pin]
        state: State<S, B, B::Data, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, D, F> {
        // The body is on its way. The timer is made when it first has to be waited for.
        Reading { #[pin] body: B, #[pin] deadline: Option<Sleep>, reading: Option<Reading<S, D>> },
        // Verified; the inner service has to have room.
        Readying { inner: S, request: Option<Request<VerifiedBody>> },
        // The inner service is at work.
        Calling { #[pin] future: F },
        // Not let through.
        Refused { refusal: Refusal },
    }
}

/// What a body is read into, and what waits for it.
struct Reading<S, D> {
    check: Check,
    intake: Intake,
    /// What is left of the frame at hand.
    frame: Option<D>,
    /// What is taken in and not hashed yet.
    unhashed: Bytes,
    head: Parts,
    inner: S,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<VerifiedBody>>,
    B: Body,
{
    pub(super) fn reading(gate: Arc<Gate<R>>, check: Check, head: Parts, body: B, inner: S) -> Self {
        let intake = Intake::new(gate.max_body);
        let reading = Reading { check, intake, frame: None, unhashed: Bytes::new(), head, inner };
        Self { gate, state: State::Reading { body, deadline: None, reading: Some(reading) } }
    }

    pub(super) const fn refused(gate: Arc<Gate<R>>, refusal: Refusal) -> Self {
        Self { gate, state: State::Refused { refusal } }
    }
}

impl<S, D: Buf> Reading<S, D> {
    /// Takes in and hashes what there is of the body; ready at its end.
    fn poll<B: Body<Data = D>>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RefusalKind>> {
        let mut budget = SLICE;
        let cost = self.check.width().max(1);
        while budget > 0 {
            if !self.unhashed.is_empty() {
                let length = self.unhashed.len().min(budget.div_ceil(cost));
                self.check.update(&self.unhashed.split_to(length));
                budget = budget.saturating_sub(length * cost);
            } else if let Some(data) = self.frame.as_mut().filter(|data| !data.chunk().is_empty()) {
                self.unhashed = data.copy_to_bytes(data.chunk().len());
                self.intake.keep(&self.unhashed);
            } else {
                self.frame = None;
                budget = budget.saturating_sub(FRAME);
                match ready!(body.as_mut().poll_frame(cx)) {
                    None => return Poll::Ready(Ok(())),
                    Some(Err(_)) => return Poll::Ready(Err(RefusalKind::BodyAborted)),
                    Some(Ok(frame)) => self.take(frame)?,
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether there are bytes that have arrived and are not hashed yet.
    fn is_behind(&self) -> bool {
        !self.unhashed.is_empty() || self.frame.as_ref().is_some_and(Buf::has_remaining)
    }

    fn take(&mut self, frame: Frame<D>) -> Result<(), RefusalKind> {
        // Trailers end a body, so what follows them is none.
        if self.intake.is_complete() {
            return Err(RefusalKind::BodyAborted);
        }
        let taken = match frame.into_data() {
            Ok(data) => self.intake.admit(data.remaining()).map(|()| self.frame = Some(data)),
            Err(frame) => frame.into_trailers().map_or(Ok(()), |trailers| self.intake.trailers(trailers)),
        };
        taken.map_err(|TooLarge| RefusalKind::BodyTooLarge)
    }

    /// The verdict, and what goes on if it is good.
    fn finish(self, scheme: &Scheme) -> Result<(S, Request<VerifiedBody>), RefusalKind> {
        let verified = self.check.finish(scheme)?;
        let mut request = Request::from_parts(self.head, self.intake.finish());
        credentials::hide(request.headers_mut());
        request.extensions_mut().insert(verified);
        Ok((self.inner, request))
    }
}

impl<S, B, R, ResB> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<VerifiedBody>, Response = Response<ResB>>,
    B: Body,
    R: Refuse<ResB>,
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
                                deadline.set(Some(sleep(this.gate.body_timeout)));
                            }
                            ready!(deadline.as_pin_mut().map_or(Poll::Pending, |deadline| deadline.poll(cx)));
                            Err(RefusalKind::BodyTimeout)
                        }
                    };
                    let reading = reading.take().expect(COMPLETED);
                    match read.and_then(|()| reading.finish(&this.gate.scheme)) {
                        Ok((inner, request)) => State::Readying { inner, request: Some(request) },
                        Err(kind) => State::Refused { refusal: Refusal::new(kind) },
                    }
                }
                StateProj::Readying { inner, request } => {
                    ready!(inner.poll_ready(cx))?;
                    let request = request.take().expect(COMPLETED);
                    State::Calling { future: inner.call(request) }
                }
                StateProj::Calling { future } => return future.poll(cx),
                StateProj::Refused { refusal } => {
                    event!(DEBUG, "request refused", reason = refusal.as_str());
                    return Poll::Ready(Ok(this.gate.refuse.refuse(refusal)));
                }
            };
            this.state.set(next);
        }
    }
}

/// Only a future that has returned, or whose inner service panicked, can have nothing left.
const COMPLETED: &str = "polled after completion";
