//! jambonz, which is also Cognigy's Voice Gateway.

use super::{Scheme, Segment, Timestamp};

impl Scheme {
    /// `Jambonz-Signature`: `t=TIME,v1=HEX`, with HMAC-SHA256 over `TIME.BODY`; the time is in seconds and may be 300 s from
    /// now, either way.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::{signature::{Scheme, Signer}, time::{ManualWallClock, UnixTime}};
    ///
    /// // Made for this example: jambonz publishes no signature together with its secret.
    /// let jambonz = Scheme::jambonz();
    /// let secret = jambonz.secret("jambonz-webhook-secret")?;
    /// let clock = ManualWallClock::new(UnixTime::from_secs(1_700_000_000)).clock();
    /// let mut headers = HeaderMap::new();
    /// Signer::new(jambonz, secret).wall_clock(clock).sign(&mut headers, br#"{"call_sid":"c1"}"#)?;
    /// assert_eq!(
    ///     headers["jambonz-signature"],
    ///     "t=1700000000,v1=7b04b8a2f6bdcad2f560ba46395993ec230c2858aa4b51423378b3141121963b",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: [jambonz, securing HTTP endpoints][source], and its library for Node, which verifies it.
    ///
    /// [source]: https://docs.jambonz.org/guides/features/securing-http-endpoints
    #[must_use]
    pub fn jambonz() -> Self {
        Self::builder("jambonz")
            .header("Jambonz-Signature")
            .list(',', '=', "v1")
            .timestamp(Timestamp::list_key("t"))
            .signed([Segment::Timestamp, Segment::literal("."), Segment::Body])
            .profile()
    }
}
