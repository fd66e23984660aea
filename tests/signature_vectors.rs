//! Every vector of `data/signature_vectors.json`, through the layer and through the verifier: published by standards and vendors, or derived from
//! those.

#[path = "support/profiles.rs"]
mod profiles;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use portcullis::{
    signature::{
        Encoding, Hash, KeyEncoding, Refusal, Scheme, SignatureLayer, SignatureVerifier, SignedContext, Signer,
        Verified, VerifiedBody,
    },
    time::{ManualWallClock, UnixTime},
};
use profiles::profile;
use serde::Deserialize;
use tower::{Layer, ServiceExt, service_fn};

#[derive(Deserialize)]
struct Vector {
    id: String,
    provider: String,
    secret: String,
    body_utf8: Option<String>,
    body_b64: Option<String>,
    headers: Vec<(String, String)>,
    context: Option<SignedUrl>,
    now_unix: Option<u64>,
    valid: bool,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct SignedUrl {
    notification_url: String,
}

impl Vector {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("data/signature_vectors.json")).unwrap()
    }

    fn body(&self) -> Bytes {
        match (&self.body_utf8, &self.body_b64) {
            (Some(text), None) => text.clone().into(),
            (None, Some(base64)) => STANDARD.decode(base64).unwrap().into(),
            _ => panic!("{}: one body", self.id),
        }
    }

    /// The provider's profile; of those that are none, what a user builds.
    fn scheme(&self) -> Scheme {
        let custom = || Scheme::builder(self.provider.as_str()).header("x-signature");
        let builder = match self.provider.as_str() {
            "genesys_open_messaging" => return Scheme::genesys(),
            "hmac_sha256_hex" => custom().key_encoding(KeyEncoding::Hex),
            "hmac_sha512_hex" => custom().hash(Hash::Sha512),
            "hmac_sha512_base64" => custom().hash(Hash::Sha512).encoding(Encoding::Base64),
            name => return profile(name).unwrap_or_else(|| panic!("{}: unknown provider {name}", self.id)),
        };
        builder.build().unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }

    /// Why it is refused, in this crate's words.
    fn reason(&self) -> &str {
        match self.reason.as_deref() {
            Some("ambiguous") => "repeated",
            reason => reason.unwrap(),
        }
    }

    fn now(&self) -> ManualWallClock {
        ManualWallClock::new(UnixTime::from_secs(self.now_unix.unwrap_or(1_700_000_000)))
    }

    fn request(&self, size: usize) -> Request<Frames> {
        let mut request = Request::new(Frames { left: self.body(), size });
        for (name, value) in &self.headers {
            // Header values are Latin-1 in the vectors, so that any byte can be written.
            let value: Vec<u8> = value.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            request.headers_mut().append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&value).unwrap());
        }
        if let Some(context) = &self.context {
            request.extensions_mut().insert(SignedContext(context.notification_url.clone().into()));
        }
        request
    }
}

/// A body in frames of `size` bytes.
struct Frames {
    left: Bytes,
    size: usize,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.size.min(self.left.len());
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(length)))))
    }
}

async fn echo(request: Request<VerifiedBody>) -> Result<Response<Bytes>, Infallible> {
    assert!(request.extensions().get::<Verified>().unwrap().is_signed());
    Ok(Response::new(request.into_body().into_bytes()))
}

/// The reason is put where no user should put it: into the answer.
fn telltale(refusal: &Refusal) -> Response<Bytes> {
    Response::builder().status(refusal.status()).body(refusal.as_str().into()).unwrap()
}

#[test]
fn every_profile_has_a_vector() {
    let names: Vec<_> = Vector::all().iter().map(|vector| vector.scheme().name().to_owned()).collect();
    for profile in profiles::profiles() {
        assert!(names.iter().any(|name| name == profile.name()), "{}", profile.name());
    }
}

#[tokio::test]
async fn every_vector_is_judged_as_it_says() {
    let vectors = Vector::all();
    assert_eq!(vectors.len(), 79);
    for vector in vectors {
        let scheme = vector.scheme();
        let secret = scheme.secret(&vector.secret).unwrap();
        let layer = SignatureLayer::new(scheme, secret).wall_clock(vector.now().clock()).refuse_with(telltale);
        for size in [1, 7, usize::MAX] {
            let response = layer.layer(service_fn(echo)).oneshot(vector.request(size)).await.unwrap();
            if vector.valid {
                assert_eq!(response.status(), StatusCode::OK, "{}: {:?}", vector.id, response.body());
                assert_eq!(response.body(), &vector.body(), "{}", vector.id);
            } else {
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{}", vector.id);
                assert_eq!(response.body(), vector.reason(), "{}", vector.id);
            }
        }
    }
}

#[test]
fn every_vector_is_judged_as_it_says_without_tower() {
    let vectors = Vector::all();
    assert_eq!(vectors.len(), 79);
    for vector in vectors {
        let scheme = vector.scheme();
        let secret = scheme.secret(&vector.secret).unwrap();
        let verifier = SignatureVerifier::new(scheme, secret).wall_clock(vector.now().clock());
        let (head, _) = vector.request(usize::MAX).into_parts();
        let body = vector.body();

        let with_context = match &vector.context {
            Some(context) => verifier.clone().context(context.notification_url.clone()),
            None => verifier.clone(),
        };
        let in_pieces = |size: usize| {
            let mut verifying = verifier.begin_in(&head.headers, &head.extensions)?;
            body.chunks(size).for_each(|piece| verifying.update(piece));
            verifying.finish()
        };
        for verdict in [with_context.verify(&head.headers, &body), in_pieces(1), in_pieces(7)] {
            match verdict {
                Ok(verified) => assert!(vector.valid && verified.is_signed(), "{}", vector.id),
                Err(reason) => assert_eq!((vector.valid, reason.as_str()), (false, vector.reason()), "{}", vector.id),
            }
        }
    }
}

#[tokio::test]
async fn what_the_signer_makes_is_verified_and_nothing_else() {
    for vector in Vector::all().into_iter().filter(|vector| vector.valid) {
        let scheme = vector.scheme();
        let clock = vector.now().clock();
        let layer =
            SignatureLayer::new(scheme.clone(), scheme.secret(&vector.secret).unwrap()).wall_clock(clock.clone());
        let mut signer = Signer::new(scheme.clone(), scheme.secret(&vector.secret).unwrap()).wall_clock(clock);
        if let Some(context) = &vector.context {
            signer = signer.context(context.notification_url.clone());
        }
        let mut request = vector.request(usize::MAX);
        // The vector's own signature goes, so that it cannot be the one that is verified.
        for name in request.headers().keys().cloned().collect::<Vec<_>>() {
            if name.as_str().contains("sign") || name.as_str().contains("hmac") || name.as_str().ends_with("sha256") {
                request.headers_mut().remove(name);
            }
        }
        for (content, status) in
            [(vector.body(), StatusCode::OK), ([&vector.body()[..], b"!"].concat().into(), StatusCode::UNAUTHORIZED)]
        {
            let mut request = request_like(&request, vector.request(usize::MAX).into_body());
            signer.sign(request.headers_mut(), &content).unwrap();
            let response = layer.layer(service_fn(echo)).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{}", vector.id);
        }
    }
}

fn request_like<B, C>(request: &Request<B>, body: C) -> Request<C> {
    let mut like = Request::new(body);
    *like.headers_mut() = request.headers().clone();
    *like.extensions_mut() = request.extensions().clone();
    like
}
