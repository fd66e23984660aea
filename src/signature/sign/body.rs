//! The body that was signed.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::signature::VerifiedBody;

/// The whole body of a request that was signed, with its trailers; made by [`Sign`](super::Sign) alone.
#[derive(Clone)]
pub struct SignedBody(
    /// It is all there, as that of a request that was verified.
    VerifiedBody,
);

impl SignedBody {
    pub(super) const fn new(body: VerifiedBody) -> Self {
        Self(body)
    }

    /// What is left of it, in one piece. Costs a copy only where it came in several.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }

    /// The trailers, where there are any. They are not signed.
    #[must_use]
    pub const fn trailers(&self) -> Option<&HeaderMap> {
        self.0.trailers()
    }
}

/// Its length, and nothing of what it holds.
impl fmt::Debug for SignedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedBody").field("remaining", &self.0.size_hint().lower()).finish_non_exhaustive()
    }
}

impl Body for SignedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
