//! Lets a request through only when it proves who sent it: by a signature over its body, or by a shared credential.
//!
//! ```
//! use std::convert::Infallible;
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use portcullis::signature::{Scheme, Secret, SignatureLayer, Signer, Verified, VerifiedBody};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let webhooks = ServiceBuilder::new()
//!     .layer(
//!         SignatureLayer::new(Scheme::cognigy(), Secret::new("the secret of this year")?)
//!             .also_accept(Secret::new("the secret of last year")?),
//!     )
//!     .service(service_fn(async |request: Request<VerifiedBody>| {
//!         let by = request.extensions().get::<Verified>().map(|verified| verified.key_label().to_owned());
//!         assert_eq!(by.as_deref(), Some("second"));
//!         Ok::<_, Infallible>(Response::new(request.into_body().into_bytes()))
//!     }));
//!
//! let mut request = Request::new(Full::new(Bytes::from("{}")));
//! let refused = webhooks.clone().oneshot(request.clone()).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//!
//! Signer::new(Scheme::cognigy(), Secret::new("the secret of last year")?).sign(request.headers_mut(), b"{}")?;
//! let accepted = webhooks.oneshot(request).await?;
//! assert_eq!(accepted.body(), "{}");
//! # Ok(())
//! # }
//! ```
//!
//! # What it is for
//!
//! Whoever can reach a webhook's URL can post to it. The layer stands in the way of those who
//!
//! * make requests up, or change what they have seen: they lack the secret, and learn nothing about it from answers or
//!   from the time that those take;
//! * repeat an old request: as far as the scheme signs the time, a copy is good within the tolerance alone, and with
//!   [a store](SignatureLayer::refuse_replays) not even there;
//! * send bodies without end, or a byte a second: what an unproven request costs in memory and time is bounded.
//!
//! It does not encrypt, and it knows no senders but those who hold a secret. A [credential](SignatureLayer::accept_credentials)
//! vouches for its sender and not for the body, so it is as safe as the connection that it comes over.
//!
//! # Order of checks
//!
//! 1. **Headers**, before the body is polled once: the signature's header is there, once, and written as the scheme has it;
//!    so are the headers that are signed with it; the timestamp is near enough to now. With credentials switched on, every one
//!    that is present is good. Otherwise 401.
//! 2. **The declared length**: more than [the cap](SignatureLayer::max_body_bytes) is 413.
//! 3. **The body**, within the cap (413) and [a deadline](SignatureLayer::body_timeout) (408); an error in it is 400. Each
//!    frame goes through the MAC of every accepted secret as it arrives. Memory is taken for what has come, never for what is
//!    announced, and long hashing lets other tasks run in between.
//! 4. **The verdict**: every MAC is compared with every signature in the header, in constant time and without an early exit.
//!    No match is 401.
//! 5. **The store of replays**, where [there is one](SignatureLayer::refuse_replays): a copy of a message that was let through
//!    is answered in the layer.
//! 6. A clone of the inner service is made ready and sees the request: its head, the bytes of its body, its trailers, and
//!    [`Verified`] in its extensions. Credentials are still in the head, marked as sensitive: take them out before it is
//!    forwarded.
//!
//! [Refusals](Refusal) are responses, so the inner service's error type is kept. Their bodies are empty unless
//! [`refuse_with`](SignatureLayer::refuse_with) fills them, and nothing that a refusal holds, logs or answers with comes from
//! the request or from a secret.
//!
//! # Without tower
//!
//! [`SignatureVerifier`] gives the verdict, steps 1 and 4, on headers and a body that are in memory or come in pieces: for a
//! function's runtime, the consumer of a queue, or a proxy of your own. The layer judges by one of it.
//!
//! # Handlers that cannot be reached without it
//!
//! A service that takes `Request<VerifiedBody>` cannot be stacked without the layer: nothing else makes a [`VerifiedBody`].
//! A handler of axum's, which takes axum's body, asks for [`Verified`] as an extractor instead (feature `axum`): on a route
//! where the layer was forgotten it is not run, and the answer is 500.
//!
//! # What operators see
//!
//! Each refusal is a `tracing` event at `DEBUG`, with the fields `scheme` and `reason`, one of the names of
//! [`Refusal::as_str`]; what is wrong with a store of replays is a warning. With the feature `metrics`:
//!
//! | Counter | Labels | counts |
//! | --- | --- | --- |
//! | `portcullis_signature_refusals_total` | `scheme`, `reason` | requests that the layer answered itself |
//! | `portcullis_signature_verified_total` | `scheme`, `key` | those that were verified, once for each secret that vouched |
//!
//! A key whose series stands still is used no more. Each label is one of few values that the user chose or this crate has; no
//! sender chooses any.
//!
//! # Where it belongs
//!
//! * **Outside of all that touches bodies**: a signature covers the bytes as they were sent, in whatever `Content-Encoding`
//!   they have. Decompression, JSON parsing and printing, a proxy that normalises line ends, each breaks it. Put decompression
//!   inside, with a limit of its own: [the cap](SignatureLayer::max_body_bytes) counts what was sent, and a megabyte of that can
//!   be a gigabyte of zeros. `Content-Encoding` itself is signed by no provider.
//! * **Inside of a bound on concurrency**: the layer is always ready and holds no place of the inner service while it reads, so
//!   unproven requests are bounded by what is outside of it. Each may take the cap in memory, and what buffers add.
//! * **With a synchronised clock** where timestamps are signed: the tolerance, mostly 300 s, has to cover both clocks' errors.
//! * What the scheme does not sign is anybody's word, also in a verified request: method, path and query, other headers,
//!   trailers. A captured webhook is good on every route that shares its secret.
//!
//! # NICE Cognigy
//!
//! NICE Cognigy itself sends no signature. `X-Cognigy-Signature` is this crate's convention: a transformer or a Function of
//! the flow adds it ([`Scheme::cognigy`]). Its HTTP Request node can send a credential without any of that
//! ([`SignatureLayer::accept_credentials`]).
//!
//! # Other providers
//!
//! A [`Scheme`] is data, and these are ready made:
//!
//! | Profile | Signature in | signs besides the body | tolerance |
//! | --- | --- | --- | --- |
//! | [`cognigy`](Scheme::cognigy) | `X-Cognigy-Signature` | | |
//! | [`dropbox`](Scheme::dropbox) | `X-Dropbox-Signature` | | |
//! | [`genesys`](Scheme::genesys) | `X-Hub-Signature-256`, in base64 | | |
//! | [`github`](Scheme::github) | `X-Hub-Signature-256` | | |
//! | [`jambonz`](Scheme::jambonz) | `Jambonz-Signature` | time | 300 s |
//! | [`linear`](Scheme::linear) | `Linear-Signature` | | (in the body) |
//! | [`meta`](Scheme::meta) | `X-Hub-Signature-256` | | |
//! | [`paddle`](Scheme::paddle) | `Paddle-Signature` | time | 5 s |
//! | [`shopify`](Scheme::shopify) | `X-Shopify-Hmac-Sha256` | | |
//! | [`slack`](Scheme::slack) | `X-Slack-Signature` | time | 300 s |
//! | [`square`](Scheme::square) | `x-square-hmacsha256-signature` | URL | |
//! | [`standard_webhooks`](Scheme::standard_webhooks) | `webhook-signature` | id, time | 300 s |
//! | [`stripe`](Scheme::stripe) | `Stripe-Signature` | time | 300 s |
//! | [`svix`](Scheme::svix) | `svix-signature` | id, time | 300 s |
//! | [`twitch`](Scheme::twitch) | `Twitch-Eventsub-Message-Signature` | id, time | 600 s |
//! | [`zoom`](Scheme::zoom) | `x-zm-signature` | time | 300 s |
//!
//! Others are [built](Scheme::builder) in a few lines, with header names that may be known at run time alone: HMAC with
//! SHA-256 or SHA-512, in hex or standard base64, over content that ends with the body. Nothing weaker can be chosen.
//! Signatures of other kinds, such as Ed25519, are judged by a [`Verifier`] of yours.

mod layer; // what the user stacks
mod settings; // what was chosen
mod service; // judges the headers
mod future; // verifies, calls, settles
mod reading; // the body, as it arrives
mod body; // in within bounds, out as it came
mod verifier; // the same without tower
mod verify; // the verdict
mod verified; // what is told of it
mod replay; // what was let through before
mod credentials; // the secret itself, in a header
mod scheme; // providers, as data
mod mac; // the keyed hash
mod few; // one, mostly
mod foreign; // signatures of other kinds
mod keyring; // the accepted secrets
mod secret; // what both sides know
mod refusal; // what is answered
mod tell; // what operators learn
mod signer; // the other side
mod sign; // as a layer
#[cfg(feature = "axum")]
mod axum; // for its handlers

#[cfg(feature = "axum")]
pub use self::axum::NotVerified;
pub use self::{
    body::VerifiedBody,
    foreign::{Verification, Verifier},
    future::ResponseFuture,
    keyring::Keyring,
    layer::SignatureLayer,
    mac::Hash,
    refusal::{Bare, Reason, Refusal, RefusalKind, Refuse},
    replay::{Full, MemoryLease, MemoryReplayStore, NoReplayStore, ReplayKey, ReplayStore, Reserved},
    scheme::{Encoding, Names, Scheme, SchemeBuilder, Segment, SignedContext, Timestamp, Unit},
    secret::{KeyEncoding, Secret},
    service::VerifySignature,
    sign::{NotSigned, Sign, SignFuture, SignLayer, SignedBody, SigningError},
    signer::{SignError, Signer},
    verified::Verified,
    verifier::{SignatureVerifier, Verifying},
};

/// As many secrets are accepted by one layer.
pub const MAX_SECRETS: usize = 4;
/// As many signatures are read from one header; one with more is refused as malformed.
pub const MAX_SIGNATURES: usize = 16;
