//! The accepted secrets, as keyed states: given once, or to be swapped while requests are running.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use zeroize::Zeroizing;

use super::{
    MAX_SECRETS, Reason, Scheme, Secret, Verifier, credentials,
    mac::{Mac, Tag},
    verified::Voucher,
};
use crate::{ConfigError, time::UnixTime};

/// A scheme and the secrets that are accepted under it, to be swapped while requests run. All layers and verifiers
/// [with it](super::SignatureLayer::with_keyring) accept the same.
///
/// ```
/// use portcullis::signature::{Keyring, Scheme, Secret, SignatureLayer};
///
/// let old = Secret::new("the secret of last year")?.label("2025");
/// let keyring = Keyring::new(Scheme::github(), [old.clone()])?;
/// let layer = SignatureLayer::with_keyring(keyring.clone());
///
/// keyring.replace([Secret::new("the secret of this year")?.label("2026"), old])?;
/// assert_eq!(&*keyring.labels()[0], "2026");
/// assert!(keyring.replace([]).is_err());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
///
/// It costs a lock, which many may hold at once, for a moment of each request. Secrets that are given to a layer cost none.
#[derive(Clone)]
pub struct Keyring {
    scheme: Scheme,
    keys: Arc<RwLock<Keys>>,
}

impl Keyring {
    /// Accepts these `secrets`, for requests signed by `scheme`.
    ///
    /// # Errors
    ///
    /// When there are none, or more than [`MAX_SECRETS`], or two of one label.
    pub fn new(scheme: Scheme, secrets: impl IntoIterator<Item = Secret>) -> Result<Self, ConfigError> {
        let keys = Keys::of(&scheme, secrets)?;
        Ok(Self { scheme, keys: Arc::new(RwLock::new(keys)) })
    }

    /// Accepts these from now on, and no others; a request whose headers were judged before is judged by those of then.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) has them; nothing changes then.
    pub fn replace(&self, secrets: impl IntoIterator<Item = Secret>) -> Result<(), ConfigError> {
        // The secrets come from the user's code, so no lock is held meanwhile.
        let keys = Keys::of(&self.scheme, secrets)?;
        let old = std::mem::replace(&mut *self.keys.write().unwrap_or_else(PoisonError::into_inner), keys);
        drop(old);
        Ok(())
    }

    /// The labels of the accepted secrets.
    #[must_use]
    pub fn labels(&self) -> Vec<Arc<str>> {
        read(&self.keys).labels()
    }

    pub(super) fn into_parts(self) -> (Scheme, Source) {
        (self.scheme, Source::Ring(self.keys))
    }
}

fn read(keys: &RwLock<Keys>) -> RwLockReadGuard<'_, Keys> {
    keys.read().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.labels()).finish()
    }
}

/// What a verifier judges by.
#[derive(Clone)]
pub(super) enum Source {
    /// What was given once, so that no lock has to be held for it.
    Given(Arc<Keys>),
    /// What may be swapped.
    Ring(Arc<RwLock<Keys>>),
}

impl Source {
    pub(super) fn given(keys: Keys) -> Self {
        Self::Given(Arc::new(keys))
    }

    /// The keys of this moment. They are held while keyed states are copied and credentials judged, and never while a body is read
    /// or hashed: [`Keyring::replace`] waits for no sender.
    #[inline]
    pub(super) fn read(&self) -> Held<'_> {
        match self {
            Self::Given(keys) => Held::Given(keys),
            Self::Ring(keys) => Held::Locked(read(keys)),
        }
    }

    /// The same and one more secret, apart from what clones have.
    pub(super) fn and(&self, scheme: &Scheme, secret: Secret) -> Result<Self, ConfigError> {
        match self {
            Self::Given(keys) => keys.and(scheme, secret).map(Self::given),
            Self::Ring(_) => Err(ConfigError::new("secrets", "those of the keyring, which replaces them", "one more")),
        }
    }
}

pub(super) enum Held<'k> {
    Given(&'k Keys),
    Locked(RwLockReadGuard<'k, Keys>),
}

impl Deref for Held<'_> {
    type Target = Keys;

    #[inline]
    fn deref(&self) -> &Keys {
        match self {
            Self::Given(keys) => keys,
            Self::Locked(keys) => keys,
        }
    }
}

/// What requests have to be signed with.
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
    // Together with its key, which a process keeps, enough to guess a weak secret by.
    pub(super) credential: Zeroizing<Tag>,
    pub(super) voucher: Arc<Voucher>,
    not_after: Option<UnixTime>,
}

impl Keys {
    pub(super) fn one(scheme: &Scheme, secret: Secret) -> Self {
        Self::Secrets(vec![Key::new(scheme, secret, 0)])
    }

    fn of(scheme: &Scheme, secrets: impl IntoIterator<Item = Secret>) -> Result<Self, ConfigError> {
        let mut keys = room();
        for secret in secrets {
            push(&mut keys, scheme, secret)?;
        }
        if keys.is_empty() {
            return Err(ConfigError::new("secrets", "at least one", "none"));
        }
        Ok(Self::Secrets(keys))
    }

    pub(super) fn foreign(verifier: impl Verifier) -> Self {
        Self::Foreign(Arc::new(verifier))
    }

    fn and(&self, scheme: &Scheme, secret: Secret) -> Result<Self, ConfigError> {
        let Self::Secrets(given) = self else {
            return Err(ConfigError::new("secrets", "none, since a verifier judges the signatures", "some"));
        };
        let mut keys = room();
        keys.extend_from_slice(given);
        push(&mut keys, scheme, secret)?;
        Ok(Self::Secrets(keys))
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

    pub(super) fn labels(&self) -> Vec<Arc<str>> {
        self.iter().map(|key| Arc::clone(key.voucher.label())).collect()
    }
}

/// For all that there may be: a vector that grows leaves behind what it held.
fn room() -> Vec<Key> {
    Vec::with_capacity(MAX_SECRETS)
}

fn push(keys: &mut Vec<Key>, scheme: &Scheme, secret: Secret) -> Result<(), ConfigError> {
    if keys.len() == MAX_SECRETS {
        return Err(ConfigError::new("secrets", "at most four", "one more"));
    }
    let key = Key::new(scheme, secret, keys.len());
    // A label tells when a secret is used no more: of two that share it, nobody could tell which.
    let label = key.voucher.label();
    if keys.iter().any(|other| other.voucher.label() == label) {
        return Err(ConfigError::new("label", "of one secret alone", format_args!("{label:?}")));
    }
    keys.push(key);
    Ok(())
}

impl Key {
    /// The key at `place`, which is below [`MAX_SECRETS`].
    fn new(scheme: &Scheme, secret: Secret, place: usize) -> Self {
        const LABELS: [&str; MAX_SECRETS] = ["first", "second", "third", "fourth"];
        let (mac, credential) =
            (Mac::new(scheme.hash(), secret.bytes()), Zeroizing::new(credentials::blind(secret.bytes())));
        let not_after = secret.end();
        let label = secret.into_label(LABELS[place]);
        Self { mac, credential, not_after, voucher: Arc::new(Voucher::new(scheme.shared_name(), label)) }
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
            Self::Secrets(keys) => keys,
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
        let ring = Keyring::new(Scheme::github(), [secret("kept")]).unwrap();
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
