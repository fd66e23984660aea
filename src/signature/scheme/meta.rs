//! Meta: Facebook, Instagram, Messenger, WhatsApp.

use super::Scheme;

impl Scheme {
    /// Meta's `X-Hub-Signature-256`: `sha256=` and the hex of HMAC-SHA256 over the raw body, under the app's secret.
    ///
    /// The body is signed as it is sent, with every letter outside of ASCII escaped (`\u00e4`): a body that was parsed and
    /// printed again has another signature.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Signer};
    ///
    /// // Made for this example: Meta publishes no signature together with its secret.
    /// let meta = Scheme::meta();
    /// let secret = meta.secret("meta-app-secret")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(meta, secret).sign(&mut headers, br#"{"object":"page","entry":[{"t":"\u00e4\u00f6\u00e5"}]}"#)?;
    /// assert_eq!(
    ///     headers["x-hub-signature-256"],
    ///     "sha256=632f02c304dd15a4d495065d6864d4f801e3018492342e8e772d2b1df32b1b5c",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Meta's subscription check is a `GET` without a signature, with `hub.challenge` in its query: answer that outside of
    /// the layer. Source: [Meta, webhooks][source].
    ///
    /// [source]: https://developers.facebook.com/docs/graph-api/webhooks/getting-started
    #[must_use]
    pub fn meta() -> Self {
        Self::builder("meta").header("X-Hub-Signature-256").prefix("sha256=").profile()
    }
}
