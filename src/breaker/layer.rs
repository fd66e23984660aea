//! The layer.

use tower_layer::Layer;

use super::{circuit::Circuit, service::CircuitBreaker};
use crate::outcome::{Http, Results};

/// Puts a [`Circuit`] around a service.
///
/// All services that one layer makes share the circuit that it was given, and so does everyone else who holds a clone of
/// it: a router that applies the layer to each route has one circuit, not one a route.
///
/// ```
/// use portcullis::breaker::{Circuit, CircuitBreakerLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let circuit = Circuit::builder("customer-api").failure_rate(0.5).build()?;
/// let service = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::http(circuit.clone()))
///     .service(service_fn(async |_: ()| Ok::<_, std::io::Error>(http::Response::builder().status(503).body(()).unwrap())));
///
/// assert_eq!(service.oneshot(()).await.unwrap().status(), 503);
/// assert_eq!(circuit.snapshot().failures, 1);
/// # Ok::<(), portcullis::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerLayer<C = Results> {
    circuit: Circuit,
    classify: C,
}

impl CircuitBreakerLayer {
    /// Counts `Ok` as a success and `Err` as a failure.
    ///
    /// Over HTTP this takes a `500` for a success: see [`http`](Self::http).
    pub const fn new(circuit: Circuit) -> Self {
        Self { circuit, classify: Results }
    }
}

impl CircuitBreakerLayer<Http> {
    /// Counts HTTP responses by the table of [`Http`], and `Err` as a failure.
    pub const fn http(circuit: Circuit) -> Self {
        Self { circuit, classify: Http }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Counts as `classify` says: a [`Classify`](crate::outcome::Classify), or a closure
    /// `Fn(Result<&Response, &Error>) -> Outcome`.
    pub fn classify<D>(self, classify: D) -> CircuitBreakerLayer<D> {
        CircuitBreakerLayer { circuit: self.circuit, classify }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreaker<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, self.circuit.clone(), self.classify.clone())
    }
}
