//! The layer.

use tower_layer::Layer;

use super::{body::BodyBreakerLayer, circuit::Circuit, service::CircuitBreaker};
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
pub struct CircuitBreakerLayer<C = Results, const GATED: bool = false> {
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

impl<C, const GATED: bool> CircuitBreakerLayer<C, GATED> {
    /// Counts as `classify` says: a [`Classify`](crate::outcome::Classify), or a closure
    /// `Fn(Result<&Response, &Error>) -> Outcome`.
    pub fn classify<D>(self, classify: D) -> CircuitBreakerLayer<D, GATED> {
        CircuitBreakerLayer { circuit: self.circuit, classify }
    }

    /// Counts a response once its body has ended, so that a stream that breaks off is a failure.
    ///
    /// The head is judged first: a failure or an ignored response is settled at once, and only a success waits for the end
    /// of its body. What the body's trailers say is not looked at. The call lasts until then: for
    /// [`slow_call`](super::CircuitBuilder::slow_call), for which a reader that is slow counts too, and for the place of a probe. So
    /// streams that are meant to stay open want a circuit of their own.
    ///
    /// ```
    /// use std::io;
    /// use bytes::Bytes;
    /// use http::Response;
    /// use http_body::Frame;
    /// use http_body_util::{BodyExt, StreamBody};
    /// use portcullis::breaker::{Circuit, CircuitBreakerLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let circuit = Circuit::builder("downloads").failure_rate(0.5).build()?;
    /// let service = ServiceBuilder::new()
    ///     .layer(CircuitBreakerLayer::http(circuit.clone()).until_body_end())
    ///     .service(service_fn(async |()| {
    ///         let frames = [Ok(Frame::data(Bytes::from("half of "))), Err(io::Error::other("connection reset"))];
    ///         Ok::<_, io::Error>(Response::new(StreamBody::new(futures_util::stream::iter(frames))))
    ///     }));
    ///
    /// let response = service.oneshot(()).await.unwrap();
    /// assert_eq!(circuit.snapshot().calls, 0);
    /// assert!(response.into_body().collect().await.is_err());
    /// assert_eq!(circuit.snapshot().failures, 1);
    /// # Ok::<(), portcullis::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub const fn until_body_end(self) -> BodyBreakerLayer<C, GATED> {
        BodyBreakerLayer::new(self)
    }

    /// Makes services that are not ready while the circuit would reject, for use under a load balancer.
    ///
    /// A balancer such as `tower::balance` sends its calls to what is ready, and takes a rejection for an answer. A gated service
    /// waits until the open time is over, or until a probe's place is free, and wakes whoever polled it. What is called all the
    /// same, because the circuit opened after the poll or because somebody else took the last place, is rejected.
    ///
    /// One circuit for each endpoint: what they share is gated together.
    ///
    /// # Panics
    ///
    /// The service, where it has to wait without tokio's timer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{breaker::{Circuit, CircuitBreakerLayer, HalfOpen}, time::Clock};
    /// use tower::{Service, ServiceExt, balance::p2c::Balance, discover::ServiceList, layer::Layer, load::Constant, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let endpoint = |name: &'static str| {
    ///     let circuit = Circuit::builder(name)
    ///         .consecutive_failures(1)
    ///         .open_for(Duration::from_secs(15))
    ///         .clock(Clock::tokio())
    ///         .build()
    ///         .unwrap();
    ///     let service = service_fn(move |()| async move { if name == "down" { Err("refused") } else { Ok(name) } });
    ///     Constant::new(CircuitBreakerLayer::new(circuit).gated().layer(service), 0)
    /// };
    /// let mut balance = Balance::new(ServiceList::new(["down", "well"].map(endpoint)));
    /// let mut refused = 0;
    /// for _ in 0..100 {
    ///     refused += u32::from(balance.ready().await.unwrap().call(()).await.is_err());
    /// }
    /// assert!(refused <= 1, "then its circuit was open, and it was not asked");
    /// # });
    /// ```
    pub fn gated(self) -> CircuitBreakerLayer<C, true> {
        CircuitBreakerLayer { circuit: self.circuit, classify: self.classify }
    }
}

impl<S, C: Clone, const GATED: bool> Layer<S> for CircuitBreakerLayer<C, GATED> {
    type Service = CircuitBreaker<S, C, GATED>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, self.circuit.clone(), self.classify.clone())
    }
}
