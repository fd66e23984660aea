//! What all sendings of one body share.
//!
//! A lock is held for a few steps of [`Reading`], and nothing of anybody else's runs under it: the original body is taken out
//! of its place to be polled, and is back before another sending may take it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::Extensions;
use http_body::{Body, Frame};

use super::{
    NotReplayed, ReplayError,
    reading::{After, Id, Place, Polled, Reading, Rest, Step},
};

pub(super) struct Shared<B> {
    control: Arc<Control>,
    original: Mutex<Option<Pin<Box<B>>>>,
}

/// Apart from the body, so that a request's extensions can hold it whatever the body is.
pub(super) struct Control(Mutex<Reading>);

/// In the extensions of a request: where to ask whether it can be sent again.
#[derive(Clone)]
pub(super) struct Handle(Weak<Control>);

/// Whether a request with these extensions, a copy of one that was sent, can still be sent itself. If so, the one that was
/// sent is over, and takes nothing more of the body that they share: so this is asked last, and once.
///
/// One that was sent, and whose body nobody has polled yet, is over when the copy is first polled.
pub(crate) fn reclaim(extensions: &Extensions) -> bool {
    // Where nothing holds the body any more, the request has another.
    extensions.get::<Handle>().and_then(|handle| handle.0.upgrade()).is_none_or(|control| control.reclaim())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// What is to be done after the lock is done after it.
    fn with<T>(&self, act: impl FnOnce(&mut Reading) -> (T, After)) -> T {
        let (answer, after) = act(&mut lock(&self.0));
        let After { wake, kept, waker } = after;
        drop((kept, waker));
        if let Some(waker) = wake {
            waker.wake();
        }
        answer
    }

    fn reclaim(&self) -> bool {
        self.with(Reading::reclaim)
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Reading) -> T) -> T {
        read(&lock(&self.0))
    }

    pub(super) fn copy(&self, id: Id) -> Id {
        lock(&self.0).copy(id)
    }

    pub(super) fn forget(&self, id: Id) {
        self.with(|reading| ((), reading.forget(id)));
    }
}

type Answer<E> = Poll<Option<Result<Frame<Bytes>, ReplayError<E>>>>;

impl<B: Body> Shared<B> {
    pub(super) fn new(original: B, cap: usize) -> Self {
        let rest = Rest { hint: original.size_hint(), is_end: original.is_end_stream() };
        Self {
            control: Arc::new(Control(Mutex::new(Reading::new(cap, rest)))),
            original: Mutex::new(Some(Box::pin(original))),
        }
    }

    pub(super) fn poll_frame(&self, id: Id, place: &mut Place, cx: &mut Context<'_>) -> Answer<B::Error> {
        loop {
            match self.control.with(|reading| reading.step(id, place)) {
                Step::Give(frame) => return Poll::Ready(Some(Ok(frame))),
                Step::Refuse(why) => return Poll::Ready(Some(Err(ReplayError::NotReplayed(why)))),
                Step::End => return Poll::Ready(None),
                Step::Read => return self.poll_original(id, place, cx),
                Step::Wait => {
                    let waker = cx.waker().clone();
                    if self.control.with(|reading| reading.wait(id, waker)) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Nobody else does at the same time: that is `Step::Read`.
    fn poll_original(&self, id: Id, place: &mut Place, cx: &mut Context<'_>) -> Answer<B::Error> {
        let mut turn = Turn { control: &self.control, id, place, ended: false };
        let Some(mut original) = lock(&self.original).take() else {
            // It panicked.
            return Poll::Ready(Some(Err(ReplayError::NotReplayed(NotReplayed::Failed))));
        };
        let mut failed = None;
        let polled = match original.as_mut().poll_frame(cx) {
            Poll::Pending => Polled::Pending,
            Poll::Ready(None) => Polled::End,
            Poll::Ready(Some(Err(error))) => {
                failed = Some(error);
                Polled::Failed
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data().map_err(Frame::into_trailers) {
                Ok(mut data) => Polled::Data(data.copy_to_bytes(data.remaining())),
                Err(Ok(trailers)) => Polled::Trailers(trailers),
                // There is no third kind, and if there were, nobody would know how to keep it.
                Err(Err(_)) => Polled::Data(Bytes::new()),
            },
        };
        let mut rest = None;
        let mut waker = None;
        if let Polled::Pending | Polled::Data(_) = polled {
            rest = Some(Rest { hint: original.size_hint(), is_end: original.is_end_stream() });
            *lock(&self.original) = Some(original);
        }
        if let Polled::Pending = polled {
            waker = Some(cx.waker().clone());
        }
        turn.ended = true;
        if !self.control.with(|reading| reading.record(id, turn.place, &polled, rest, waker)) {
            return Poll::Ready(Some(Err(ReplayError::NotReplayed(NotReplayed::Superseded))));
        }
        match (polled, failed) {
            (Polled::Pending, _) => Poll::Pending,
            (Polled::Data(data), _) => Poll::Ready(Some(Ok(Frame::data(data)))),
            (Polled::Trailers(trailers), _) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            (Polled::End | Polled::Failed, error) => Poll::Ready(error.map(|error| Err(ReplayError::Body(error)))),
        }
    }
}

impl<B> Shared<B> {
    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    pub(super) fn handle(&self) -> Handle {
        Handle(Arc::downgrade(&self.control))
    }
}

/// A poll under way, which is a failed one where it panics: nobody is to wait for it for ever.
struct Turn<'a> {
    control: &'a Control,
    id: Id,
    place: &'a mut Place,
    ended: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.control.with(|reading| reading.record(self.id, self.place, &Polled::Failed, None, None));
        }
    }
}
