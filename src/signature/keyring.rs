//! The accepted secrets, as keyed states, to be swapped while requests are running.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    MAX_SECRETS, Reason, Scheme, Secret, Verifier, credentials,
    mac::{Hash, Mac, Tag},
    verified::Voucher,
};
use crate::{ConfigError, time::UnixTime};

/// The secrets that are accepted: a handle to swap them while requests run, from [`SignatureLayer::keyring`] or
/// [`SignatureVerifier::keyring`].
///
/// [`SignatureLayer::keyring`]: super::SignatureLayer::keyring
/// [`SignatureVerifier::keyring`]: super::SignatureVerifier::keyring
///
/// ```
/// use portcullis::signature::{Scheme, Secret, SignatureLayer};
///
/// let old = Secret::new("the secret of last year")?.label("2025");
/// let layer = SignatureLayer::new(Scheme::github(), old.clone());
/// let keyring = layer.keyring();
///
/// keyring.replace([Secret::new("the secret of this year")?.label("2026"), old])?;
/// assert_eq!(&*keyring.labels()[0], "2026");
/// assert!(keyring.replace([]).is_err());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<RwLock<Keys>>,
}

impl Keyring {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys: Arc::new(RwLock::new(keys)) }
    }

    /// Accepts these from now on, and no others; a request whose headers were judged before is judged by those of then.
    ///
    /// # Errors
    ///
    /// When there are none, or more than [`MAX_SECRETS`], or two of one label, or where a [`Verifier`] takes their place; nothing changes then.
    pub fn replace(&self, secrets: impl IntoIterator<Item = Secret>) -> Result<(), ConfigError> {
        // The secrets come from the user's code, so no lock is held meanwhile.
        let mut keys = self.read().without_keys();
        for secret in secrets {
            keys.push(secret)?;
        }
        if keys.is_empty() {
            return Err(ConfigError::new("secrets", "at least one", "none"));
        }
        let old = std::mem::replace(&mut *self.keys.write().unwrap_or_else(PoisonError::into_inner), keys);
        drop(old);
        Ok(())
    }

    /// The labels of the accepted secrets.
    #[must_use]
    pub fn labels(&self) -> Vec<Arc<str>> {
        self.read().iter().map(|key| Arc::clone(key.voucher.label())).collect()
    }

    /// The secrets of this moment. They are locked while a request's headers are judged, and never while its body is read or
    /// hashed: [`replace`](Self::replace) waits for no sender.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.labels()).finish()
    }
}

/// What requests have to be signed with.
#[derive(Clone)]
pub(super) enum Keys {
    /// At least one key, and at most [`MAX_SECRETS`]; of which hash, and under which scheme's name.
    Secrets { keys: Vec<Key>, hash: Hash, scheme: Arc<str> },
    /// The user's.
    Foreign(Arc<dyn Verifier>),
}

/// What is kept of a secret.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) mac: Mac,
    pub(super) credential: Tag,
    pub(super) voucher: Arc<Voucher>,
    not_after: Option<UnixTime>,
}

impl Keys {
    pub(super) fn of(scheme: &Scheme, secret: Secret) -> Self {
        let (hash, scheme) = (scheme.hash(), scheme.shared_name());
        Self::Secrets { keys: vec![Key::new(hash, &scheme, secret, 0)], hash, scheme }
    }

    /// The same without any key: what a new ring begins with.
    fn without_keys(&self) -> Self {
        match self {
            Self::Secrets { hash, scheme, .. } => {
                Self::Secrets { keys: Vec::with_capacity(MAX_SECRETS), hash: *hash, scheme: Arc::clone(scheme) }
            }
            Self::Foreign(verifier) => Self::Foreign(Arc::clone(verifier)),
        }
    }

    pub(super) fn foreign(verifier: impl Verifier) -> Self {
        Self::Foreign(Arc::new(verifier))
    }

    /// Whether the time matters to any of them.
    pub(super) fn are_timed(&self) -> bool {
        self.iter().any(|key| key.not_after.is_some())
    }

    pub(super) const fn verifier(&self) -> Option<&Arc<dyn Verifier>> {
        match self {
            Self::Secrets { .. } => None,
            Self::Foreign(verifier) => Some(verifier),
        }
    }

    pub(super) fn push(&mut self, secret: Secret) -> Result<(), ConfigError> {
        let Self::Secrets { keys, hash, scheme } = self else { return Err(not_beside_a_verifier()) };
        if keys.len() == MAX_SECRETS {
            return Err(ConfigError::new("secrets", "at most four", "one more"));
        }
        let key = Key::new(*hash, scheme, secret, keys.len());
        // A label tells when a secret is used no more: of two that share it, nobody could tell which.
        let label = key.voucher.label();
        if keys.iter().any(|other| other.voucher.label() == label) {
            return Err(ConfigError::new("label", "of one secret alone", format_args!("{label:?}")));
        }
        keys.push(key);
        Ok(())
    }
}

fn not_beside_a_verifier() -> ConfigError {
    ConfigError::new("secrets", "none, since a verifier judges the signatures", "some")
}

impl Key {
    /// The key at `place`, which is below [`MAX_SECRETS`].
    fn new(hash: Hash, scheme: &Arc<str>, secret: Secret, place: usize) -> Self {
        const LABELS: [&str; MAX_SECRETS] = ["first", "second", "third", "fourth"];
        let (mac, credential) = (Mac::new(hash, secret.bytes()), credentials::blind(secret.bytes()));
        let not_after = secret.end();
        let label = secret.into_label(LABELS[place]);
        Self { mac, credential, not_after, voucher: Arc::new(Voucher::new(Arc::clone(scheme), label)) }
    }

    /// Whether it is accepted at `now`. When a key ends is no secret, so this may show in the time.
    pub(super) fn is_live(&self, now: UnixTime) -> bool {
        self.not_after.is_none_or(|end| now <= end)
    }
}

impl Deref for Keys {
    type Target = [Key];

    fn deref(&self) -> &[Key] {
        match self {
            Self::Secrets { keys, .. } => keys,
            Self::Foreign(_) => &[],
        }
    }
}

/// The place of the first key that hit and is live; for each key, at most [`MAX_SECRETS`], whether it does, as 1 or 0, and
/// whether it is. All are looked at, and which one it was does not show in the time.
pub(super) fn accepted(keys: impl Iterator<Item = (u8, bool)>) -> Result<usize, Reason> {
    // One bit for each key.
    let (mut hits, mut lives) = (0u32, 0u32);
    for (place, (hit, live)) in keys.enumerate() {
        hits |= u32::from(hit) << place;
        lives |= u32::from(live) << place;
    }
    match (hits, hits & lives) {
        (0, _) => Err(Reason::Mismatch),
        (_, 0) => Err(Reason::Expired),
        (_, accepted) => Ok(accepted.trailing_zeros() as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_that_hit_and_are_live_is_found() {
        let live = |hits: &[u8]| accepted(hits.iter().map(|hit| (*hit, true)));
        for (hits, found) in
            [(&[][..], None), (&[0, 0], None), (&[1], Some(0)), (&[0, 1, 0], Some(1)), (&[0, 1, 1, 1], Some(1))]
        {
            assert_eq!(live(hits), found.ok_or(Reason::Mismatch));
        }
        let judged = |keys: &[(u8, bool)]| accepted(keys.iter().copied());
        assert_eq!(judged(&[(1, false), (0, true)]), Err(Reason::Expired));
        assert_eq!(judged(&[(0, false), (0, false)]), Err(Reason::Mismatch));
        assert_eq!(judged(&[(1, false), (0, true), (1, true), (1, true)]), Ok(2));
    }

    #[test]
    fn a_ring_that_cannot_be_is_refused_and_the_old_one_stays() {
        let secret = |label: &str| Secret::new("an example of a secret").unwrap().label(label);
        let ring = Keyring::new(Keys::of(&Scheme::github(), secret("kept")));
        assert_eq!(ring.replace([]).unwrap_err().to_string(), "secrets must be at least one, but is none");
        let five = (0..5).map(|n| secret(&format!("new {n}")));
        assert_eq!(ring.replace(five).unwrap_err().to_string(), "secrets must be at most four, but is one more");
        let same = ring.replace([secret("2026"), secret("2026")]).unwrap_err();
        assert_eq!(same.to_string(), r#"label must be of one secret alone, but is "2026""#);
        let by_chance = ring.replace([secret("second"), Secret::new("an example of a secret").unwrap()]).unwrap_err();
        assert_eq!(by_chance.setting(), "label");
        assert_eq!(format!("{ring:?}"), r#"Keyring(["kept"])"#);
    }
}
