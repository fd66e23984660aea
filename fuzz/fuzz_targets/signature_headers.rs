//! What a sender writes into the headers of a webhook, under every profile and some schemes more.
//!
//! An input is lines: the scheme's name, the secret, the seconds of now, a line `name: value` for each header, and after an empty
//! line the body. `seeds.sh` makes such of the vectors. Beside not panicking, what is let through has to be signed as the signer of
//! this crate signs it, and the verifier has to let through the same, in one piece or byte by byte.
#![no_main]

#[path = "../../tests/support/profiles.rs"]
#[expect(dead_code, reason = "tests look profiles up by their names")]
mod profiles;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use portcullis::{
    signature::{
        Encoding, Hash, Scheme, Segment, SignatureLayer, SignatureVerifier, SignedContext, Signer, Timestamp, Unit,
        Verified, VerifiedBody,
    },
    time::{ManualWallClock, UnixTime},
};
use tower::{Layer, Service, service_fn};

const URL: &[u8] = b"https://webhook.site/webhooks";

static SCHEMES: LazyLock<Vec<Scheme>> = LazyLock::new(|| {
    let custom = |name: &str| Scheme::builder(name).header("x-signature");
    let timed = |between: &str| [Segment::Timestamp, Segment::literal(between), Segment::Body];
    let built = [
        custom("sha512_hex").hash(Hash::Sha512),
        custom("sha512_base64").hash(Hash::Sha512).encoding(Encoding::Base64),
        custom("millis").timestamp(Timestamp::header("x-time").unit(Unit::Millis)).signed(timed(":")),
        custom("dates").list(',', '=', "v1").timestamp(Timestamp::list_key("t").unit(Unit::Rfc3339)).signed(timed(".")),
        custom("seams").signed([Segment::header("x-id"), Segment::literal("::"), Segment::Body]),
    ];
    let mut schemes = profiles::profiles();
    schemes.extend(built.into_iter().map(|builder| builder.build().unwrap()));
    schemes
});

fn inner(request: Request<VerifiedBody>) -> Ready<Result<Response<Bytes>, Infallible>> {
    let verified = request.extensions().get::<Verified>().unwrap().clone();
    let mut response = Response::new(request.into_body().into_bytes());
    response.extensions_mut().insert(verified);
    ready(Ok(response))
}

fuzz_target!(|input: &[u8]| {
    let (head, body) = match input.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let (Some(name), Some(secret), Some(now)) = (lines.next(), lines.next(), lines.next()) else { return };
    let named = SCHEMES.iter().find(|scheme| scheme.name().as_bytes() == name);
    let scheme = named.unwrap_or(&SCHEMES[name.first().map_or(0, |byte| usize::from(*byte)) % SCHEMES.len()]);
    let Some(Ok(secret)) = std::str::from_utf8(secret).ok().map(|text| scheme.secret(text)) else { return };
    let now = std::str::from_utf8(now).ok().and_then(|text| text.parse().ok()).unwrap_or(1_700_000_000);
    let clock = ManualWallClock::new(UnixTime::from_secs(now));

    let mut headers = HeaderMap::new();
    for line in lines.take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
            headers.append(name, value);
        }
    }

    let layer = SignatureLayer::new(scheme.clone(), secret.clone()).wall_clock(clock.clock());
    let verifier = SignatureVerifier::new(scheme.clone(), secret.clone()).wall_clock(clock.clock()).context(URL);
    let both = [(layer.clone(), verifier.clone()), (layer.accept_credentials(), verifier.accept_credentials())];
    for (layer, verifier) in both {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
        *request.headers_mut() = headers.clone();
        request.extensions_mut().insert(SignedContext(Bytes::from_static(URL)));
        let call = pin!(layer.layer(service_fn(inner)).call(request));
        let Poll::Ready(Ok(response)) = call.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("a body that is there is waited for");
        };
        let whole = verifier.verify(&headers, body).map(|verified| verified.is_signed());
        let in_pieces = verifier.begin(&headers).and_then(|mut verifying| {
            body.chunks(1).for_each(|byte| verifying.update(byte));
            verifying.finish()
        });
        assert_eq!(whole, in_pieces.map(|verified| verified.is_signed()));
        let layered = response.extensions().get::<Verified>().map(Verified::is_signed);
        if response.status() != StatusCode::PAYLOAD_TOO_LARGE {
            assert_eq!(whole.ok(), layered);
        }
        match response.status() {
            StatusCode::OK => {
                assert_eq!(response.body(), body);
                let verified = response.extensions().get::<Verified>().unwrap();
                if verified.is_signed() {
                    let at = ManualWallClock::new(verified.timestamp().unwrap_or_default());
                    let signer = Signer::new(scheme.clone(), secret.clone()).wall_clock(at.clock()).context(URL);
                    is_signed_alike(&signer, scheme.name(), &headers, body);
                }
            }
            StatusCode::UNAUTHORIZED | StatusCode::PAYLOAD_TOO_LARGE => assert!(response.body().is_empty()),
            status => panic!("{status}"),
        }
    }
});

/// What was let through holds the signature that the signer makes of the same content at the same time.
fn is_signed_alike(signer: &Signer, scheme: &str, headers: &HeaderMap, body: &[u8]) {
    // A date can be written in many ways, and of two families of headers the signer writes the first.
    if ["twitch", "dates"].contains(&scheme) || scheme == "svix" && !headers.contains_key("svix-signature") {
        return;
    }
    let mut made = headers.clone();
    signer.sign(&mut made, body).unwrap();
    let (name, value) = made.iter().find(|(_, value)| value.is_sensitive()).unwrap();
    let value = value.to_str().unwrap();
    let hex = !value.ends_with('=');
    let signature = value.rsplit(['=', ',', ' ']).find(|part| !part.is_empty()).unwrap();
    let same = |sent: &HeaderValue| {
        let sent = sent.to_str().unwrap();
        if hex { sent.to_ascii_lowercase().contains(signature) } else { sent.contains(signature) }
    };
    // Shopify's two names, of which the signer writes the first.
    let sent = headers.get(name).or_else(|| headers.get("shopify-hmac-sha256")).unwrap();
    assert!(same(sent), "{scheme}: {sent:?} is not {value}");
}
