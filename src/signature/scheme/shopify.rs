//! Shopify's webhooks.

use super::{Encoding, Scheme};

impl Scheme {
    /// `X-Shopify-Hmac-Sha256`, or `Shopify-Hmac-Sha256` without the `X-`: the base64 of HMAC-SHA256 over the raw body.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Signer};
    ///
    /// let shopify = Scheme::shopify();
    /// let secret = shopify.secret("It's a Secret to Everybody")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(shopify, secret).sign(&mut headers, b"Hello, World!")?;
    /// // As the tests of the crate webhook-verify have it: Shopify publishes none together with its secret.
    /// assert_eq!(headers["x-shopify-hmac-sha256"], "dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// `X-Shopify-Webhook-Id`, `-Topic` and `-Shop-Domain` are not signed. While an app's secret is rotated Shopify may sign
    /// with the old one: [accept both](crate::signature::SignatureLayer::also_accept). Source: [Shopify, verifying
    /// deliveries][source].
    ///
    /// [source]: https://shopify.dev/docs/apps/build/webhooks/subscribe/https
    #[must_use]
    pub fn shopify() -> Self {
        Self::builder("shopify")
            .header(["X-Shopify-Hmac-Sha256", "Shopify-Hmac-Sha256"])
            .encoding(Encoding::Base64)
            .profile()
    }
}
