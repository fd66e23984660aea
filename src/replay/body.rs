//! The body: one sending of it.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};

use super::{
    ReplayError,
    reading::{Id, Place},
    shared::Shared,
};

/// A body that can be sent again: a clone begins at its start, whatever was read of this one.
///
/// A [`ReplayLayer`](super::ReplayLayer) makes it. Only one is read at a time: where a clone begins, the one that it is a clone of
/// ends in an error, even if it is in somebody's hands still, and takes no byte from the later one.
///
/// # Errors
///
/// The original body's error goes to whoever reads at that moment; otherwise it ends with a
/// [`NotReplayed`](super::NotReplayed) that says why.
pub struct ReplayBody<B> {
    /// None where there is nothing to send.
    shared: Option<Arc<Shared<B>>>,
    id: Id,
    place: Place,
}

impl<B: Body> ReplayBody<B> {
    /// Makes the body of `request` one that is kept up to `cap` bytes.
    pub(super) fn wrap(request: Request<B>, cap: usize) -> Request<Self> {
        let (mut parts, original) = request.into_parts();
        let shared = (!original.is_end_stream()).then(|| Arc::new(Shared::new(original, cap)));
        if let Some(shared) = &shared {
            parts.extensions.insert(shared.handle());
        }
        Request::from_parts(parts, Self { shared, id: Id::FIRST, place: Place::Start })
    }
}

impl<B> Clone for ReplayBody<B> {
    fn clone(&self) -> Self {
        let id = self.shared.as_ref().map_or(self.id, |shared| shared.control().copy(self.id));
        Self { shared: self.shared.clone(), id, place: Place::Start }
    }
}

impl<B> Drop for ReplayBody<B> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.control().forget(self.id);
        }
    }
}

impl<B: Body> Body for ReplayBody<B> {
    type Data = Bytes;
    type Error = ReplayError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplayError<B::Error>>>> {
        let this = self.get_mut();
        match &this.shared {
            Some(shared) if this.place != Place::End => shared.poll_frame(this.id, &mut this.place, cx),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        shared.control().read(|reading| reading.is_end_stream(self.id, self.place))
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.shared else { return SizeHint::with_exact(0) };
        shared.control().read(|reading| reading.size_hint(self.id, self.place))
    }
}

/// Nothing of what it holds.
impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}
