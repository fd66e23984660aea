//! Secrets that end, are swapped, and are told apart.

use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::{
    signature::{Keyring, Refusal, Scheme, Secret, SignError, SignatureLayer, Signer, Verified},
    time::{ManualWallClock, UnixTime},
};
use tower::{Layer, Service};

use crate::support::{Inner, SECRET, Script, Step, answer, layer, secret, signed};

const CONTENT: &[u8] = b"{}";
const END: u64 = 1_700_000_000;
const NEW: &str = "the secret of next year";

fn telltale(refusal: &Refusal) -> Response<Bytes> {
    Response::builder().status(refusal.status()).body(refusal.as_str().into()).unwrap()
}

fn signed_with(secret: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(CONTENT));
    Signer::new(Scheme::cognigy(), Secret::new(secret).unwrap()).sign(request.headers_mut(), CONTENT).unwrap();
    request
}

#[tokio::test]
async fn a_secret_is_accepted_until_its_end_and_no_longer() {
    let clock = ManualWallClock::new(UnixTime::from_secs(END));
    let old = secret().label("old").not_after(UnixTime::from_secs(END));
    let layer = SignatureLayer::new(Scheme::cognigy(), Secret::new(NEW).unwrap())
        .also_accept(old)
        .accept_credentials()
        .wall_clock(clock.clock())
        .refuse_with(telltale);
    let vouched = || Request::builder().header("x-api-key", SECRET).body(Full::from(CONTENT)).unwrap();
    for request in [signed_with(SECRET), signed_with(NEW), vouched()] {
        assert_eq!(answer(&layer, request).await.status(), StatusCode::OK, "at its end");
    }
    clock.set(UnixTime::new(std::time::Duration::new(END, 1)));
    for request in [signed_with(SECRET), vouched()] {
        let response = answer(&layer, request).await;
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::UNAUTHORIZED, &b"expired"[..]));
    }
    assert_eq!(answer(&layer, signed_with(NEW)).await.status(), StatusCode::OK);
    let mut wrong = signed_with(SECRET);
    *wrong.body_mut() = Full::from("[]");
    assert_eq!(answer(&layer, wrong).await.body(), "mismatch", "it is no hit at all");
}

/// From outside it is a wrong signature as any other.
#[tokio::test]
async fn an_expired_secret_gets_the_answer_that_a_wrong_one_gets() {
    let expired = SignatureLayer::new(Scheme::cognigy(), secret().not_after(UnixTime::from_secs(END)));
    let told = format!("{:?}", answer(&expired, signed_with(SECRET)).await);
    assert_eq!(told, format!("{:?}", answer(&expired, signed_with("a secret of someone else")).await));
}

#[tokio::test]
async fn a_request_is_judged_by_the_secrets_of_when_its_headers_came() {
    let clock = ManualWallClock::new(UnixTime::from_secs(END));
    let keyring = Keyring::new(Scheme::cognigy(), [secret().not_after(UnixTime::from_secs(END))]).unwrap();
    let layer = SignatureLayer::with_keyring(keyring.clone()).wall_clock(clock.clock());
    let mut service = layer.layer(Inner::default());
    let dripping =
        || Script::new([Step::Data(Bytes::from_static(b"{")), Step::Yield, Step::Data(Bytes::from_static(b"}"))]);
    let mut running = Box::pin(service.call(signed(CONTENT, dripping())));
    assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    clock.set(UnixTime::from_secs(END + 1));
    keyring.replace([Secret::new(NEW).unwrap()]).unwrap();
    assert_eq!(running.await.unwrap().status(), StatusCode::OK);
    assert_eq!(service.call(signed(CONTENT, dripping())).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_labels_of_all_that_vouched_are_told() {
    let layer = layer().also_accept(Secret::new("the second secret").unwrap()).also_accept(Secret::new(NEW).unwrap());
    let layer = layer.accept_credentials();
    for (api_key, bearer, labels) in [
        (None, None, vec!["first"]),
        (Some(SECRET), None, vec!["first"]),
        (Some("the second secret"), Some(NEW), vec!["first", "third", "second"]),
        (Some(NEW), Some(NEW), vec!["first", "third"]),
    ] {
        let mut request = signed_with(SECRET);
        if let Some(key) = api_key {
            request.headers_mut().insert("x-api-key", HeaderValue::from_static(key));
        }
        if let Some(key) = bearer {
            request.headers_mut().insert("authorization", HeaderValue::try_from(format!("Bearer {key}")).unwrap());
        }
        let response = answer(&layer, request).await;
        let verified = response.extensions().get::<Verified>().unwrap();
        assert_eq!(verified.key_labels().collect::<Vec<_>>(), labels);
        assert_eq!(verified.key_label(), labels[0]);
    }
}

#[test]
#[should_panic(expected = "also_accept: label must be of one secret alone")]
fn two_secrets_of_one_label_are_a_mistake() {
    let _ = layer().also_accept(Secret::new(NEW).unwrap().label("first"));
}

#[tokio::test]
async fn a_context_that_this_server_forgot_is_told_apart() {
    let square = SignatureLayer::new(Scheme::square(), secret());
    let mut request = Request::new(Full::<Bytes>::from(CONTENT));
    Signer::new(Scheme::square(), secret()).context("https://a.example").sign(request.headers_mut(), CONTENT).unwrap();
    let response = answer(&square.clone().refuse_with(telltale), request.clone()).await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::UNAUTHORIZED, &b"no_context"[..]));
    assert!(answer(&square, request).await.body().is_empty());
}

#[test]
fn a_signer_says_what_is_missing_and_changes_nothing() {
    let id = |value: &'static str| ("webhook-id".parse().unwrap(), HeaderValue::from_static(value));
    let sign = |scheme: Scheme, headers: Vec<_>| {
        let mut signed = HeaderMap::new();
        headers.into_iter().for_each(|(name, value): (http::HeaderName, _)| {
            signed.append(name, value);
        });
        let before = signed.clone();
        let error = Signer::new(scheme, secret()).sign(&mut signed, CONTENT).unwrap_err();
        assert_eq!(signed, before);
        assert!(!error.to_string().contains("msg"));
        error
    };
    assert_eq!(sign(Scheme::standard_webhooks(), vec![]), SignError::Missing);
    assert_eq!(sign(Scheme::standard_webhooks(), vec![id("msg_1"), id("msg_1")]), SignError::Repeated);
    assert_eq!(sign(Scheme::standard_webhooks(), vec![id("msg.1")]), SignError::Malformed);
    assert_eq!(sign(Scheme::standard_webhooks(), vec![id("")]), SignError::Malformed);
    assert_eq!(sign(Scheme::square(), vec![]), SignError::NoContext);
}
