//! Signatures that are no HMAC: judged by the user's code, fed by the layer.

use std::sync::Arc;

/// Judges signatures that are no HMAC, such as those of a public key; for
/// [`SignatureLayer::verify_with`](super::SignatureLayer::verify_with).
///
/// The layer does all the rest: it reads the headers as the [`Scheme`](super::Scheme) has them, judges the time, feeds what
/// is signed as it arrives, and refuses. Each request costs the box that [`begin`](Verifier::begin) returns, its decoded signatures and
/// its label.
///
/// ```
/// use std::{convert::Infallible, sync::Arc};
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use portcullis::signature::{Encoding, Scheme, Segment, SignatureLayer, Timestamp, Verification, VerifiedBody, Verifier};
/// use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// struct Ed25519(Vec<u8>);
///
/// /// `ring` wants the whole message at once, so it is gathered; what can be fed in pieces needs no copy.
/// struct Gathered {
///     key: UnparsedPublicKey<Vec<u8>>,
///     signatures: Vec<Vec<u8>>,
///     message: Vec<u8>,
/// }
///
/// impl Verifier for Ed25519 {
///     fn begin(&self, signatures: &[&[u8]]) -> Box<dyn Verification> {
///         let signatures = signatures.iter().map(|signature| signature.to_vec()).collect();
///         Box::new(Gathered { key: UnparsedPublicKey::new(&ED25519, self.0.clone()), signatures, message: Vec::new() })
///     }
/// }
///
/// impl Verification for Gathered {
///     fn update(&mut self, bytes: &[u8]) {
///         self.message.extend_from_slice(bytes);
///     }
///
///     fn finish(self: Box<Self>) -> Option<Arc<str>> {
///         let good = |signature: &Vec<u8>| self.key.verify(&self.message, signature).is_ok();
///         self.signatures.iter().any(good).then(|| "of 2026".into())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The other version of Standard Webhooks: `v1a`.
/// let scheme = Scheme::builder("standard_webhooks_v1a")
///     .header("webhook-signature")
///     .versioned("v1a")
///     .encoding(Encoding::Base64)
///     .timestamp(Timestamp::header("webhook-timestamp").tolerance(std::time::Duration::MAX))
///     .signed([
///         Segment::header("webhook-id"),
///         Segment::literal("."),
///         Segment::Timestamp,
///         Segment::literal("."),
///         Segment::Body,
///     ])
///     .build()?;
/// let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
/// let layer = SignatureLayer::verify_with(scheme, Ed25519(pair.public_key().as_ref().to_vec()));
/// let webhooks = layer.layer(service_fn(async |request: Request<VerifiedBody>| {
///     Ok::<_, Infallible>(Response::new(request.into_body().into_bytes()))
/// }));
///
/// # use base64::{Engine, engine::general_purpose::STANDARD};
/// let signature = STANDARD.encode(pair.sign(b"msg_1.1700000000.{}"));
/// let request = Request::builder()
///     .header("webhook-id", "msg_1")
///     .header("webhook-timestamp", "1700000000")
///     .header("webhook-signature", format!("v1a,{signature}"));
/// let response = webhooks.clone().oneshot(request.body(Full::new(Bytes::from("{}")))?).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
pub trait Verifier: Send + Sync + 'static {
    /// Begins with one request, which claims these signatures: one or more, at most
    /// [`MAX_SIGNATURES`](super::MAX_SIGNATURES), decoded as the scheme has it, and of any length.
    fn begin(&self, signatures: &[&[u8]]) -> Box<dyn Verification>;
}

/// The judgement on one request, made by a [`Verifier`]. Dropped where the request's body never ends well.
///
/// It runs in the task that polls the request: what it does before it returns keeps that from other work. Nothing of it
/// may panic on what it is fed, which is anybody's to choose until it has [finished](Self::finish).
pub trait Verification: Send {
    /// The next bytes of what is signed: first what precedes the body, then the body, in pieces of any size.
    fn update(&mut self, bytes: &[u8]);

    /// The label of the key that one of the signatures is good under; none if there is no such key.
    fn finish(self: Box<Self>) -> Option<Arc<str>>;
}
