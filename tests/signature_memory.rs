//! What a request that proved nothing yet keeps of memory, and what a proven one allocates: counted in a process of its own,
//! with one thread.

use std::{
    alloc::System,
    convert::Infallible,
    future::{Ready, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use portcullis::signature::{Scheme, Secret, SignatureLayer, SignatureVerifier, Signer, VerifiedBody};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A frame of `piece` bytes at a time, each out of a read buffer of its own, of `buffer` bytes; and then silence.
struct Slices {
    piece: usize,
    buffer: usize,
    left: usize,
}

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        let mut buffer = BytesMut::zeroed(self.buffer);
        Poll::Ready(Some(Ok(Frame::data(buffer.split_to(self.piece).freeze()))))
    }
}

fn layer() -> SignatureLayer {
    // The timer of a body that is waited for wants a runtime.
    SignatureLayer::new(Scheme::cognigy(), secret())
}

fn secret() -> Secret {
    Secret::new("an example of a secret").unwrap()
}

fn signed<B>(content: &[u8], body: B) -> Request<B> {
    let mut request = Request::new(body);
    Signer::new(Scheme::cognigy(), secret()).sign(request.headers_mut(), content).unwrap();
    request
}

fn inner(request: Request<VerifiedBody>) -> Ready<Result<Response<Bytes>, Infallible>> {
    ready(Ok(Response::new(request.into_body().into_bytes())))
}

/// As much as is kept of `count` such frames while more of them are waited for.
fn kept(piece: usize, buffer: usize, count: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _in_runtime = runtime.enter();
    let mut service = layer().layer(service_fn(inner));
    let request = signed(b"", Slices { piece, buffer, left: count });
    let region = Region::new(ALLOCATOR);
    let mut reading = Box::pin(service.call(request));
    let mut turns = 0;
    while {
        turns += 1;
        assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        turns < 2 * count + 100
    } {}
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

fn main() {
    a_slice_of_a_large_buffer_does_not_keep_it();
    a_verified_body_is_not_copied_and_little_is_allocated();
    nothing_is_allocated_without_tower();
}

fn a_slice_of_a_large_buffer_does_not_keep_it() {
    const KIB: usize = 1024;
    // What there is besides the body: the future, the head, a timer, and room to grow.
    const REST: usize = 16 * KIB;
    for (piece, buffer, count, most) in [
        // Twice the bytes at the most, as a buffer that grows has it; 8 KiB for each would be 80 MB.
        (1, 8 * KIB, 10_000, 2 * 10_000),
        (KIB, 400 * KIB, 1000, 2 * 1000 * KIB),
        // The largest pieces that are copied.
        (16 * KIB - 1, 400 * KIB, 64, 2 * 64 * 16 * KIB),
        // From here on one buffer for each 16 KiB: as many as the cap lets through.
        (16 * KIB, 64 * KIB, 64, 64 * 64 * KIB + 64 * KIB),
        // The first of several keeps none.
        (1, 400 * KIB, 2, 0),
        // One that is alone keeps one.
        (1, 400 * KIB, 1, 400 * KIB),
    ] {
        let kept = kept(piece, buffer, count);
        assert!(kept <= most + REST, "{count} pieces of {piece} bytes keep {kept} bytes, more than {most}");
    }
}

fn a_verified_body_is_not_copied_and_little_is_allocated() {
    let mut service = layer().layer(service_fn(inner));
    // Keyed once by each process, and thread-locals made.
    drop(service.call(signed(b"", Full::new(Bytes::new()))));
    for length in [1, 256, 4096, 64 * 1024, 1 << 20] {
        let content = Bytes::from(vec![7; length]);
        let request = signed(&content, Full::new(content.clone()));
        let region = Region::new(ALLOCATOR);
        let mut call = pin!(service.call(request));
        let response = loop {
            if let Poll::Ready(response) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                break response.unwrap();
            }
        };
        let change = region.change();
        assert_eq!(response.body().as_ptr(), content.as_ptr(), "{length} bytes: not a copy");
        assert_eq!(response.body(), &content);
        assert!(change.allocations <= 3, "{length} bytes: {change:?}");
        assert!(change.bytes_allocated < 512, "{length} bytes: {change:?}");
        eprintln!("{length:>8} bytes: {} allocations of {} bytes", change.allocations, change.bytes_allocated);
    }
}

fn nothing_is_allocated_without_tower() {
    let wrong = Secret::new("another secret of ours").unwrap();
    for scheme in [Scheme::cognigy(), Scheme::stripe(), Scheme::standard_webhooks()] {
        let verifier = SignatureVerifier::new(scheme.clone(), secret());
        for (content, good) in [(&b"{}"[..], true), (&[7; 4096], true), (b"{}", false)] {
            let mut headers = http::HeaderMap::new();
            headers.insert("webhook-id", http::HeaderValue::from_static("msg_1"));
            let key = if good { secret() } else { wrong.clone() };
            Signer::new(scheme.clone(), key).sign(&mut headers, content).unwrap();
            let region = Region::new(ALLOCATOR);
            assert_eq!(verifier.verify(&headers, content).is_ok(), good, "{}", scheme.name());
            assert_eq!(region.change().allocations, 0, "{}", scheme.name());
        }
    }
}
