//! The layer that picks the circuit by the request.

use std::{
    fmt,
    hash::Hash,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    circuits::Circuits,
    error::BreakerError,
    future::{Calling, ResponseFuture},
};
use crate::outcome::{Classify, Http, Results};

/// Puts the circuit of each request's key around a service.
///
/// ```
/// use http::{Request, Response, uri::Authority};
/// use portcullis::breaker::{Circuit, Circuits, KeyedBreakerLayer, State};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let circuits = Circuits::builder(Circuit::builder("hosts").consecutive_failures(1)).build()?;
/// let host = |request: &Request<()>| request.uri().authority().cloned();
/// let mut service = ServiceBuilder::new()
///     .layer(KeyedBreakerLayer::http(circuits.clone(), host))
///     .service(service_fn(async |request: Request<()>| {
///         let status = if request.uri().host() == Some("down.example") { 503 } else { 200 };
///         Ok::<_, std::io::Error>(Response::builder().status(status).body(()).unwrap())
///     }));
///
/// let to = |uri: &'static str| Request::builder().uri(uri).body(()).unwrap();
/// assert_eq!(service.ready().await.unwrap().call(to("http://down.example/")).await.unwrap().status(), 503);
/// assert!(service.ready().await.unwrap().call(to("http://down.example/")).await.is_err());
/// assert_eq!(service.ready().await.unwrap().call(to("http://well.example/")).await.unwrap().status(), 200);
/// let down = Some(Authority::from_static("down.example"));
/// assert_eq!(circuits.get(&down).snapshot().state, State::Open);
/// # Ok::<(), portcullis::ConfigError>(())
/// # }).unwrap();
/// ```
#[must_use]
pub struct KeyedBreakerLayer<K, F, C = Results> {
    circuits: Circuits<K>,
    key: F,
    classify: C,
}

impl<K, F> KeyedBreakerLayer<K, F> {
    /// Counts `Ok` as a success and `Err` as a failure; `key` picks the key from a request.
    ///
    /// Over HTTP this takes a `500` for a success: see [`http`](Self::http).
    pub const fn new(circuits: Circuits<K>, key: F) -> Self {
        Self { circuits, key, classify: Results }
    }
}

impl<K, F> KeyedBreakerLayer<K, F, Http> {
    /// Counts HTTP responses by the table of [`Http`], and `Err` as a failure; `key` picks the key from a request.
    pub const fn http(circuits: Circuits<K>, key: F) -> Self {
        Self { circuits, key, classify: Http }
    }
}

impl<K, F, C> KeyedBreakerLayer<K, F, C> {
    /// Counts as `classify` says: a [`Classify`], or a closure `Fn(Result<&Response, &Error>) -> Outcome`.
    pub fn classify<D>(self, classify: D) -> KeyedBreakerLayer<K, F, D> {
        KeyedBreakerLayer { circuits: self.circuits, key: self.key, classify }
    }
}

impl<S, K, F: Clone, C: Clone> Layer<S> for KeyedBreakerLayer<K, F, C> {
    type Service = KeyedBreaker<S, K, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { circuits, key, classify } = self.clone();
        KeyedBreaker { inner, circuits, key, classify }
    }
}

impl<K, F: Clone, C: Clone> Clone for KeyedBreakerLayer<K, F, C> {
    fn clone(&self) -> Self {
        Self { circuits: self.circuits.clone(), key: self.key.clone(), classify: self.classify.clone() }
    }
}

impl<K, F, C: fmt::Debug> fmt::Debug for KeyedBreakerLayer<K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakerLayer")
            .field("circuits", &self.circuits)
            .field("classify", &self.classify)
            .finish_non_exhaustive()
    }
}

/// A service with a circuit for each key; made by a [`KeyedBreakerLayer`].
///
/// Which circuit it is about is known with the request, and not when it is polled ready. So it is as ready as the inner service
/// is, whose error there counts for no circuit, and a rejected call leaves the inner service polled ready and not called. A
/// limit on concurrency belongs outside, or below with clones that are dropped after the call.
pub struct KeyedBreaker<S, K, F, C> {
    inner: S,
    circuits: Circuits<K>,
    key: F,
    classify: C,
}

impl<S, K, F, C> KeyedBreaker<S, K, F, C> {
    /// The circuits.
    pub const fn circuits(&self) -> &Circuits<K> {
        &self.circuits
    }
}

impl<S: Clone, K, F: Clone, C: Clone> Clone for KeyedBreaker<S, K, F, C> {
    fn clone(&self) -> Self {
        let Self { inner, circuits, key, classify } = self;
        Self { inner: inner.clone(), circuits: circuits.clone(), key: key.clone(), classify: classify.clone() }
    }
}

impl<S, K, F, C, Req> Service<Req> for KeyedBreaker<S, K, F, C>
where
    S: Service<Req>,
    K: Clone + Eq + Hash,
    F: Fn(&Req) -> K,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = BreakerError<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(BreakerError::Inner)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let circuit = self.circuits.get(&(self.key)(&request));
        match circuit.core().admit_apart() {
            Ok(ticket) => {
                let call = || self.inner.call(request);
                ResponseFuture::calling(Calling::begin(circuit, ticket, &self.classify, call))
            }
            Err(barred) => circuit.core().reject(barred, ResponseFuture::rejected),
        }
    }
}

impl<S: fmt::Debug, K, F, C: fmt::Debug> fmt::Debug for KeyedBreaker<S, K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreaker")
            .field("inner", &self.inner)
            .field("circuits", &self.circuits)
            .field("classify", &self.classify)
            .finish_non_exhaustive()
    }
}
