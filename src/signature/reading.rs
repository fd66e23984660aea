//! The body as it arrives: taken in, hashed, and judged at its end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, request::Parts};
use http_body::{Body, Frame};

use super::{
    Scheme,
    body::{Intake, TooLarge, VerifiedBody},
    credentials,
    refusal::RefusalKind,
    replay::ReplayKey,
    tell,
    verify::Check,
};

/// As many bytes are hashed in one poll, over all MACs, before other tasks get their turn.
const SLICE: usize = 64 * 1024;
/// What a frame costs beside its bytes, in bytes of hashing: an endless row of empty frames has to yield too.
const FRAME: usize = 256;

/// What a body is read into, and what waits for it.
pub(super) struct Reading<S, D> {
    check: Check,
    intake: Intake,
    /// What is left of the frame at hand.
    frame: Option<D>,
    /// What is taken in and not hashed yet.
    unhashed: Bytes,
    head: Parts,
    inner: S,
}

impl<S, D: Buf> Reading<S, D> {
    pub(super) fn new(check: Check, head: Parts, inner: S, max: usize) -> Self {
        Self { check, intake: Intake::new(max), frame: None, unhashed: Bytes::new(), head, inner }
    }

    /// Takes in and hashes what there is of the body; ready at its end.
    pub(super) fn poll<B: Body<Data = D>>(
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
    pub(super) fn is_behind(&self) -> bool {
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

    /// The verdict, once, and what the message is known by.
    pub(super) fn judge(&mut self, scheme: &Scheme) -> Result<Option<ReplayKey>, RefusalKind> {
        let verified = self.check.finish(scheme)?;
        tell::verified(&verified);
        credentials::hide(&mut self.head.headers);
        self.head.extensions.insert(verified);
        Ok(self.check.key())
    }

    /// What goes on when the verdict is good.
    pub(super) fn finish(self) -> (S, Request<VerifiedBody>) {
        (self.inner, Request::from_parts(self.head, self.intake.finish()))
    }
}
