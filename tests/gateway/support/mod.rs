//! What every test needs: a running gateway, a downstream that does as it is told, and an HTTP client that can misbehave.

mod browser;
mod collector;
mod downstream;
mod gateway;
mod hold;
mod http;
mod redis;

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub(crate) use self::{
    browser::Browser,
    collector::{Collector, Exported},
    downstream::{Answer, Downstream, End, refused},
    gateway::{Gateway, SECRET, Setup, proxied},
    hold::Hold,
    http::{Message, Request, read_message},
    redis::{PASSWORD, RedisServer},
};

/// More than anything here takes, also on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A job whose gateway is killed is run again within 30 s.
pub(crate) const RECOVERY: Duration = Duration::from_secs(31);

/// Asks again and again until there is an answer; fails by name when there is none in time.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, async || ask().await).await
}

pub(crate) async fn within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        pause(10).await;
    }
}

/// A gateway in front of a downstream that answers well.
pub(crate) async fn start() -> (Downstream, Gateway) {
    start_with(Answer::ok(), &[]).await
}

/// A gateway with these settings in front of a downstream that always answers so.
pub(crate) async fn start_with(answer: Answer, settings: &[(&str, &str)]) -> (Downstream, Gateway) {
    let downstream = Downstream::start(answer).await;
    let gateway = Setup::new(downstream.url()).with(settings).start().await;
    (downstream, gateway)
}

pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(millis_of(millis)).await;
}

pub(crate) const fn millis_of(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The signature of a body, computed without the crate under test.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
