//! The body: taken in within bounds, given out as it came.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};

/// Smaller pieces than this are copied together, unless one is all there is: each is a slice of a server's read buffer, often
/// of 8 KiB, and would keep the whole of it.
const SMALL: usize = 16 * 1024;
/// As much as is gathered in one piece.
const GATHERED: usize = 64 * 1024;

/// The whole body of a request that was let through, as the frames that it came in, with its trailers.
///
/// A body that came in one frame is passed on without a copy, and so are frames of 16 KiB and more; smaller ones are gathered,
/// so that a body keeps no more of a server's read buffers than one for each 16 KiB. The trailers are not signed, and nor is
/// the body where a credential alone vouched for the request: see [`Verified::is_signed`](super::Verified::is_signed).
///
/// Nothing else makes one, so a service that takes `Request<VerifiedBody>` cannot be reached around the layer.
///
/// ```
/// use http::{Request, Response};
/// use portcullis::signature::VerifiedBody;
///
/// // It is a body as any other, for frameworks; and it is all there, for handlers.
/// fn handler(request: Request<VerifiedBody>) -> Response<usize> {
///     Response::new(request.into_body().into_bytes().len())
/// }
/// fn is_body<B: http_body::Body<Data = bytes::Bytes, Error = std::convert::Infallible> + Send + 'static>() {}
/// is_body::<VerifiedBody>();
/// ```
#[derive(Clone)]
pub struct VerifiedBody {
    /// The first, apart from the others, of which there are mostly none.
    first: Option<Bytes>,
    frames: VecDeque<Bytes>,
    remaining: u64,
    trailers: Option<HeaderMap>,
}

impl VerifiedBody {
    /// What is left of it, in one piece. Costs a copy only where it came in several.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        let first = self.next().unwrap_or_default();
        if self.frames.is_empty() {
            return first;
        }
        let mut whole = BytesMut::with_capacity(first.len() + self.frames.iter().map(Bytes::len).sum::<usize>());
        whole.extend_from_slice(&first);
        self.frames.iter().for_each(|frame| whole.extend_from_slice(frame));
        whole.freeze()
    }

    fn next(&mut self) -> Option<Bytes> {
        self.first.take().or_else(|| self.frames.pop_front())
    }

    /// What is left of it, as the pieces that it came in.
    pub(super) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.first.iter().chain(&self.frames).map(|frame| &frame[..])
    }

    /// The trailers, where there were any. Nobody signed them.
    #[must_use]
    pub const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

/// Its length, and nothing of what it holds.
impl fmt::Debug for VerifiedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedBody").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

impl Body for VerifiedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.next() {
            Some(data) => {
                self.remaining -= data.len() as u64;
                Some(Frame::data(data))
            }
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.frames.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// A body that is larger than the cap.
#[derive(Debug)]
pub(super) struct TooLarge;

/// A body on its way in.
pub(super) struct Intake {
    frames: VecDeque<Bytes>,
    /// The first piece, for as long as it is the only one, and a large one for good.
    first: Option<Bytes>,
    gathered: BytesMut,
    length: usize,
    max: usize,
    trailers: Option<HeaderMap>,
}

impl Intake {
    /// Nothing yet, of at most `max` bytes. Memory is taken as bytes arrive, never ahead of them.
    pub(super) fn new(max: usize) -> Self {
        Self { frames: VecDeque::new(), first: None, gathered: BytesMut::new(), length: 0, max, trailers: None }
    }

    /// Counts `length` more bytes, before any of them is taken in.
    pub(super) fn admit(&mut self, length: usize) -> Result<(), TooLarge> {
        self.length = self.length.saturating_add(length);
        if self.length > self.max { Err(TooLarge) } else { Ok(()) }
    }

    /// Takes in a piece that was [admitted](Self::admit).
    pub(super) fn keep(&mut self, piece: &Bytes) {
        if self.length == piece.len() {
            self.first = Some(piece.clone());
            return;
        }
        if let Some(small) = self.first.take_if(|first| first.len() < SMALL) {
            self.gathered.extend_from_slice(&small);
        }
        if piece.len() < SMALL {
            self.gathered.extend_from_slice(piece);
            if self.gathered.len() < GATHERED {
                return;
            }
        }
        self.flush();
        if piece.len() >= SMALL {
            self.frames.push_back(piece.clone());
        }
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            self.frames.push_back(self.gathered.split().freeze());
        }
    }

    /// Keeps the trailers, which count towards the cap as the bytes do.
    pub(super) fn trailers(&mut self, trailers: HeaderMap) -> Result<(), TooLarge> {
        let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if length > self.max.saturating_sub(self.length) {
            return Err(TooLarge);
        }
        self.trailers = Some(trailers);
        Ok(())
    }

    /// Whether the trailers have come, which are the last of a body.
    pub(super) const fn is_complete(&self) -> bool {
        self.trailers.is_some()
    }

    pub(super) fn finish(mut self) -> VerifiedBody {
        self.flush();
        VerifiedBody { first: self.first, frames: self.frames, remaining: self.length as u64, trailers: self.trailers }
    }
}

/// Whether a request says that its body is larger than `max`.
pub(super) fn declares_more<B: Body>(headers: &HeaderMap, body: &B, max: usize) -> bool {
    let max = max as u64;
    // What cannot be read as a length is the server's to refuse; the bytes are counted in any case.
    let declared = |value: &http::HeaderValue| value.to_str().ok()?.parse::<u64>().ok();
    body.size_hint().lower() > max
        || headers.get_all(CONTENT_LENGTH).iter().filter_map(declared).any(|length| length > max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pieces: &[usize]) -> VerifiedBody {
        let mut intake = Intake::new(usize::MAX);
        for (n, length) in pieces.iter().enumerate() {
            let piece = Bytes::from(vec![u8::try_from(n).unwrap(); *length]);
            intake.admit(piece.len()).unwrap();
            intake.keep(&piece);
        }
        intake.finish()
    }

    #[test]
    fn small_and_large_pieces_stay_in_order() {
        for pieces in
            [&[1, SMALL - 1, SMALL, 3, 4, GATHERED, 0, 5, SMALL - 1][..], &[1, SMALL], &[1, 2], &[SMALL, 1], &[]]
        {
            let body = taken(pieces);
            let expected: Vec<u8> =
                pieces.iter().enumerate().flat_map(|(n, length)| vec![u8::try_from(n).unwrap(); *length]).collect();
            assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            assert_eq!(body.into_bytes(), expected);
        }
    }

    #[test]
    fn a_piece_that_is_all_there_is_is_kept_as_it_came() {
        for length in [1, SMALL - 1, SMALL, GATHERED + 1] {
            let mut intake = Intake::new(usize::MAX);
            let piece = Bytes::from(vec![7; length]);
            intake.admit(length).unwrap();
            intake.keep(&piece);
            assert_eq!(intake.finish().into_bytes().as_ptr(), piece.as_ptr(), "{length} bytes");
        }
    }

    #[test]
    fn lengths_are_counted_without_overflow() {
        let mut intake = Intake::new(usize::MAX - 1);
        assert!(intake.admit(usize::MAX - 1).is_ok());
        assert!(intake.admit(usize::MAX).is_err());
    }

    #[test]
    fn what_is_left_of_a_body_is_what_it_says() {
        let mut body = taken(&[SMALL, SMALL + 1]);
        let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(
            matches!(polled, Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| data.len() == SMALL))
        );
        assert_eq!(body.size_hint().exact(), Some(SMALL as u64 + 1));
        assert!(!body.is_end_stream());
        assert_eq!(body.into_bytes().len(), SMALL + 1);
        assert!(taken(&[]).is_end_stream());
    }
}
