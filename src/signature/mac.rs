//! The keyed hash, whichever it is, and its fixed-size result.

use hmac::{
    EagerHash, KeyInit,
    block_api::HmacCore,
    digest::{
        array::Array,
        block_api::{Buffer, FixedOutputCore, UpdateCore},
    },
};
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// The hash function under the HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hash {
    /// SHA-256: what nearly every provider uses.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The length of a MAC, in bytes.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A keyed state: made once from the secret, cloned for each request, fed as bytes arrive.
#[derive(Clone)]
pub(super) enum Mac {
    Sha256(Keyed<Sha256>),
    // Twice as large, and seldom: it would make every move of the other one slower.
    Sha512(Box<Keyed<Sha512>>),
}

impl Mac {
    pub(super) fn new(hash: Hash, key: &[u8]) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256(Keyed::new(key)),
            Hash::Sha512 => Self::Sha512(Box::new(Keyed::new(key))),
        }
    }

    /// One that is to be fed, under the same key.
    pub(super) fn begin(&self) -> Self {
        match self {
            Self::Sha256(mac) => Self::Sha256(mac.begin()),
            Self::Sha512(mac) => Self::Sha512(Box::new(mac.begin())),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    /// The MAC of all that it was fed. It is no keyed state any more then.
    pub(super) fn finish(&mut self) -> Tag {
        match self {
            Self::Sha256(mac) => mac.finish(),
            Self::Sha512(mac) => mac.finish(),
        }
    }
}

/// What `hmac::Hmac` is made of. That can be finished by value alone, and a small message would pay for each move of it.
pub(super) struct Keyed<H: EagerHash> {
    core: HmacCore<H>,
    buffer: Buffer<HmacCore<H>>,
}

impl<H: EagerHash> Keyed<H> {
    fn new(key: &[u8]) -> Self {
        let core = HmacCore::new_from_slice(key).expect("HMAC takes keys of every length");
        Self { core, buffer: Buffer::<HmacCore<H>>::default() }
    }

    #[inline]
    pub(super) fn begin(&self) -> Self {
        Self { core: self.core.clone(), buffer: Buffer::<HmacCore<H>>::default() }
    }

    fn update(&mut self, bytes: &[u8]) {
        let Self { core, buffer } = self;
        buffer.digest_blocks(bytes, |blocks| core.update_blocks(blocks));
    }

    fn finish(&mut self) -> Tag {
        let mut output = Array::default();
        self.core.finalize_fixed_core(&mut self.buffer, &mut output);
        Tag::new(&output)
    }
}

impl<H: EagerHash> Clone for Keyed<H> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), buffer: self.buffer.clone() }
    }
}

/// A MAC, with zeros after a short one: all are compared over the same number of bytes.
///
/// Aligned, so that it is moved and compared by words that do not lie across each other.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(super) struct Tag([u8; Self::MAX]);

impl Tag {
    pub(super) const MAX: usize = 64;

    /// Of `bytes`, which are at most [`Self::MAX`].
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut tag = [0; Self::MAX];
        tag[..bytes.len()].copy_from_slice(bytes);
        Self(tag)
    }

    pub(super) fn as_slice(&self, hash: Hash) -> &[u8] {
        &self.0[..hash.len()]
    }
}

impl Zeroize for Tag {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl ConstantTimeEq for Tag {
    /// By words, which are all looked at: their differences are gathered, and only what is gathered is judged.
    fn ct_eq(&self, other: &Self) -> Choice {
        let (words, others) = (self.0.as_chunks::<8>().0, other.0.as_chunks::<8>().0);
        let differences = words
            .iter()
            .zip(others)
            .fold(0, |differences, (a, b)| differences | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)));
        differences.ct_eq(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_of_a_keys_clone_is_that_of_the_whole_message() {
        for hash in [Hash::Sha256, Hash::Sha512] {
            let keyed = Mac::new(hash, b"key");
            let (mut whole, mut pieces) = (keyed.clone(), keyed.clone());
            whole.update(b"message");
            b"message".chunks(2).for_each(|piece| pieces.update(piece));
            let (whole, pieces) = (whole.finish(), pieces.finish());
            assert!(bool::from(whole.ct_eq(&pieces)));
            assert!(!bool::from(whole.ct_eq(&keyed.clone().finish())));
            assert_eq!(whole.as_slice(hash).len(), hash.len());
        }
    }

    #[test]
    fn every_byte_of_a_tag_counts() {
        let tag = Tag::new(&[1; 32]);
        for place in 0..Tag::MAX {
            let mut other = tag;
            other.0[place] ^= 0x80;
            assert!(!bool::from(tag.ct_eq(&other)), "byte {place}");
        }
    }
}
