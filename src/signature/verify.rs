//! The verdict: pure, with the time as an argument.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue};
use subtle::{Choice, ConstantTimeEq};

use super::{
    Reason, Scheme, Verification, credentials,
    few::Few,
    keyring::{Keys, accepted},
    mac::{Mac, Tag},
    replay::{Content, ReplayKey},
    scheme::Claim,
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
    label: Arc<str>,
    /// Of other secrets that were needed.
    others: Vec<Arc<str>>,
    timestamp: Option<UnixTime>,
    replay_id: Option<HeaderValue>,
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
    /// signed. Of several that signed it is the first in the layer's order.
    #[must_use]
    pub fn key_label(&self) -> &str {
        &self.label
    }

    /// The labels of all secrets that were needed, [`key_label`](Self::key_label) first: a request may be signed with one, and
    /// carry credentials of others. A secret whose label is in none of them any more can go.
    pub fn key_labels(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.label).chain(self.others.iter().map(|label| &**label))
    }

    #[cfg(feature = "metrics")]
    pub(super) fn shared_labels(&self) -> impl Iterator<Item = Arc<str>> {
        std::iter::once(Arc::clone(&self.label)).chain(self.others.iter().cloned())
    }

    /// The id that is signed with the message and stays the same when it is sent again, if the scheme has one, as Standard
    /// Webhooks does.
    #[must_use]
    pub const fn replay_id(&self) -> Option<&HeaderValue> {
        self.replay_id.as_ref()
    }

    /// When it was signed, if the scheme says so.
    #[must_use]
    pub const fn timestamp(&self) -> Option<UnixTime> {
        self.timestamp
    }
}

/// A request whose headers are good, and what its body has yet to bear out.
pub(super) struct Check {
    keys: Arc<Keys>,
    proof: Proof,
    timestamp: Option<UnixTime>,
    replay_id: Option<HeaderValue>,
    /// What it is known by, where replays are refused and something is signed: its id, or its content as that arrives.
    known: Option<ReplayKey>,
    // Boxed, since most requests have none, and all are moved.
    content: Option<Box<Content>>,
    /// The keys that credentials were made with.
    credentials: [Option<usize>; 2],
    /// When the headers came.
    now: UnixTime,
}

/// What was sent to prove the body.
#[expect(
    clippy::large_enum_variant,
    reason = "the largest is what nearly every request has, and a box would cost it more"
)]
enum Proof {
    /// Nothing: a credential has to do.
    Absent,
    /// Signatures, and a MAC under each key that one of them has to be.
    Macs { macs: Few<Mac>, signatures: Few<Tag> },
    /// Signatures of another kind.
    Foreign(Box<dyn Verification>),
}

impl Proof {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Absent => {}
            Self::Macs { macs, .. } => macs.as_mut_slice().iter_mut().for_each(|mac| mac.update(bytes)),
            Self::Foreign(verification) => verification.update(bytes),
        }
    }
}

impl Check {
    /// Judges the headers. Every proof that is present has to be good, and one has to be present.
    pub(super) fn begin(
        scheme: &Scheme,
        keys: Arc<Keys>,
        (credentials, replays): (bool, bool),
        headers: &HeaderMap,
        extensions: &Extensions,
        now: UnixTime,
    ) -> Result<Self, Reason> {
        let mut check = Self {
            keys,
            proof: Proof::Absent,
            timestamp: None,
            replay_id: None,
            known: None,
            content: None,
            credentials: [None; 2],
            now,
        };
        if credentials {
            for (presented, by) in credentials::read(headers)?.into_iter().zip(&mut check.credentials) {
                if let Some(presented) = presented {
                    let hits = check.keys.iter().map(|key| key.credential.ct_eq(&presented));
                    *by = Some(accepted(&check.keys, hits, now)?);
                }
            }
        }
        if check.credentials != [None; 2] && !scheme.is_in(headers) {
            return Ok(check);
        }
        if let Some(verifier) = check.keys.verifier() {
            let claim = scheme.read_any(headers, now)?;
            let signatures: Vec<&[u8]> = claim.signatures.as_slice().iter().map(Vec::as_slice).collect();
            check.proof = Proof::Foreign(verifier.begin(&signatures));
            check.claimed(scheme, &claim, replays, headers, extensions)?;
        } else {
            let mut claim = scheme.read(headers, now)?;
            let signatures = std::mem::replace(&mut claim.signatures, Few::none());
            check.proof = Proof::Macs { macs: check.keys.iter().map(|key| key.mac.clone()).collect(), signatures };
            check.claimed(scheme, &claim, replays, headers, extensions)?;
        }
        Ok(check)
    }

    /// Feeds what precedes the body, and keeps what is told of the message.
    fn claimed<T>(
        &mut self,
        scheme: &Scheme,
        claim: &Claim<'_, T>,
        replays: bool,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<(), Reason> {
        let id = claim.replay_id(scheme, headers);
        let mut content = (replays && id.is_none()).then(|| Content::new(scheme.name(), false));
        scheme.feed(claim, headers, extensions, |bytes| {
            self.proof.update(bytes);
            if let Some(content) = &mut content {
                content.update(bytes);
            }
        })?;
        if let Some(id) = id.filter(|_| replays) {
            let mut by_id = Content::new(scheme.name(), true);
            by_id.update(id.as_bytes());
            self.known = Some(by_id.finish());
        }
        (self.content, self.timestamp, self.replay_id) = (content.map(Box::new), claim.timestamp, id.cloned());
        Ok(())
    }

    /// How many times every byte is hashed.
    pub(super) fn width(&self) -> usize {
        let proof = match &self.proof {
            Proof::Absent => 0,
            Proof::Macs { macs, .. } => macs.as_slice().len(),
            Proof::Foreign(_) => 1,
        };
        if self.content.is_some() { proof + 1 } else { proof }
    }

    /// Feeds the next bytes of the body.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.proof.update(bytes);
        if let Some(content) = &mut self.content {
            content.update(bytes);
        }
    }

    /// The verdict: every MAC is compared with every signature. And what the message is known by.
    pub(super) fn finish(self, scheme: &Scheme) -> Result<(Verified, Option<ReplayKey>), Reason> {
        let label = |key: usize| self.keys.get(key).map(|key| Arc::clone(&key.label));
        let signed_with = match self.proof {
            Proof::Absent => None,
            Proof::Macs { macs, signatures } => {
                let hits = macs.as_slice().iter().map(|mac| {
                    let tag = mac.clone().finish();
                    signatures.as_slice().iter().fold(Choice::from(0), |hit, signature| hit | tag.ct_eq(signature))
                });
                label(accepted(&self.keys, hits, self.now)?)
            }
            Proof::Foreign(verification) => Some(verification.finish().ok_or(Reason::Mismatch)?),
        };
        let signed = signed_with.is_some();
        let mut vouched = signed_with.into_iter().chain(self.credentials.into_iter().flatten().filter_map(label));
        let first = vouched.next().ok_or(Reason::Mismatch)?;
        let mut others = Vec::new();
        for label in vouched {
            if label != first && !others.contains(&label) {
                others.push(label);
            }
        }
        let verified = Verified {
            scheme: scheme.shared_name(),
            signed,
            label: first,
            others,
            timestamp: self.timestamp,
            replay_id: self.replay_id,
        };
        Ok((verified, self.known.or_else(|| self.content.map(|content| content.finish()))))
    }
}
