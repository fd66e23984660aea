//! GitHub's webhooks.

use super::{Grammar, Scheme};

impl Scheme {
    /// `X-Hub-Signature-256`: `sha256=` and the hex of HMAC-SHA256 over the raw body.
    ///
    /// `X-GitHub-Delivery` and `X-GitHub-Event` are not signed: do not tell repetitions by the one, nor trust the other
    /// further than the body bears it out.
    ///
    /// Source: [GitHub, validating webhook deliveries][source].
    ///
    /// [source]: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    #[must_use]
    pub fn github() -> Self {
        let mut scheme = Self::bare("github", "x-hub-signature-256");
        scheme.grammar = Grammar::Prefix("sha256=".into());
        scheme
    }
}
