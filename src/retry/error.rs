//! The error of a call that was not, or could not be, tried again.

use std::{error::Error, fmt};

use super::{Cause, Stopped, history::History};
use crate::{BoxError, outcome::AsRejection};

/// The last attempt's error, with the number of attempts and the reason for which there were no more.
///
/// It is no [`Error`] itself, so that it can hold a [`BoxError`], which is none either. It converts into a `BoxError`,
/// as boxed layers ask, and is gone then: what is boxed is the inner error, or a [`DeadlineExceeded`] or [`AttemptTimedOut`].
///
/// ```
/// use std::{io, time::Duration};
/// use portcullis::{BoxError, retry::{Backoff, RetryLayer, RetryPolicy, Stopped}};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let policy = RetryPolicy::results().max_attempts(4).backoff(Backoff::constant(Duration::from_secs(1))).build()?;
/// let mut service = ServiceBuilder::new()
///     .layer(RetryLayer::new(policy))
///     .service(service_fn(async |()| Err::<(), _>(io::Error::other("down"))));
/// let error = service.ready().await.map_err(BoxError::from)?.call(()).await.unwrap_err();
/// assert_eq!((error.attempts(), error.stopped()), (4, Stopped::Exhausted));
/// assert!(BoxError::from(error).is::<io::Error>());
/// # Ok::<(), BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryError<E> {
    attempts: u32,
    stopped: Stopped,
    history: History,
    last: Last<E>,
}

/// What the last attempt ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Last<E> {
    Error(E),
    /// Nothing: it was cut at the deadline, or not begun after it.
    Deadline,
    /// Nothing: it was cut at its own limit.
    TimedOut,
}

impl<E> RetryError<E> {
    pub(super) const fn new(attempts: u32, stopped: Stopped, history: History, last: Last<E>) -> Self {
        Self { attempts, stopped, history, last }
    }

    /// The attempts that were made, the first included; 0 where the service did not become ready for it, or the request's
    /// own [`Deadline`](super::Deadline) had passed.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why there were no more.
    #[must_use]
    pub const fn stopped(&self) -> Stopped {
        self.stopped
    }

    /// What made retries necessary, the earliest first, of more than eight the last eight: what each attempt but the last ended
    /// with, and the last one too, where its retry was to be made and could not.
    #[must_use]
    pub fn history(&self) -> impl DoubleEndedIterator<Item = Cause> + use<E> {
        self.history.causes()
    }

    /// Whether the last attempt was cut at its [`attempt_timeout`](super::RetryPolicyBuilder::attempt_timeout), and not at the
    /// deadline; [`stopped`](Self::stopped) says why there was no other.
    #[must_use]
    pub const fn timed_out(&self) -> bool {
        matches!(self.last, Last::TimedOut)
    }

    /// The error of the last attempt; none where the deadline or its own limit cut it.
    #[must_use]
    pub const fn inner(&self) -> Option<&E> {
        match &self.last {
            Last::Error(error) => Some(error),
            Last::Deadline | Last::TimedOut => None,
        }
    }

    /// The error of the last attempt; none where the deadline or its own limit cut it.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self.last {
            Last::Error(error) => Some(error),
            Last::Deadline | Last::TimedOut => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Last::Error(inner) => inner.fmt(f),
            Last::Deadline => DeadlineExceeded.fmt(f),
            Last::TimedOut => AttemptTimedOut.fmt(f),
        }
    }
}

impl<E: AsRejection> AsRejection for RetryError<E> {
    fn is_rejection(&self) -> bool {
        self.inner().is_some_and(AsRejection::is_rejection)
    }
}

impl<E: Into<BoxError>> From<RetryError<E>> for BoxError {
    fn from(error: RetryError<E>) -> Self {
        match error.last {
            Last::Error(inner) => inner.into(),
            Last::Deadline => DeadlineExceeded.into(),
            Last::TimedOut => AttemptTimedOut.into(),
        }
    }
}

/// The deadline passed while an attempt was running, or was waiting for the inner service to become ready, or before the
/// first was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlineExceeded;

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline exceeded")
    }
}

impl Error for DeadlineExceeded {}

impl AsRejection for DeadlineExceeded {}

/// The last attempt took longer than an attempt may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptTimedOut;

impl fmt::Display for AttemptTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("attempt timed out")
    }
}

impl Error for AttemptTimedOut {}

impl AsRejection for AttemptTimedOut {}
