//! Verification of what is in memory, and what the layer judges by.

use std::fmt;

use bytes::Bytes;
use http::{Extensions, HeaderMap};

use super::{
    Reason, Scheme, Secret, SignedContext, Verified, Verifier, credentials,
    keyring::{Held, Keyring, Keys, Source},
    verify::Check,
};
use crate::time::{UnixTime, WallClock};

/// Verifies messages without tower: headers and a body that a function's runtime, a queue or a proxy of your own has in hand.
///
/// It is what [`SignatureLayer`](super::SignatureLayer) judges by, so both refuse the same for the same [`Reason`], do the same
/// work for every candidate, and read each other's settings alike. What the layer does beside that is yours: to bound the
/// body in size and time, to refuse replays (tell them by [`Verified::replay_id`]), to answer, to log and to count.
///
/// ```
/// use http::HeaderMap;
/// use portcullis::signature::{Reason, Scheme, Secret, SignatureVerifier, Signer};
///
/// let verifier = SignatureVerifier::new(Scheme::cognigy(), Secret::new("the secret of this year")?)
///     .also_accept(Secret::new("the secret of last year")?.label("2025"));
///
/// let mut headers = HeaderMap::new();
/// Signer::new(Scheme::cognigy(), Secret::new("the secret of last year")?).sign(&mut headers, b"{}")?;
/// assert_eq!(verifier.verify(&headers, b"{}")?.key_label(), "2025");
/// assert_eq!(verifier.verify(&headers, b"[]").unwrap_err(), Reason::Mismatch);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// A call allocates nothing where there is one secret, under SHA-256, one signature, and no id whose first copy does. It hashes in the
/// calling task: about half a millisecond for each megabyte and secret. Beside the MAC of a small message it costs about 50 ns, and the
/// clock where a timestamp is signed or a secret ends.
#[derive(Clone)]
#[must_use]
pub struct SignatureVerifier {
    scheme: Scheme,
    source: Source,
    credentials: bool,
    context: Extensions,
    clock: WallClock,
}

impl SignatureVerifier {
    /// Messages signed by `scheme` with `secret`.
    pub fn new(scheme: Scheme, secret: Secret) -> Self {
        let keys = Keys::one(&scheme, secret);
        Self::judging(scheme, Source::given(keys))
    }

    /// Messages signed by the scheme and with a secret of `keyring`, which may change meanwhile.
    ///
    /// [`also_accept`](Self::also_accept) panics then: what is accepted is the keyring's to say.
    pub fn with_keyring(keyring: Keyring) -> Self {
        let (scheme, source) = keyring.into_parts();
        Self::judging(scheme, source)
    }

    /// Messages signed by `scheme`, with signatures that `verifier` judges, in place of the MAC under a secret.
    ///
    /// There are no secrets then: [`also_accept`](Self::also_accept) panics, and no credential is good.
    pub fn verify_with(scheme: Scheme, verifier: impl Verifier) -> Self {
        Self::judging(scheme, Source::given(Keys::foreign(verifier)))
    }

    fn judging(scheme: Scheme, source: Source) -> Self {
        Self { scheme, source, credentials: false, context: Extensions::new(), clock: WallClock::system() }
    }

    /// Accepts one more secret, as during a rotation. Each costs a MAC over every body.
    ///
    /// # Panics
    ///
    /// When there are [`MAX_SECRETS`](super::MAX_SECRETS) already, or one of the same label, or a [`Keyring`] or a [`Verifier`] in
    /// place of secrets.
    #[track_caller]
    pub fn also_accept(mut self, secret: Secret) -> Self {
        self.source = self.source.and(&self.scheme, secret).unwrap_or_else(|error| panic!("also_accept: {error}"));
        self
    }

    /// Accepts the secret itself in place of a signature, in `Authorization` or `X-API-Key`, as
    /// [the layer](super::SignatureLayer::accept_credentials) does. The body is not vouched for then: see
    /// [`Verified::is_signed`].
    ///
    /// # Panics
    ///
    /// When the scheme has its signature in one of those two headers: whatever is in it would have to be a signature and a
    /// credential, and is never both.
    #[track_caller]
    pub fn accept_credentials(mut self) -> Self {
        if let Some(name) = credentials::HEADERS.iter().find(|name| self.scheme.signs_in(name)) {
            panic!("accept_credentials: {name} holds the signature of this scheme, so no credential could be in it");
        }
        self.credentials = true;
        self
    }

    /// What [`Segment::Context`](super::Segment::Context) stands for, such as the URL that is registered with the sender.
    /// Where it is another for each message, see [`begin_in`](Self::begin_in).
    pub fn context(mut self, context: impl Into<Bytes>) -> Self {
        self.context.insert(SignedContext(context.into()));
        self
    }

    /// The clock that timestamps are judged by. Default: the system's.
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// Whether this message was signed, or vouched for by a credential, with one of the accepted secrets.
    ///
    /// # Errors
    ///
    /// What is wrong with it. For logs and metrics: an answer that shows it helps a forger along.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified, Reason> {
        let (keys, now) = self.keys();
        let mut check = Check::new(&keys, now);
        self.check(&mut check, keys, now, headers, &self.context, false)?;
        check.update(body);
        check.finish(&self.scheme)
    }

    /// Judges the headers, and begins with a body that arrives in pieces.
    ///
    /// A message is judged by the secrets and the time of this moment, however long its body takes.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Reason, Scheme, Secret, SignatureVerifier, Signer};
    ///
    /// let secret = Secret::new("an example of a secret")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(Scheme::stripe(), secret.clone()).sign(&mut headers, b"a body in pieces")?;
    ///
    /// let verifier = SignatureVerifier::new(Scheme::stripe(), secret);
    /// let mut verifying = verifier.begin(&headers)?;
    /// for piece in ["a body", " in ", "pieces"] {
    ///     verifying.update(piece.as_bytes());
    /// }
    /// assert!(verifying.finish()?.timestamp().is_some());
    ///
    /// // A message without a signature is refused before its body is asked for.
    /// assert_eq!(verifier.begin(&HeaderMap::new()).unwrap_err(), Reason::Missing);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the headers.
    pub fn begin(&self, headers: &HeaderMap) -> Result<Verifying<'_>, Reason> {
        self.begin_in(headers, &self.context)
    }

    /// The same with the [`SignedContext`] that is in `extensions`, if the verifier was [given](Self::context) none.
    ///
    /// # Errors
    ///
    /// What is wrong with the headers, or [`Reason::NoContext`] where there is none and the scheme signs one.
    pub fn begin_in(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Verifying<'_>, Reason> {
        let (keys, now) = self.keys();
        let mut check = Check::new(&keys, now);
        self.check(&mut check, keys, now, headers, extensions, false)?;
        Ok(Verifying { check, scheme: &self.scheme })
    }

    /// The secrets of this moment, and the moment, where that matters.
    #[inline]
    pub(super) fn keys(&self) -> (Held<'_>, UnixTime) {
        let keys = self.source.read();
        // Half of what a small message costs besides its MAC would be the clock.
        let timed = self.scheme.is_timed() || keys.are_timed();
        let now = if timed { self.clock.now() } else { UnixTime::default() };
        (keys, now)
    }

    /// The headers' verdict, for whoever feeds the body; `replays` is whether it has to say what the message is known by.
    pub(super) fn check(
        &self,
        check: &mut Check,
        keys: Held<'_>,
        now: UnixTime,
        headers: &HeaderMap,
        extensions: &Extensions,
        replays: bool,
    ) -> Result<(), Reason> {
        let extensions = if self.context.is_empty() { extensions } else { &self.context };
        check.begin(&self.scheme, keys, (self.credentials, replays), headers, extensions, now)
    }

    pub(super) const fn scheme(&self) -> &Scheme {
        &self.scheme
    }
}

impl fmt::Debug for SignatureVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureVerifier")
            .field("scheme", &self.scheme.name())
            .field("secrets", &self.source.read().labels())
            .field("accept_credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A message whose headers are good, and whose body is being read; made by [`SignatureVerifier::begin`].
///
/// Nothing of the body is proven before it has [finished](Self::finish).
#[must_use = "nothing is verified before it has finished"]
pub struct Verifying<'v> {
    check: Check,
    scheme: &'v Scheme,
}

impl Verifying<'_> {
    /// The next bytes of the body, as they were sent.
    pub fn update(&mut self, bytes: &[u8]) {
        self.check.update(bytes);
    }

    /// The verdict, once the body is all there.
    ///
    /// # Errors
    ///
    /// When no signature is one of these headers and this body, under a secret that is accepted.
    pub fn finish(mut self) -> Result<Verified, Reason> {
        self.check.finish(self.scheme)
    }
}

impl fmt::Debug for Verifying<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifying").field("scheme", &self.scheme.name()).finish_non_exhaustive()
    }
}
