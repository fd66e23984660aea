//! What a signature is made over.

use std::borrow::Cow;

use bytes::Bytes;

/// A piece of what is signed; the body is always the last.
///
/// All but [`Body`](Self::Body) is fed to the MAC before the body arrives, as it was sent: a number is never printed anew.
#[derive(Clone, Debug)]
pub enum Segment {
    /// These bytes, at least one.
    Literal(Cow<'static, [u8]>),
    /// The value of a header, which has to occur once and not be empty. A literal has to follow, and the value must not
    /// contain it, nor end with the beginning of it: `a.b` before `.` could otherwise be read as two pieces. An RFC 3339
    /// timestamp may follow too, since it says itself where it begins.
    Header(Names),
    /// The timestamp, as it was sent. A literal has to follow where it is a number.
    Timestamp,
    /// What an outer layer put into the request's extensions as [`SignedContext`].
    Context,
    /// The body.
    Body,
}

impl Segment {
    /// A [`Literal`](Self::Literal) of this text.
    pub fn literal(text: impl Into<String>) -> Self {
        Self::Literal(Cow::Owned(text.into().into_bytes()))
    }

    /// A [`Header`](Self::Header) of this name, or these names.
    pub fn header(names: impl Into<Names>) -> Self {
        Self::Header(names.into())
    }
}

/// One header's name, or its aliases.
///
/// Aliases go together by their place: a request that is signed in the second of two signature headers has its timestamp
/// in the second of the timestamp headers. So nothing can be mixed from two families.
///
/// ```
/// use portcullis::signature::{Encoding, KeyEncoding, Scheme, Segment, Timestamp};
///
/// let standard_webhooks = Scheme::builder("standard-webhooks")
///     .header(["webhook-signature", "svix-signature"])
///     .versioned("v1")
///     .encoding(Encoding::Base64)
///     .key_encoding(KeyEncoding::Whsec)
///     .timestamp(Timestamp::header(["webhook-timestamp", "svix-timestamp"]))
///     .signed([
///         Segment::header(["webhook-id", "svix-id"]),
///         Segment::literal("."),
///         Segment::Timestamp,
///         Segment::literal("."),
///         Segment::Body,
///     ])
///     .build()?;
/// assert!(standard_webhooks.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Names(pub(super) Vec<String>);

impl From<&str> for Names {
    fn from(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

impl From<String> for Names {
    fn from(name: String) -> Self {
        Self(vec![name])
    }
}

impl<const N: usize> From<[&str; N]> for Names {
    fn from(names: [&str; N]) -> Self {
        Self(names.map(str::to_owned).into())
    }
}

impl From<Vec<String>> for Names {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

/// What [`Segment::Context`] stands for: something that the sender signs and the request does not carry, such as the URL
/// that was registered with it. An outer layer puts it into the request's extensions.
///
/// Take it from configuration. `Host` and its relatives are the sender's to choose.
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use portcullis::signature::{Encoding, Scheme, Segment, SignedContext};
///
/// let square = Scheme::builder("square")
///     .header("x-square-hmacsha256-signature")
///     .encoding(Encoding::Base64)
///     .signed([Segment::Context, Segment::Body])
///     .build()?;
///
/// let mut request = Request::new(());
/// let registered = Bytes::from_static(b"https://example.com/webhooks");
/// request.extensions_mut().insert(SignedContext(registered));
/// # let _ = square;
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SignedContext(pub Bytes);
