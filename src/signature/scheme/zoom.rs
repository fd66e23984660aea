//! Zoom's webhooks.

use super::Scheme;

impl Scheme {
    /// `x-zm-signature`: `v0=` and the hex of HMAC-SHA256 over `v0:TIME:BODY`, with the time in `x-zm-request-timestamp`, in
    /// seconds. Zoom states no tolerance; this profile's is the customary 300 s, either way.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// let zoom = Scheme::zoom();
    /// let secret = zoom.secret("zoom_webhook_secret")?;
    /// let clock = ManualWallClock::new(UnixTime::from_secs(1_739_923_528)).clock();
    /// let mut headers = HeaderMap::new();
    /// Signer::new(zoom, secret)
    ///     .wall_clock(clock)
    ///     .sign(&mut headers, br#"{"event":"meeting.started","event_ts":1626230691572}"#)?;
    /// assert_eq!(headers["x-zm-request-timestamp"], "1739923528");
    /// // As the tests of the crate webhook-verify have it: Zoom publishes none together with its secret.
    /// assert_eq!(
    ///     headers["x-zm-signature"],
    ///     "v0=71276689c37d865ee24535dab72c05883e9d083978e8d3161202634051b15404",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Its `endpoint.url_validation` request is signed as any other. Source: [Zoom, using webhooks][source].
    ///
    /// [source]: https://developers.zoom.us/docs/api/webhooks/
    #[must_use]
    pub fn zoom() -> Self {
        Self::v0("zoom", "x-zm-signature", "x-zm-request-timestamp")
    }
}
