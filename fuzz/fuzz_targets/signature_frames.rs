//! Bodies in every shape: pieces, pauses, trailers, errors, and more than there is room for.
//!
//! The first byte of an input chooses the scheme and what is switched on, the second the cap, and each that follows is a step of
//! the body. What the layer answers has to be what a naive reading of the steps says.
#![no_main]

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, buf::Chain};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use portcullis::{
    signature::{MemoryReplayStore, Scheme, Secret, SignatureLayer, SignedContext, Signer, VerifiedBody},
    time::{ManualWallClock, UnixTime},
};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, service_fn};

const URL: &str = "https://a.example/webhooks";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());

#[derive(Clone)]
enum Step {
    Data(Bytes, Bytes),
    Trailers(HeaderMap),
    Pause,
    Error,
}

/// A body of these steps. It never says that it has ended before it has.
struct Steps(VecDeque<Step>);

impl Body for Steps {
    type Data = Chain<Bytes, Bytes>;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Self::Data>>>> {
        Poll::Ready(match self.0.pop_front() {
            None => None,
            Some(Step::Data(one, two)) => Some(Ok(Frame::data(one.chain(two)))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Error) => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Some(Step::Pause) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }
}

fn step(place: usize, byte: u8) -> Step {
    let (kind, size) = (byte % 8, usize::from(byte / 8));
    let data = |length: usize, cut: usize| {
        let mut one = Bytes::from(vec![u8::try_from(place % 251).unwrap(); length]);
        let two = one.split_off(length.min(cut));
        Step::Data(one, two)
    };
    match kind {
        0 => data(size, usize::MAX),
        1 => data(size * 257, size),
        2 => data(size * 1500, usize::MAX),
        3 => data(size * 3, 1),
        4 => data(0, 0),
        5 => {
            let value = HeaderValue::try_from("x".repeat(size)).unwrap();
            Step::Trailers(HeaderMap::from_iter([("x-trailer".parse().unwrap(), value)]))
        }
        6 => Step::Pause,
        _ => Step::Error,
    }
}

/// What is read of the steps by whoever reads them one after the other: the status, the content, the trailers.
fn read(steps: &VecDeque<Step>, cap: usize) -> (StatusCode, Vec<u8>, Option<HeaderMap>) {
    let (mut content, mut ended) = (Vec::new(), None);
    for step in steps {
        let refused = match step {
            Step::Pause => continue,
            Step::Error => StatusCode::BAD_REQUEST,
            _ if ended.is_some() => StatusCode::BAD_REQUEST,
            Step::Data(one, two) => {
                content.extend_from_slice(one);
                content.extend_from_slice(two);
                if content.len() <= cap {
                    continue;
                }
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Step::Trailers(trailers) => {
                let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
                if content.len() + length <= cap {
                    ended = Some(trailers.clone());
                    continue;
                }
                StatusCode::PAYLOAD_TOO_LARGE
            }
        };
        return (refused, content, ended);
    }
    (StatusCode::CREATED, content, ended)
}

fuzz_target!(|input: &[u8]| {
    let [switches, cap, steps @ ..] = input else { return };
    let scheme = match switches % 4 {
        0 => Scheme::cognigy(),
        1 => Scheme::stripe(),
        2 => Scheme::square(),
        _ => Scheme::standard_webhooks(),
    };
    let (tampered, several, credential) = (switches & 4 != 0, switches & 8 != 0, switches & 16 != 0);
    let cap = usize::from(*cap) * usize::from(*cap) * 4;
    let steps: VecDeque<Step> = steps.iter().take(200).enumerate().map(|(place, byte)| step(place, *byte)).collect();
    let (mut status, content, trailers) = read(&steps, cap);

    // A copy that is signed a second later is none.
    let clock = ManualWallClock::new(UnixTime::from_secs(1_700_000_000)).clock();
    let secret = || Secret::new("an example of a secret").unwrap();
    let request = || {
        let mut request = Request::new(Steps(steps.clone()));
        request.extensions_mut().insert(SignedContext(URL.into()));
        request.headers_mut().insert("webhook-id", HeaderValue::from_static("msg_1"));
        if credential {
            request.headers_mut().insert("x-api-key", HeaderValue::from_static("an example of a secret"));
        }
        let mut signed = content.clone();
        if tampered {
            signed.push(0);
        }
        let signer = Signer::new(scheme.clone(), secret()).context(URL).wall_clock(clock.clone());
        signer.sign(request.headers_mut(), &signed).unwrap();
        request
    };
    if tampered && status == StatusCode::CREATED {
        status = StatusCode::UNAUTHORIZED;
    }

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = service_fn(move |request: Request<VerifiedBody>| {
        counted.fetch_add(1, Relaxed);
        async move {
            let collected = request.into_body().collect().await.unwrap();
            let trailers = collected.trailers().cloned();
            let mut response = Response::new(collected.to_bytes());
            *response.status_mut() = StatusCode::CREATED;
            response.extensions_mut().insert(trailers);
            Ok::<_, Infallible>(response)
        }
    });
    let layer = if several {
        SignatureLayer::new(scheme.clone(), Secret::new("another example of a secret").unwrap()).also_accept(secret())
    } else {
        SignatureLayer::new(scheme.clone(), secret())
    };
    let layer = layer.wall_clock(clock.clone());
    let layer = if credential { layer.accept_credentials() } else { layer };
    let store = MemoryReplayStore::new(1).unwrap();
    let mut service = layer.max_body_bytes(cap).refuse_replays(store.clone()).layer(inner);

    // Timers are made, and never end.
    let _inside = RUNTIME.enter();
    let mut answer = || {
        let mut call = pin!(service.call(request()));
        for _ in 0..2000 {
            if let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return response;
            }
        }
        panic!("it does not end");
    };
    let first = answer();
    assert_eq!(first.status(), status);
    if status == StatusCode::CREATED {
        assert_eq!(first.body(), &content);
        assert_eq!(first.extensions().get::<Option<HeaderMap>>(), Some(&trailers));
        assert_eq!(answer().status(), StatusCode::OK, "a copy");
    } else {
        assert!(first.body().is_empty());
        assert!(store.is_empty());
    }
    assert_eq!(calls.load(Relaxed), usize::from(status == StatusCode::CREATED));
});
