//! A body by script, and ways to read.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use portcullis::retry::{NotReplayed, ReplayBody, ReplayError, ReplayLayer};
use tower::{Layer, Service, service_fn};

/// What a poll of the body comes to.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Data(Bytes),
    Trailers(HeaderMap),
    Fails,
    Waits,
    Panics,
}

impl Says {
    pub(crate) fn data(text: impl Into<Bytes>) -> Self {
        Self::Data(text.into())
    }

    pub(crate) fn trailers() -> Self {
        Self::Trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "91".parse().unwrap())]))
    }
}

/// A body that follows a script, and counts the polls.
#[derive(Debug)]
pub(crate) struct Script {
    says: VecDeque<Says>,
    /// Whether it knows its length and its end, as a body with a `Content-Length` does.
    knows: bool,
    polls: Arc<AtomicUsize>,
    pub(crate) waker: Arc<Mutex<Option<Waker>>>,
}

impl Script {
    pub(crate) fn new(says: impl IntoIterator<Item = Says>) -> Self {
        Self { says: says.into_iter().collect(), knows: false, polls: Arc::default(), waker: Arc::default() }
    }

    pub(crate) fn of(frames: impl IntoIterator<Item = &'static str>) -> Self {
        Self::new(frames.into_iter().map(Says::data))
    }

    pub(crate) fn that_knows_its_length(mut self) -> Self {
        self.knows = true;
        self
    }

    pub(crate) fn polls(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.polls)
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.polls.fetch_add(1, SeqCst);
        Poll::Ready(match self.says.pop_front() {
            None => None,
            Some(Says::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Says::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Says::Fails) => Some(Err(io::Error::other("the disk is gone"))),
            Some(Says::Waits) => {
                *self.waker.lock().unwrap() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Says::Panics) => panic!("a body that panics"),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.knows && self.says.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.says.iter().map(|says| if let Says::Data(data) = says { data.len() as u64 } else { 0 }).sum();
        if self.knows { SizeHint::with_exact(left) } else { SizeHint::default() }
    }
}

/// `body` as a layer with this cap makes it.
pub(crate) fn replay<B: Body + Send + 'static>(cap: usize, body: B) -> ReplayBody<B> {
    let taken = Arc::new(Mutex::new(None));
    let place = Arc::clone(&taken);
    let mut service = ReplayLayer::new(cap).layer(service_fn(move |request: Request<ReplayBody<B>>| {
        *place.lock().unwrap() = Some(request.into_body());
        std::future::ready(Ok::<_, Infallible>(()))
    }));
    drop(service.call(Request::new(body)));
    taken.lock().unwrap().take().unwrap()
}

/// What one poll came to.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    Waits,
    Refused(NotReplayed),
    Failed,
}

impl Got {
    pub(crate) fn data(text: &'static str) -> Self {
        Self::Data(Bytes::from_static(text.as_bytes()))
    }
}

pub(crate) fn poll_with<B>(body: &mut ReplayBody<B>, waker: &Waker) -> Got
where
    B: Body,
{
    match pin!(body).poll_frame(&mut Context::from_waker(waker)) {
        Poll::Pending => Got::Waits,
        Poll::Ready(None) => Got::End,
        Poll::Ready(Some(Err(ReplayError::Body(_)))) => Got::Failed,
        Poll::Ready(Some(Err(ReplayError::NotReplayed(why)))) => Got::Refused(why),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Got::Data(data),
            Err(frame) => Got::Trailers(frame.into_trailers().unwrap()),
        },
    }
}

pub(crate) fn poll<B: Body>(body: &mut ReplayBody<B>) -> Got {
    poll_with(body, Waker::noop())
}

/// Reads on until there is no more data: the data in one piece, and what ended it.
pub(crate) fn rest<B: Body>(body: &mut ReplayBody<B>) -> (Vec<u8>, Got) {
    let mut whole = Vec::new();
    loop {
        match poll(body) {
            Got::Data(data) => whole.extend_from_slice(data.chunk()),
            other => return (whole, other),
        }
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Woken(AtomicUsize);

impl Woken {
    pub(crate) fn times(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}
