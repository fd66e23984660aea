//! What verifying costs beside the MAC that it cannot do without: headers and a body in memory through the verifier, whole
//! requests through the layer, and the bare keyed HMAC over the same body, compared with its tag.
//!
//! Beside criterion's figures it prints ratios, measured in turns within one run, so that a machine that gets slower makes
//! all slower. The verifier's targets: 256 bytes within 1.25 times the HMAC; from 4 KiB on at least 0.97 times its throughput,
//! which is 1.031 times its time.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use criterion::{
    BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, WallTime},
};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::signature::{Scheme, Secret, SignatureLayer, SignatureVerifier, Signer, VerifiedBody};
use sha2::Sha256;
use tower::{Layer, Service, service_fn};

const SECRET: &str = "an example of a secret";
const SIZES: [usize; 5] = [256, 4 * 1024, 16 * 1024, 64 * 1024, 1024 * 1024];

fn schemes() -> [Scheme; 3] {
    [Scheme::cognigy(), Scheme::stripe(), Scheme::standard_webhooks()]
}

fn keyed() -> Hmac<Sha256> {
    Hmac::new_from_slice(SECRET.as_bytes()).unwrap()
}

fn tag(keyed: &Hmac<Sha256>, content: &[u8]) -> [u8; 32] {
    keyed.clone().chain_update(content).finalize().into_bytes().into()
}

fn bare(keyed: &Hmac<Sha256>, content: &[u8], tag: &[u8; 32]) {
    let mut mac = keyed.clone();
    mac.update(black_box(content));
    assert!(mac.verify_slice(black_box(tag)).is_ok());
}

fn verifier(scheme: &Scheme) -> SignatureVerifier {
    SignatureVerifier::new(scheme.clone(), Secret::new(SECRET).unwrap())
}

fn in_memory(verifier: &SignatureVerifier, headers: &HeaderMap, content: &[u8]) {
    assert!(black_box(verifier.verify(black_box(headers), black_box(content))).is_ok());
}

fn layer(scheme: &Scheme) -> SignatureLayer {
    SignatureLayer::new(scheme.clone(), Secret::new(SECRET).unwrap())
}

fn request(scheme: &Scheme, content: &Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(content.clone()));
    request.headers_mut().insert("host", "a.example".parse().unwrap());
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request.headers_mut().insert("content-length", content.len().into());
    request.headers_mut().insert("user-agent", "bench".parse().unwrap());
    request.headers_mut().insert("webhook-id", "msg_1".parse().unwrap());
    Signer::new(scheme.clone(), Secret::new(SECRET).unwrap()).sign(request.headers_mut(), content).unwrap();
    request
}

fn inner(request: Request<VerifiedBody>) -> Ready<Result<Response<()>, Infallible>> {
    black_box(request);
    ready(Ok(Response::new(())))
}

fn verify<S>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<()>, Error = Infallible>,
{
    let mut call = pin!(service.call(request));
    let mut cx = Context::from_waker(Waker::noop());
    // Long bodies are hashed in turns.
    let response = loop {
        if let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) {
            break response;
        }
    };
    assert_eq!(response.status(), StatusCode::OK);
}

fn signature(c: &mut Criterion) {
    let mut group = c.benchmark_group("signature");
    for size in SIZES {
        let content = Bytes::from(vec![b'x'; size]);
        group.throughput(Throughput::Bytes(size as u64));
        let keyed = keyed();
        let tag = tag(&keyed, &content);
        group.bench_function(BenchmarkId::new("hmac", size), |bench| bench.iter(|| bare(&keyed, &content, &tag)));
        for scheme in schemes() {
            let (verifier, mut service) = (verifier(&scheme), layer(&scheme).layer(service_fn(inner)));
            let signed = request(&scheme, &content);
            group.bench_function(BenchmarkId::new(format!("verifier {}", scheme.name()), size), |bench| {
                bench.iter(|| in_memory(&verifier, signed.headers(), &content));
            });
            group.bench_function(BenchmarkId::new(format!("layer {}", scheme.name()), size), |bench| {
                bench.iter_batched(|| signed.clone(), |request| verify(&mut service, request), BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

/// The medians of the ratios of many short turns, all of the three in the same moment.
fn ratios(_: &mut Criterion) {
    // `cargo test` runs everything once, and measures nothing.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let turns = if measures { 301 } else { 1 };
    println!("\nverifier and layer ÷ bare keyed HMAC, in time; the medians of {turns} turns");
    for size in SIZES {
        let content = Bytes::from(vec![b'x'; size]);
        let calls = (256 * 1024 / size).clamp(1, 256);
        let keyed = keyed();
        let tag = tag(&keyed, &content);
        print!("{size:>8} bytes");
        for scheme in schemes() {
            let (verifier, mut service) = (verifier(&scheme), layer(&scheme).layer(service_fn(inner)));
            let signed = request(&scheme, &content);
            let (verified, layered) = (0..turns)
                .map(|_| {
                    let requests: Vec<_> = (0..calls).map(|_| signed.clone()).collect();
                    let alone = time(|| (0..calls).for_each(|_| bare(&keyed, &content, &tag)));
                    let verified = time(|| (0..calls).for_each(|_| in_memory(&verifier, signed.headers(), &content)));
                    let layered = time(|| requests.into_iter().for_each(|request| verify(&mut service, request)));
                    (ratio(verified, alone), ratio(layered, alone))
                })
                .unzip();
            print!("   {} {:.3} {:.3}", scheme.name(), median(verified), median(layered));
        }
        println!();
    }
}

fn ratio(time: Duration, alone: Duration) -> f64 {
    time.as_secs_f64() / alone.as_secs_f64()
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn time(run: impl FnOnce()) -> Duration {
    let begun = WallTime.start();
    run();
    WallTime.end(begun)
}

criterion_group!(benches, signature, ratios);
criterion_main!(benches);
