//! Bodies of every shape: in pieces, without end, lying about their length, broken, slow.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Wake, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use portcullis::{
    signature::{Reason, Refusal, RefusalKind, Secret, VerifiedBody},
    time::{Clock, Tick},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{Inner, Script, Step, answer, layer, signed};

const CONTENT: &[u8] = b"{\"conversationId\":\"conv-42\"}";

#[tokio::test]
async fn a_body_in_pieces_of_any_size_gets_through() {
    for size in 1..=CONTENT.len() {
        let response = answer(&layer(), signed(CONTENT, Script::frames(CONTENT, size))).await;
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, CONTENT), "in pieces of {size}");
    }
}

/// What hyper makes of HTTP/1 chunks says "not ended" until it says `None`: a layer that asks `is_end_stream` instead spins.
#[tokio::test(start_paused = true)]
async fn a_chunked_body_that_never_reports_its_end_does_not_spin() {
    let body = Script::frames(CONTENT, 5);
    let polls = body.polls();
    assert!(!body.is_end_stream());
    assert_eq!(answer(&layer(), signed(CONTENT, body)).await.status(), StatusCode::OK);
    assert_eq!(polls.load(Relaxed), CONTENT.len().div_ceil(5) + 1);
}

#[tokio::test]
async fn empty_frames_and_pauses_change_nothing() {
    let steps = CONTENT.chunks(3).flat_map(|chunk| {
        [Step::Data(Bytes::new()), Step::Yield, Step::Data(Bytes::copy_from_slice(chunk)), Step::Data(Bytes::new())]
    });
    let response = answer(&layer(), signed(CONTENT, Script::new(steps))).await;
    assert_eq!(&response.body()[..], CONTENT);

    let response = answer(&layer(), signed(b"", Script::new([Step::Data(Bytes::new())]))).await;
    assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_frame_whose_buffer_is_split_is_hashed_whole() {
    let split = |mut data: Bytes| {
        let head = data.split_to(data.len() / 2);
        head.chain(Bytes::new()).chain(data)
    };
    let body = Script::frames(CONTENT, 9).map_frame(move |frame| frame.map_data(split));
    let response = answer(&layer(), signed(CONTENT, body)).await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, CONTENT));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_signed_as_any_others() {
    let content = [0xff, 0x00, 0xc3, 0x28, b'\r', b'\n'];
    let response = answer(&layer(), signed(&content, Script::frames(&content, 2))).await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &content[..]));
}

#[tokio::test]
async fn one_byte_more_or_less_is_another_body() {
    for content in [&CONTENT[1..], &[CONTENT, b"\n"].concat()] {
        let response = answer(&layer(), signed(CONTENT, Script::frames(content, 4))).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn the_cap_is_inclusive_and_counts_what_arrives() {
    for (cap, status) in [
        (CONTENT.len(), StatusCode::OK),
        (CONTENT.len() - 1, StatusCode::PAYLOAD_TOO_LARGE),
        (0, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let layer = layer().max_body_bytes(cap);
        let known = answer(&layer, signed(CONTENT, Full::new(Bytes::from_static(CONTENT)))).await;
        assert_eq!(known.status(), status, "known length, cap {cap}");
        let unknown = answer(&layer, signed(CONTENT, Script::frames(CONTENT, 1))).await;
        assert_eq!(unknown.status(), status, "unknown length, cap {cap}");
    }
    let empty = answer(&layer().max_body_bytes(0), signed(b"", Script::default())).await;
    assert_eq!(empty.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_without_end_is_not_buffered() {
    let frame = Bytes::from(vec![0; 1024]);
    let body = Script::new(std::iter::repeat_n(frame, 1024).map(Step::Data));
    let polls = body.polls();
    let response = answer(&layer().max_body_bytes(10 * 1024), signed(b"", body)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(polls.load(Relaxed), 11);
}

#[tokio::test]
async fn a_declared_length_above_the_cap_is_refused_without_a_poll() {
    let body = Script::frames(CONTENT, 4).claiming(1 << 20 | 1);
    let polls = body.polls();
    assert_eq!(answer(&layer(), signed(CONTENT, body)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(polls.load(Relaxed), 0);

    let body = Script::frames(CONTENT, 4);
    let polls = body.polls();
    let mut request = signed(CONTENT, body);
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("18446744073709551615"));
    assert_eq!(answer(&layer(), request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(polls.load(Relaxed), 0);
}

#[tokio::test]
async fn a_declared_length_below_what_comes_does_not_lift_the_cap() {
    let mut request = signed(CONTENT, Script::frames(CONTENT, 4).claiming(1));
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
    let response = answer(&layer().max_body_bytes(CONTENT.len() - 1), request).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// Room for half of what can be addressed cannot be had: asking for it would end the process.
#[tokio::test]
async fn a_claimed_length_allocates_nothing() {
    let body = Script::frames(CONTENT, 4).claiming(u64::try_from(isize::MAX).unwrap());
    let response = answer(&layer().max_body_bytes(usize::MAX), signed(CONTENT, body)).await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, CONTENT));
}

#[tokio::test]
async fn an_aborted_body_is_400_and_no_panic() {
    for steps in [vec![Step::Error], vec![Step::Data(Bytes::from_static(CONTENT)), Step::Error]] {
        let body = Script::new(steps);
        let polls = body.polls();
        let response = answer(&layer().refuse_with(show), signed(CONTENT, body)).await;
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::BAD_REQUEST, &b"body_aborted"[..]));
        assert!(polls.load(Relaxed) <= 2, "an error is not asked for twice");
    }
}

fn show(refusal: &Refusal) -> Response<Bytes> {
    assert_ne!(refusal.kind(), RefusalKind::Unauthorized(Reason::Missing));
    Response::builder().status(refusal.status()).body(refusal.as_str().into()).unwrap()
}

#[tokio::test]
async fn trailers_count_towards_the_cap_and_end_the_body() {
    let trailers =
        || Step::Trailers(HeaderMap::from_iter([("x-a".parse().unwrap(), HeaderValue::from_static("1234"))]));
    let data = || Step::Data(Bytes::from_static(CONTENT));
    let status = async |cap: usize, steps: Vec<Step>| {
        answer(&layer().max_body_bytes(CONTENT.len() + cap), signed(CONTENT, Script::new(steps))).await.status()
    };
    assert_eq!(status(7, vec![data(), trailers()]).await, StatusCode::OK);
    assert_eq!(status(6, vec![data(), trailers()]).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(status(100, vec![data(), trailers(), trailers()]).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn trailers_reach_the_inner_service() {
    let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), HeaderValue::from_static("1"))]);
    let steps = [Step::Data(Bytes::from_static(CONTENT)), Step::Trailers(trailers.clone())];
    let collect = service_fn(async |request: Request<VerifiedBody>| {
        let body = request.into_body();
        assert_eq!(body.size_hint().exact(), Some(CONTENT.len() as u64));
        assert!(!body.is_end_stream());
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        assert_eq!(&collected.to_bytes()[..], CONTENT);
        Ok::<_, std::convert::Infallible>(Response::new(trailers))
    });
    let response = layer().layer(collect).oneshot(signed(CONTENT, Script::new(steps))).await.unwrap();
    assert_eq!(response.into_body(), Some(trailers));
}

/// A handle for each byte, and the read buffer behind it, would be an amplifier.
#[tokio::test]
async fn one_byte_frames_are_gathered_and_large_ones_are_not_copied() {
    let frames = service_fn(async |request: Request<VerifiedBody>| {
        let (mut body, mut frames) = (request.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            frames.push(frame?.into_data().unwrap());
        }
        Ok::<_, std::convert::Infallible>(Response::new(frames))
    });
    let content = vec![b'x'; 100 * 1024];
    let response = layer().layer(frames).oneshot(signed(&content, Script::frames(&content, 1))).await.unwrap();
    assert!(response.body().len() < 10);
    assert_eq!(response.into_body().concat(), content);

    for length in [1, 256, 4096, content.len()] {
        let whole = Bytes::copy_from_slice(&content[..length]);
        let sent = whole.as_ptr();
        let response = layer().layer(Inner::default()).oneshot(signed(&whole, Full::new(whole.clone()))).await.unwrap();
        assert_eq!(response.body().as_ptr(), sent, "{length} bytes");
    }
}

/// The signature is over what was sent, and so it is what goes on: whoever decompresses it does so further in.
#[tokio::test]
async fn a_body_with_a_content_encoding_is_verified_and_passed_on_as_it_was_sent() {
    // gzip of `{}`.
    let sent: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let encoded = |content: &[u8]| {
        let mut request = signed(content, Script::frames(sent, 5));
        request.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
        request
    };
    let inner = service_fn(async |request: Request<VerifiedBody>| {
        assert_eq!(request.headers()["content-encoding"], "gzip");
        Ok::<_, std::convert::Infallible>(Response::new(request.into_body().into_bytes()))
    });
    let response = layer().layer(inner).oneshot(encoded(sent)).await.unwrap();
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, sent));
    assert_eq!(
        answer(&layer(), encoded(b"{}")).await.status(),
        StatusCode::UNAUTHORIZED,
        "signed before it was encoded"
    );
}

async fn since<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let clock = Clock::tokio();
    let output = future.await;
    (output, clock.now().since(Tick::default()))
}

#[tokio::test(start_paused = true)]
async fn a_slow_sender_is_cut_off_in_total_and_not_between_its_bytes() {
    const SECOND: Duration = Duration::from_secs(1);
    let drip = || Script::frames(&CONTENT[..8], 1).paced(SECOND);
    // The eighth byte comes after 7 s, and the end after 8 s.
    for (timeout, status) in [(8, StatusCode::OK), (7, StatusCode::REQUEST_TIMEOUT), (5, StatusCode::REQUEST_TIMEOUT)] {
        let layer = layer().body_timeout(SECOND * timeout);
        let (response, elapsed) = since(answer(&layer, signed(&CONTENT[..8], drip()))).await;
        assert_eq!((response.status(), elapsed.as_secs()), (status, timeout.into()), "timeout {timeout} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_falls_silent_is_cut_off() {
    let body = Script::new([Step::Data(Bytes::from_static(CONTENT)), Step::Hang]);
    let (response, elapsed) = since(answer(&layer(), signed(CONTENT, body))).await;
    assert_eq!((response.status(), elapsed.as_secs()), (StatusCode::REQUEST_TIMEOUT, 5));
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn a_megabyte_that_is_all_there_is_hashed_in_turns() {
    let content = Bytes::from(vec![7; 1 << 20]);
    let one_frame = || Script::frames(&content, 1 << 20);
    let nothing = Script::new((0..10_000).map(|_| Step::Data(Bytes::new())));
    let four =
        (0..3).fold(layer(), |layer, n| layer.also_accept(Secret::new(format!("a further secret {n}")).unwrap()));
    for (layer, content, body, expected) in [
        // 16 times 64 KiB, and what a frame costs.
        (layer(), &content[..], one_frame(), 16..=17),
        // Each byte is hashed once for each secret.
        (four, &content, one_frame(), 64..=65),
        // 10,000 frames, each of which counts as 256 bytes.
        (layer(), b"", nothing, 39..=40),
    ] {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut future = Box::pin(layer.layer(Inner::default()).call(signed(content, body)));
        let mut turns = 0;
        while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            turns += 1;
            assert_eq!(wakes.0.load(Relaxed), turns, "woken for every turn that it gives up");
        }
        assert!(expected.contains(&turns), "{turns} turns, not {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_arrived_is_not_too_slow_because_the_server_is() {
    let content = Bytes::from(vec![7; 1 << 20]);
    let body = Script::frames(&content, 1 << 20);
    let mut call = Box::pin(layer().layer(Inner::default()).call(signed(&content, body)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending(), "hashed in turns");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(call.await.unwrap().status(), StatusCode::OK);
}

/// No bound is asked of a body that it does not need.
#[tokio::test]
async fn a_body_may_be_tied_to_its_thread() {
    let tied = Rc::new(());
    let body = Script::frames(CONTENT, 4).map_frame(move |frame| {
        let _ = &tied;
        frame
    });
    assert_eq!(answer(&layer(), signed(CONTENT, body)).await.status(), StatusCode::OK);
}
