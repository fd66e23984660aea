//! Signatures that are no HMAC: Ed25519, judged by code outside of the crate.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use portcullis::{
    signature::{Encoding, Scheme, Segment, SignatureLayer, Timestamp, Verification, Verified, Verifier},
    time::{ManualWallClock, UnixTime},
};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::support::{SECRET, Script, Step, answer, secret};

const CONTENT: &[u8] = b"{}";

/// The keys of a rotation, by label.
struct Keys(Vec<(&'static str, Vec<u8>)>, Arc<AtomicUsize>);

struct Gathered {
    keys: Vec<(&'static str, Vec<u8>)>,
    signatures: Vec<Vec<u8>>,
    message: Vec<u8>,
}

impl Verifier for Keys {
    fn begin(&self, signatures: &[&[u8]]) -> Box<dyn Verification> {
        self.1.fetch_add(1, Relaxed);
        let signatures = signatures.iter().map(|signature| signature.to_vec()).collect();
        Box::new(Gathered { keys: self.0.clone(), signatures, message: Vec::new() })
    }
}

impl Verification for Gathered {
    fn update(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
    }

    fn finish(self: Box<Self>) -> Option<Arc<str>> {
        let good = |key: &[u8]| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            self.signatures.iter().any(|signature| key.verify(&self.message, signature).is_ok())
        };
        self.keys.iter().find(|(_, key)| good(key)).map(|(label, _)| (*label).into())
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn layer(begun: &Arc<AtomicUsize>) -> SignatureLayer {
    let scheme = Scheme::builder("standard_webhooks_v1a")
        .header("webhook-signature")
        .versioned("v1a")
        .encoding(Encoding::Base64)
        .timestamp(Timestamp::header("webhook-timestamp"))
        .signed([
            Segment::header("webhook-id"),
            Segment::literal("."),
            Segment::Timestamp,
            Segment::literal("."),
            Segment::Body,
        ])
        .build()
        .unwrap();
    let keys = [("old", 1), ("new", 2)].map(|(label, seed)| (label, pair(seed).public_key().as_ref().to_vec()));
    SignatureLayer::verify_with(scheme, Keys(keys.into(), Arc::clone(begun)))
        .wall_clock(ManualWallClock::new(UnixTime::from_secs(1_700_000_000)).clock())
}

fn signature(seed: u8, message: &str) -> String {
    format!("v1a,{}", STANDARD.encode(pair(seed).sign(message.as_bytes())))
}

fn request(time: &str, signature: &str, content: &[u8]) -> Request<Script> {
    Request::builder()
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", time)
        .header("webhook-signature", signature)
        .body(Script::frames(content, 1))
        .unwrap()
}

#[tokio::test]
async fn a_public_key_verifies_what_the_layer_feeds_it() {
    let begun = Arc::default();
    let layer = layer(&begun);
    let (time, message) = ("1700000000", "msg_1.1700000000.{}");
    for (listed, label) in [
        (signature(1, message), Some("old")),
        (signature(2, message), Some("new")),
        (format!("v1,AAAA {} {}", signature(3, message), signature(2, message)), Some("new")),
        (signature(3, message), None),
        (signature(1, "msg_1.1700000000.[]"), None),
        (format!("v1a,{}", STANDARD.encode([0; 64])), None),
        // Decoded, of whatever length: what that means is the verifier's to say.
        (format!("v1a,{}", STANDARD.encode([0; 300])), None),
    ] {
        let response = answer(&layer, request(time, &listed, CONTENT)).await;
        let verified = response.extensions().get::<Verified>();
        assert_eq!(verified.map(Verified::key_label), label, "{listed}");
        assert_eq!(response.status() == StatusCode::OK, label.is_some());
        if let Some(verified) = verified {
            assert!(verified.is_signed());
            assert_eq!(verified.timestamp(), Some(UnixTime::from_secs(1_700_000_000)));
        }
    }
    assert_eq!(begun.load(Relaxed), 7);
}

#[tokio::test]
async fn what_the_headers_refuse_never_reaches_a_verifier() {
    let begun = Arc::default();
    let layer = layer(&begun);
    let good = signature(1, "msg_1.1700000000.{}");
    let stale = request("1699999699", &good, CONTENT);
    let malformed = request("1700000000", "v1a,!", CONTENT);
    let mut repeated = request("1700000000", &good, CONTENT);
    repeated.headers_mut().append("webhook-signature", good.parse().unwrap());
    for request in [stale, malformed, repeated] {
        let polls = request.body().polls();
        assert_eq!(answer(&layer, request).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(polls.load(Relaxed), 0);
    }
    assert_eq!(begun.load(Relaxed), 0);

    let large = request("1700000000", &good, CONTENT).map(|_| Script::new([Step::Data(Bytes::from(vec![0; 100]))]));
    assert_eq!(answer(&layer.max_body_bytes(99), large).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn no_credential_is_good_where_there_are_no_secrets() {
    let layer = layer(&Arc::default()).accept_credentials();
    let mut request = request("1700000000", &signature(1, "msg_1.1700000000.{}"), CONTENT);
    for (credential, status) in [(None, StatusCode::OK), (Some(SECRET), StatusCode::UNAUTHORIZED)] {
        if let Some(credential) = credential {
            request.headers_mut().insert("x-api-key", credential.parse().unwrap());
        }
        let headers = request.headers().clone();
        let mut again = Request::new(Script::frames(CONTENT, 1));
        *again.headers_mut() = headers;
        assert_eq!(answer(&layer, again).await.status(), status);
    }
}

#[test]
#[should_panic(expected = "also_accept: secrets must be none")]
fn a_secret_beside_a_verifier_is_a_mistake() {
    let _ = layer(&Arc::default()).also_accept(secret());
}
