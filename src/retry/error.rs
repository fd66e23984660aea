//! The error of a call that was not, or could not be, tried again.

use std::{error::Error, fmt};

use super::Stopped;
use crate::{BoxError, outcome::AsRejection};

/// The last attempt's error, with the number of attempts and the reason for which there were no more.
///
/// It is no [`Error`] itself, so that it can hold a [`BoxError`], which is none either. It converts into a `BoxError`,
/// as boxed layers ask, and is gone then: what is boxed is the inner error, or a [`DeadlineExceeded`].
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
    inner: Option<E>,
}

impl<E> RetryError<E> {
    pub(super) const fn new(attempts: u32, stopped: Stopped, inner: Option<E>) -> Self {
        Self { attempts, stopped, inner }
    }

    /// The attempts that were made, the first included; 0 where the service did not become ready for it.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why there were no more.
    #[must_use]
    pub const fn stopped(&self) -> Stopped {
        self.stopped
    }

    /// The error of the last attempt; none where the deadline cut it.
    #[must_use]
    pub const fn inner(&self) -> Option<&E> {
        self.inner.as_ref()
    }

    /// The error of the last attempt; none where the deadline cut it.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        self.inner
    }
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Some(inner) => inner.fmt(f),
            None => DeadlineExceeded.fmt(f),
        }
    }
}

impl<E: AsRejection> AsRejection for RetryError<E> {
    fn is_rejection(&self) -> bool {
        self.inner.as_ref().is_some_and(AsRejection::is_rejection)
    }
}

impl<E: Into<BoxError>> From<RetryError<E>> for BoxError {
    fn from(error: RetryError<E>) -> Self {
        error.inner.map_or_else(|| DeadlineExceeded.into(), Into::into)
    }
}

/// The deadline passed while an attempt was running, or was waiting for the inner service to become ready.
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
