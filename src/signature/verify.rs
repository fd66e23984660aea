//! The verdict: pure, with the time as an argument.

use std::{mem, sync::Arc};

use http::{Extensions, HeaderMap};
use subtle::ConstantTimeEq;

use super::{
    Reason, Scheme, Verification, credentials,
    few::Few,
    keyring::{Held, Key, Keys, accepted},
    mac::{Mac, Tag},
    replay::{Content, ReplayKey},
    scheme::Claim,
    verified::{Told, Verified, Voucher},
};
use crate::time::UnixTime;

/// A request whose headers are good, and what its body has yet to bear out.
pub(super) struct Check {
    proof: Proof,
    told: Told,
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
    Foreign(Option<Box<dyn Verification>>),
}

/// A key, as it was when the headers came; what it holds is taken at the end.
struct Candidate {
    mac: Mac,
    live: bool,
    voucher: Option<Arc<Voucher>>,
}

impl Candidate {
    #[inline]
    fn new(mac: Mac, key: &Key, now: UnixTime) -> Self {
        Self { mac, live: key.is_live(now), voucher: Some(Arc::clone(&key.voucher)) }
    }
}

impl Proof {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Absent => {}
            Self::Macs { candidates, .. } => {
                candidates.as_mut_slice().iter_mut().for_each(|candidate| candidate.mac.update(bytes));
            }
            Self::Foreign(verification) => verification.iter_mut().for_each(|verification| verification.update(bytes)),
        }
    }
}

impl Check {
    /// Of a message of which nothing is read yet.
    ///
    /// Made where it stays for a message in memory, and filled and emptied there: a keyed state is large beside what is done with it,
    /// and each move of what has just been written waits until it is. So the usual ring, of one such state, is copied by a line of its own.
    #[inline]
    pub(super) fn new(keys: &Keys, now: UnixTime) -> Self {
        let macs = |candidates| Self::of(Proof::Macs { candidates, signatures: Few::none() });
        match (keys, &keys[..]) {
            (Keys::Foreign(_), _) => Self::of(Proof::Absent),
            (_, [key @ Key { mac: Mac::Sha256(keyed), .. }]) => {
                macs(Few::one(Candidate::new(Mac::Sha256(keyed.begin()), key, now)))
            }
            (_, keys) => macs(Few::of(keys, |key| Candidate::new(key.mac.begin(), key, now))),
        }
    }

    #[inline]
    const fn of(proof: Proof) -> Self {
        let told = Told { timestamp: None, replay_id: None };
        Self { proof, told, known: None, content: None, credentials: [None, None] }
    }

    /// Judges the headers. Every proof that is present has to be good, and one has to be present.
    pub(super) fn begin(
        &mut self,
        scheme: &Scheme,
        keys: Held<'_>,
        (credentials, replays): (bool, bool),
        headers: &HeaderMap,
        extensions: &Extensions,
        now: UnixTime,
    ) -> Result<(), Reason> {
        if credentials {
            for (presented, by) in credentials::read(headers)?.into_iter().zip(&mut self.credentials) {
                if let Some(presented) = presented {
                    let hits = keys.iter().map(|key| (key.credential.ct_eq(&presented).unwrap_u8(), key.is_live(now)));
                    *by = Some(Arc::clone(&keys[accepted(hits)?].voucher));
                }
            }
        }
        if self.credentials.iter().any(Option::is_some) && !scheme.is_in(headers) {
            self.proof = Proof::Absent;
            return Ok(());
        }
        let verifier = keys.verifier().cloned();
        // All that is atomic came first: a processor reads the headers while it hashes the body, if nothing is between.
        drop(keys);
        if let Some(verifier) = verifier {
            let mut signatures = Few::none();
            let claim = scheme.read_any(headers, now, &mut signatures)?;
            let signatures: Vec<&[u8]> = signatures.as_slice().iter().map(Vec::as_slice).collect();
            self.proof = Proof::Foreign(Some(verifier.begin(&signatures)));
            self.claimed(scheme, &claim, replays, headers, extensions)
        } else if let Proof::Macs { signatures, .. } = &mut self.proof {
            let claim = scheme.read(headers, now, signatures)?;
            self.claimed(scheme, &claim, replays, headers, extensions)
        } else {
            Ok(())
        }
    }

    /// Feeds what precedes the body, and keeps what is told of the message.
    fn claimed(
        &mut self,
        scheme: &Scheme,
        claim: &Claim<'_>,
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
        self.content = content.map(Box::new);
        self.told = Told { timestamp: claim.timestamp, replay_id: id.cloned() };
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

    /// The verdict, once: every MAC is compared with every signature.
    pub(super) fn finish(&mut self, scheme: &Scheme) -> Result<Verified, Reason> {
        let signed_with = match &mut self.proof {
            Proof::Absent => None,
            Proof::Macs { candidates, signatures } => {
                let candidates = candidates.as_mut_slice();
                let judged = candidates.iter_mut().map(|candidate| {
                    let tag = candidate.mac.finish();
                    let hits = signatures.as_slice().iter().map(|signature| tag.ct_eq(signature).unwrap_u8());
                    (hits.fold(0, |any, hit| any | hit), candidate.live)
                });
                let place = accepted(judged)?;
                candidates[place].voucher.take()
            }
            Proof::Foreign(verification) => {
                let label = verification.take().expect(FINISHED).finish().ok_or(Reason::Mismatch)?;
                Some(Arc::new(Voucher::new(scheme.shared_name(), label)))
            }
        };
        let signed = signed_with.is_some();
        let credentials = &mut self.credentials;
        let by = signed_with.or_else(|| credentials.iter_mut().find_map(Option::take)).ok_or(Reason::Mismatch)?;
        let [mut first, mut second] = mem::take(credentials);
        let is_new = |other: &Arc<Voucher>| other.label() != by.label();
        first = first.filter(is_new);
        second =
            second.filter(|other| is_new(other) && first.as_ref().is_none_or(|first| first.label() != other.label()));
        let others = [first, second];
        Ok(Verified { by, signed, others, told: mem::take(&mut self.told) })
    }

    /// What the message is known by, once, where replays are refused and something is signed.
    pub(super) fn key(&mut self) -> Option<ReplayKey> {
        self.known.or_else(|| self.content.take().map(|content| content.finish()))
    }
}

/// Whoever holds a check gives it away with its verdict.
const FINISHED: &str = "finished twice";
