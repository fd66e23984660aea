//! The contract of this crate's gateway for NICE Cognigy.

use super::Scheme;

impl Scheme {
    /// `X-Cognigy-Signature`: the hex of HMAC-SHA256 over the raw body, in either case.
    ///
    /// NICE Cognigy sends no such header by itself: a transformer or a Function of the flow has to add it. What its HTTP
    /// Request node can send is a credential, see
    /// [`accept_credentials`](crate::signature::SignatureLayer::accept_credentials).
    ///
    /// Nothing in it says when it was signed, so whoever records a request can send it again.
    #[must_use]
    pub fn cognigy() -> Self {
        Self::bare("cognigy", "x-cognigy-signature")
    }
}
