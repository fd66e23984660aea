//! The contract of this crate's gateway for NICE Cognigy.

use super::Scheme;

impl Scheme {
    /// `X-Cognigy-Signature`: the hex of HMAC-SHA256 over the raw body, in either case.
    ///
    /// NICE Cognigy sends no such header by itself: a transformer or a Function of the flow has to add it. What its HTTP
    /// Request node can send is a credential, see
    /// [`accept_credentials`](crate::signature::SignatureLayer::accept_credentials).
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::signature::{Scheme, Secret, Signer};
    ///
    /// let mut headers = HeaderMap::new();
    /// Signer::new(Scheme::cognigy(), Secret::new("Jefe")?).sign(&mut headers, b"what do ya want for nothing?")?;
    /// assert_eq!(
    ///     headers["x-cognigy-signature"],
    ///     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", // RFC 4231, section 4.3
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Nothing in it says when it was signed, so whoever records a request can send it again.
    #[must_use]
    pub fn cognigy() -> Self {
        Self::builder("cognigy").header("X-Cognigy-Signature").profile()
    }
}
