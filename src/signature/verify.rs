//! The verdict: pure, with the time as an argument.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue};
use subtle::{Choice, ConstantTimeEq};

use super::{
    Reason, Scheme, Verification, credentials,
    few::Few,
    keyring::{Key, Keys, accepted},
    mac::{Mac, Tag},
    replay::{Content, ReplayKey},
    scheme::Claim,
    verified::{Verified, Voucher},
};
use crate::time::UnixTime;

/// A request whose headers are good, and what its body has yet to bear out.
pub(super) struct Check {
    proof: Proof,
    timestamp: Option<UnixTime>,
    replay_id: Option<HeaderValue>,
    /// What it is known by, where replays are refused and something is signed: its id, or its content as that arrives.
    known: Option<ReplayKey>,
    // Boxed, since most requests have none, and all are moved.
    content: Option<Box<Content>>,
    /// The secrets that credentials were made with.
    credentials: [Option<Arc<Voucher>>; 2],
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
    Macs { candidates: Few<Candidate>, signatures: Few<Tag> },
    /// Signatures of another kind.
    Foreign(Box<dyn Verification>),
}

/// A key, as it was when the headers came.
struct Candidate {
    mac: Mac,
    live: bool,
    voucher: Arc<Voucher>,
}

impl Proof {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Absent => {}
            Self::Macs { candidates, .. } => {
                candidates.as_mut_slice().iter_mut().for_each(|candidate| candidate.mac.update(bytes));
            }
            Self::Foreign(verification) => verification.update(bytes),
        }
    }
}

impl Check {
    /// Judges the headers. Every proof that is present has to be good, and one has to be present.
    pub(super) fn begin(
        scheme: &Scheme,
        keys: &Keys,
        (credentials, replays): (bool, bool),
        headers: &HeaderMap,
        extensions: &Extensions,
        now: UnixTime,
    ) -> Result<Self, Reason> {
        let mut check = Self {
            proof: Proof::Absent,
            timestamp: None,
            replay_id: None,
            known: None,
            content: None,
            credentials: [None, None],
        };
        if credentials {
            for (presented, by) in credentials::read(headers)?.into_iter().zip(&mut check.credentials) {
                if let Some(presented) = presented {
                    let hits = keys.iter().map(|key| (key.credential.ct_eq(&presented), key.is_live(now)));
                    *by = Some(Arc::clone(&keys[accepted(hits)?].voucher));
                }
            }
        }
        if check.credentials.iter().any(Option::is_some) && !scheme.is_in(headers) {
            return Ok(check);
        }
        if let Some(verifier) = keys.verifier() {
            let claim = scheme.read_any(headers, now)?;
            let signatures: Vec<&[u8]> = claim.signatures.as_slice().iter().map(Vec::as_slice).collect();
            check.proof = Proof::Foreign(verifier.begin(&signatures));
            check.claimed(scheme, &claim, replays, headers, extensions)?;
        } else {
            let mut claim = scheme.read(headers, now)?;
            let signatures = std::mem::replace(&mut claim.signatures, Few::none());
            let candidate = |key: &Key| Candidate {
                mac: key.mac.clone(),
                live: key.is_live(now),
                voucher: Arc::clone(&key.voucher),
            };
            check.proof = Proof::Macs { candidates: keys.iter().map(candidate).collect(), signatures };
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
            Proof::Macs { candidates, .. } => candidates.as_slice().len(),
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
        let signed_with = match self.proof {
            Proof::Absent => None,
            Proof::Macs { candidates, signatures } => {
                let judged = candidates.map(|Candidate { mac, live, voucher }| {
                    let tag = mac.finish();
                    let any = |hit, signature: &Tag| hit | tag.ct_eq(signature);
                    ((signatures.as_slice().iter().fold(Choice::from(0), any), live), voucher)
                });
                let place = accepted(judged.as_slice().iter().map(|(judged, _)| *judged))?;
                judged.into_nth(place).map(|(_, voucher)| voucher)
            }
            Proof::Foreign(verification) => {
                let label = verification.finish().ok_or(Reason::Mismatch)?;
                Some(Arc::new(Voucher::new(scheme.shared_name(), label)))
            }
        };
        let signed = signed_with.is_some();
        let mut vouched = signed_with.into_iter().chain(self.credentials.into_iter().flatten());
        let by = vouched.next().ok_or(Reason::Mismatch)?;
        let mut others: Vec<Arc<Voucher>> = Vec::new();
        for other in vouched {
            if other.label() != by.label() && others.iter().all(|known| known.label() != other.label()) {
                others.push(other);
            }
        }
        let verified = Verified { by, signed, others, timestamp: self.timestamp, replay_id: self.replay_id };
        Ok((verified, self.known.or_else(|| self.content.map(|content| content.finish()))))
    }
}
