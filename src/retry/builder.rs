//! The settings of a policy, checked when it is built.

use std::time::Duration;

use super::{Backoff, Budget, CopyWith, RetryPolicy, basis::Basis, policy::Session, settings::Choice};
use crate::{ConfigError, outcome::Http, time::WallClock};

/// The settings of a [`RetryPolicy`]. A span of 584 years or more, for which 64 bits of nanoseconds have no place, is endless.
///
/// ```
/// use std::time::Duration;
/// use portcullis::retry::{Backoff, Jitter, RetryPolicy};
///
/// let backoff = Backoff::exponential(Duration::from_secs(2), Duration::from_secs(30));
/// let policy = RetryPolicy::http()
///     .max_attempts(3)
///     .backoff(backoff.jitter(Jitter::Additive(Duration::from_secs(1))))
///     .deadline(Duration::from_secs(60))
///     .build()?;
///
/// let error = RetryPolicy::http().hint_jitter(-0.1).build().unwrap_err();
/// assert_eq!(error.to_string(), "hint_jitter must be a finite number of at least 0, but is -0.1");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryPolicyBuilder<C = Http, P = Http> {
    settings: Choice,
    classify: C,
    protocol: P,
}

impl<C, P> RetryPolicyBuilder<C, P> {
    pub(super) fn new(classify: C, protocol: P) -> Self {
        let settings = Choice {
            max_attempts: 3,
            backoff: Backoff::exponential(Duration::from_millis(100), Duration::from_secs(20)),
            deadline: None,
            attempt_timeout: None,
            retry_after_max: Duration::from_secs(30),
            hint_jitter: 0.1,
            non_idempotent: false,
            budget: None,
            wall_clock: WallClock::system(),
            random: None,
        };
        Self { settings, classify, protocol }
    }

    /// Attempts in all, the first included; 3 unless set, and 1 means no retries.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// How long to wait between attempts; full jitter between nothing and 100 ms · 2ⁿ, at most 20 s, unless set.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// A limit on all attempts and waits together, from the call on; none unless set.
    ///
    /// No wait is begun that would reach it: the last result is handed back as it is. An attempt that is running at the
    /// deadline is cut, and ends in an error without an inner one. A request that comes with an earlier [`Deadline`](super::Deadline) is
    /// bound by that.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = Some(deadline);
        self
    }

    /// A limit on each attempt, from its call on; none unless set. The [`deadline`](Self::deadline) may come before it.
    ///
    /// An attempt that takes longer is cut, and is tried again as one that failed, if the request may be repeated: nobody knows
    /// what it has done. The last one ends in an error without an inner one; that it was this limit, and not the deadline, is
    /// said by [`RetryError::timed_out`](super::RetryError::timed_out).
    ///
    /// To a circuit inside, an attempt that is cut here is a call that was cancelled: it counts where it was longer than
    /// [`slow_call`](crate::breaker::CircuitBuilder::slow_call), and else not. A timeout inside the circuit, such as tower's, is a
    /// failure in any case.
    ///
    /// ```
    /// use std::{future::pending, time::Duration};
    /// use http::{Request, Response};
    /// use portcullis::{BoxError, retry::{Attempt, RetryLayer, RetryPolicy}};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let policy = RetryPolicy::http().attempt_timeout(Duration::from_secs(2)).build()?;
    /// let hangs_once = service_fn(async |request: Request<()>| {
    ///     match request.extensions().get::<Attempt>().map(Attempt::number) {
    ///         Some(0) => pending().await,
    ///         _ => Ok::<_, BoxError>(Response::new("hello")),
    ///     }
    /// });
    /// let response = RetryLayer::new(policy).layer(hangs_once).oneshot(Request::new(())).await.map_err(BoxError::from)?;
    /// assert_eq!(*response.body(), "hello");
    /// # Ok::<(), BoxError>(())
    /// # }).unwrap();
    /// ```
    pub fn attempt_timeout(mut self, longest: Duration) -> Self {
        self.settings.attempt_timeout = Some(longest);
        self
    }

    /// The longest wait that a service may ask for; 30 s unless set.
    ///
    /// A longer one is not shortened, since the service has said that coming earlier is in vain: the retries stop, and
    /// the response goes back as it is.
    pub fn retry_after_max(mut self, longest: Duration) -> Self {
        self.settings.retry_after_max = longest;
        self
    }

    /// The share by which a wait that the service asked for is lengthened at most, so that those who were told the same
    /// do not come back together; 0.1 unless set. It is never shortened.
    pub fn hint_jitter(mut self, share: f64) -> Self {
        self.settings.hint_jitter = share;
        self
    }

    /// Repeats every request, also those that are not idempotent.
    ///
    /// Only for services that can tell a repetition: a `POST` whose answer got lost has been executed.
    pub fn retry_non_idempotent(mut self) -> Self {
        self.settings.non_idempotent = true;
        self
    }

    /// What retries may add to the load; they are not limited by a budget unless set.
    ///
    /// The budget is shared with whoever has a clone of it, and each of this policy's own clones has.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use portcullis::{BoxError, retry::{Attempts, Budget, RetryLayer, RetryPolicy, Stopped}};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let budget = Budget::builder().share(0.2).reserve(1).build()?;
    /// let policy = RetryPolicy::http().max_attempts(5).budget(budget).build()?;
    /// let down = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::builder().status(503).body(())?));
    /// let response = RetryLayer::new(policy).layer(down).oneshot(Request::new(())).await.map_err(BoxError::from)?;
    /// let attempts = response.extensions().get::<Attempts>().unwrap();
    /// assert_eq!((attempts.count(), attempts.stopped()), (2, Some(Stopped::BudgetExhausted)));
    /// # Ok::<(), BoxError>(())
    /// # }).unwrap();
    /// ```
    pub fn budget(mut self, budget: Budget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Which results are worth a retry, and what hints they hold.
    ///
    /// A closure retries what it calls a failure, but no circuit's rejection, and knows no hints. It gets the error of the service
    /// that is retried, which around a [`CircuitBreaker`](crate::breaker::CircuitBreaker) is a
    /// [`BreakerError`](crate::breaker::BreakerError):
    ///
    /// ```
    /// use http::Response;
    /// use portcullis::{BoxError, outcome::Outcome, retry::RetryPolicy};
    ///
    /// let policy = RetryPolicy::http()
    ///     .classify(|result: Result<&Response<String>, &BoxError>| match result {
    ///         Ok(response) if response.body().is_empty() => Outcome::Failure,
    ///         Ok(_) | Err(_) => Outcome::Success,
    ///     })
    ///     .build()?;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// ```
    /// # #[cfg(feature = "breaker")] {
    /// use portcullis::{breaker::BreakerError, outcome::Outcome, retry::RetryPolicy};
    ///
    /// enum KvError {
    ///     Busy,
    ///     NoSuchKey,
    /// }
    ///
    /// let policy = RetryPolicy::results()
    ///     .classify(|result: Result<&String, &BreakerError<KvError>>| match result {
    ///         Err(BreakerError::Inner(KvError::Busy)) => Outcome::Failure,
    ///         _ => Outcome::Success,
    ///     })
    ///     .build()?;
    /// # }
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn classify<C2>(self, classify: C2) -> RetryPolicyBuilder<C2, P> {
        RetryPolicyBuilder { settings: self.settings, classify, protocol: self.protocol }
    }

    /// What may be repeated, and where marks go, for a protocol other than those that the policy began with. It says how
    /// requests are copied, too: a [`copy_with`](Self::copy_with) belongs after it.
    pub fn protocol<P2>(self, protocol: P2) -> RetryPolicyBuilder<C, P2> {
        RetryPolicyBuilder { settings: self.settings, classify: self.classify, protocol }
    }

    /// How a request is copied, where it is not `Clone` or cloning is not wanted; one for which `copy` returns `None` is
    /// sent once. The copy is made of the request as it came, without an [`Attempt`](super::Attempt).
    ///
    /// ```
    /// use http::Request;
    /// use portcullis::retry::RetryPolicy;
    ///
    /// /// Not `Clone`: it may be a file.
    /// enum Body {
    ///     Empty,
    ///     File(std::fs::File),
    /// }
    ///
    /// let policy = RetryPolicy::http()
    ///     .copy_with(|request: &Request<Body>| {
    ///         let body = match request.body() {
    ///             Body::Empty => Body::Empty,
    ///             Body::File(_) => return None,
    ///         };
    ///         let mut copy = Request::new(body);
    ///         *copy.method_mut() = request.method().clone();
    ///         *copy.uri_mut() = request.uri().clone();
    ///         *copy.headers_mut() = request.headers().clone();
    ///         Some(copy)
    ///     })
    ///     .build()?;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn copy_with<Req, F>(self, copy: F) -> RetryPolicyBuilder<C, CopyWith<P, F>>
    where
        F: Fn(&Req) -> Option<Req>,
    {
        let protocol = CopyWith { protocol: self.protocol, copy };
        RetryPolicyBuilder { settings: self.settings, classify: self.classify, protocol }
    }

    /// The clock that dates in `Retry-After` are compared with; the system's unless set.
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.settings.wall_clock = clock;
        self
    }

    /// The source of randomness, which is called once for each retry and answers in `[0, 1]`; for tests.
    pub fn random(mut self, random: fn() -> f64) -> Self {
        self.settings.random = Some(random);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// If `max_attempts`, `deadline` or `attempt_timeout` is 0, or `factor` (at least 1) or `hint_jitter` (at least 0) is out of range or
    /// not finite, or where a backoff that is not exponential was given a factor or a jitter.
    pub fn build(self) -> Result<RetryPolicy<C, P>, ConfigError> {
        Ok(RetryPolicy {
            basis: Basis { settings: self.settings.settle()?, classify: self.classify, protocol: self.protocol },
            session: Session::default(),
        })
    }
}
