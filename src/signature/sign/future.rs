//! The response: gather the body, sign, call.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{Request, request::Parts};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{NotSigned, SignedBody, SigningError};
use crate::{
    BoxError,
    signature::{
        Signer,
        body::{Intake, declares_more},
    },
};

pin_project! {
    /// The future of [`Sign`](super::Sign).
    #[must_use = "futures do nothing unless polled"]
    pub struct SignFuture<S, B>
    where
        S: Service<Request<SignedBody>>,
        B: Body,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F> {
        // The body is being gathered.
        Gathering { #[pin] body: B, gathering: Option<Gathering<S>> },
        // It is larger than the cap, and says so.
        TooLarge,
        // Signed, and sent.
        Calling { #[pin] future: F },
    }
}

/// What is gathered, and what waits for it.
struct Gathering<S> {
    intake: Intake,
    head: Parts,
    signer: Arc<Signer>,
    inner: S,
}

impl<S, B> SignFuture<S, B>
where
    S: Service<Request<SignedBody>>,
    B: Body,
{
    pub(super) fn new(inner: S, signer: Arc<Signer>, max_body: usize, request: Request<B>) -> Self {
        let (head, body) = request.into_parts();
        if declares_more(&head.headers, &body, max_body) {
            return Self { state: State::TooLarge };
        }
        let gathering = Gathering { intake: Intake::new(max_body), head, signer, inner };
        Self { state: State::Gathering { body, gathering: Some(gathering) } }
    }
}

impl<S> Gathering<S> {
    fn take<D: Buf>(&mut self, frame: Frame<D>) -> Result<(), NotSigned> {
        let taken = match frame.into_data() {
            Ok(mut data) => self.intake.admit(data.remaining()).map(|()| {
                while data.has_remaining() {
                    let piece = data.copy_to_bytes(data.chunk().len());
                    self.intake.keep(&piece);
                }
            }),
            Err(frame) => frame.into_trailers().map_or(Ok(()), |trailers| self.intake.trailers(trailers)),
        };
        taken.map_err(|_| NotSigned::TooLarge)
    }

    fn sign(self) -> Result<(S, Request<SignedBody>), NotSigned> {
        let Self { intake, mut head, signer, inner } = self;
        let body = intake.finish();
        signer.sign_all(&mut head.headers, &head.extensions, body.frames())?;
        Ok((inner, Request::from_parts(head, SignedBody::new(body))))
    }
}

impl<S, B> Future for SignFuture<S, B>
where
    S: Service<Request<SignedBody>>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<S::Response, SigningError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Gathering { mut body, gathering } => {
                    let gathered = gathering.as_mut().expect(COMPLETED);
                    match ready!(body.as_mut().poll_frame(cx)) {
                        Some(Ok(frame)) => {
                            gathered.take(frame)?;
                            continue;
                        }
                        Some(Err(error)) => return Poll::Ready(Err(NotSigned::Body(error.into()).into())),
                        None => {}
                    }
                    let (mut inner, request) = gathering.take().expect(COMPLETED).sign()?;
                    State::Calling { future: inner.call(request) }
                }
                StateProj::TooLarge => return Poll::Ready(Err(NotSigned::TooLarge.into())),
                StateProj::Calling { future } => return future.poll(cx).map_err(SigningError::Inner),
            };
            this.state.set(next);
        }
    }
}

impl<S: Service<Request<SignedBody>>, B: Body> fmt::Debug for SignFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignFuture").finish_non_exhaustive()
    }
}

/// Only a future that has returned, or whose inner service panicked, can have nothing left.
const COMPLETED: &str = "polled after completion";
