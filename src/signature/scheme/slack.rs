//! Slack's events, commands and interactions.

use super::{Scheme, Segment, Timestamp};

impl Scheme {
    /// `X-Slack-Signature`: `v0=` and the hex of HMAC-SHA256 over `v0:TIME:BODY`, with the time in
    /// `X-Slack-Request-Timestamp`, in seconds and at most 300 s from now, either way.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// let slack = Scheme::slack();
    /// let secret = slack.secret("8f742231b10e8888abcd99yyyzzz85a5")?;
    /// let clock = ManualWallClock::new(UnixTime::from_secs(1_531_420_618)).clock();
    /// let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
    ///     &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
    ///     &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
    ///     &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    /// let mut headers = HeaderMap::new();
    /// Signer::new(slack, secret).wall_clock(clock).sign(&mut headers, body.as_bytes())?;
    /// assert_eq!(headers["x-slack-request-timestamp"], "1531420618");
    /// // As Slack's documentation has it.
    /// assert_eq!(
    ///     headers["x-slack-signature"],
    ///     "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Its `url_verification` request is signed as any other. Source: [Slack, verifying requests][source].
    ///
    /// [source]: https://docs.slack.dev/authentication/verifying-requests-from-slack/
    #[must_use]
    pub fn slack() -> Self {
        Self::v0("slack", "X-Slack-Signature", "X-Slack-Request-Timestamp")
    }

    /// What Slack began, and Zoom took over.
    pub(super) fn v0(name: &'static str, header: &'static str, timestamp: &'static str) -> Self {
        Self::builder(name)
            .header(header)
            .prefix("v0=")
            .timestamp(Timestamp::header(timestamp))
            .signed([Segment::literal("v0:"), Segment::Timestamp, Segment::literal(":"), Segment::Body])
            .profile()
    }
}
