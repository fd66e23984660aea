//! The layer and its settings.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

use super::{
    Keyring, Scheme, Secret, Verifier,
    refusal::{Bare, Refusal},
    replay::{NoReplayStore, ReplayStore},
    service::VerifySignature,
    settings::{Common, Settings},
    tell::{self, Refusals},
    verifier::SignatureVerifier,
};
use crate::time::WallClock;

/// Lets a request through when it was signed, or vouched for by a credential, with one of the accepted secrets.
///
/// See the [module](super) for the order of the checks and an example.
#[derive(Clone)]
#[must_use]
pub struct SignatureLayer<R = Bare, P = NoReplayStore> {
    settings: Settings<R, P>,
}

impl SignatureLayer {
    /// Requests signed by `scheme` with `secret`.
    pub fn new(scheme: Scheme, secret: Secret) -> Self {
        Self::judging(SignatureVerifier::new(scheme, secret))
    }

    /// Requests signed by the scheme and with a secret of `keyring`, which may change while the layer's services run.
    ///
    /// [`also_accept`](Self::also_accept) panics then: what is accepted is the keyring's to say.
    pub fn with_keyring(keyring: Keyring) -> Self {
        Self::judging(SignatureVerifier::with_keyring(keyring))
    }

    fn judging(verifier: SignatureVerifier) -> Self {
        Self {
            settings: Settings {
                common: Common {
                    refusals: Refusals::of(verifier.scheme()),
                    verifier,
                    max_body: 1024 * 1024,
                    body_timeout: Duration::from_secs(5),
                    remember_for: Duration::from_secs(3600),
                },
                replays: None,
                refuse: Bare,
            },
        }
    }
}

impl SignatureLayer {
    /// Requests signed by `scheme`, with signatures that `verifier` judges, in place of the MAC under a secret.
    ///
    /// There are no secrets then: [`also_accept`](Self::also_accept) panics, and no credential is good.
    pub fn verify_with(scheme: Scheme, verifier: impl Verifier) -> Self {
        Self::judging(SignatureVerifier::verify_with(scheme, verifier))
    }
}

impl<R, P> SignatureLayer<R, P> {
    /// Accepts one more secret, as during a rotation. Each costs a MAC over every body. To swap secrets without a restart, see
    /// [`with_keyring`](SignatureLayer::with_keyring).
    ///
    /// # Panics
    ///
    /// When there are [`MAX_SECRETS`](super::MAX_SECRETS) already, or one of the same label, or a [`Keyring`] or a [`Verifier`] in
    /// place of secrets.
    #[track_caller]
    pub fn also_accept(mut self, secret: Secret) -> Self {
        self.settings.common.verifier = self.settings.common.verifier.also_accept(secret);
        self
    }

    /// The largest body that is read, in bytes; a larger one is answered 413. Default: 1 MiB.
    ///
    /// It bounds the memory of a request that proved nothing yet; what bounds the number of such requests belongs outside.
    pub const fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.settings.common.max_body = bytes;
        self
    }

    /// How long the whole body may take from the first wait for it; a slower one is answered 408. Default: 5 s.
    ///
    /// Its timer is tokio's: a body that has to be waited for panics outside of a runtime with time.
    pub const fn body_timeout(mut self, timeout: Duration) -> Self {
        self.settings.common.body_timeout = timeout;
        self
    }

    /// Accepts the secret itself in place of a signature: `Authorization: Bearer SECRET`, `Authorization: ApiKey SECRET`,
    /// `Authorization: Basic` with the secret as the password and any user, or `X-API-Key: SECRET`.
    ///
    /// Whichever of `Authorization`, `X-API-Key` and the signature's header are present must all be good, each with any of
    /// the accepted secrets; a repeated one fails, and so does a request with none of them. A credential vouches for the
    /// sender and not for the body: see [`Verified::is_signed`](super::Verified::is_signed). It is compared with the secret's
    /// bytes, so a secret that was [decoded](super::Secret::decode) is expected decoded.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response, StatusCode};
    /// use http_body_util::Full;
    /// use portcullis::signature::{Scheme, Secret, SignatureLayer, Verified, VerifiedBody};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = SignatureLayer::new(Scheme::cognigy(), Secret::new("an example of a secret")?).accept_credentials();
    /// let service = layer.layer(service_fn(async |request: Request<VerifiedBody>| {
    ///     assert!(!request.extensions().get::<Verified>().is_some_and(Verified::is_signed));
    ///     Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
    /// }));
    /// let request = Request::builder()
    ///     .header("Authorization", "Bearer an example of a secret")
    ///     .body(Full::new(Bytes::from("{}")))?;
    /// assert_eq!(service.oneshot(request).await?.status(), StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When the scheme has its signature in one of those two headers: whatever is in it would have to be a signature and a
    /// credential, and is never both.
    #[track_caller]
    pub fn accept_credentials(mut self) -> Self {
        self.settings.common.verifier = self.settings.common.verifier.accept_credentials();
        self
    }

    /// What [`Segment::Context`](super::Segment::Context) stands for, such as the URL that is registered with the sender, in place
    /// of what is in the request's extensions. Where it is another for each request, an outer layer puts it there, as
    /// [`SignedContext`](super::SignedContext).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response, StatusCode};
    /// use http_body_util::Full;
    /// use portcullis::signature::{Scheme, Secret, SignatureLayer, Signer, VerifiedBody};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const REGISTERED: &str = "https://example.com/webhooks";
    ///
    /// let secret = Secret::new("an example of a secret")?;
    /// let mut request = Request::new(Full::new(Bytes::from("{}")));
    /// Signer::new(Scheme::square(), secret.clone()).context(REGISTERED).sign(request.headers_mut(), b"{}")?;
    ///
    /// let layer = SignatureLayer::new(Scheme::square(), secret).context(REGISTERED);
    /// let service = layer.layer(service_fn(async |_: Request<VerifiedBody>| {
    ///     Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
    /// }));
    /// assert_eq!(service.oneshot(request).await?.status(), StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    pub fn context(mut self, context: impl Into<Bytes>) -> Self {
        self.settings.common.verifier = self.settings.common.verifier.context(context);
        self
    }

    /// The clock that timestamps are judged by. Default: the system's.
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.settings.common.verifier = self.settings.common.verifier.wall_clock(clock);
        self
    }

    /// Makes the responses to refused requests. Default: the status and an empty body.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use portcullis::signature::{Refusal, RefusalKind, Scheme, Secret, SignatureLayer, VerifiedBody};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// fn as_json(refusal: &Refusal) -> Response<Bytes> {
    ///     let body = match refusal.kind() {
    ///         RefusalKind::Unauthorized(_) => r#"{"error":"invalid_signature"}"#,
    ///         RefusalKind::BodyTooLarge => r#"{"error":"body_too_large"}"#,
    ///         _ => r#"{"error":"bad_body"}"#,
    ///     };
    ///     Response::builder().status(refusal.status()).body(body.into()).unwrap()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = SignatureLayer::new(Scheme::github(), Secret::new("an example of a secret")?).refuse_with(as_json);
    /// let service = layer.layer(service_fn(async |request: Request<VerifiedBody>| {
    ///     Ok::<_, std::convert::Infallible>(Response::new(request.into_body().into_bytes()))
    /// }));
    /// let response = service.oneshot(Request::new(Full::new(Bytes::new()))).await?;
    /// assert_eq!(response.body(), r#"{"error":"invalid_signature"}"#);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Do not answer differently for the [reasons](super::Reason) within 401: they help a forger along.
    pub fn refuse_with<F, ResB>(self, refuse: F) -> SignatureLayer<F, P>
    where
        F: Fn(&Refusal) -> Response<ResB>,
    {
        let Settings { common, replays, refuse: _ } = self.settings;
        SignatureLayer { settings: Settings { common, replays, refuse } }
    }

    /// Lets no message through that was let through before, and answered with 2xx, as far as `store` remembers.
    ///
    /// A message is known by [what is signed](super::ReplayKey): by its id, where the scheme signs one, and else by its content
    /// with its timestamp, which costs one hash more over every body. So under a scheme without either, as GitHub's or
    /// Cognigy's, **two messages that say the same are one** for as long as it is
    /// [remembered](Self::remember_for): the second is not let through.
    ///
    /// | The message | is answered |
    /// | --- | --- |
    /// | was let through and answered with 2xx | 200: the sender, who may not have seen that, need not come again |
    /// | is being answered right now | 409: whether that ends well is not known, so the sender should come again |
    /// | comes while the store is full or fails | 503, and a warning tells the store's error |
    /// | was answered otherwise, failed, panicked or was given up | as if it had never come |
    ///
    /// [`refuse_with`](Self::refuse_with) makes other answers of these. Only verified messages are looked up, after their
    /// last byte and before the inner service is made ready. A request that a credential alone vouches for is none: nothing
    /// of it is signed. What is committed is the head of the answer; if its body then breaks off, the message stays known.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use bytes::Bytes;
    /// use http::{Request, Response, StatusCode};
    /// use http_body_util::Full;
    /// use portcullis::signature::{MemoryReplayStore, Scheme, Secret, SignatureLayer, Signer, VerifiedBody};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let secret = Secret::new("an example of a secret")?;
    /// let layer = SignatureLayer::new(Scheme::stripe(), secret.clone()).refuse_replays(MemoryReplayStore::new(100_000)?);
    /// let service = layer.layer(service_fn(async |_: Request<VerifiedBody>| {
    ///     Ok::<_, Infallible>(Response::builder().status(StatusCode::CREATED).body(Bytes::new()).unwrap())
    /// }));
    /// let mut request = Request::new(Full::new(Bytes::from("{}")));
    /// Signer::new(Scheme::stripe(), secret).sign(request.headers_mut(), b"{}")?;
    ///
    /// assert_eq!(service.clone().oneshot(request.clone()).await?.status(), StatusCode::CREATED);
    /// assert_eq!(service.oneshot(request).await?.status(), StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    pub fn refuse_replays<Q: ReplayStore>(self, store: Q) -> SignatureLayer<R, Q> {
        let Settings { common, replays: _, refuse } = self.settings;
        SignatureLayer { settings: Settings { common, replays: Some(store), refuse } }
    }

    /// How long a message is remembered that was let through. Default: an hour.
    ///
    /// It is never less than the time in which the message's timestamp is good, which is twice the tolerance and a second.
    /// Where no time is signed, or any time is good, a copy that comes later gets through.
    pub const fn remember_for(mut self, time: Duration) -> Self {
        self.settings.common.remember_for = time;
        self
    }
}

impl<S, R: Clone, P: Clone> Layer<S> for SignatureLayer<R, P> {
    type Service = VerifySignature<S, R, P>;

    fn layer(&self, inner: S) -> Self::Service {
        tell::describe();
        VerifySignature::new(inner, Arc::new(self.settings.clone()))
    }
}

impl<R, P> std::fmt::Debug for SignatureLayer<R, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.settings.fmt(f)
    }
}
