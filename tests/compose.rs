//! The order of layers: what the recommended one does, and what each other order would do instead.

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use portcullis::{
    BoxError,
    bearer::{BearerLayer, Token},
    breaker::{Circuit, CircuitBreakerLayer, CircuitBuilder, HalfOpen, Rejected, State, Trip},
    fallback::FallbackLayer,
    outcome::AsRejection,
    retry::{Attempts, Backoff, Budget, DeadlineExceeded, RetryLayer, RetryPolicy, RetryPolicyBuilder, Stopped},
    time::{Clock, Tick},
};
use tower::{
    Service, ServiceBuilder, ServiceExt,
    limit::ConcurrencyLimitLayer,
    service_fn,
    timeout::{TimeoutLayer, error::Elapsed},
};

const SECOND: Duration = Duration::from_secs(1);

/// On the paused clock.
struct Stopwatch {
    clock: Clock,
    began: Tick,
}

impl Stopwatch {
    fn start() -> Self {
        let clock = Clock::tokio();
        Self { began: clock.now(), clock }
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(self.began)
    }
}

/// A service that other layers are put around, and the calls that have reached it.
#[derive(Clone, Default)]
struct Downstream(Arc<AtomicUsize>);

impl Downstream {
    fn calls(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Answers 503 to everything.
    fn fails(
        &self,
    ) -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + use<> {
        let calls = Arc::clone(&self.0);
        service_fn(move |_| {
            calls.fetch_add(1, SeqCst);
            ready(Ok(unavailable()))
        })
    }

    /// Answers nothing.
    fn hangs(
        &self,
    ) -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + use<> {
        let calls = Arc::clone(&self.0);
        service_fn(move |_| {
            calls.fetch_add(1, SeqCst);
            pending()
        })
    }
}

fn unavailable() -> Response<()> {
    Response::builder().status(503).body(()).unwrap()
}

/// Opens after three failures in a row.
fn three_failures() -> CircuitBuilder {
    Circuit::builder("downstream").consecutive_failures(3).half_open(HalfOpen::permits(1)).clock(Clock::tokio())
}

/// Three attempts, a second apart.
fn three_attempts() -> RetryPolicyBuilder {
    RetryPolicy::http().max_attempts(3).backoff(Backoff::constant(SECOND))
}

async fn call<S: Service<Request<()>>>(service: &mut S) -> Result<S::Response, S::Error> {
    service.ready().await?.call(Request::new(())).await
}

fn attempts<B>(response: &Response<B>) -> (u32, Option<Stopped>) {
    let attempts = response.extensions().get::<Attempts>().expect("the retry's mark");
    (attempts.count(), attempts.stopped())
}

// ===== retry and breaker =====

#[tokio::test(start_paused = true)]
async fn a_breaker_inside_the_retry_counts_each_attempt_and_ends_the_retries() {
    let downstream = Downstream::default();
    let circuit = three_failures().build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(three_attempts().build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit.clone()))
        .service(downstream.fails());

    assert_eq!(attempts(&call(&mut service).await.unwrap()), (3, Some(Stopped::Exhausted)));
    assert_eq!(circuit.snapshot().state, State::Open);

    let start = Stopwatch::start();
    let error = call(&mut service).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped(), error.is_rejection()), (1, Stopped::NotRetryable, true));
    assert_eq!((start.elapsed(), downstream.calls()), (Duration::ZERO, 3));
}

/// Three times the calls on a failing service, and as much later.
#[tokio::test(start_paused = true)]
async fn a_breaker_outside_the_retry_sees_one_failure_where_the_service_has_had_three() {
    let downstream = Downstream::default();
    let circuit = three_failures().build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::http(circuit.clone()))
        .layer(RetryLayer::new(three_attempts().build().unwrap()))
        .service(downstream.fails());

    let start = Stopwatch::start();
    while circuit.snapshot().state == State::Closed {
        assert_eq!(call(&mut service).await.unwrap().status(), 503);
    }
    assert_eq!((start.elapsed(), downstream.calls()), (6 * SECOND, 9));
}

/// Calls that failed before the circuit opened, and whose wait ends after it did.
#[tokio::test(start_paused = true)]
async fn retries_that_wait_while_the_circuit_opens_are_rejected_and_not_sent() {
    let downstream = Downstream::default();
    let circuit = three_failures().build().unwrap();
    let budget = Budget::builder().share(0.0).reserve(3).clock(Clock::tokio()).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(three_attempts().budget(budget.clone()).build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit))
        .service(downstream.fails());

    let burst = (0..3).map(|_| service.clone().oneshot(Request::new(())));
    for result in futures_util::future::join_all(burst).await {
        let error = result.unwrap_err();
        assert_eq!((error.attempts(), error.is_rejection()), (2, true));
    }
    assert_eq!((downstream.calls(), budget.left()), (3, 3), "what was not sent is not paid for");
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_earns_no_retries_and_costs_none() {
    let downstream = Downstream::default();
    let circuit = three_failures().build().unwrap();
    let budget = Budget::builder().share(1.0).reserve(1).clock(Clock::tokio()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(three_attempts().budget(budget.clone()).build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit.clone()))
        .service(downstream.fails());

    circuit.force_open();
    for _ in 0..5 {
        assert!(call(&mut service).await.unwrap_err().is_rejection());
    }
    assert_eq!((budget.left(), downstream.calls()), (1, 0));

    circuit.reset();
    assert_eq!(attempts(&call(&mut service).await.unwrap()), (3, Some(Stopped::Exhausted)));
    assert_eq!(budget.left(), 0, "one in reserve, and one for the request");
}

// ===== timeouts =====

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_the_breaker_is_a_failure_and_is_retried() {
    let downstream = Downstream::default();
    let circuit = three_failures().build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(three_attempts().build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit.clone()))
        .layer(TimeoutLayer::new(10 * SECOND))
        .service(downstream.hangs());

    let start = Stopwatch::start();
    let error = call(&mut service).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped()), (3, Stopped::Exhausted));
    assert!(BoxError::from(error).is::<Elapsed>());
    // Three timeouts and two waits between them.
    assert_eq!(start.elapsed(), 32 * SECOND);
    assert_eq!(circuit.snapshot().tripped, Some(Trip::ConsecutiveFailures { failures: 3 }));
}

/// With `slow_call` below the timeout, calls that are cut off from outside count as slow and failed.
#[tokio::test(start_paused = true)]
async fn a_timeout_outside_the_breaker_is_noticed_where_it_is_longer_than_a_slow_call() {
    for (slow_call, opens) in [(5 * SECOND, true), (10 * SECOND, false)] {
        let downstream = Downstream::default();
        let circuit = three_failures().slow_call(slow_call).build().unwrap();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(10 * SECOND))
            .layer(CircuitBreakerLayer::http(circuit.clone()))
            .service(downstream.hangs());
        for _ in 0..3 {
            assert!(call(&mut service).await.unwrap_err().is::<Elapsed>());
        }
        assert_eq!(circuit.snapshot().state == State::Open, opens, "slow_call {slow_call:?}");
    }
}

/// A timeout around the retries cuts them off in the middle of what they do, and the last real answer is lost; a deadline
/// begins no wait that it would cut, and hands that answer back.
#[tokio::test(start_paused = true)]
async fn a_timeout_outside_the_retry_loses_the_last_answer_and_a_deadline_does_not() {
    let downstream = Downstream::default();
    let mut timeout = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(TimeoutLayer::new(SECOND * 3 / 2))
        .map_err(BoxError::from)
        .layer(RetryLayer::new(three_attempts().build().unwrap()))
        .service(downstream.fails());
    let start = Stopwatch::start();
    assert!(call(&mut timeout).await.unwrap_err().is::<Elapsed>());
    assert_eq!((start.elapsed(), downstream.calls()), (SECOND * 3 / 2, 2));

    let mut deadline = ServiceBuilder::new()
        .layer(RetryLayer::new(three_attempts().deadline(SECOND * 3 / 2).build().unwrap()))
        .service(downstream.fails());
    let start = Stopwatch::start();
    let response = call(&mut deadline).await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (503, (2, Some(Stopped::Deadline))));
    assert_eq!(start.elapsed(), SECOND, "no wait was begun that would be cut");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_the_timeouts_of_all_attempts() {
    let downstream = Downstream::default();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(three_attempts().deadline(15 * SECOND).build().unwrap()))
        .layer(TimeoutLayer::new(10 * SECOND))
        .service(downstream.hangs());
    let start = Stopwatch::start();
    let error = call(&mut service).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped()), (2, Stopped::Deadline));
    assert!(BoxError::from(error).is::<DeadlineExceeded>());
    assert_eq!(start.elapsed(), 15 * SECOND);
}

// ===== bearer =====

/// The service refuses the token: one call of the caller's, and two for the circuit. Tokens are fetched for an open circuit, too.
#[tokio::test(start_paused = true)]
async fn a_breaker_inside_the_bearer_layer_takes_a_repeat_for_a_second_call() {
    let (tokens, downstream) = (Downstream::default(), Downstream::default());
    let circuit = three_failures().build().unwrap();
    let stack = || {
        let (fetched, called) = (tokens.clone(), downstream.clone());
        ServiceBuilder::new()
            .map_err(BoxError::from)
            .layer(BearerLayer::new(service_fn(move |()| {
                fetched.0.fetch_add(1, SeqCst);
                ready(Token::new("token"))
            })))
            .layer(CircuitBreakerLayer::http(circuit.clone()))
            .service(service_fn(move |_: Request<()>| {
                called.0.fetch_add(1, SeqCst);
                ready(Ok::<_, BoxError>(Response::builder().status(401).body(()).unwrap()))
            }))
    };

    assert_eq!(call(&mut stack()).await.unwrap().status(), 401);
    assert_eq!((circuit.snapshot().failures, downstream.calls(), tokens.calls()), (2, 2, 2));

    circuit.force_open();
    assert!(call(&mut stack()).await.unwrap_err().is_rejection());
    assert_eq!((downstream.calls(), tokens.calls()), (2, 3));
}

// ===== fallback =====

fn sorry<E>(_: Result<Response<()>, E>) -> Result<Response<()>, Infallible> {
    Ok(Response::new(()))
}

#[tokio::test(start_paused = true)]
async fn a_fallback_outside_answers_and_hides_nothing_from_the_circuit() {
    let downstream = Downstream::default();
    let circuit = three_failures().build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(FallbackLayer::http(sorry))
        .layer(RetryLayer::new(three_attempts().build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit.clone()))
        .service(downstream.fails());
    for _ in 0..4 {
        assert_eq!(call(&mut service).await.unwrap().status(), 200);
    }
    assert_eq!((circuit.snapshot().state, downstream.calls()), (State::Open, 3));
}

/// Neither the retry nor the circuit hears of the outage.
#[tokio::test(start_paused = true)]
async fn a_fallback_inside_makes_a_failing_service_look_well() {
    let downstream = Downstream::default();
    let circuit = three_failures().build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(three_attempts().build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit.clone()))
        .layer(FallbackLayer::http(sorry))
        .service(downstream.fails());
    for _ in 0..4 {
        assert_eq!(attempts(&call(&mut service).await.unwrap()), (1, None));
    }
    assert_eq!((circuit.snapshot().state, downstream.calls()), (State::Closed, 4));
}

// ===== limits =====

#[tokio::test(start_paused = true)]
async fn a_limit_outside_the_retry_is_held_while_it_waits_and_one_inside_is_not() {
    let downstream = Downstream::default();
    let limit = ConcurrencyLimitLayer::new(1);
    let retry = RetryLayer::new(three_attempts().build().unwrap());

    let outside = ServiceBuilder::new().layer(&limit).layer(&retry).service(downstream.fails());
    assert_eq!(served_while_another_waits(outside, &downstream).await, 0);

    let inside = ServiceBuilder::new().layer(&retry).layer(&limit).service(downstream.fails());
    assert_eq!(served_while_another_waits(inside, &downstream).await, 1);
}

/// How many calls reach the service while another waits for its retry.
async fn served_while_another_waits<S, E>(service: S, downstream: &Downstream) -> usize
where
    S: Service<Request<()>, Response = Response<()>, Error = E, Future: Send + 'static> + Clone,
    E: std::fmt::Debug,
{
    let mut first: BoxFuture<'static, _> =
        Box::pin(service.clone().ready_oneshot().await.unwrap().call(Request::new(())));
    assert!((&mut first).now_or_never().is_none(), "it waits for its retry");
    let before = downstream.calls();
    let second = service.oneshot(Request::new(()));
    assert!(second.now_or_never().is_none());
    downstream.calls() - before
}

// ===== errors =====

/// However the layers are stacked, the innermost reason can be told.
#[tokio::test(start_paused = true)]
async fn a_rejection_is_found_through_every_layer() {
    let circuit = three_failures().build().unwrap();
    circuit.force_open();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(FallbackLayer::http(|why: Result<Response<()>, BoxError>| why))
        .map_err(BoxError::from)
        .layer(RetryLayer::new(three_attempts().build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit))
        .layer(TimeoutLayer::new(SECOND))
        .service(Downstream::default().fails());
    let error = call(&mut service).await.unwrap_err();
    assert!(error.is::<Rejected>(), "{error}");
}
