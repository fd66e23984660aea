//! Dropbox's webhooks.

use super::Scheme;

impl Scheme {
    /// `X-Dropbox-Signature`: the hex of HMAC-SHA256 over the raw body, under the app's secret.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Signer};
    ///
    /// let dropbox = Scheme::dropbox();
    /// let secret = dropbox.secret("dropbox_test_secret")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(dropbox, secret)
    ///     .sign(&mut headers, br#"{"list_folder":{"accounts":["dbid:AAH4f99T0taONFbNO56Ru6wQQq-aVsd8"]}}"#)?;
    /// // As the tests of the crate webhook-verify have it: Dropbox publishes none together with its secret.
    /// assert_eq!(
    ///     headers["x-dropbox-signature"],
    ///     "80d62d988f7b55b88cccbfe41f348828e376ba2162e1f798a6f881b3b2e3196b",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The check of a new URL is a `GET` without a signature, with `challenge` in its query: answer that outside of the
    /// layer. Source: [Dropbox, webhooks][source].
    ///
    /// [source]: https://www.dropbox.com/developers/reference/webhooks
    #[must_use]
    pub fn dropbox() -> Self {
        Self::builder("dropbox").header("X-Dropbox-Signature").profile()
    }
}
