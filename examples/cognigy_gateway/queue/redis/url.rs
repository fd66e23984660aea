//! `QUEUE_URL` as a Redis.

use std::{fmt, str::FromStr};

use redis::{ConnectionInfo, IntoConnectionInfo};

/// Where a Redis is, and how it lets us in. Nothing prints the password.
#[derive(Clone)]
pub(crate) struct RedisUrl(pub(super) ConnectionInfo);

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        const FORM: &str = "a Redis is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]";
        if !url.starts_with("redis://") {
            return Err(FORM.into());
        }
        // What is wrong with it is not said, since that might be a part of a password.
        url.into_connection_info().map(Self).map_err(|_| FORM.into())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}", self.0.addr())
    }
}
