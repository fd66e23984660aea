//! The other side: makes what the layer verifies.

use std::fmt;

use bytes::Bytes;
use http::{Extensions, HeaderMap};

use super::{Reason, Scheme, Secret, mac::Mac, scheme::SignedContext};
use crate::time::WallClock;

/// Signs requests as a [`Scheme`] has it: for services that send webhooks, and for tests of those that receive them.
///
/// ```
/// use http::HeaderMap;
/// use portcullis::signature::{Scheme, Secret, Signer};
///
/// let signer = Signer::new(Scheme::github(), Secret::new("It's a Secret to Everybody")?);
/// let mut headers = HeaderMap::new();
/// signer.sign(&mut headers, b"Hello, World!")?;
/// assert_eq!(
///     headers["x-hub-signature-256"],
///     "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
/// );
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Signer {
    scheme: Scheme,
    mac: Mac,
    extensions: Extensions,
    clock: WallClock,
}

impl Signer {
    /// Signs by `scheme` with `secret`.
    pub fn new(scheme: Scheme, secret: Secret) -> Self {
        secret.warn(None);
        let mac = Mac::new(scheme.hash(), secret.bytes());
        Self { scheme, mac, extensions: Extensions::new(), clock: WallClock::system() }
    }

    /// What [`Segment::Context`](super::Segment::Context) stands for, such as the URL that it is sent to. Where it is another
    /// for each request, a [`SignLayer`](super::SignLayer) takes it out of the request's extensions, as [`SignedContext`].
    pub fn context(mut self, context: impl Into<Bytes>) -> Self {
        self.extensions.insert(SignedContext(context.into()));
        self
    }

    /// The clock that timestamps are taken from. Default: the system's.
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// Puts the scheme's headers into `headers`: the signature's, marked as sensitive, and the timestamp's where it has one.
    /// Other headers that are signed have to be there already. Of aliases it writes the first.
    ///
    /// # Errors
    ///
    /// When a header that is signed is missing, repeated, or would read in two ways, or when there is no context; nothing
    /// changes then.
    pub fn sign(&self, headers: &mut HeaderMap, body: &[u8]) -> Result<(), SignError> {
        self.sign_all(headers, &Extensions::new(), [body])
    }

    /// The same for a body in pieces, with the context that is in `extensions`, if the signer was given none.
    pub(super) fn sign_all<'b>(
        &self,
        headers: &mut HeaderMap,
        extensions: &Extensions,
        body: impl IntoIterator<Item = &'b [u8]>,
    ) -> Result<(), SignError> {
        let extensions = if self.extensions.is_empty() { extensions } else { &self.extensions };
        self.scheme.write(headers, self.clock.now(), |claim, headers| {
            let mut mac = self.mac.begin();
            self.scheme.feed(claim, headers, extensions, |bytes| mac.update(bytes))?;
            body.into_iter().for_each(|piece| mac.update(piece));
            Ok(mac.finish())
        })?;
        Ok(())
    }
}

/// Why a request could not be signed: it lacks something that the scheme signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignError {
    /// A header that is signed is not there, as an id that the sender gives.
    Missing,
    /// A header that is signed is there twice.
    Repeated,
    /// A header that is signed is empty, or holds what has to follow it, so that it could be read in two ways.
    Malformed,
    /// The scheme signs a context, such as the URL that it is sent to, and the signer was [given](Signer::context) none.
    NoContext,
}

impl From<Reason> for SignError {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Missing => Self::Missing,
            Reason::Repeated => Self::Repeated,
            Reason::NoContext => Self::NoContext,
            // The others are a verdict's, and there is none here.
            Reason::Malformed | Reason::Stale | Reason::Future | Reason::Mismatch | Reason::Expired => Self::Malformed,
        }
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a header that has to be signed is missing",
            Self::Repeated => "a header that has to be signed occurs twice",
            Self::Malformed => "a header that has to be signed is empty or could be read in two ways",
            Self::NoContext => "the scheme signs a context, and the signer was given none",
        })
    }
}

impl std::error::Error for SignError {}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("scheme", &self.scheme.name()).finish_non_exhaustive()
    }
}
