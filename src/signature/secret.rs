//! Secrets, and how they are written down.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{ConfigError, time::UnixTime, trace::event};

/// Shorter secrets than this are accepted with a warning: they can be guessed from one signed message.
const WEAK: usize = 16;

/// A shared secret: never empty, never shown, and wiped from memory when it is dropped.
///
/// A layer keeps no secret, only the hash states that were keyed with it. There is no `PartialEq`: comparing secrets
/// byte by byte tells an observer how far they agree.
///
/// ```
/// use portcullis::signature::Secret;
///
/// let secret = Secret::new("an example of a secret")?.label("2026-01");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("").is_err());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
///
/// A secret with white space around it, or shorter than 16 bytes, is accepted, and a `tracing` warning says so, with its
/// [label](Self::label), when a layer, a verifier, a keyring or a signer is given it: the first is mostly a line feed that came
/// along with a file, the second can be guessed.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    label: Option<Arc<str>>,
    not_after: Option<UnixTime>,
}

impl Secret {
    /// A secret of these bytes, as they are. For those that a provider writes as hex or base64, see [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// When there are none, or none but zeros: a MAC under an empty key can be made by anyone, and HMAC fills a key up with zeros.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, ConfigError> {
        Self::from_bytes(Zeroizing::new(bytes.into()))
    }

    /// The secret that `text` stands for under `encoding`.
    ///
    /// ```
    /// use portcullis::signature::{KeyEncoding, Secret};
    ///
    /// assert!(Secret::decode("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", KeyEncoding::Whsec).is_ok());
    /// assert!(Secret::decode("whsec_", KeyEncoding::Whsec).is_err());
    /// assert!(Secret::decode("not hex", KeyEncoding::Hex).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// When `text` is not written so, or stands for nothing, or for nothing but zeros.
    pub fn decode(text: &str, encoding: KeyEncoding) -> Result<Self, ConfigError> {
        let base64 = |text: &str| STANDARD.decode(text).ok();
        let (decoded, rule) = match encoding {
            KeyEncoding::Text => (Some(text.as_bytes().to_vec()), "text"),
            KeyEncoding::Hex => (unhex(text), "written in hex"),
            KeyEncoding::Base64 => (base64(text), "written in base64, with its padding"),
            KeyEncoding::Whsec => (
                base64(text.strip_prefix("whsec_").unwrap_or(text)),
                "written in base64, with its padding, after whsec_",
            ),
        };
        let unreadable = || ConfigError::new("secret", rule, "not");
        Self::from_bytes(Zeroizing::new(decoded.ok_or_else(unreadable)?))
    }

    fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, ConfigError> {
        if bytes.is_empty() {
            return Err(ConfigError::new("secret", "one byte or longer", "empty"));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(ConfigError::new("secret", "more than zeros", "not"));
        }
        Ok(Self { bytes, label: None, not_after: None })
    }

    /// Names it, so that a log or a metric can tell which secret is still in use. Not a secret itself.
    ///
    /// Default: `first` to `fourth`, in the order in which a layer was given them. No two secrets of a layer share one.
    #[must_use]
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Accepts it until `end`, that moment included, and no longer: for a rotation that ends by itself.
    ///
    /// A request is judged by the moment at which its headers came. One that comes too late is refused as
    /// [`Expired`](super::Reason::Expired). A [`Signer`](super::Signer) signs at any time.
    ///
    /// ```
    /// use portcullis::{signature::Secret, time::UnixTime};
    ///
    /// let old = Secret::new("the secret of last year")?.label("2025").not_after(UnixTime::from_secs(1_767_225_600));
    /// # let _ = old;
    /// # Ok::<_, portcullis::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn not_after(mut self, end: UnixTime) -> Self {
        self.not_after = Some(end);
        self
    }

    pub(super) const fn end(&self) -> Option<UnixTime> {
        self.not_after
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its label, or `place` where it was given none: all that whoever takes it in still needs, so it is warned of now.
    pub(super) fn into_label(self, place: &str) -> Arc<str> {
        self.warn(Some(place));
        self.label.unwrap_or_else(|| place.into())
    }

    /// Warns of what looks like a mistake, once whoever reads it can be told which secret that is: by its label, or else by its
    /// place, where it has one.
    pub(super) fn warn(&self, place: Option<&str>) {
        let label = self.label.as_deref().or(place);
        if self.bytes.len() != self.bytes.trim_ascii().len() {
            event!(WARN, "a signature secret begins or ends with white space", label = label);
        }
        if self.bytes.len() < WEAK {
            event!(WARN, "a signature secret is shorter than 16 bytes", label = label);
        }
    }
}

/// In one piece, as `hex::decode` does not: a vector that grows leaves behind what it held.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a provider writes its secrets down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyEncoding {
    /// The text's UTF-8 bytes are the key. Stripe's are such, its `whsec_` included.
    #[default]
    Text,
    /// Hex, of either case.
    Hex,
    /// Base64 of the standard alphabet, padded.
    Base64,
    /// Base64, after `whsec_` where that is there, as in Standard Webhooks.
    Whsec,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_its_text_stands_for() {
        let bytes = |text, encoding| Secret::decode(text, encoding).map(|secret| secret.bytes().to_vec());
        assert_eq!(bytes("whsec_YWJj", KeyEncoding::Whsec).unwrap(), b"abc");
        assert_eq!(bytes("YWJj", KeyEncoding::Whsec).unwrap(), b"abc");
        assert_eq!(bytes("YWJj", KeyEncoding::Base64).unwrap(), b"abc");
        assert_eq!(bytes("616263", KeyEncoding::Hex).unwrap(), b"abc");
        assert_eq!(bytes("whsec_YWJj", KeyEncoding::Text).unwrap(), b"whsec_YWJj");
    }

    #[test]
    fn an_empty_secret_cannot_be_made_whichever_way_it_is_written() {
        for (text, encoding) in [
            ("", KeyEncoding::Text),
            ("", KeyEncoding::Hex),
            ("", KeyEncoding::Base64),
            ("", KeyEncoding::Whsec),
            ("whsec_", KeyEncoding::Whsec),
        ] {
            assert_eq!(
                Secret::decode(text, encoding).unwrap_err().to_string(),
                "secret must be one byte or longer, but is empty"
            );
        }
        assert!(Secret::new([]).is_err());
        for zeros in [vec![0], vec![0; 32], vec![0; 1000]] {
            assert_eq!(Secret::new(zeros).unwrap_err().to_string(), "secret must be more than zeros, but is not");
        }
    }

    #[test]
    fn an_error_does_not_show_what_could_not_be_read() {
        let error = Secret::decode("hunter2", KeyEncoding::Hex).unwrap_err();
        assert_eq!(error.to_string(), "secret must be written in hex, but is not");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
