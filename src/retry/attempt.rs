//! What is said about attempts: to the inner service in the request, to the caller in the response.

use std::fmt;

use http::StatusCode;

use super::history::History;

/// Which attempt a request is; over HTTP it is in the request's extensions, also on the first attempt.
///
/// An inner service can count retries with it, by what made them necessary: see the [module's example](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    history: History,
}

impl Attempt {
    pub(super) const fn new(number: u32, history: History) -> Self {
        Self { number, history }
    }

    /// How many attempts were made before this one: 0 for the first.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// What the attempt before this one ended with; none for the first.
    #[must_use]
    pub fn previous(&self) -> Option<Cause> {
        self.history.last()
    }

    /// What the attempts before this one ended with, the earliest first; of more than eight, the last eight.
    #[must_use]
    pub fn history(&self) -> impl DoubleEndedIterator<Item = Cause> + use<> {
        self.history.causes()
    }
}

/// What made a retry necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// An HTTP response with this status.
    Status(StatusCode),
    /// A response of a protocol that has no status.
    Response,
    /// An error.
    Error,
    /// Nothing: the attempt was cut at its [`attempt_timeout`](super::RetryPolicyBuilder::attempt_timeout).
    Timeout,
}

/// The status, or the word `response`, `error` or `timeout`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Response => f.write_str("response"),
            Self::Error => f.write_str("error"),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

/// How many attempts it took, and why there were no more; over HTTP it is in the final response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    count: u32,
    stopped: Option<Stopped>,
    history: History,
}

impl Attempts {
    pub(super) const fn new(count: u32, stopped: Option<Stopped>, history: History) -> Self {
        Self { count, stopped, history }
    }

    /// The attempts that were made, the first included.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Why there were no more; none where the response was a success.
    #[must_use]
    pub const fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// What the attempts before the last one ended with, the earliest first; of more than eight, the last eight.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use portcullis::{BoxError, retry::{Attempt, Attempts, RetryLayer, RetryPolicy}};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let recovers = service_fn(async |request: Request<()>| {
    ///     match request.extensions().get::<Attempt>().map(Attempt::number) {
    ///         Some(0) => Ok(Response::builder().status(429).body(())?),
    ///         Some(1) => Err(BoxError::from("connection reset")),
    ///         _ => Ok(Response::new(())),
    ///     }
    /// });
    /// let policy = RetryPolicy::http().build()?;
    /// let response = RetryLayer::new(policy).layer(recovers).oneshot(Request::new(())).await.map_err(BoxError::from)?;
    /// let attempts = response.extensions().get::<Attempts>().unwrap();
    /// assert_eq!(attempts.history().map(|cause| cause.to_string()).collect::<Vec<_>>(), ["429", "error"]);
    /// # Ok::<(), BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn history(&self) -> impl DoubleEndedIterator<Item = Cause> + use<> {
        self.history.causes()
    }
}

/// Why a call that did not succeed was not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// Trying again would not help, or a circuit rejected the call.
    NotRetryable,
    /// All attempts were used up.
    Exhausted,
    /// The request must not be repeated, or could not be copied, or its body outgrew what a
    /// [`ReplayLayer`](super::ReplayLayer) keeps.
    NotRepeatable,
    /// The next wait would have reached the deadline, or the deadline cut an attempt or the wait for readiness, or had
    /// passed before the call.
    Deadline,
    /// The service asked for a longer wait than `retry_after_max`.
    HintTooLong,
    /// The [`Budget`](super::Budget) had no retry left.
    BudgetExhausted,
    /// The inner service failed to become ready.
    NotReady,
}

impl Stopped {
    /// The reason as a word for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRetryable => "not_retryable",
            Self::Exhausted => "exhausted",
            Self::NotRepeatable => "not_repeatable",
            Self::Deadline => "deadline",
            Self::HintTooLong => "hint_too_long",
            Self::BudgetExhausted => "budget_exhausted",
            Self::NotReady => "not_ready",
        }
    }
}
