//! What is judged before the body is polled, and what an answer tells.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use portcullis::signature::{Keyring, Scheme, Secret, SignatureLayer, SignedContext, Signer, Verified, VerifiedBody};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    profiles::profiles,
    support::{SECRET, Script, answer, layer, secret, signed},
};

const CONTENT: &[u8] = b"{}";
const HEADER: &str = "x-cognigy-signature";

/// The headers of a good request.
fn good() -> HeaderMap {
    signed(CONTENT, ()).headers().clone()
}

fn with(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(HEADER.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
}

fn request(headers: HeaderMap) -> Request<Script> {
    let mut request = Request::new(Script::frames(CONTENT, 1));
    *request.headers_mut() = headers;
    request
}

/// Headers that are refused for themselves.
fn refused_unread() -> Vec<HeaderMap> {
    let good_value = good()[HEADER].to_str().unwrap().to_owned();
    let mut repeated = good();
    repeated.append(HEADER, repeated[HEADER].clone());
    let mut joined = good();
    joined.insert(HEADER, HeaderValue::from_str(&format!("{good_value}, {good_value}")).unwrap());
    let mut no_text = good();
    no_text.insert(HEADER, HeaderValue::from_bytes(&[0xe9; 64]).unwrap());
    let mut values = vec![HeaderMap::new(), repeated, joined, no_text];
    values.extend([&good_value[..62], &good_value[..63], "", "0x", &format!("sha256={good_value}")].map(with));
    values
}

#[tokio::test]
async fn a_bad_header_costs_no_byte_of_the_body() {
    for headers in refused_unread() {
        let request = request(headers);
        let polls = request.body().polls();
        assert_eq!(answer(&layer(), request).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(polls.load(Relaxed), 0);
    }
}

#[tokio::test]
async fn headers_are_judged_before_the_declared_length() {
    let mut huge = request(HeaderMap::new());
    huge.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(u64::MAX));
    assert_eq!(answer(&layer(), huge).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn missing_repeated_malformed_and_wrong_signatures_get_the_same_answer() {
    let mut refused = refused_unread();
    refused.push(with(&"0".repeat(64)));
    let mut answers = Vec::new();
    for headers in refused {
        answers.push(format!("{:?}", answer(&layer(), request(headers)).await));
    }
    assert!(answers[0].contains("401"));
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[tokio::test]
async fn a_prefix_of_the_signature_is_not_the_signature() {
    let whole = good()[HEADER].to_str().unwrap().to_owned();
    for length in (0..whole.len()).step_by(2) {
        let response = answer(&layer(), request(with(&whole[..length]))).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{length} digits");
    }
    assert_eq!(answer(&layer(), request(with(&whole.to_uppercase()))).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn another_prefix_is_not_passed_over() {
    let github = SignatureLayer::new(Scheme::github(), secret());
    let mut headers = HeaderMap::new();
    Signer::new(Scheme::github(), secret()).sign(&mut headers, CONTENT).unwrap();
    let value = headers["x-hub-signature-256"].to_str().unwrap().to_owned();
    assert_eq!(answer(&github, request(headers.clone())).await.status(), StatusCode::OK);
    for prefix in ["md5=", "sha1=", "SHA256=", "", "sha256= "] {
        let value = value.replace("sha256=", prefix);
        headers.insert("x-hub-signature-256", HeaderValue::from_str(&value).unwrap());
        assert_eq!(answer(&github, request(headers.clone())).await.status(), StatusCode::UNAUTHORIZED, "{prefix}");
    }
}

/// The secrets of a rotation are reached through the layer, whichever of them a sender has, and it says which.
#[tokio::test]
async fn every_accepted_secret_verifies_and_its_label_is_told() {
    let other = |n: usize| Secret::new(format!("secret number {n} of several")).unwrap();
    let layer = SignatureLayer::new(Scheme::cognigy(), other(0))
        .also_accept(other(1).label("of last year"))
        .also_accept(other(2))
        .also_accept(other(3));
    for (n, label) in [Some("first"), Some("of last year"), Some("third"), Some("fourth"), None].into_iter().enumerate()
    {
        let mut headers = HeaderMap::new();
        Signer::new(Scheme::cognigy(), other(n)).sign(&mut headers, CONTENT).unwrap();
        let response = answer(&layer, request(headers)).await;
        let verified = response.extensions().get::<Verified>();
        assert_eq!(verified.map(Verified::key_label), label);
        assert_eq!(verified.map(Verified::scheme), label.map(|_| "cognigy"));
    }
}

#[test]
#[should_panic(expected = "also_accept: secrets must be at most four")]
fn a_fifth_secret_is_a_mistake() {
    let _ = (0..4).fold(layer(), |layer, _| layer.also_accept(secret()));
}

#[tokio::test]
async fn secrets_are_swapped_while_the_service_runs() {
    let keyring = Keyring::new(Scheme::cognigy(), [secret()]).unwrap();
    let layer = SignatureLayer::with_keyring(keyring.clone()).accept_credentials();
    let other = SignatureLayer::with_keyring(keyring.clone());
    let service = layer.layer(crate::support::Inner::default());
    let old = || request(good());
    assert_eq!(service.clone().oneshot(old()).await.unwrap().status(), StatusCode::OK);
    keyring.replace([Secret::new("the secret of next year").unwrap()]).unwrap();
    assert_eq!(service.clone().oneshot(old()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer(&other, old()).await.status(), StatusCode::UNAUTHORIZED, "all layers with it follow");
    for (secret, status) in [(SECRET, StatusCode::UNAUTHORIZED), ("the secret of next year", StatusCode::OK)] {
        let key = HeaderMap::from_iter([("x-api-key".parse().unwrap(), HeaderValue::from_str(secret).unwrap())]);
        assert_eq!(service.clone().oneshot(request(key)).await.unwrap().status(), status, "as a credential");
    }
}

#[test]
#[should_panic(expected = "also_accept: secrets must be those of the keyring")]
fn a_secret_beside_a_keyring_is_a_mistake() {
    let keyring = Keyring::new(Scheme::cognigy(), [secret()]).unwrap();
    let _ = SignatureLayer::with_keyring(keyring).also_accept(Secret::new("one more secret").unwrap());
}

#[tokio::test]
async fn one_more_secret_is_accepted_by_the_layer_alone_that_was_given_it() {
    let next = || Secret::new("the secret of next year").unwrap();
    let (layer, mut headers) = (layer(), HeaderMap::new());
    Signer::new(Scheme::cognigy(), next()).sign(&mut headers, CONTENT).unwrap();
    let extended = layer.clone().also_accept(next());
    assert_eq!(answer(&extended, request(headers.clone())).await.status(), StatusCode::OK);
    assert_eq!(answer(&extended, request(good())).await.status(), StatusCode::OK);
    assert_eq!(answer(&layer, request(headers)).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_inner_service_sees_the_request_as_it_came() {
    #[derive(Clone, PartialEq, Debug)]
    struct Peer(u8);

    let mut request = signed(CONTENT, Full::new(Bytes::from_static(CONTENT)));
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = "/webhooks?a=b".parse().unwrap();
    *request.version_mut() = Version::HTTP_10;
    request.extensions_mut().insert(Peer(4));
    let headers = request.headers().clone();

    let inner = service_fn(async |request: Request<VerifiedBody>| {
        Ok::<_, std::convert::Infallible>(Response::new(Some(request)))
    });
    let seen = layer().layer(inner).oneshot(request).await.unwrap().into_body().unwrap();
    assert_eq!(
        (seen.method(), seen.uri().to_string(), seen.version()),
        (&Method::PUT, "/webhooks?a=b".into(), Version::HTTP_10)
    );
    assert_eq!(seen.headers(), &headers);
    assert_eq!(seen.extensions().get::<Peer>(), Some(&Peer(4)));
}

/// Whoever prints the headers of a request that goes out prints nothing that could be sent again.
#[test]
fn a_signature_that_is_made_is_marked_as_sensitive() {
    for scheme in profiles() {
        let headers = signed_by(&scheme, SECRET);
        let sensitive: Vec<_> = headers.iter().filter(|(_, value)| value.is_sensitive()).collect();
        let [(_, value)] = sensitive[..] else { panic!("{}: {sensitive:?}", scheme.name()) };
        assert!(!format!("{headers:?}").contains(value.to_str().unwrap()));
    }
}

/// All headers of a request that is signed by `scheme`, with every id that a scheme may want.
fn signed_by(scheme: &Scheme, secret: &str) -> HeaderMap {
    let ids = ["webhook-id", "svix-id", "twitch-eventsub-message-id"];
    let mut headers = HeaderMap::from_iter(ids.map(|id| (id.parse().unwrap(), HeaderValue::from_static("msg_1"))));
    let signer = Signer::new(scheme.clone(), Secret::new(secret).unwrap()).context("https://a.example");
    signer.sign(&mut headers, CONTENT).unwrap();
    headers
}

proptest! {
    /// No header that was not made with the secret lets anything through, or ends in a panic: not noise, and not what is
    /// signed with another secret and changed at one place.
    #[test]
    fn no_made_up_header_gets_through(
        provider in 0usize..16,
        noise in proptest::collection::vec(0x20u8..=0xff, 0..200),
        shape in 0..6,
        place in any::<proptest::sample::Index>(),
        credentials in any::<bool>(),
    ) {
        let noise: Vec<u8> = noise.into_iter().filter(|byte| *byte != 0x7f).collect();
        let scheme = profiles().swap_remove(provider);
        let mut headers = signed_by(&scheme, "a secret of someone else");
        for (_, value) in &mut headers {
            let sent = value.as_bytes().to_vec();
            let made_up = match shape {
                0 => noise.clone(),
                1 => [b"v1,", &noise[..], b" v1,"].concat(),
                2 => [b"t=1700000000,v1=", &noise[..]].concat(),
                3 => noise.iter().map(|byte| b"0123456789abcdef"[usize::from(byte % 16)]).take(64).collect(),
                // The header as it was sent, with noise in it.
                4 => {
                    let place = place.index(sent.len() + 1);
                    [&sent[..place], &noise[..noise.len().min(3)], &sent[place..]].concat()
                }
                _ => sent,
            };
            *value = HeaderValue::from_bytes(&made_up).unwrap();
        }
        if credentials {
            let value = HeaderValue::from_bytes(&noise).unwrap();
            for name in ["authorization", "x-api-key"] {
                headers.insert(name, value.clone());
            }
        }
        let layer = SignatureLayer::new(scheme, secret());
        let layer = if credentials { layer.accept_credentials() } else { layer };
        let mut request = request(headers);
        request.extensions_mut().insert(SignedContext(Bytes::from_static(b"https://a.example")));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        prop_assert_eq!(runtime.block_on(answer(&layer, request)).status(), StatusCode::UNAUTHORIZED);
    }
}

/// What the test above asks of made-up headers is asked of real ones here, so that it is not the test that is refused.
#[tokio::test]
async fn every_profile_lets_its_own_through() {
    for scheme in profiles() {
        let mut request = request(signed_by(&scheme, SECRET));
        request.extensions_mut().insert(SignedContext(Bytes::from_static(b"https://a.example")));
        let layer = SignatureLayer::new(scheme.clone(), secret());
        assert_eq!(answer(&layer, request).await.status(), StatusCode::OK, "{}", scheme.name());
    }
}

#[tokio::test]
async fn a_context_of_the_layers_own_comes_before_that_of_the_request() {
    let ours = || SignatureLayer::new(Scheme::square(), secret()).context("https://a.example");
    for (layer, extension, expected) in [
        (SignatureLayer::new(Scheme::square(), secret()), None, StatusCode::UNAUTHORIZED),
        (ours(), None, StatusCode::OK),
        (ours(), Some("https://b.example"), StatusCode::OK),
        (ours().context("https://b.example"), Some("https://a.example"), StatusCode::UNAUTHORIZED),
    ] {
        let mut request = request(signed_by(&Scheme::square(), SECRET));
        if let Some(url) = extension {
            request.extensions_mut().insert(SignedContext(Bytes::from_static(url.as_bytes())));
        }
        assert_eq!(answer(&layer, request).await.status(), expected, "{extension:?}");
    }
}
