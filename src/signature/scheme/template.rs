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
    /// timestamp may follow too, and the value must not contain what looks like one then.
    Header(Names),
    /// The timestamp, as it was sent. Where it is a number, a literal has to follow that does not begin with a digit.
    Timestamp,
    /// What the layer was given as its [context](crate::signature::SignatureLayer::context), or an outer one put into the request's
    /// extensions as [`SignedContext`].
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
/// use portcullis::signature::{Scheme, Segment, Timestamp};
///
/// // A provider that changes its name, and sends the old headers or the new ones.
/// let renamed = Scheme::builder("renamed")
///     .header(["new-signature", "old-signature"])
///     .timestamp(Timestamp::header(["new-timestamp", "old-timestamp"]))
///     .signed([
///         Segment::header(["new-id", "old-id"]),
///         Segment::literal("."),
///         Segment::Timestamp,
///         Segment::literal("."),
///         Segment::Body,
///     ])
///     .build();
/// assert!(renamed.is_ok());
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
/// that was registered with it. An outer layer puts it into the request's extensions; where it is the same for all requests,
/// [`SignatureLayer::context`](crate::signature::SignatureLayer::context) is enough.
///
/// Take it from configuration. `Host` and its relatives are the sender's to choose.
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use http_body_util::Full;
/// use http::{Response, StatusCode};
/// use portcullis::signature::{Scheme, Secret, SignatureLayer, SignedContext, Signer, VerifiedBody};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registered = Bytes::from_static(b"https://example.com/webhooks");
/// let secret = Secret::new("an example of a secret")?;
/// let mut request = Request::new(Full::new(Bytes::from("{}")));
/// Signer::new(Scheme::square(), secret.clone()).context(registered.clone()).sign(request.headers_mut(), b"{}")?;
///
/// let webhooks = ServiceBuilder::new()
///     .map_request(move |mut request: Request<Full<Bytes>>| {
///         request.extensions_mut().insert(SignedContext(registered.clone()));
///         request
///     })
///     .layer(SignatureLayer::new(Scheme::square(), secret))
///     .service(service_fn(async |_: Request<VerifiedBody>| {
///         Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
///     }));
/// assert_eq!(webhooks.oneshot(request).await?.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SignedContext(pub Bytes);
