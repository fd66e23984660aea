//! The circuit breaker as a tower service, and each defect of its kind that must not come back.

#[path = "support/fragile.rs"]
mod fragile;
mod support;

use std::{
    convert::Infallible,
    fmt::{self, Write},
    future::{Future, Ready, pending, poll_fn, ready},
    io,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fragile::Fragile;
use futures_util::FutureExt;
use portcullis::{
    BoxError,
    breaker::{
        BreakerError, Circuit, CircuitBreakerLayer, CircuitBuilder, HalfOpen, Rejected, State, Trip, probe, probe_when,
    },
    outcome::{AsRejection, Http, Outcome, Retryable},
    retry::{RetryLayer, RetryPolicy},
    time::{Clock, ManualClock, ManualWallClock, UnixTime},
};
use support::Strict;
use tower::{
    Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, layer::Layer, limit::ConcurrencyLimitLayer, service_fn,
    timeout::TimeoutLayer,
};

const SECOND: Duration = Duration::from_secs(1);

/// Opens after two failures in a row, for a second; one probe decides.
fn two_failures() -> CircuitBuilder {
    Circuit::builder("test").consecutive_failures(2).open_for(SECOND).half_open(HalfOpen::permits(1))
}

fn open(circuit: &Circuit) {
    while circuit.snapshot().state != State::Open {
        circuit.acquire().unwrap().failure();
    }
}

fn answer(result: Result<&'static str, &'static str>) -> Ready<Result<&'static str, &'static str>> {
    ready(result)
}

// ===== tower's contract =====

#[tokio::test]
async fn an_inner_service_is_called_only_when_this_instance_was_polled_ready() {
    let clock = ManualClock::new();
    let circuit = two_failures().clock(clock.clock()).build().unwrap();
    let inner = Strict::new(answer);
    let (calls, polls) = (inner.calls(), inner.polls());
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(inner);
    open(&circuit);

    service.ready().await.unwrap();
    assert_eq!(polls.load(Ordering::SeqCst), 0, "an open circuit is ready without asking the inner service");
    clock.advance(SECOND);
    let rejected = service.call(Ok("unpolled")).await.unwrap_err();
    assert!(matches!(rejected, BreakerError::Rejected(rejected) if rejected.retry_after() == Some(Duration::ZERO)));
    assert_eq!(calls.load(Ordering::SeqCst), 0);

    assert_eq!(service.ready().await.unwrap().call(Ok("polled")).await.unwrap(), "polled");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn readiness_is_not_cloned() {
    let mut service = CircuitBreakerLayer::new(two_failures().build().unwrap()).layer(Strict::new(answer));
    service.ready().await.unwrap();
    let mut clone = service.clone();
    assert!(clone.call(Ok("unpolled")).await.unwrap_err().is_rejection());
    assert_eq!(service.call(Ok("polled")).await.unwrap(), "polled");
}

#[tokio::test]
async fn it_stands_over_a_concurrency_limit_and_a_buffer() {
    let circuit = two_failures().build().unwrap();
    let mut limited = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict::new(answer));
    for _ in 0..3 {
        assert_eq!(limited.ready().await.unwrap().call(Ok("through")).await.unwrap(), "through");
    }

    let mut buffered = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BufferLayer::new(4))
        .service(Strict::new(|result: Result<&'static str, io::Error>| ready(result)));
    for _ in 0..3 {
        assert_eq!(buffered.ready().await.unwrap().call(Ok("through")).await.unwrap(), "through");
    }
    assert_eq!(circuit.snapshot().calls, 6);
}

#[tokio::test]
async fn a_rejection_of_what_was_not_polled_holds_no_place_of_the_inner_service() {
    let circuit = two_failures().build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict::new(answer));
    let mut other = service.clone();
    open(&circuit);
    assert!(service.ready().await.unwrap().call(Ok("")).await.is_err());

    circuit.reset();
    let place = other.ready().now_or_never().expect("the only place is free").unwrap();
    assert_eq!(place.call(Ok("through")).await.unwrap(), "through");
}

#[tokio::test]
async fn whoever_waits_for_a_place_is_told_when_the_circuit_opens() {
    let circuit = two_failures().build().unwrap();
    let mut busy = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|()| pending::<Result<(), Infallible>>()));
    let mut waits = busy.clone();
    let _running = busy.ready().await.unwrap().call(());
    let waiting = tokio::spawn(async move { waits.ready().await.unwrap().call(()).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "the only place is taken");

    open(&circuit);
    assert!(waiting.await.unwrap().unwrap_err().is_rejection());
}

#[test]
fn without_a_gate_a_service_that_is_not_ready_needs_no_timer() {
    let clock = ManualClock::new();
    let circuit = two_failures().half_open(HalfOpen::permits(2)).clock(clock.clock()).build().unwrap();
    let busy = ConcurrencyLimitLayer::new(0).layer(service_fn(answer));
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(busy);
    open(&circuit);
    clock.advance(SECOND);
    let _probe = circuit.acquire().unwrap();
    assert!(service.ready().now_or_never().is_none(), "there is a place in the circuit, and none in the inner service");
    assert_eq!(circuit.snapshot().state, State::HalfOpen);
}

#[tokio::test]
async fn a_half_open_circuit_without_a_place_rejects_and_does_not_queue() {
    let clock = ManualClock::new();
    let half_open = HalfOpen::permits(1).timeout(30 * SECOND);
    let circuit = two_failures().half_open(half_open).clock(clock.clock()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|()| pending::<Result<(), Infallible>>()));
    let mut other = service.clone();
    open(&circuit);
    clock.advance(SECOND);
    let _hung = service.ready().await.unwrap().call(());

    let mut ask = || {
        let call = other.ready().now_or_never().expect("ready at once").unwrap().call(());
        match call.now_or_never().expect("rejected at once") {
            Err(BreakerError::Rejected(rejected)) => rejected,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask().retry_after(), None, "the probe decides");
    clock.advance(30 * SECOND);
    assert_eq!(ask().retry_after(), Some(SECOND), "the period is over, whoever finds out");
}

#[tokio::test]
async fn an_error_from_readiness_is_one_failed_call() {
    struct Broken;
    impl Service<()> for Broken {
        type Response = ();
        type Error = &'static str;
        type Future = Ready<Result<(), &'static str>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err("connection lost"))
        }
        fn call(&mut self, (): ()) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    let circuit = two_failures().build().unwrap();
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(Broken);
    for failures in 1..=2 {
        assert!(matches!(service.ready().await, Err(BreakerError::Inner("connection lost"))));
        assert_eq!(circuit.snapshot().failures, failures);
    }
    service.ready().await.unwrap();
    assert!(service.call(()).await.unwrap_err().is_rejection());
}

#[tokio::test]
async fn a_service_that_is_ready_and_never_called_takes_no_permit() {
    let clock = ManualClock::new();
    let circuit = two_failures().clock(clock.clock()).build().unwrap();
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(Strict::new(answer));
    open(&circuit);
    clock.advance(SECOND);
    service.ready().await.unwrap();
    drop(service);
    assert!(circuit.acquire().is_ok(), "the probe's place is free");
}

// ===== futures that do not finish =====

#[tokio::test]
async fn a_dropped_probe_frees_its_place_before_and_after_its_first_poll() {
    let clock = ManualClock::new();
    let circuit = two_failures().clock(clock.clock()).build().unwrap();
    let mut service =
        CircuitBreakerLayer::new(circuit.clone()).layer(service_fn(|()| pending::<Result<(), Infallible>>()));
    open(&circuit);
    clock.advance(SECOND);

    drop(service.ready().await.unwrap().call(()));
    let mut probe = service.ready().await.unwrap().call(());
    assert!((&mut probe).now_or_never().is_none());
    assert!(service.ready().await.unwrap().call(()).await.unwrap_err().is_rejection(), "its place is taken");
    drop(probe);
    assert!(service.ready().await.unwrap().call(()).now_or_never().is_none(), "its place is free");
}

#[tokio::test]
async fn a_panicking_call_is_a_failure() {
    let circuit = two_failures().build().unwrap();
    let mut in_call = CircuitBreakerLayer::new(circuit.clone())
        .layer(service_fn(|()| -> Ready<Result<(), Infallible>> { panic!("in call") }));
    in_call.ready().await.unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(in_call.call(())))).is_err());
    assert_eq!(circuit.snapshot().failures, 1);

    let mut in_future = CircuitBreakerLayer::new(circuit.clone())
        .layer(service_fn(|()| poll_fn(|_| -> Poll<Result<(), Infallible>> { panic!("in the future") })));
    let call = in_future.ready().await.unwrap().call(());
    assert!(AssertUnwindSafe(call).catch_unwind().await.is_err());
    assert_eq!(circuit.snapshot().state, State::Open);
}

#[tokio::test]
async fn a_panicking_probe_opens_the_circuit_at_once() {
    let clock = ManualClock::new();
    let circuit = two_failures().half_open(HalfOpen::permits(2)).clock(clock.clock()).build().unwrap();
    open(&circuit);

    clock.advance(SECOND);
    let mut in_call = CircuitBreakerLayer::new(circuit.clone())
        .layer(service_fn(|()| -> Ready<Result<(), Infallible>> { panic!("in call") }));
    in_call.ready().await.unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(in_call.call(())))).is_err());
    assert_eq!(circuit.snapshot().opened, 2);

    clock.advance(SECOND);
    let mut in_future = CircuitBreakerLayer::new(circuit.clone())
        .layer(service_fn(|()| poll_fn(|_| -> Poll<Result<(), Infallible>> { panic!("in the future") })));
    let mut call = Box::pin(in_future.ready().await.unwrap().call(()));
    assert!(catch_unwind(AssertUnwindSafe(|| call.as_mut().now_or_never())).is_err());
    assert_eq!(circuit.snapshot().opened, 3, "also where the future is kept");
}

/// It is cloned for each call, when the permit is taken.
#[tokio::test]
async fn a_probe_whose_classifier_panics_when_it_is_cloned_opens_the_circuit_at_once() {
    let clock = ManualClock::new();
    let circuit = two_failures().clock(clock.clock()).build().unwrap();
    let classify = Fragile::default();
    let breaks = Arc::clone(&classify.breaks);
    let mut service = CircuitBreakerLayer::new(circuit.clone()).classify(classify).layer(service_fn(answer));
    open(&circuit);
    clock.advance(SECOND);
    service.ready().await.unwrap();
    breaks.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(Ok(""))))).is_err());
    assert_eq!(circuit.snapshot().opened, 2);
}

#[tokio::test]
async fn a_call_dropped_by_somebody_elses_panic_is_not_a_failure() {
    let circuit = two_failures().build().unwrap();
    let mut service =
        CircuitBreakerLayer::new(circuit.clone()).layer(service_fn(|()| pending::<Result<(), Infallible>>()));
    let mut call = service.ready().await.unwrap().call(());
    assert!((&mut call).now_or_never().is_none());
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _call = call;
        panic!("elsewhere");
    }));
    assert!(unwound.is_err());
    assert_eq!(circuit.snapshot().calls, 0);
}

#[test]
fn a_panic_in_a_plain_call_is_a_failure() {
    let circuit = two_failures().build().unwrap();
    let call = || circuit.call(|| -> Result<(), Infallible> { panic!("in the call") });
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(circuit.snapshot().failures, 1);
}

#[tokio::test]
async fn a_future_is_awaited_behind_the_circuit() {
    let circuit = two_failures().build().unwrap();
    assert_eq!(circuit.call_async(async { Ok::<_, &str>(7) }).await.unwrap(), 7);
    for _ in 0..2 {
        assert!(circuit.call_async(async { Err::<(), _>("down") }).await.is_err());
    }
    let never = circuit.call_async(async { unreachable!("the circuit is open") });
    assert!(matches!(never.await, Err::<(), BreakerError<&str>>(BreakerError::Rejected(_))));
}

// ===== errors =====

#[tokio::test]
async fn a_rejection_is_found_in_typed_and_in_boxed_stacks() {
    let circuit = two_failures().build().unwrap();
    open(&circuit);
    let typed = CircuitBreakerLayer::new(circuit.clone()).layer(service_fn(answer));
    let error = typed.oneshot(Ok("")).await.unwrap_err();
    assert!(error.is_rejection());

    // A timeout inside makes the inner error a box, a timeout outside boxes the breaker's.
    let boxed = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(TimeoutLayer::new(SECOND))
        .service(service_fn(async |()| Ok::<_, io::Error>(())));
    let error: BoxError = boxed.oneshot(()).await.unwrap_err();
    assert!(error.is_rejection());
    assert!(
        BoxError::from(io::Error::other(circuit.acquire().unwrap_err())).is_rejection(),
        "an I/O error hides what it holds"
    );
    assert_eq!(error.downcast_ref::<Rejected>().unwrap().tripped(), Some(Trip::ConsecutiveFailures { failures: 2 }));
    assert!(!Http.is_retryable(Err::<&http::Response<()>, _>(&error)), "and it is not retried");
}

/// A service that asks the circuit itself has no other error to tell of.
#[tokio::test]
async fn a_rejection_that_is_the_whole_error_is_one_and_is_not_retried() {
    let circuit = two_failures().build().unwrap();
    open(&circuit);
    let asked = AtomicUsize::new(0);
    let inner = service_fn(async |()| {
        asked.fetch_add(1, Ordering::SeqCst);
        circuit.acquire()?.success();
        Ok::<_, Rejected>(())
    });
    let policy = RetryPolicy::results().max_attempts(3).build().unwrap();
    let error = RetryLayer::new(policy).layer(inner).oneshot(()).await.unwrap_err();
    assert!(error.is_rejection());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn inner_errors_are_boxed_flat() {
    let error: BoxError = BreakerError::Inner(io::Error::other("down")).into();
    assert!(error.is::<io::Error>());
    assert!(!error.is_rejection());
}

// ===== defects that must not come back =====

#[test]
fn the_limit_that_was_reached_is_told_as_the_number_that_was_set() {
    for limit in [0.000_000_001, 0.29, 0.57, 2.0 / 3.0, 1.0] {
        let circuit = Circuit::builder("test").failure_rate(limit).minimum_calls(1).build().unwrap();
        circuit.acquire().unwrap().failure();
        let Some(Trip::FailureRate { limit: told, .. }) = circuit.snapshot().tripped else { panic!("{circuit:?}") };
        assert!((told.as_f64() - limit).abs() < 1e-9, "{limit}: {}", told.as_f64());
    }
}

#[test]
fn a_count_window_forgets_old_successes() {
    let circuit = Circuit::builder("test").failure_rate(0.5).count_window(10).minimum_calls(10).build().unwrap();
    for _ in 0..1000 {
        circuit.acquire().unwrap().success();
    }
    for _ in 0..5 {
        circuit.acquire().unwrap().failure();
    }
    assert_eq!(circuit.snapshot().state, State::Open);
}

#[test]
fn a_success_opens_the_circuit_once_old_successes_have_left_the_window() {
    let clock = ManualClock::new();
    let circuit = Circuit::builder("test")
        .failure_rate(0.5)
        .minimum_calls(4)
        .window(10 * SECOND)
        .clock(clock.clock())
        .build()
        .unwrap();
    for _ in 0..10 {
        circuit.acquire().unwrap().success();
    }
    clock.advance(5 * SECOND);
    for _ in 0..3 {
        circuit.acquire().unwrap().failure();
    }
    circuit.acquire().unwrap().success();
    assert_eq!(circuit.snapshot().state, State::Closed, "3 of 14");
    clock.advance(5 * SECOND);
    circuit.acquire().unwrap().success();
    assert_eq!(circuit.snapshot().tripped.map(|trip| trip.rule()), Some("failure_rate"), "3 of 5");
}

#[test]
fn waiting_out_a_rejection_is_enough_however_far_the_clock_lags() {
    let clock = Clock::coarse();
    let circuit = two_failures().clock(clock.clone()).build().unwrap();
    let before = clock.now();
    open(&circuit);
    let told = circuit.acquire().unwrap_err().retry_after().unwrap();
    let between = clock.now().since(before);
    assert!(told + between >= SECOND + clock.resolution(), "{told:?}, {between:?} after it opened");
}

#[test]
fn probes_spaced_wider_than_the_window_still_close_the_circuit() {
    let clock = ManualClock::new();
    let circuit = Circuit::builder("test")
        .consecutive_failures(1)
        .window(10 * SECOND)
        .open_for(SECOND)
        .half_open(HalfOpen::permits(3).timeout(60 * SECOND))
        .clock(clock.clock())
        .build()
        .unwrap();
    open(&circuit);
    for _ in 0..3 {
        clock.advance(11 * SECOND);
        circuit.acquire().unwrap().success();
    }
    assert_eq!(circuit.snapshot().state, State::Closed);
}

#[test]
fn a_straggler_neither_closes_nor_reopens_the_circuit() {
    for outcome in [Outcome::Success, Outcome::Failure] {
        let clock = ManualClock::new();
        let circuit = two_failures().clock(clock.clock()).build().unwrap();
        let straggler = circuit.acquire().unwrap();
        open(&circuit);
        clock.advance(SECOND);
        let probe = circuit.acquire().unwrap();
        straggler.settle(outcome);
        assert_eq!(circuit.snapshot().state, State::HalfOpen);
        assert!(circuit.acquire().is_err(), "the straggler freed no place");
        probe.success();
        assert_eq!(circuit.snapshot().state, State::Closed);
    }
}

#[test]
fn a_hundred_threads_get_exactly_the_permits_there_are() {
    let clock = ManualClock::new();
    let circuit = two_failures().half_open(HalfOpen::permits(7)).clock(clock.clock()).build().unwrap();
    open(&circuit);
    clock.advance(SECOND);
    let barrier = Barrier::new(100);
    let admitted: Vec<_> = thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            circuit.acquire().ok()
        };
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(admitted.len(), 7);
}

#[test]
fn no_outcome_is_lost_between_threads() {
    // miri takes a thousand times as long.
    const CALLS: u64 = if cfg!(miri) { 100 } else { 10_000 };
    let circuit = Circuit::builder("test").consecutive_failures(u32::MAX).count_window(100_000).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..CALLS {
                    let permit = circuit.acquire().unwrap();
                    if turn % 10 == 0 { permit.failure() } else { permit.success() }
                }
            });
        }
    });
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures), (4 * CALLS, 4 * CALLS / 10));
}

#[test]
#[cfg_attr(miri, ignore = "what it forgets is never freed, and miri finds that")]
fn a_probe_that_is_never_settled_cannot_wedge_the_circuit() {
    let clock = ManualClock::new();
    let half_open = HalfOpen::permits(1).timeout(30 * SECOND);
    let circuit = two_failures().half_open(half_open).clock(clock.clock()).build().unwrap();
    open(&circuit);
    clock.advance(SECOND);
    std::mem::forget(circuit.acquire().unwrap());
    clock.advance(30 * SECOND);
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.retry_after), (State::Open, Some(SECOND)));
    assert_eq!(snapshot.tripped, Some(Trip::HalfOpenTimeout { after: 30 * SECOND }));
    clock.advance(SECOND);
    circuit.acquire().expect("a new probe").success();
    assert_eq!(circuit.snapshot().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_the_breaker_does_not_hide_an_outage() {
    let circuit = two_failures().slow_call(SECOND).clock(Clock::tokio()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(2 * SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(service_fn(|()| pending::<Result<(), BoxError>>()));
    for _ in 0..2 {
        assert!(service.ready().await.unwrap().call(()).await.is_err());
    }
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.failures, snapshot.slow), (State::Open, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_early_is_not_counted() {
    let circuit = two_failures().slow_call(SECOND).clock(Clock::tokio()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(service_fn(|()| pending::<Result<(), BoxError>>()));
    assert!(service.ready().await.unwrap().call(()).await.is_err());
    assert_eq!(circuit.snapshot().calls, 0, "it ran for exactly the limit, which is not longer");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_the_breaker_is_a_failure() {
    let circuit = two_failures().build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(TimeoutLayer::new(SECOND))
        .service(service_fn(|()| pending::<Result<(), BoxError>>()));
    for _ in 0..2 {
        assert!(service.ready().await.unwrap().call(()).await.is_err());
    }
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.failures), (State::Open, 2));
}

#[test]
fn the_services_of_one_layer_share_its_circuit() {
    let circuit = two_failures().build().unwrap();
    let layer = CircuitBreakerLayer::new(circuit.clone());
    let mut services = [layer.layer(Strict::new(answer)), layer.layer(Strict::new(answer))];
    for service in &mut services {
        service.ready().now_or_never().unwrap().unwrap();
        assert!(service.call(Err("down")).now_or_never().unwrap().is_err());
    }
    assert_eq!(circuit.snapshot().state, State::Open);
}

#[test]
fn a_recovered_circuit_remembers_no_old_failure_and_is_not_blind() {
    let clock = ManualClock::new();
    let circuit = Circuit::builder("test")
        .failure_rate(0.5)
        .minimum_calls(2)
        .open_for(SECOND)
        .half_open(HalfOpen::permits(1))
        .clock(clock.clock())
        .build()
        .unwrap();
    open(&circuit);
    clock.advance(SECOND);
    circuit.acquire().unwrap().success();
    circuit.acquire().unwrap().failure();
    assert_eq!(circuit.snapshot().state, State::Closed, "one failure");
    circuit.acquire().unwrap().failure();
    assert_eq!(circuit.snapshot().state, State::Open, "minimum_calls failures");
}

#[tokio::test]
async fn a_failing_response_says_how_long_the_circuit_stays_open_where_that_is_heard() {
    let down = |retry_after: &'static str| {
        service_fn(move |()| {
            let response = http::Response::builder().status(503).header("Retry-After", retry_after);
            ready(Ok::<_, Infallible>(response.body(()).unwrap()))
        })
    };
    for (longest, asked, open_for) in [(None, "60", 1), (Some(90), "60", 60), (Some(30), "60", 30), (Some(30), "0", 1)]
    {
        let (clock, date) = (ManualClock::new(), ManualWallClock::new(UnixTime::new(SECOND)));
        let mut circuit = Circuit::builder("test")
            .consecutive_failures(1)
            .open_for(SECOND)
            .clock(clock.clock())
            .wall_clock(date.clock());
        if let Some(longest) = longest {
            circuit = circuit.honour_retry_after(longest * SECOND);
        }
        let circuit = circuit.build().unwrap();
        CircuitBreakerLayer::http(circuit.clone()).layer(down(asked)).oneshot(()).await.unwrap();
        assert_eq!(circuit.snapshot().retry_after, Some(open_for * SECOND), "{longest:?}, asked for {asked}");
    }
}

#[test]
fn an_open_time_that_grows_is_jittered_unless_told_otherwise() {
    let grows = || Circuit::builder("test").consecutive_failures(1).open_for(SECOND).open_growth(2.0, 9 * SECOND);
    let times: Vec<_> = (0..20)
        .map(|_| {
            let circuit = grows().clock(ManualClock::new().clock()).build().unwrap();
            open(&circuit);
            circuit.snapshot().retry_after.unwrap()
        })
        .collect();
    assert!(times.iter().all(|time| (SECOND * 9 / 10..=SECOND).contains(time)), "{times:?}");
    assert!(times.iter().any(|time| *time != times[0]), "in step: {times:?}");
}

#[test]
fn a_state_set_by_hand_begins_anew_and_stragglers_are_not_heard_in_it() {
    for set in [Circuit::force_open, Circuit::disable, Circuit::observe, Circuit::reset] {
        let circuit = two_failures().build().unwrap();
        let straggler = circuit.acquire().unwrap();
        circuit.acquire().unwrap().failure();
        set(&circuit);
        straggler.failure();
        let snapshot = circuit.snapshot();
        assert_eq!((snapshot.calls, snapshot.tripped), (0, None), "{:?}", snapshot.state);
    }
}

#[tokio::test]
async fn a_layer_over_a_circuit_forced_open_rejects_and_one_that_is_disabled_lets_through() {
    let circuit = two_failures().build().unwrap();
    let inner = Strict::new(answer);
    let calls = inner.calls();
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(inner);
    circuit.force_open();
    assert!(service.ready().await.unwrap().call(Ok("")).await.unwrap_err().is_rejection());
    assert_eq!(calls.load(Ordering::SeqCst), 0);

    circuit.disable();
    for _ in 0..5 {
        assert!(!service.ready().await.unwrap().call(Err("down")).await.unwrap_err().is_rejection());
    }
    assert_eq!(circuit.snapshot().calls, 0);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let sound = || Circuit::builder("test").consecutive_failures(1);
    let cases = [
        (Circuit::builder("test"), "rules"),
        (sound().consecutive_failures(0), "consecutive_failures"),
        (sound().failures(0), "failures"),
        (sound().failure_rate(f64::NAN), "failure_rate"),
        (sound().slow_call(SECOND).slow_call_rate(1.5), "slow_call_rate"),
        (sound().slow_call_rate(0.5), "slow_call"),
        (sound().slow_call(Duration::ZERO), "slow_call"),
        (sound().mean_latency(Duration::ZERO), "mean_latency"),
        (sound().minimum_calls(0), "minimum_calls"),
        (sound().window(Duration::from_micros(999)), "window"),
        (sound().count_window(0), "count_window"),
        (sound().failures(11).count_window(10), "failures"),
        (sound().open_for(Duration::ZERO), "open_for"),
        (sound().open_growth(0.5, 60 * SECOND), "open_growth"),
        (sound().open_growth(f64::INFINITY, 60 * SECOND), "open_growth"),
        (sound().open_growth(2.0, SECOND), "open_growth"),
        (sound().open_jitter(1.0), "open_jitter"),
        (sound().open_jitter(f64::NAN), "open_jitter"),
        (sound().honour_retry_after(Duration::ZERO), "honour_retry_after"),
        (sound().half_open(HalfOpen::permits(0)), "half_open.permits"),
        (sound().half_open(HalfOpen::permits(3).successes(0)), "half_open.successes"),
        (sound().half_open(HalfOpen::permits(3).successes(4)), "half_open.successes"),
        (sound().half_open(HalfOpen::permits(3).max_concurrent(0)), "half_open.max_concurrent"),
        (sound().half_open(HalfOpen::permits(3).timeout(Duration::ZERO)), "half_open.timeout"),
    ];
    for (builder, setting) in cases {
        let error = builder.build().expect_err(setting);
        assert_eq!(error.setting(), setting, "{error}");
    }
}

#[test]
fn a_minimum_above_the_count_window_is_the_count_window() {
    let circuit = Circuit::builder("test").failure_rate(1.0).count_window(4).minimum_calls(100).build().unwrap();
    open(&circuit);
    assert_eq!(circuit.snapshot().calls, 4);
}

// ===== waiting for the circuit =====

/// The bounds are none but the inner service's own.
#[test]
fn it_asks_no_more_of_the_inner_service_than_tower_does() {
    let not_send = std::rc::Rc::new(());
    let mut service = CircuitBreakerLayer::new(two_failures().build().unwrap())
        .layer(service_fn(move |()| ready(Ok::<_, Infallible>(not_send.clone()))));
    service.ready().now_or_never().unwrap().unwrap();
    assert!(service.call(()).now_or_never().unwrap().is_ok());
}

#[test]
fn whoever_is_woken_by_a_change_may_call_back_into_the_circuit() {
    struct CallsBack(Circuit, AtomicBool);
    impl Wake for CallsBack {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.snapshot().state == State::Open, Ordering::SeqCst);
        }
    }
    let circuit = two_failures().build().unwrap();
    let calls_back = Arc::new(CallsBack(circuit.clone(), AtomicBool::new(false)));
    let mut changed = pin!(circuit.changed());
    assert!(changed.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&calls_back)))).is_pending());
    open(&circuit);
    assert!(calls_back.1.load(Ordering::SeqCst));
}

#[test]
fn whoever_prints_a_circuit_may_call_back_into_it() {
    struct CallsBack<'a>(&'a Circuit);
    impl Write for CallsBack<'_> {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            assert_eq!(self.0.snapshot().state, State::Closed);
            Ok(())
        }
    }
    let circuit = two_failures().build().unwrap();
    write!(CallsBack(&circuit), "{circuit:?}").unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_probe_is_idle_while_closed_asks_when_due_and_closes_the_circuit() {
    let half_open = HalfOpen::permits(4).successes(3);
    let circuit = two_failures().half_open(half_open).clock(Clock::tokio()).build().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let well = Arc::new(AtomicBool::new(false));
    let check = {
        let (asked, well) = (Arc::clone(&asked), Arc::clone(&well));
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            let outcome = if well.load(Ordering::SeqCst) { Outcome::Success } else { Outcome::Failure };
            ready(ControlFlow::Continue(outcome))
        }
    };
    tokio::spawn(probe(circuit.clone(), 10 * SECOND, check));
    let after = async |span| {
        drop(tokio::time::timeout(span, pending::<()>()).await);
        asked.load(Ordering::SeqCst)
    };

    assert_eq!(after(3600 * SECOND).await, 0, "closed");
    open(&circuit);
    assert_eq!(after(SECOND - Duration::from_millis(1)).await, 0, "not due");
    assert_eq!(after(Duration::from_millis(2)).await, 1, "at once when due");
    assert_eq!(after(9 * SECOND).await, 1, "not before the interval");
    assert_eq!(after(SECOND).await, 2, "after the interval; this failure opens the circuit again");
    assert_eq!(circuit.snapshot().state, State::Open);

    well.store(true, Ordering::SeqCst);
    assert_eq!(
        after(SECOND + Duration::from_millis(1)).await,
        5,
        "when due again, three successes one after the other"
    );
    assert_eq!(circuit.snapshot().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_all_places_taken_asks_nobody_and_comes_again_after_the_interval() {
    let half_open = HalfOpen::permits(2).max_concurrent(1).timeout(3600 * SECOND);
    let circuit = two_failures().half_open(half_open).clock(Clock::tokio()).build().unwrap();
    let (came, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let after = async |span| {
        drop(tokio::time::timeout(span, pending::<()>()).await);
        (came.load(Ordering::SeqCst), asked.load(Ordering::SeqCst))
    };
    open(&circuit);
    after(SECOND).await;
    let live_call = circuit.acquire().unwrap();
    let (comes, asks) = (Arc::clone(&came), Arc::clone(&asked));
    let comes = move || {
        assert!(comes.fetch_add(1, Ordering::SeqCst) < 100, "it spins");
        ready(())
    };
    tokio::spawn(probe_when(circuit.clone(), 10 * SECOND, comes, move || {
        asks.fetch_add(1, Ordering::SeqCst);
        ready(ControlFlow::Continue(Outcome::Success))
    }));
    assert_eq!(after(25 * SECOND).await, (3, 0), "at 0, 10 and 20 seconds");
    live_call.success();
    assert_eq!(after(10 * SECOND).await.1, 1);
    assert_eq!(circuit.snapshot().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_with_nothing_to_ask_gives_its_permit_back_and_ends() {
    let circuit = two_failures().clock(Clock::tokio()).build().unwrap();
    open(&circuit);
    probe(circuit.clone(), SECOND, || ready(ControlFlow::Break(()))).await;
    assert_eq!(circuit.snapshot().state, State::HalfOpen);
    assert!(circuit.acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_does_not_end_the_probing() {
    let half_open = HalfOpen::permits(1).timeout(30 * SECOND);
    let circuit = two_failures().half_open(half_open).clock(Clock::tokio()).build().unwrap();
    open(&circuit);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(probe(circuit.clone(), 3600 * SECOND, move || {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { pending().await } else { ControlFlow::Continue(Outcome::Success) } }
    }));
    drop(tokio::time::timeout(33 * SECOND, pending::<()>()).await);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "again when due, after the period that the hung check used up");
    assert_eq!(circuit.snapshot().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nothing_does_not_spin() {
    let circuit = two_failures().clock(Clock::tokio()).build().unwrap();
    open(&circuit);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(probe(circuit, Duration::ZERO, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        ready(ControlFlow::Continue(Outcome::Ignored))
    }));
    drop(tokio::time::timeout(2 * SECOND, pending::<()>()).await);
    assert!((1..=1001).contains(&asked.load(Ordering::SeqCst)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_waits_for_something_takes_no_place_until_it_has_it() {
    let circuit = two_failures().clock(Clock::tokio()).build().unwrap();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    let ready_when_open = move || {
        let gate = Arc::clone(&held);
        async move { drop(gate.acquire().await) }
    };
    tokio::spawn(probe_when(circuit.clone(), SECOND, ready_when_open, || {
        ready(ControlFlow::Continue(Outcome::Success))
    }));
    open(&circuit);
    drop(tokio::time::timeout(60 * SECOND, pending::<()>()).await);
    assert_eq!(circuit.snapshot().state, State::Open, "not even half-open");
    circuit.acquire().expect("the only place is free").ignored();

    gate.add_permits(1);
    drop(tokio::time::timeout(SECOND, pending::<()>()).await);
    assert_eq!(circuit.snapshot().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_probe_is_idle_in_each_state_that_was_set_by_hand_and_goes_on_after_it() {
    let circuit = two_failures().clock(Clock::tokio()).build().unwrap();
    let (came, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (comes, asks) = (Arc::clone(&came), Arc::clone(&asked));
    circuit.disable();
    tokio::spawn(probe_when(
        circuit.clone(),
        SECOND,
        move || {
            comes.fetch_add(1, Ordering::SeqCst);
            ready(())
        },
        move || {
            asks.fetch_add(1, Ordering::SeqCst);
            // One that spins lets the test go on to say so.
            async {
                tokio::task::yield_now().await;
                ControlFlow::Continue(Outcome::Success)
            }
        },
    ));
    // By turns, since time stands still while something spins.
    let asked_so_far = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        (came.load(Ordering::SeqCst), asked.load(Ordering::SeqCst))
    };
    assert_eq!(asked_so_far().await, (0, 0), "disabled");
    circuit.observe();
    assert_eq!(asked_so_far().await, (0, 0), "observed");
    circuit.force_open();
    drop(tokio::time::timeout(60 * SECOND, pending::<()>()).await);
    assert_eq!(asked_so_far().await, (0, 0), "forced open");

    circuit.reset();
    open(&circuit);
    drop(tokio::time::timeout(2 * SECOND, pending::<()>()).await);
    assert_eq!((asked_so_far().await, circuit.snapshot().state), ((1, 1), State::Closed));
}
