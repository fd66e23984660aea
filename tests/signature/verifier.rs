//! The verifier judges as the layer does, without tower.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use portcullis::{
    signature::{
        Keyring, Reason, Refusal, RefusalKind, Scheme, Secret, SignatureLayer, SignatureVerifier, SignedContext,
        Signer, Verified,
    },
    time::{ManualWallClock, UnixTime},
};

use crate::support::{SECRET, answer, secret};

const BODY: &[u8] = b"{}";
const NOW: u64 = 1_700_000_000;

fn clock() -> ManualWallClock {
    ManualWallClock::new(UnixTime::from_secs(NOW))
}

fn signed(scheme: Scheme, secret: &str, at: u64) -> HeaderMap {
    let clock = ManualWallClock::new(UnixTime::from_secs(at)).clock();
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_static("msg_1"));
    Signer::new(scheme, Secret::new(secret).unwrap()).wall_clock(clock).sign(&mut headers, BODY).unwrap();
    headers
}

fn with(mut headers: HeaderMap, more: &[(&'static str, &'static str)]) -> HeaderMap {
    for (name, value) in more {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn telltale(refusal: &Refusal) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = refusal.status();
    response.extensions_mut().insert(*refusal);
    response
}

/// What the layer makes of the same.
async fn layered(
    layer: &SignatureLayer<fn(&Refusal) -> Response<Bytes>>,
    headers: &HeaderMap,
    body: &'static [u8],
) -> Result<Verified, Reason> {
    let mut request = Request::new(Full::new(Bytes::from_static(body)));
    *request.headers_mut() = headers.clone();
    let response = answer(layer, request).await;
    match response.extensions().get::<Refusal>().map(Refusal::kind) {
        None => Ok(response.extensions().get::<Verified>().unwrap().clone()),
        Some(RefusalKind::Unauthorized(reason)) => Err(reason),
        Some(other) => panic!("{other:?}"),
    }
}

fn told(verified: &Verified) -> (String, bool, Vec<String>, Option<UnixTime>, Option<HeaderValue>) {
    let labels = verified.key_labels().map(str::to_owned).collect();
    (verified.scheme().to_owned(), verified.is_signed(), labels, verified.timestamp(), verified.replay_id().cloned())
}

#[tokio::test]
async fn it_lets_through_and_refuses_what_the_layer_does() {
    let old = || Secret::new("an older secret of ours").unwrap().label("old").not_after(UnixTime::from_secs(NOW - 10));
    let other = || Secret::new("the other secret of ours").unwrap().label("other");
    let bearer = [("authorization", "Bearer an example of a secret")];
    for scheme in [Scheme::cognigy(), Scheme::stripe(), Scheme::standard_webhooks()] {
        let sign = |secret: &str, at| signed(scheme.clone(), secret, at);
        let name = sign(SECRET, NOW).iter().find(|(_, value)| value.is_sensitive()).unwrap().0.clone();
        let mut malformed = sign(SECRET, NOW);
        malformed.insert(&name, HeaderValue::from_static("t=1,v1=junk"));
        let mut no_text = sign(SECRET, NOW);
        no_text.insert(&name, HeaderValue::from_bytes(b"t=1,v1=\xe9").unwrap());
        let mut twice = sign(SECRET, NOW);
        let again = twice[&name].clone();
        twice.append(&name, again);

        let cases = [
            sign(SECRET, NOW),
            sign(SECRET, NOW - 301),
            sign(SECRET, NOW + 301),
            sign("the other secret of ours", NOW),
            sign("an older secret of ours", NOW),
            sign("nobody knows this one", NOW),
            HeaderMap::new(),
            malformed,
            no_text,
            twice,
            with(HeaderMap::new(), &bearer),
            with(sign("the other secret of ours", NOW), &bearer),
            with(sign(SECRET, NOW), &[("x-api-key", "wrong")]),
            with(sign(SECRET, NOW), &[("x-api-key", "an older secret of ours")]),
            with(HeaderMap::new(), &[("authorization", "Digest x")]),
            with(HeaderMap::new(), &[("x-api-key", SECRET), ("x-api-key", SECRET)]),
        ];
        let (mut accepted, mut refused) = (0, Vec::new());
        for credentials in [false, true] {
            let mut verifier = SignatureVerifier::new(scheme.clone(), secret()).also_accept(other()).also_accept(old());
            verifier = verifier.wall_clock(clock().clock());
            let mut layer = SignatureLayer::new(scheme.clone(), secret())
                .also_accept(other())
                .also_accept(old())
                .wall_clock(clock().clock())
                .refuse_with(telltale as fn(&Refusal) -> Response<Bytes>);
            if credentials {
                (verifier, layer) = (verifier.accept_credentials(), layer.accept_credentials());
            }
            for (number, headers) in cases.iter().enumerate() {
                for body in [BODY, b"[]"] {
                    let (ours, layers) = (verifier.verify(headers, body), layered(&layer, headers, body).await);
                    let alike = ours.as_ref().map(told) == layers.as_ref().map(told);
                    assert!(alike, "{} {number}: {ours:?} is not {layers:?}", scheme.name());
                    match ours {
                        Ok(_) => accepted += 1,
                        Err(reason) => refused.push(reason),
                    }
                }
            }
        }
        assert!(accepted >= 7, "{} {accepted}", scheme.name());
        let mut reasons = vec![Reason::Missing, Reason::Repeated, Reason::Malformed, Reason::Mismatch, Reason::Expired];
        if scheme.name() != "cognigy" {
            reasons.extend([Reason::Stale, Reason::Future]);
        }
        for reason in reasons {
            assert!(refused.contains(&reason), "{} {reason}", scheme.name());
        }
    }
}

#[test]
fn secrets_are_swapped_between_messages_and_not_within_one() {
    let keyring = Keyring::new(Scheme::cognigy(), [secret()]).unwrap();
    let verifier = SignatureVerifier::with_keyring(keyring.clone());
    let clone = verifier.clone();
    let headers = signed(Scheme::cognigy(), SECRET, NOW);
    let mut begun = verifier.begin(&headers).unwrap();
    keyring.replace([Secret::new("the secret of next year").unwrap().label("2027")]).unwrap();

    begun.update(BODY);
    assert_eq!(begun.finish().unwrap().key_label(), "first");
    for verifier in [&verifier, &clone] {
        assert_eq!(verifier.verify(&headers, BODY).unwrap_err(), Reason::Mismatch);
        let next = signed(Scheme::cognigy(), "the secret of next year", NOW);
        assert_eq!(verifier.verify(&next, BODY).unwrap().key_label(), "2027");
    }
    assert_eq!(format!("{verifier:?}").matches("2027").count(), 1);
}

#[test]
fn the_verifiers_own_context_goes_before_that_of_a_message() {
    let (ours, theirs) = ("https://a.example/ours", "https://a.example/theirs");
    let mut headers = HeaderMap::new();
    Signer::new(Scheme::square(), secret()).context(ours).sign(&mut headers, BODY).unwrap();
    let mut extensions = http::Extensions::new();
    let verifier = SignatureVerifier::new(Scheme::square(), secret());
    assert_eq!(verifier.verify(&headers, BODY).unwrap_err(), Reason::NoContext);
    let begun = |verifier: &SignatureVerifier, extensions: &http::Extensions| {
        let mut begun = verifier.begin_in(&headers, extensions)?;
        begun.update(BODY);
        begun.finish()
    };
    assert_eq!(begun(&verifier, &extensions).unwrap_err(), Reason::NoContext);
    extensions.insert(SignedContext(theirs.into()));
    assert_eq!(begun(&verifier, &extensions).unwrap_err(), Reason::Mismatch);
    let verifier = verifier.context(ours);
    assert!(begun(&verifier, &extensions).is_ok() && verifier.verify(&headers, BODY).is_ok());
}

/// Such a header would have to be a signature and a credential, so every request that is signed in it would be refused.
#[test]
fn no_scheme_accepts_credentials_in_the_header_of_its_signature() {
    for header in ["authorization", "X-API-Key"] {
        for names in [vec![header.to_owned()], vec!["x-signature".to_owned(), header.to_owned()]] {
            let scheme = || Scheme::builder("custom").header(names.clone()).build().unwrap();
            let in_memory = || SignatureVerifier::new(scheme(), secret()).accept_credentials();
            let layered = || SignatureLayer::new(scheme(), secret()).accept_credentials();
            assert!(std::panic::catch_unwind(in_memory).is_err(), "{names:?}");
            assert!(std::panic::catch_unwind(layered).is_err(), "{names:?}");

            let mut headers = HeaderMap::new();
            Signer::new(scheme(), secret()).sign(&mut headers, BODY).unwrap();
            assert!(SignatureVerifier::new(scheme(), secret()).verify(&headers, BODY).is_ok());
        }
    }
}

#[test]
fn what_is_shared_is_shareable() {
    fn shareable<T: Send + Sync + 'static>(_: &T) {}
    fn sendable<T: Send>(_: &T) {}

    let verifier = SignatureVerifier::new(Scheme::cognigy(), secret());
    shareable(&verifier);
    sendable(&verifier.begin(&signed(Scheme::cognigy(), SECRET, NOW)).unwrap());
}
