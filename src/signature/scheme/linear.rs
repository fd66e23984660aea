//! Linear's webhooks.

use super::Scheme;

impl Scheme {
    /// `Linear-Signature`: the hex of HMAC-SHA256 over the raw body.
    ///
    /// The time that is signed is in the body, as `webhookTimestamp` in milliseconds: whoever parses the body has to refuse
    /// one that is more than 60 s off, as Linear's own library does. The header `linear-timestamp` is not signed, so it
    /// proves nothing.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Signer};
    ///
    /// let linear = Scheme::linear();
    /// let secret = linear.secret("test_secret_key")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(linear, secret).sign(&mut headers, br#"{"action":"create","type":"Issue"}"#)?;
    /// // As the tests of the crate webhook-verify have it: Linear publishes none together with its secret.
    /// assert_eq!(
    ///     headers["linear-signature"],
    ///     "d6fe7d87e27be0fa47a19aad05513445b414caae226a30677d7bdb9d78b836a0",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: [Linear, securing webhooks][source].
    ///
    /// [source]: https://linear.app/developers/webhooks
    #[must_use]
    pub fn linear() -> Self {
        Self::builder("linear").header("Linear-Signature").profile()
    }
}
