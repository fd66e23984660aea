//! Square's webhooks.

use super::{Encoding, Scheme, Segment};

impl Scheme {
    /// `x-square-hmacsha256-signature`: the base64 of HMAC-SHA256 over the URL that was registered with Square and the raw
    /// body.
    ///
    /// An outer layer puts that URL into the request's extensions, as
    /// [`SignedContext`](crate::signature::SignedContext). Take it from configuration, not from the request.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Signer};
    ///
    /// let square = Scheme::square();
    /// let secret = square.secret("signature-key")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(square, secret)
    ///     .context("https://webhook.site/webhooks")
    ///     .sign(&mut headers, br#"{"data":{"type":"webhooks","id":">id<"}}"#)?;
    /// // As the tests of Square's library for Python have it.
    /// assert_eq!(headers["x-square-hmacsha256-signature"], "Cxt7+aTi4rKgcA0bC4g9EHdVtLSDWdqccmL5MvihU4U=");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: [Square, validating event notifications][source].
    ///
    /// [source]: https://developer.squareup.com/docs/webhooks/step3validate
    #[must_use]
    pub fn square() -> Self {
        Self::builder("square")
            .header("x-square-hmacsha256-signature")
            .encoding(Encoding::Base64)
            .signed([Segment::Context, Segment::Body])
            .profile()
    }
}
