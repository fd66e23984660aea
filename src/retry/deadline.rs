//! The moment until which the caller waits: what is told to the inner service.

use std::time::Duration;

use crate::time::{Instant, after, far, now};

/// Until when the caller waits for a request; over HTTP it is in the request's extensions.
///
/// Where a policy has a [`deadline`](super::RetryPolicyBuilder::deadline) or an
/// [`attempt_timeout`](super::RetryPolicyBuilder::attempt_timeout), each attempt carries one: the moment at which that attempt is
/// cut, which is the earlier of the two. A request that comes with one already, from a server's layer or from retries outside, is
/// bound by it too, in a policy that sets neither as well: no attempt and no wait goes beyond the earliest.
///
/// An inner service sends it on, so that nobody works on what nobody waits for:
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderValue, Request, Response};
/// use portcullis::{BoxError, retry::{Deadline, RetryLayer, RetryPolicy}};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let policy = RetryPolicy::http().deadline(Duration::from_secs(5)).attempt_timeout(Duration::from_secs(2)).build()?;
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::new(policy))
///     .map_request(|mut request: Request<()>| {
///         if let Some(deadline) = request.extensions().get::<Deadline>() {
///             let millis = u64::try_from(deadline.remaining().as_millis()).unwrap_or(u64::MAX);
///             request.headers_mut().insert("x-timeout-ms", HeaderValue::from(millis));
///         }
///         request
///     })
///     .service(service_fn(async |request: Request<()>| {
///         Ok::<_, BoxError>(Response::new(request.headers()["x-timeout-ms"].clone()))
///     }));
/// let response = client.clone().oneshot(Request::new(())).await.map_err(BoxError::from)?;
/// assert_eq!(response.into_body(), "2000");
///
/// // A server that was given one second gives no more.
/// let mut request = Request::new(());
/// request.extensions_mut().insert(Deadline::after(Duration::from_secs(1)));
/// let response = client.oneshot(request).await.map_err(BoxError::from)?;
/// assert_eq!(response.into_body(), "1000");
/// # Ok::<(), BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    pub(super) const fn new(moment: Instant) -> Self {
        Self(moment)
    }

    pub(super) const fn moment(self) -> Instant {
        self.0
    }

    /// The moment `span` from now; one that no clock can name is thirty years away.
    #[must_use]
    pub fn after(span: Duration) -> Self {
        Self(after(span).unwrap_or_else(far))
    }

    /// The moment `instant`.
    #[must_use]
    pub fn at(instant: std::time::Instant) -> Self {
        Self(instant.into())
    }

    /// The moment itself.
    #[must_use]
    pub fn instant(self) -> std::time::Instant {
        self.0.into()
    }

    /// How long it is until then; zero once it has passed. Reads the clock that tokio's timers run on.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(now())
    }
}
