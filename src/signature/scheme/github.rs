//! GitHub's webhooks.

use super::Scheme;

impl Scheme {
    /// `X-Hub-Signature-256`: `sha256=` and the hex of HMAC-SHA256 over the raw body.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Signer};
    ///
    /// let github = Scheme::github();
    /// let secret = github.secret("It's a Secret to Everybody")?;
    /// let mut headers = HeaderMap::new();
    /// Signer::new(github, secret).sign(&mut headers, b"Hello, World!")?;
    /// // As GitHub's documentation has it.
    /// assert_eq!(
    ///     headers["x-hub-signature-256"],
    ///     "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// `X-GitHub-Delivery` and `X-GitHub-Event` are not signed: do not tell repetitions by the one, nor trust the other
    /// further than the body bears it out.
    ///
    /// Source: [GitHub, validating webhook deliveries][source].
    ///
    /// [source]: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    #[must_use]
    pub fn github() -> Self {
        Self::builder("github").header("X-Hub-Signature-256").prefix("sha256=").profile()
    }
}
