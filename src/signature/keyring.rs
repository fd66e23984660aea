//! The accepted secrets, as keyed states, to be swapped while requests are running.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
};

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{
    MAX_SECRETS, Reason, Secret, Verifier, credentials,
    mac::{Hash, Mac, Tag},
};
use crate::{ConfigError, time::UnixTime};

/// The secrets that a layer accepts: a handle to swap them while it runs, from [`SignatureLayer::keyring`].
///
/// [`SignatureLayer::keyring`]: super::SignatureLayer::keyring
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
    hash: Hash,
    keys: Arc<RwLock<Arc<Keys>>>,
}

impl Keyring {
    pub(super) fn new(hash: Hash, keys: Keys) -> Self {
        Self { hash, keys: Arc::new(RwLock::new(Arc::new(keys))) }
    }

    /// Accepts these from now on, and no others; a request whose headers were judged before is judged by those of then.
    ///
    /// # Errors
    ///
    /// When there are none, or more than [`MAX_SECRETS`], or two of one label, or where a [`Verifier`] takes their place; nothing changes then.
    pub fn replace(&self, secrets: impl IntoIterator<Item = Secret>) -> Result<(), ConfigError> {
        if self.keys().verifier().is_some() {
            return Err(not_beside_a_verifier());
        }
        let mut keys = Keys::Secrets(Vec::with_capacity(MAX_SECRETS));
        for secret in secrets {
            keys.push(self.hash, secret)?;
        }
        if keys.is_empty() {
            return Err(ConfigError::new("secrets", "at least one", "none"));
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// The labels of the accepted secrets.
    #[must_use]
    pub fn labels(&self) -> Vec<Arc<str>> {
        self.keys().iter().map(|key| Arc::clone(&key.label)).collect()
    }

    /// The secrets of this moment. The lock is held for as long as a counter takes.
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
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
    /// At least one key, and at most [`MAX_SECRETS`].
    Secrets(Vec<Key>),
    /// The user's.
    Foreign(Arc<dyn Verifier>),
}

/// What is kept of a secret.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) mac: Mac,
    pub(super) credential: Tag,
    pub(super) label: Arc<str>,
    not_after: Option<UnixTime>,
}

impl Keys {
    pub(super) fn of(hash: Hash, secret: Secret) -> Self {
        Self::Secrets(vec![Key::new(hash, secret, 0)])
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
            Self::Secrets(_) => None,
            Self::Foreign(verifier) => Some(verifier),
        }
    }

    pub(super) fn push(&mut self, hash: Hash, secret: Secret) -> Result<(), ConfigError> {
        let Self::Secrets(keys) = self else { return Err(not_beside_a_verifier()) };
        if keys.len() == MAX_SECRETS {
            return Err(ConfigError::new("secrets", "at most four", "one more"));
        }
        let key = Key::new(hash, secret, keys.len());
        // A label tells when a secret is used no more: of two that share it, nobody could tell which.
        if keys.iter().any(|other| other.label == key.label) {
            return Err(ConfigError::new("label", "of one secret alone", format_args!("{:?}", key.label)));
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
    fn new(hash: Hash, secret: Secret, place: usize) -> Self {
        const LABELS: [&str; MAX_SECRETS] = ["first", "second", "third", "fourth"];
        let (mac, credential) = (Mac::new(hash, secret.bytes()), credentials::blind(secret.bytes()));
        let not_after = secret.end();
        Self { mac, credential, not_after, label: secret.into_label().unwrap_or_else(|| LABELS[place].into()) }
    }
}

impl Deref for Keys {
    type Target = [Key];

    fn deref(&self) -> &[Key] {
        match self {
            Self::Secrets(keys) => keys,
            Self::Foreign(_) => &[],
        }
    }
}

/// The first key that hit and is accepted at `now`.
pub(super) fn accepted(keys: &[Key], hits: impl Iterator<Item = Choice>, now: UnixTime) -> Result<usize, Reason> {
    let mut expired = Choice::from(0);
    let live = hits.zip(keys).map(|(hit, key)| {
        // When a key ends is no secret, so this may show in the time.
        let live = Choice::from(u8::from(key.not_after.is_none_or(|end| now <= end)));
        expired |= hit & !live;
        hit & live
    });
    match first(live) {
        Some(key) => Ok(key),
        None if bool::from(expired) => Err(Reason::Expired),
        None => Err(Reason::Mismatch),
    }
}

/// The first that hit. All are looked at, and which one it was does not show in the time.
fn first(hits: impl Iterator<Item = Choice>) -> Option<usize> {
    const NONE: u8 = u8::MAX;
    let mut first = NONE;
    for (index, hit) in (0..NONE).zip(hits) {
        first.conditional_assign(&index, hit & first.ct_eq(&NONE));
    }
    (first != NONE).then_some(usize::from(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_that_hit_is_found() {
        for (hits, found) in
            [(&[][..], None), (&[0, 0], None), (&[1], Some(0)), (&[0, 1, 0], Some(1)), (&[0, 1, 1, 1], Some(1))]
        {
            assert_eq!(first(hits.iter().map(|hit| Choice::from(*hit))), found);
        }
    }

    #[test]
    fn a_ring_that_cannot_be_is_refused_and_the_old_one_stays() {
        let secret = |label: &str| Secret::new("an example of a secret").unwrap().label(label);
        let ring = Keyring::new(Hash::Sha256, Keys::of(Hash::Sha256, secret("kept")));
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
