//! What a message is known by: what is under its signature, and nothing beside it.

use std::fmt;

use sha2::{Digest, Sha256};

/// What a message is known by: a SHA-256 of the scheme's name and either the id that is signed with it, where the scheme has
/// one, or all that is signed.
///
/// It is not made from the signature, so it is the same in either case of hex, in whichever order signatures are listed, and
/// under whichever secret. Nor is it secret itself; but whoever can guess a whole message can tell by it that it was sent,
/// so its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayKey([u8; 32]);

impl ReplayKey {
    /// Its bytes, for stores elsewhere.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    #[cfg(test)]
    pub(super) const fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for ReplayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayKey(..)")
    }
}

/// A [`ReplayKey`] in the making.
#[derive(Clone)]
pub(in crate::signature) struct Content(Sha256);

impl Content {
    /// Of a message under `scheme`, by its id or, without one, by all that is signed.
    pub(in crate::signature) fn new(scheme: &str, by_id: bool) -> Self {
        // The length keeps the name apart from what follows it.
        let length = (scheme.len() as u64).to_be_bytes();
        Self(Sha256::new().chain_update(length).chain_update(scheme).chain_update([u8::from(by_id)]))
    }

    pub(in crate::signature) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(in crate::signature) fn finish(self) -> ReplayKey {
        ReplayKey(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_messages_share_a_key() {
        let key = |scheme: &str, by_id, bytes: &[u8]| {
            let mut content = Content::new(scheme, by_id);
            content.update(bytes);
            content.finish()
        };
        let keys = [
            key("a", false, b"b"),
            key("a", true, b"b"),
            key("ab", false, b""),
            key("", false, b"ab"),
            key("a", false, b"c"),
            key("b", false, b"b"),
        ];
        for (n, one) in keys.iter().enumerate() {
            assert!(keys[n + 1..].iter().all(|other| other != one), "{n}");
        }
        assert_eq!(format!("{:?}", keys[0]), "ReplayKey(..)");
    }
}
