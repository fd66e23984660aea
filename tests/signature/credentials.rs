//! Shared credentials in every form, alone and beside a signature.

use std::{convert::Infallible, sync::atomic::Ordering::Relaxed};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use portcullis::signature::{Keyring, Scheme, Secret, SignatureLayer, Verified, VerifiedBody};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{SECRET, Script, Step, answer, layer, secret, signed};

const CONTENT: &[u8] = b"{}";
const OLD: &str = "the secret of last year";

fn accepting() -> SignatureLayer {
    layer().also_accept(Secret::new(OLD).unwrap()).accept_credentials()
}

fn basic(pair: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn request(headers: &[(&str, &str)]) -> Request<Script> {
    let mut request = Request::new(Script::frames(CONTENT, 1));
    for (name, value) in headers {
        request
            .headers_mut()
            .append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

async fn status(headers: &[(&str, &str)]) -> StatusCode {
    answer(&accepting(), request(headers)).await.status()
}

#[tokio::test]
async fn a_credential_in_every_form_gets_through() {
    for (name, value) in [
        ("authorization", format!("Bearer {SECRET}")),
        ("authorization", format!("bEARER   {SECRET}")),
        ("authorization", format!("ApiKey {SECRET}")),
        ("authorization", format!("apikey {OLD}")),
        ("authorization", basic(format!("anyone:{SECRET}").as_bytes())),
        ("authorization", basic(format!(":{SECRET}").as_bytes())),
        ("authorization", basic(&[b"no text \xff\xfe:", SECRET.as_bytes()].concat()).replace("Basic", "BASIC")),
        ("x-api-key", SECRET.to_owned()),
        ("X-API-Key", OLD.to_owned()),
    ] {
        let response = answer(&accepting(), request(&[(name, &value)])).await;
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, CONTENT), "{name}: {value}");
        let verified = response.extensions().get::<Verified>().unwrap();
        assert!(!verified.is_signed(), "it vouches for the sender alone");
        assert_eq!(verified.key_label(), if value.contains(OLD) { "second" } else { "first" });
        assert_eq!(verified.timestamp(), None);
    }
}

#[tokio::test]
async fn a_credential_in_no_form_does_not() {
    for (name, value) in [
        ("authorization", String::new()),
        ("authorization", "Bearer".into()),
        ("authorization", "Bearer ".into()),
        ("authorization", SECRET.into()),
        ("authorization", format!("Bearer {SECRET}x")),
        ("authorization", format!("Bearer {}", &SECRET[..SECRET.len() - 1])),
        ("authorization", format!("Bearer {}", SECRET.to_uppercase())),
        ("authorization", format!("Bearer\t{SECRET}")),
        ("authorization", format!("Bearer é{SECRET}")),
        ("authorization", format!("Digest {SECRET}")),
        ("authorization", format!("Basic {SECRET}")),
        ("authorization", "Basic ====".into()),
        ("authorization", "Basic YTpi!".into()),
        ("authorization", basic(SECRET.as_bytes())),
        ("authorization", basic(format!("{SECRET}:").as_bytes())),
        ("authorization", basic(format!("user:name:{SECRET}").as_bytes())),
        ("authorization", basic(b"\xff\xfe:\xff")),
        ("authorization", basic(format!("u:{SECRET}").as_bytes()).trim_end_matches('=').to_owned() + "A"),
        ("x-api-key", String::new()),
        ("x-api-key", format!("Bearer {SECRET}")),
        ("x-api-key", "é".into()),
    ] {
        let request = request(&[(name, &value)]);
        let polls = request.body().polls();
        assert_eq!(answer(&accepting(), request).await.status(), StatusCode::UNAUTHORIZED, "{name}: {value}");
        assert_eq!(polls.load(Relaxed), 0, "{name}: {value}");
    }
    assert_eq!(status(&[]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn all_that_are_present_must_pass_and_none_may_be_repeated() {
    let signature = signed(CONTENT, ()).headers()["x-cognigy-signature"].to_str().unwrap().to_owned();
    let (wrong, wrong_bearer, bearer) = ("0".repeat(64), "Bearer wrong", format!("Bearer {SECRET}"));
    let good = [("authorization", bearer.as_str()), ("x-api-key", OLD), ("x-cognigy-signature", &signature)];
    let bad = [("authorization", wrong_bearer), ("x-api-key", "wrong"), ("x-cognigy-signature", &wrong)];

    // Each of the three is absent, good, wrong, or good and repeated.
    for choice in 0..4u32.pow(3) {
        let (mut headers, mut passes, mut present) = (Vec::new(), true, false);
        for place in 0..3 {
            let kind = choice / 4u32.pow(place) % 4;
            let place = usize::try_from(place).unwrap();
            match kind {
                0 => {}
                1 => headers.push(good[place]),
                2 => headers.push(bad[place]),
                _ => headers.extend([good[place]; 2]),
            }
            passes &= kind < 2;
            present |= kind > 0;
        }
        let expected = if passes && present { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(status(&headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn a_signature_beside_a_credential_still_covers_the_body() {
    let mut request = signed(CONTENT, Script::frames(b"[]", 1));
    request.headers_mut().insert("x-api-key", HeaderValue::from_static(SECRET));
    assert_eq!(answer(&accepting(), request).await.status(), StatusCode::UNAUTHORIZED);

    let mut request = signed(CONTENT, Script::frames(CONTENT, 1));
    request.headers_mut().insert("x-api-key", HeaderValue::from_static(OLD));
    let response = answer(&accepting(), request).await;
    let verified = response.extensions().get::<Verified>().unwrap();
    assert_eq!((verified.is_signed(), verified.key_label()), (true, "first"), "the signature's secret is the one told");
}

#[tokio::test]
async fn without_the_switch_a_credential_is_no_proof_and_no_obstacle() {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static(SECRET));
    let mut request = Request::new(Script::frames(CONTENT, 1));
    *request.headers_mut() = headers;
    assert_eq!(answer(&layer(), request).await.status(), StatusCode::UNAUTHORIZED);

    let mut request = signed(CONTENT, Script::frames(CONTENT, 1));
    request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer of another layer"));
    assert_eq!(answer(&layer(), request).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_only_a_credential_vouches_for_is_bounded_too() {
    let key = ("x-api-key", SECRET);
    let large = answer(&accepting().max_body_bytes(1), request(&[key])).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);

    for (step, expected) in [(Step::Hang, StatusCode::REQUEST_TIMEOUT), (Step::Error, StatusCode::BAD_REQUEST)] {
        let request = request(&[key]).map(|_| Script::new([Step::Data(Bytes::from_static(CONTENT)), step]));
        assert_eq!(answer(&accepting(), request).await.status(), expected);
    }
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let layer = accepting().also_accept(secret().label("of today"));
    let keyring = Keyring::new(Scheme::cognigy(), [secret().label("of tomorrow")]).unwrap();
    let shown = format!("{layer:?} {keyring:?} {:?} {:?}", SignatureLayer::with_keyring(keyring.clone()), secret());
    assert_eq!(shown.matches("of tomorrow").count(), 2);
    assert!(shown.contains("of today"));
    assert!(!shown.contains("example") && !shown.contains("last year"));
}

#[tokio::test]
async fn a_good_credential_does_not_hide_a_bad_signature_under_a_second_name() {
    let layer = SignatureLayer::new(Scheme::svix(), secret()).accept_credentials();
    for name in ["webhook-signature", "svix-signature"] {
        let bad = request(&[("x-api-key", SECRET), (name, "v1,AAAA")]);
        assert_eq!(answer(&layer, bad).await.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
    assert_eq!(answer(&layer, request(&[("x-api-key", SECRET)])).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn whoever_prints_the_request_further_in_prints_no_credential_and_no_body() {
    let inner = service_fn(async |request: Request<VerifiedBody>| {
        Ok::<_, Infallible>(Response::new(Bytes::from(format!("{request:?}"))))
    });
    let request = request(&[("x-api-key", SECRET), ("authorization", &format!("Bearer {SECRET}"))]);
    let printed = accepting().layer(inner).oneshot(request).await.unwrap().into_body();
    let printed = String::from_utf8_lossy(&printed);
    assert!(printed.contains("x-api-key") && !printed.contains(SECRET) && !printed.contains("{}"), "{printed}");
}
