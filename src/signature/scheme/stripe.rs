//! Stripe's webhooks.

use super::{Scheme, Segment, Timestamp};

impl Scheme {
    /// `Stripe-Signature`: `t=TIME,v1=HEX`, with HMAC-SHA256 over `TIME.BODY`, and several `v1` while a secret is rolled.
    ///
    /// The time is in seconds and may be 300 s from now, either way; Stripe's own libraries for Go, Node and Python look at
    /// the past alone. The secret is its text, `whsec_` included.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// let stripe = Scheme::stripe();
    /// let secret = stripe.secret("whsec_test_secret")?;
    /// let clock = ManualWallClock::new(UnixTime::from_secs(1_700_000_000)).clock();
    /// let mut headers = HeaderMap::new();
    /// Signer::new(stripe, secret).wall_clock(clock).sign(&mut headers, br#"{"id":"evt_test_webhook","object":"event"}"#)?;
    /// // As the tests of the crate webhook-verify have it: Stripe publishes none together with its secret.
    /// assert_eq!(
    ///     headers["stripe-signature"],
    ///     "t=1700000000,v1=d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Stripe signs a repetition anew: tell it by the `id` in the body. Source: [Stripe, verifying signatures][source].
    ///
    /// [source]: https://docs.stripe.com/webhooks
    #[must_use]
    pub fn stripe() -> Self {
        Self::builder("stripe")
            .header("Stripe-Signature")
            .list(',', '=', "v1")
            .timestamp(Timestamp::list_key("t"))
            .signed([Segment::Timestamp, Segment::literal("."), Segment::Body])
            .profile()
    }
}
