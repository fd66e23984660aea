//! Standard Webhooks, and Svix, where it comes from.

use super::{Encoding, Names, Scheme, Segment, Timestamp};
use crate::signature::KeyEncoding;

impl Scheme {
    /// [Standard Webhooks][source]: `webhook-signature` is a list of `v1,BASE64`, each an HMAC-SHA256 over `ID.TIME.BODY`,
    /// with `webhook-id` and `webhook-timestamp`, in seconds and at most 300 s from now, either way.
    ///
    /// OpenAI, Clerk, Resend, Polar, Replicate and others send it. A secret is base64 after `whsec_`. The id is signed and
    /// stays the same when a message is sent again. Signatures of other versions (`v1a`, Ed25519) are passed over.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue};
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// let standard = Scheme::standard_webhooks();
    /// let secret = standard.secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
    /// let clock = ManualWallClock::new(UnixTime::from_secs(1_649_367_553)).clock();
    /// let mut headers = HeaderMap::new();
    /// headers.insert("webhook-id", HeaderValue::from_static("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"));
    /// Signer::new(standard, secret)
    ///     .wall_clock(clock)
    ///     .sign(&mut headers, br#"{"email":"test@example.com","username":"test_user"}"#)?;
    /// assert_eq!(headers["webhook-timestamp"], "1649367553");
    /// // As the test of the reference implementation has it.
    /// assert_eq!(headers["webhook-signature"], "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [source]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    #[must_use]
    pub fn standard_webhooks() -> Self {
        Self::messages("standard_webhooks", "webhook-signature", "webhook-timestamp", "webhook-id")
    }

    /// [Svix][source]: as [Standard Webhooks](Self::standard_webhooks), in `svix-signature`, `svix-timestamp` and `svix-id`,
    /// or in the headers of that, and never in some of these and some of those.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue};
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// let svix = Scheme::svix();
    /// let secret = svix.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
    /// let clock = ManualWallClock::new(UnixTime::from_secs(1_614_265_330)).clock();
    /// let mut headers = HeaderMap::new();
    /// headers.insert("svix-id", HeaderValue::from_static("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    /// Signer::new(svix, secret).wall_clock(clock).sign(&mut headers, br#"{"test": 2432232314}"#)?;
    /// // As the tests of Svix's library for Go have it.
    /// assert_eq!(headers["svix-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [source]: https://docs.svix.com/receiving/verifying-payloads/how-manual
    #[must_use]
    pub fn svix() -> Self {
        Self::messages(
            "svix",
            ["svix-signature", "webhook-signature"],
            ["svix-timestamp", "webhook-timestamp"],
            ["svix-id", "webhook-id"],
        )
    }

    fn messages<N: Into<Names> + Clone>(name: &'static str, signature: N, timestamp: N, id: N) -> Self {
        Self::builder(name)
            .header(signature)
            .versioned("v1")
            .encoding(Encoding::Base64)
            .key_encoding(KeyEncoding::Whsec)
            .timestamp(Timestamp::header(timestamp))
            .replay_id(id.clone())
            .signed([
                Segment::header(id),
                Segment::literal("."),
                Segment::Timestamp,
                Segment::literal("."),
                Segment::Body,
            ])
            .profile()
    }
}
