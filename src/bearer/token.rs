//! The token: a header value that nobody sees, and how long it is good for.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::ConfigError;

/// A bearer token, as a source hands it out: never shown, and wiped from memory once nothing holds it any more.
///
/// What is wiped is this crate's copy, the header value. The text that it was made of is its owner's, and what a
/// connection has written is out of reach. There is no `PartialEq`, as for all secrets.
///
/// ```
/// use std::time::Duration;
/// use portcullis::bearer::Token;
///
/// let token = Token::new("mF_9.B5f-4.1JqM")?.expires_in(Duration::from_secs(3600));
/// assert_eq!(format!("{token:?}"), "Token(.., expires_in: Some(3600s))");
///
/// let error = Token::new("two words").unwrap_err();
/// assert_eq!(error.to_string(), "token must be one or more visible ASCII characters, without a space, but is not");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Token {
    header: HeaderValue,
    lifetime: Option<Duration>,
}

impl Token {
    /// A token of this value, which goes behind `Bearer ` as it is (RFC 6750 §2.1).
    ///
    /// # Errors
    ///
    /// When it is empty, or holds anything but visible ASCII: white space, a line feed that came along with a file, letters
    /// with accents. The error does not show it.
    pub fn new(value: impl AsRef<str>) -> Result<Self, ConfigError> {
        let value = value.as_ref().as_bytes();
        let unusable = || ConfigError::new("token", "one or more visible ASCII characters, without a space", "not");
        if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
            return Err(unusable());
        }
        let text = Zeroizing::new([b"Bearer ", value].concat());
        let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).map_err(|_| unusable())?;
        header.set_sensitive(true);
        Ok(Self { header, lifetime: None })
    }

    /// How long it is good for, from when it was asked for. Where a source does not say,
    /// [`BearerBuilder::lifetime`](super::BearerBuilder::lifetime) holds.
    ///
    /// A token is used for a second at least, whatever it says, so that a source of dead tokens is not asked for each request.
    #[must_use]
    pub const fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    pub(super) const fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    pub(super) fn into_header(self) -> HeaderValue {
        self.header
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(.., expires_in: {:?})", self.lifetime)
    }
}
