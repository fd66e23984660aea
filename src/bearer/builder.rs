//! The settings of the layer, checked when it is built.

use std::{sync::Arc, time::Duration};

use http::Request;
use tower_service::Service;

use super::{BearerLayer, cache::Cache};
use crate::{
    config::{ConfigError, above_zero},
    outcome::Http,
    time::Clock,
};

/// The settings of a [`BearerLayer`]; made by [`BearerLayer::builder`].
///
/// ```
/// use std::time::Duration;
/// use portcullis::{BoxError, bearer::{BearerLayer, Token}};
/// use tower::service_fn;
///
/// let source = || service_fn(async |()| Ok::<_, BoxError>(Token::new("mF_9.B5f-4.1JqM")?));
/// let layer = BearerLayer::builder(source()).refresh_ahead(0.1, Duration::from_secs(30)).build()?;
///
/// let error = BearerLayer::builder(source()).refresh_ahead(1.0, Duration::from_secs(30)).build().unwrap_err();
/// assert_eq!(error.to_string(), "refresh_ahead must be a share of at least 0 and below 1, but is 1");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BearerBuilder<T, C = Http> {
    source: T,
    settings: Settings,
    copy: C,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) lifetime: Duration,
    ahead: (f64, Duration),
    pub(super) failure_pause: Duration,
    pub(super) refusal_pause: Duration,
    pub(super) clock: Clock,
    random: fn() -> f64,
}

impl<T> BearerBuilder<T> {
    pub(super) fn new(source: T) -> Self {
        let settings = Settings {
            lifetime: Duration::from_secs(30 * 60),
            ahead: (0.2, Duration::from_secs(60)),
            failure_pause: Duration::from_secs(1),
            refusal_pause: Duration::from_secs(1),
            clock: Clock::default(),
            random: rand::random::<f64>,
        };
        Self { source, settings, copy: Http }
    }
}

impl<T, C> BearerBuilder<T, C> {
    /// The lifetime of a token whose source does not say; 30 minutes unless set.
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetime = lifetime;
        self
    }

    /// How long before its end a token is replaced: when `share` of its lifetime is left, and at most `longest` before; a fifth
    /// and a minute unless set. A share of 0 replaces a token only once it has expired.
    ///
    /// Jitter takes up to half of it away, so that those who got their tokens together do not come back together.
    pub const fn refresh_ahead(mut self, share: f64, longest: Duration) -> Self {
        self.settings.ahead = (share, longest);
        self
    }

    /// How long the source is left alone after it failed; 1 second unless set. Jitter makes it longer by up to a half.
    pub const fn failure_pause(mut self, pause: Duration) -> Self {
        self.settings.failure_pause = pause;
        self
    }

    /// How long after a token that was fetched because of a 401 no other is fetched for that reason; 1 second unless set. A 401
    /// within it goes to the caller as it is.
    pub const fn refusal_pause(mut self, pause: Duration) -> Self {
        self.settings.refusal_pause = pause;
        self
    }

    /// How a request is copied for its repeat, where its body is not `Clone` or cloning is not wanted; one for which `copy`
    /// returns `None` is sent once. The copy is made of the request as it came, without the token.
    ///
    /// ```
    /// use http::Request;
    /// use portcullis::{BoxError, bearer::{BearerLayer, Token}};
    /// use tower::service_fn;
    ///
    /// /// Not `Clone`: no request is repeated, and none is copied.
    /// struct Upload(std::fs::File);
    ///
    /// let layer = BearerLayer::builder(service_fn(async |()| Ok::<_, BoxError>(Token::new("mF_9.B5f-4.1JqM")?)))
    ///     .copy_with(|_: &Request<Upload>| None)
    ///     .build()?;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn copy_with<B, F>(self, copy: F) -> BearerBuilder<T, F>
    where
        F: Fn(&Request<B>) -> Option<Request<B>>,
    {
        BearerBuilder { source: self.source, settings: self.settings, copy }
    }

    /// The clock that lifetimes and pauses are measured with. Default: the system's precise one.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// The source of randomness, which is called once for each token and each failure and answers in `[0, 1]`; for tests.
    pub fn random(mut self, random: fn() -> f64) -> Self {
        self.settings.random = random;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// If `lifetime`, `failure_pause` or `refusal_pause` is 0, or the share of `refresh_ahead` is not at least 0 and below 1.
    pub fn build(self) -> Result<BearerLayer<T, C>, ConfigError>
    where
        T: Service<()>,
    {
        let Settings { lifetime, ahead: (share, _), failure_pause, refusal_pause, .. } = self.settings;
        for (name, span) in [("lifetime", lifetime), ("failure_pause", failure_pause), ("refusal_pause", refusal_pause)]
        {
            above_zero(name, span)?;
        }
        if !(0.0..1.0).contains(&share) {
            return Err(ConfigError::new("refresh_ahead", "a share of at least 0 and below 1", share));
        }
        Ok(self.unchecked())
    }

    pub(super) fn unchecked(self) -> BearerLayer<T, C>
    where
        T: Service<()>,
    {
        BearerLayer::from_parts(Arc::new(Cache::new(self.source, self.settings)), self.copy)
    }
}

impl Settings {
    /// How long before the end of a token of this lifetime the next one is fetched.
    pub(super) fn ahead(&self, lifetime: Duration) -> Duration {
        let (share, longest) = self.ahead;
        lifetime.mul_f64(share).min(longest).mul_f64(1.0 - self.unit() / 2.0)
    }

    /// How long the source is left alone after a failure.
    pub(super) fn pause(&self) -> Duration {
        self.failure_pause.saturating_add(self.failure_pause.mul_f64(self.unit() / 2.0))
    }

    fn unit(&self) -> f64 {
        (self.random)().clamp(0.0, 1.0)
    }
}
