//! What a caller is told when there is no token.

use std::{error::Error, fmt, sync::Arc};

use crate::{BoxError, outcome::AsRejection};

/// There was no token for a request, since the source gave none; all who waited for it hold the same error.
///
/// It shows the source's error in its own text, and does not have it as its [`source`](Error::source): a rejection by a
/// circuit around the token's source would else be taken for one of the circuit around the service that the token is for.
/// [`cause`](Self::cause) has it.
#[derive(Clone, Debug)]
pub struct NoToken(Arc<dyn Error + Send + Sync>);

impl NoToken {
    pub(super) fn new(error: BoxError) -> Self {
        Self(error.into())
    }

    /// The error of the source.
    ///
    /// ```
    /// use portcullis::{BoxError, bearer::{BearerError, BearerLayer, Token}, breaker::{Circuit, CircuitBreakerLayer, Rejected}};
    /// use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let circuit = Circuit::builder("token server").consecutive_failures(1).build()?;
    /// circuit.acquire()?.failure();
    /// let source = ServiceBuilder::new()
    ///     .layer(CircuitBreakerLayer::new(circuit))
    ///     .service(service_fn(async |()| Ok::<_, BoxError>(Token::new("mF_9.B5f-4.1JqM")?)));
    /// let client = BearerLayer::new(source)
    ///     .layer(service_fn(async |_: http::Request<()>| Ok::<_, BoxError>(http::Response::new(()))));
    ///
    /// let Err(BearerError::NoToken(error)) = client.oneshot(http::Request::new(())).await else { panic!() };
    /// assert_eq!(error.cause().downcast_ref::<Rejected>().unwrap().circuit(), "token server");
    /// # Ok::<(), BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no token: {}", self.0)
    }
}

impl Error for NoToken {}

/// Worth a retry, also where it was a circuit around the *source* that let nobody through.
impl AsRejection for NoToken {}

/// The error of a service behind a [`Bearer`](super::Bearer): there was no token, or the service's own error.
///
/// It becomes a [`BoxError`] whatever `E` is, a `BoxError` included, and flat: the box holds the [`NoToken`] or the inner
/// error itself. To make that possible it is no [`Error`] itself, since a `BoxError` is none either.
///
/// A [`retry`](crate::outcome::Retryable) outside takes `NoToken` for worth a retry, and a rejection by a circuit within the
/// inner service for none. A breaker outside has to be told that a missing token says nothing about its service:
///
/// ```
/// use http::{Request, Response};
/// use portcullis::{
///     BoxError,
///     bearer::{BearerError, BearerLayer, Token},
///     breaker::{Circuit, CircuitBreakerLayer},
///     outcome::{Classify, Http, Outcome},
/// };
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let circuit = Circuit::builder("customer-api").consecutive_failures(1).build()?;
/// let judge = |result: Result<&Response<()>, &BearerError<BoxError>>| match result {
///     Err(BearerError::NoToken(_)) => Outcome::Ignored,
///     result => Http.classify(result),
/// };
/// let mut client = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(circuit.clone()).classify(judge))
///     .layer(BearerLayer::new(service_fn(async |()| Err::<Token, BoxError>("the token server is down".into()))))
///     .service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(()))));
///
/// let error: BoxError = client.ready().await?.call(Request::new(())).await.unwrap_err().into();
/// assert_eq!(error.to_string(), "no token: the token server is down");
/// assert_eq!(circuit.snapshot().calls, 0);
/// # Ok::<(), BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub enum BearerError<E> {
    /// There was no token; the service was not asked, or had refused the one before with a 401.
    NoToken(NoToken),
    /// The service failed.
    Inner(E),
}

impl<E> From<NoToken> for BearerError<E> {
    fn from(error: NoToken) -> Self {
        Self::NoToken(error)
    }
}

impl<E: Into<BoxError>> From<BearerError<E>> for BoxError {
    fn from(error: BearerError<E>) -> Self {
        match error {
            BearerError::NoToken(error) => error.into(),
            BearerError::Inner(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for BearerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken(error) => error.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: AsRejection> AsRejection for BearerError<E> {
    fn is_rejection(&self) -> bool {
        match self {
            Self::NoToken(error) => error.is_rejection(),
            Self::Inner(error) => error.is_rejection(),
        }
    }
}
