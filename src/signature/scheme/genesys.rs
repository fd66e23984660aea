//! Genesys Cloud's open messaging.

use super::{Encoding, Scheme};

impl Scheme {
    /// Genesys Cloud's `X-Hub-Signature-256`: `sha256=` and, unlike GitHub's and Meta's header of that name, the base64 of
    /// HMAC-SHA256 over the raw body.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Signer};
    ///
    /// // Made for this example: Genesys publishes no signature together with its secret.
    /// let genesys = Scheme::genesys();
    /// let secret = genesys.secret("genesys-token")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(genesys, secret).sign(&mut headers, br#"{"id":"m1","text":"hi"}"#)?;
    /// assert_eq!(headers["x-hub-signature-256"], "sha256=Rj2bqsRO5EcWKsSS5aTDyWiDsCsOeZ7aam/Gq138+4g=");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: [Genesys, validating inbound messages][source].
    ///
    /// [source]: https://developer.genesys.cloud/commdigital/digital/openmessaging/validate
    #[must_use]
    pub fn genesys() -> Self {
        Self::builder("genesys").header("X-Hub-Signature-256").prefix("sha256=").encoding(Encoding::Base64).profile()
    }
}
