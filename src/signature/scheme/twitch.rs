//! Twitch's EventSub.

use std::time::Duration;

use super::{Scheme, Segment, Timestamp, Unit};

impl Scheme {
    /// `Twitch-Eventsub-Message-Signature`: `sha256=` and the hex of HMAC-SHA256 over the id, the time and the raw body, with
    /// the first two in `Twitch-Eventsub-Message-Id` and `-Timestamp`.
    ///
    /// The time is an RFC 3339 date, and may be 600 s from now, either way. The id is signed, must not contain a date, so that
    /// it ends where the time begins, and stays the same when a message is sent again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{HeaderMap, HeaderValue};
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// // Made for this example: Twitch publishes no signature together with its secret.
    /// let twitch = Scheme::twitch();
    /// let secret = twitch.secret("s3cRe7")?;
    /// let clock = ManualWallClock::new(UnixTime::new(Duration::new(1_573_899_072, 634_234_626))).clock();
    /// let mut headers = HeaderMap::new();
    /// headers.insert("Twitch-Eventsub-Message-Id", HeaderValue::from_static("e76c6bd4"));
    /// Signer::new(twitch, secret).wall_clock(clock).sign(&mut headers, br#"{"challenge":"x"}"#)?;
    /// assert_eq!(headers["twitch-eventsub-message-timestamp"], "2019-11-16T10:11:12.634234626Z");
    /// assert_eq!(
    ///     headers["twitch-eventsub-message-signature"],
    ///     "sha256=49a1797ebdfbddf324fafe3d453e7fe55e345f3992f15953d51c481f4336fe61",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: [Twitch, handling webhook events][source].
    ///
    /// [source]: https://dev.twitch.tv/docs/eventsub/handling-webhook-events
    #[must_use]
    pub fn twitch() -> Self {
        let timestamp = Timestamp::header("Twitch-Eventsub-Message-Timestamp").unit(Unit::Rfc3339);
        Self::builder("twitch")
            .header("Twitch-Eventsub-Message-Signature")
            .prefix("sha256=")
            .timestamp(timestamp.tolerance(Duration::from_secs(600)))
            .replay_id("Twitch-Eventsub-Message-Id")
            .signed([Segment::header("Twitch-Eventsub-Message-Id"), Segment::Timestamp, Segment::Body])
            .profile()
    }
}
