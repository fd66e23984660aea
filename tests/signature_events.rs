//! What the signature layer tells to `tracing`: the reason, and nothing that a request or a secret holds. Alone in its
//! process, and one test: whether an event is wanted is known to all threads of one, and late.

#[path = "support/log.rs"]
mod log;

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use log::Log;
use portcullis::signature::{
    KeyEncoding, Keyring, MemoryReplayStore, Scheme, Secret, SignatureLayer, SignatureVerifier, Signer, VerifiedBody,
};
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

const SECRET: &str = "an example of a secret";

/// A request with this body, signed for `{}`.
fn signed(body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body));
    Signer::new(Scheme::cognigy(), Secret::new(SECRET).unwrap()).sign(request.headers_mut(), b"{}").unwrap();
    request
}

async fn status(request: Request<Full<Bytes>>) -> StatusCode {
    let layer = SignatureLayer::new(Scheme::cognigy(), Secret::new(SECRET).unwrap()).accept_credentials();
    let inner = service_fn(async |_: Request<VerifiedBody>| Ok::<_, io::Error>(Response::new(())));
    layer.layer(inner).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn what_is_told_holds_no_secret() {
    let log = Log::default();
    let _listening = log.listen(Level::TRACE);
    a_refusal_tells_its_reason_and_nothing_else(&log).await;
    a_store_that_fails_is_warned_of(&log).await;
    a_secret_with_white_space_around_it_or_a_short_one_is_warned_of_without_being_shown(&log);
}

async fn a_refusal_tells_its_reason_and_nothing_else(log: &Log) {
    let mut wrong = signed("[]");
    let signature = wrong.headers()["x-cognigy-signature"].to_str().unwrap().to_owned();
    wrong.headers_mut().insert("x-api-key", HeaderValue::from_static(SECRET));
    assert_eq!(status(wrong).await, StatusCode::UNAUTHORIZED);
    let told = log.take();
    assert!(
        told.contains(r#"DEBUG portcullis::signature::tell: request refused scheme="cognigy" reason="mismatch""#),
        "{told}"
    );
    assert!(!told.contains(&signature) && !told.contains(SECRET), "{told}");

    let mut malformed = Request::new(Full::default());
    malformed.headers_mut().insert("authorization", HeaderValue::from_static("Basic hunter2!"));
    assert_eq!(status(malformed).await, StatusCode::UNAUTHORIZED);
    let told = log.take();
    assert!(told.contains("malformed") && !told.contains("hunter2"), "{told}");

    assert_eq!(status(signed("{}")).await, StatusCode::OK);
    assert_eq!(log.take(), "");
}

fn a_secret_with_white_space_around_it_or_a_short_one_is_warned_of_without_being_shown(log: &Log) {
    for (secret, warnings) in [(SECRET, 0), ("an example of a secret\n", 1), ("hunter2", 1), (" hunter2", 2)] {
        let labelled = || Secret::new(secret).unwrap().label("2026");
        let first = || Secret::new(SECRET).unwrap();
        let takes: [(&str, &dyn Fn()); 5] = [
            ("layer", &|| drop(SignatureLayer::new(Scheme::cognigy(), labelled()))),
            ("one more", &|| drop(SignatureLayer::new(Scheme::cognigy(), first()).also_accept(labelled()))),
            ("verifier", &|| drop(SignatureVerifier::new(Scheme::cognigy(), labelled()))),
            ("ring", &|| {
                Keyring::new(Scheme::cognigy(), [first()]).unwrap().replace([first(), labelled()]).unwrap();
            }),
            ("signer", &|| drop(Signer::new(Scheme::cognigy(), labelled()))),
        ];
        for (by, take) in takes {
            take();
            let told = log.take();
            assert_eq!(told.matches("WARN").count(), warnings, "{by}: {told}");
            assert_eq!(told.matches(r#" label="2026""#).count(), warnings, "{by}: {told}");
            assert!(!told.contains("hunter2") && !told.contains("an example"), "{by}: {told}");
        }
        drop(SignatureLayer::new(Scheme::cognigy(), Secret::new(secret).unwrap()));
        let told = log.take();
        let named = told.matches(r#" label="first""#).count();
        assert_eq!((told.matches("WARN").count(), named), (warnings, warnings), "{told}");
    }
    assert!(Secret::decode("hunter2", KeyEncoding::Hex).is_err());
    assert_eq!(log.take(), "");
}

async fn a_store_that_fails_is_warned_of(log: &Log) {
    let store = MemoryReplayStore::new(1).unwrap();
    let layer = SignatureLayer::new(Scheme::cognigy(), Secret::new(SECRET).unwrap()).refuse_replays(store);
    let inner = service_fn(async |_: Request<VerifiedBody>| Ok::<_, io::Error>(Response::new(())));
    for (content, told) in [
        ("{}", ""),
        ("[]", "WARN portcullis::signature::tell: no replay can be told error=the store of replays is full"),
    ] {
        let mut request = Request::new(Full::<Bytes>::from(content));
        let signer = Signer::new(Scheme::cognigy(), Secret::new(SECRET).unwrap());
        signer.sign(request.headers_mut(), content.as_bytes()).unwrap();
        layer.layer(inner).oneshot(request).await.unwrap();
        let log = log.take();
        assert!(log.contains(told) && log.is_empty() == told.is_empty(), "{log}");
    }
}
