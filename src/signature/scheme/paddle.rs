//! Paddle's webhooks.

use std::time::Duration;

use super::{Scheme, Segment, Timestamp};

impl Scheme {
    /// `Paddle-Signature`: `ts=TIME;h1=HEX`, with HMAC-SHA256 over `TIME:BODY`, and several `h1` while a secret is rotated.
    ///
    /// The time is in seconds and may be 5 s from now, either way, as in Paddle's own libraries: a clock that is not kept in
    /// step refuses everything. [`tolerance`](Self::tolerance) widens it.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// // Made for this example: Paddle publishes no signature together with its secret.
    /// let paddle = Scheme::paddle();
    /// let secret = paddle.secret("pdl_ntfset_x")?;
    /// let clock = ManualWallClock::new(UnixTime::from_secs(1_700_000_000)).clock();
    /// let mut headers = HeaderMap::new();
    /// Signer::new(paddle, secret).wall_clock(clock).sign(&mut headers, br#"{"event_type":"x"}"#)?;
    /// assert_eq!(
    ///     headers["paddle-signature"],
    ///     "ts=1700000000;h1=bb64746a12cb4f0e482b4e4bd040fbceb49474a751ac9b39fa86dba95c148463",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: [Paddle, signature verification][source].
    ///
    /// [source]: https://developer.paddle.com/webhooks/signature-verification
    #[must_use]
    pub fn paddle() -> Self {
        Self::builder("paddle")
            .header("Paddle-Signature")
            .list(';', '=', "h1")
            .timestamp(Timestamp::list_key("ts").tolerance(Duration::from_secs(5)))
            .signed([Segment::Timestamp, Segment::literal(":"), Segment::Body])
            .profile()
    }
}
