//! Requests that go out signed, and come in verified.

use std::convert::Infallible;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use portcullis::{
    BoxError,
    signature::{
        NotSigned, Scheme, SignError, SignLayer, SignatureLayer, SignedBody, SignedContext, Signer, SigningError,
        VerifiedBody,
    },
    time::{ManualWallClock, UnixTime},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    profiles::profiles,
    support::{SECRET, Script, Step, secret},
};

const CONTENT: &[u8] = b"{\"t\":\"Gr\xc3\xbc\xc3\x9fe\"}";
const URL: &str = "https://a.example/webhooks";

fn layer(scheme: Scheme) -> SignLayer {
    SignLayer::new(Signer::new(scheme, secret()))
}

async fn sent(request: Request<SignedBody>) -> Result<Response<Bytes>, Infallible> {
    Ok(Response::new(request.into_body().into_bytes()))
}

#[tokio::test]
async fn what_every_profile_signs_it_verifies() {
    for scheme in profiles() {
        for tampered in [false, true] {
            let client = ServiceBuilder::new()
                .layer(layer(scheme.clone()))
                .map_request(move |request: Request<SignedBody>| {
                    let (mut head, body) = request.into_parts();
                    head.extensions.insert(SignedContext(Bytes::from_static(URL.as_bytes())));
                    let mut content = body.into_bytes().to_vec();
                    if tampered {
                        content[0] ^= 1;
                    }
                    Request::from_parts(head, Full::new(Bytes::from(content)))
                })
                .layer(SignatureLayer::new(scheme.clone(), secret()))
                .service(service_fn(async |request: Request<VerifiedBody>| {
                    Ok::<_, Infallible>(Response::new(request.into_body().into_bytes()))
                }));
            for size in [1, 7, 1000] {
                let mut request = Request::new(Script::frames(CONTENT, size));
                request.extensions_mut().insert(SignedContext(Bytes::from_static(URL.as_bytes())));
                for id in ["webhook-id", "svix-id", "twitch-eventsub-message-id"] {
                    request.headers_mut().insert(id, HeaderValue::from_static("msg_1"));
                }
                let response = client.clone().oneshot(request).await.unwrap();
                if tampered {
                    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{}", scheme.name());
                } else {
                    assert_eq!(
                        (response.status(), &response.body()[..]),
                        (StatusCode::OK, CONTENT),
                        "{}",
                        scheme.name()
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn each_attempt_is_signed_anew() {
    let clock = ManualWallClock::new(UnixTime::from_secs(1_700_000_000));
    let headers =
        service_fn(async |request: Request<SignedBody>| Ok::<_, Infallible>(Response::new(request.headers().clone())));
    let signer = Signer::new(Scheme::svix(), secret()).wall_clock(clock.clock());
    let client = SignLayer::new(signer).layer(headers);
    let mut request = Request::new(Full::<Bytes>::from(CONTENT));
    request.headers_mut().insert("svix-id", HeaderValue::from_static("msg_1"));
    let first = client.clone().oneshot(request.clone()).await.unwrap().into_body();
    // A response or a copy of the request may carry the old signature.
    *request.headers_mut() = first.clone();
    clock.set(UnixTime::from_secs(1_700_000_060));
    let second = client.oneshot(request).await.unwrap().into_body();
    assert_eq!(second["svix-id"], "msg_1");
    assert_eq!(second["svix-timestamp"], "1700000060");
    assert_ne!(second["svix-signature"], first["svix-signature"]);
    assert_eq!(second.get_all("svix-signature").iter().count(), 1);
}

#[tokio::test]
async fn a_body_that_is_in_memory_is_not_copied_and_trailers_go_along() {
    let whole = Bytes::from(vec![7; 300]);
    let client = layer(Scheme::github()).layer(service_fn(sent));
    let response = client.clone().oneshot(Request::new(Full::new(whole.clone()))).await.unwrap();
    assert_eq!(response.body().as_ptr(), whole.as_ptr());

    let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), HeaderValue::from_static("1"))]);
    let body = Script::new([Step::Data(Bytes::from_static(CONTENT)), Step::Yield, Step::Trailers(trailers.clone())]);
    let collect = service_fn(async |request: Request<SignedBody>| {
        assert_eq!(request.body().trailers().map(HeaderMap::len), Some(1));
        let collected = request.into_body().collect().await?;
        let trailers = collected.trailers().cloned();
        assert_eq!(&collected.to_bytes()[..], CONTENT);
        Ok::<_, Infallible>(Response::new(trailers))
    });
    let response = layer(Scheme::github()).layer(collect).oneshot(Request::new(body)).await.unwrap();
    assert_eq!(response.into_body(), Some(trailers));

    let split = |mut data: Bytes| data.split_to(data.len() / 2).chain(data);
    let body = Script::frames(CONTENT, 9).map_frame(move |frame| frame.map_data(split));
    assert_eq!(client.oneshot(Request::new(body)).await.unwrap().body(), CONTENT);
}

#[tokio::test]
async fn a_client_can_announce_the_length_of_what_is_signed() {
    let announced = service_fn(async |request: Request<SignedBody>| {
        let mut body = request.into_body();
        let before = (body.size_hint().exact(), body.is_end_stream());
        while body.frame().await.is_some() {}
        Ok::<_, Infallible>(Response::new((before, (body.size_hint().exact(), body.is_end_stream()))))
    });
    let client = layer(Scheme::github()).layer(announced);
    let length = u64::try_from(CONTENT.len()).unwrap();
    let response = client.clone().oneshot(Request::new(Script::frames(CONTENT, 3))).await.unwrap();
    assert_eq!(response.into_body(), ((Some(length), false), (Some(0), true)));
    let response = client.oneshot(Request::new(Script::frames(b"", 3))).await.unwrap();
    assert_eq!(response.into_body().0, (Some(0), true));
}

/// Whoever logs a client logs no key.
#[test]
fn what_signs_prints_no_secret() {
    let layer = layer(Scheme::github());
    let printed = format!("{layer:?} {:?}", Signer::new(Scheme::github(), secret()));
    assert!(printed.contains("github"), "{printed}");
    let bytes = format!("{:?}", SECRET.as_bytes());
    assert!(!printed.contains(SECRET) && !printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");
}

#[tokio::test]
async fn what_cannot_be_signed_is_not_sent() {
    let never = service_fn(async |_: Request<SignedBody>| -> Result<Response<()>, BoxError> { panic!("sent") });
    let error = async |scheme: Scheme, body: Script| match layer(scheme)
        .max_body_bytes(CONTENT.len() - 1)
        .layer(never)
        .oneshot(Request::new(body))
        .await
    {
        Err(SigningError::NotSigned(error)) => error,
        other => panic!("{other:?}"),
    };
    let none = || Script::new([]);
    assert!(matches!(error(Scheme::svix(), none()).await, NotSigned::Sign(SignError::Missing)));
    assert!(matches!(error(Scheme::square(), none()).await, NotSigned::Sign(SignError::NoContext)));
    assert!(matches!(error(Scheme::github(), Script::frames(CONTENT, 1)).await, NotSigned::TooLarge));
    let declared = Script::frames(CONTENT, 1).claiming(1 << 40);
    let polls = declared.polls();
    assert!(matches!(error(Scheme::github(), declared).await, NotSigned::TooLarge));
    assert_eq!(polls.load(std::sync::atomic::Ordering::Relaxed), 0);
    let broken = error(Scheme::github(), Script::new([Step::Error])).await;
    assert!(matches!(broken, NotSigned::Body(_)), "{broken:?}");
    // Flat, in a boxed stack.
    let boxed: BoxError = SigningError::<BoxError>::NotSigned(NotSigned::TooLarge).into();
    assert!(boxed.is::<NotSigned>());
    assert_eq!(boxed.to_string(), "not signed: the body is larger than the cap");
    let inner: BoxError = SigningError::Inner(BoxError::from("refused")).into();
    assert_eq!(inner.to_string(), "refused");
}

/// `ConcurrencyLimit` and `Buffer` panic when a clone of theirs is called that was never polled ready.
#[tokio::test]
async fn the_instance_that_is_called_is_the_one_that_was_ready() {
    let mut limited = ServiceBuilder::new().layer(layer(Scheme::github())).concurrency_limit(1).service_fn(sent);
    for _ in 0..3 {
        let request = Request::new(Script::frames(CONTENT, 1));
        let response = ServiceExt::<Request<Script>>::ready(&mut limited).await.unwrap().call(request).await.unwrap();
        assert_eq!(response.body(), CONTENT);
    }
    fn sendable<T: Send>(_: &T) {}
    sendable(&limited.call(Request::new(Full::<Bytes>::default())));
}
