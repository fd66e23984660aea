//! The verdict: pure, with the time as an argument.

use std::sync::Arc;

use http::{Extensions, HeaderMap};
use subtle::{Choice, ConstantTimeEq};

use super::{
    Reason, Scheme, credentials,
    keyring::{Keys, first},
    mac::{Mac, Tag},
};
use crate::time::UnixTime;

/// What is known of a request that was let through. It is in the request's extensions, where no client can put anything.
///
/// ```
/// use portcullis::signature::Verified;
///
/// fn handler<B>(request: &http::Request<B>) -> Option<&str> {
///     let verified = request.extensions().get::<Verified>()?;
///     Some(verified.key_label())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Verified {
    scheme: Arc<str>,
    signed: bool,
    key_label: Arc<str>,
    timestamp: Option<UnixTime>,
}

impl Verified {
    /// The name of the scheme of the layer that let it through.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether the body was signed. If not, a credential alone vouches for the sender, and nothing for the body.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.signed
    }

    /// The [label](super::Secret::label) of the secret that the signature was made with, or the credential where nothing was
    /// signed. A request with several proofs may have needed other secrets, which are not named.
    #[must_use]
    pub fn key_label(&self) -> &str {
        &self.key_label
    }

    /// When it was signed, if the scheme says so.
    #[must_use]
    pub const fn timestamp(&self) -> Option<UnixTime> {
        self.timestamp
    }
}

/// A request whose headers are good, and the MACs that its body has yet to bear out.
pub(super) struct Check {
    keys: Arc<Keys>,
    /// One for each key; none where no signature was sent.
    macs: Vec<Mac>,
    signatures: Vec<Tag>,
    timestamp: Option<UnixTime>,
    /// The key that a credential was made with.
    credential: Option<usize>,
}

impl Check {
    /// Judges the headers. Every proof that is present has to be good, and one has to be present.
    pub(super) fn begin(
        scheme: &Scheme,
        keys: Arc<Keys>,
        credentials: bool,
        headers: &HeaderMap,
        extensions: &Extensions,
        now: UnixTime,
    ) -> Result<Self, Reason> {
        let mut check = Self { keys, macs: Vec::new(), signatures: Vec::new(), timestamp: None, credential: None };
        if credentials {
            for presented in credentials::read(headers)?.into_iter().flatten() {
                let hits = check.keys.iter().map(|key| key.credential.ct_eq(&presented));
                check.credential = Some(first(hits).ok_or(Reason::Mismatch)?);
            }
        }
        if check.credential.is_none() || scheme.is_in(headers) {
            let claim = scheme.read(headers, now)?;
            check.macs.extend(check.keys.iter().map(|key| key.mac.clone()));
            scheme
                .feed(&claim, headers, extensions, |bytes| check.macs.iter_mut().for_each(|mac| mac.update(bytes)))?;
            check.signatures = claim.signatures;
            check.timestamp = claim.timestamp;
        }
        Ok(check)
    }

    /// How many MACs are computed.
    pub(super) const fn width(&self) -> usize {
        self.macs.len()
    }

    /// Feeds the next bytes of the body to each MAC.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for mac in &mut self.macs {
            mac.update(bytes);
        }
    }

    /// The verdict: every MAC is compared with every signature.
    pub(super) fn finish(self, scheme: &Scheme) -> Result<Verified, Reason> {
        let signed = !self.macs.is_empty();
        let signatures = self.signatures;
        let hits = self.macs.into_iter().map(|mac| {
            let tag = mac.finish();
            signatures.iter().fold(Choice::from(0), |hit, signature| hit | tag.ct_eq(signature))
        });
        let key = if signed { first(hits) } else { self.credential };
        let key = key.and_then(|key| self.keys.get(key)).ok_or(Reason::Mismatch)?;
        Ok(Verified {
            scheme: scheme.shared_name(),
            signed,
            key_label: Arc::clone(&key.label),
            timestamp: self.timestamp,
        })
    }
}
