//! One deadline for all attempts and waits, the limit of each attempt, and who is told of them.

mod support;

use std::{
    future::{pending, ready},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response, StatusCode};
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, State},
    retry::{
        Attempt, AttemptTimedOut, Attempts, Backoff, Budget, Cause, Deadline, DeadlineExceeded, Jitter, RetryError,
        RetryLayer, RetryPolicy, RetryPolicyBuilder, Stopped,
    },
    time::{Clock, ManualClock, Tick},
};
use support::Strict;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn, timeout::TimeoutLayer,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Waits of 1, 2, 4, ... seconds.
fn policy() -> RetryPolicyBuilder {
    RetryPolicy::http().backoff(Backoff::exponential(SECOND, SECOND * 60).jitter(Jitter::None))
}

/// An attempt: how long it takes, and its status. The last of a script is repeated.
type Takes = (Duration, u16);
const HANGS: Takes = (Duration::MAX, 200);

/// What an attempt was told: how much time it has.
type Told = Option<Duration>;

type Answer = BoxFuture<'static, Result<Response<()>, BoxError>>;

/// An inner service that follows a script, and what it was told.
struct Script {
    takes: Arc<[Takes]>,
    told: Arc<Mutex<Vec<Told>>>,
    history: Arc<Mutex<Vec<Vec<Cause>>>>,
}

impl Script {
    fn new(takes: &[Takes]) -> Self {
        Self { takes: takes.into(), told: Arc::default(), history: Arc::default() }
    }

    fn service(&self) -> Strict<impl Fn(Request<()>) -> Answer + Clone + use<>> {
        let Self { takes, told, history } = self;
        let (takes, told, history) = (Arc::clone(takes), Arc::clone(told), Arc::clone(history));
        Strict::new(move |request: Request<()>| {
            let mut told = told.lock().unwrap();
            let (span, status) = takes[told.len().min(takes.len() - 1)];
            told.push(request.extensions().get().copied().map(Deadline::remaining));
            let attempt = request.extensions().get::<Attempt>();
            history.lock().unwrap().extend(attempt.map(|attempt| attempt.history().collect()));
            async move {
                pass(span).await;
                Ok(Response::builder().status(status).body(()).unwrap())
            }
            .boxed()
        })
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    fn calls(&self) -> usize {
        self.told.lock().unwrap().len()
    }
}

/// Lets the paused clock run for `span`.
fn pass(span: Duration) -> BoxFuture<'static, ()> {
    let never = service_fn(|()| pending::<Result<(), BoxError>>());
    match span {
        Duration::ZERO => ready(()).boxed(),
        Duration::MAX => pending().boxed(),
        span => TimeoutLayer::new(span).layer(never).oneshot(()).map(drop).boxed(),
    }
}

/// How a call ended, and how long it took.
struct Ended {
    result: Result<Response<()>, RetryError<BoxError>>,
    took: Duration,
}

impl Ended {
    /// The number of attempts, why there were no more, and after how many seconds.
    fn summary(&self) -> (u32, Option<Stopped>, f64) {
        let (attempts, stopped) = match &self.result {
            Ok(response) => {
                let attempts = response.extensions().get::<Attempts>().unwrap();
                (attempts.count(), attempts.stopped())
            }
            Err(error) => (error.attempts(), Some(error.stopped())),
        };
        (attempts, stopped, self.took.as_secs_f64())
    }
}

async fn send(script: &Script, policy: RetryPolicyBuilder, request: Request<()>) -> Ended {
    let service = RetryLayer::new(policy.build().unwrap()).layer(script.service());
    let clock = Clock::tokio();
    let result = service.oneshot(request).await;
    Ended { result, took: clock.now().since(Tick::default()) }
}

async fn get(script: &Script, policy: RetryPolicyBuilder) -> Ended {
    send(script, policy, Request::new(())).await
}

/// A request that comes with a deadline.
fn until(span: Duration) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Deadline::after(span));
    request
}

// ===== who is told =====

#[tokio::test(start_paused = true)]
async fn each_attempt_is_told_how_much_time_is_left() {
    let fails = Script::new(&[(SECOND, 503)]);
    get(&fails, policy().deadline(SECOND * 20)).await;
    assert_eq!(fails.told(), [Some(SECOND * 20), Some(SECOND * 18), Some(SECOND * 15)]);

    let fails = Script::new(&[(SECOND, 503)]);
    get(&fails, policy().attempt_timeout(SECOND * 3)).await;
    assert_eq!(fails.told(), [Some(SECOND * 3); 3]);

    let fails = Script::new(&[(SECOND, 503)]);
    get(&fails, policy().attempt_timeout(SECOND * 3).deadline(SECOND * 7)).await;
    assert_eq!(fails.told(), [Some(SECOND * 3), Some(SECOND * 3), Some(SECOND * 2)]);

    let fails = Script::new(&[(SECOND, 503)]);
    get(&fails, policy()).await;
    assert_eq!(fails.told(), [None; 3], "nobody waits for less than ever");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_function_copies_is_told_all_that_any_other_is() {
    let script = Script::new(&[(SECOND, 503), (SECOND, 429), (SECOND, 200)]);
    let policy = policy().attempt_timeout(SECOND * 5).copy_with(|request: &Request<()>| Some(request.clone())).build();
    let service = RetryLayer::new(policy.unwrap()).layer(script.service());
    let response = service.oneshot(until(SECOND * 9)).await.unwrap();
    assert_eq!(
        script.told(),
        [Some(SECOND * 5), Some(SECOND * 5), Some(SECOND * 4)],
        "its own is the earlier one last"
    );
    let all = [503, 429].map(|code| Cause::Status(StatusCode::from_u16(code).unwrap()));
    assert_eq!(*script.history.lock().unwrap(), [&all[..0], &all[..1], &all[..]]);
    assert_eq!(response.extensions().get::<Attempts>().unwrap().history().collect::<Vec<_>>(), all);
}

#[tokio::test(start_paused = true)]
async fn retries_within_retries_are_bound_by_the_attempt_that_they_are_in() {
    let script = Script::new(&[HANGS]);
    let inner = RetryLayer::new(policy().deadline(SECOND * 60).build().unwrap());
    let outer = RetryLayer::new(policy().attempt_timeout(SECOND * 5).deadline(SECOND * 9).build().unwrap());
    let service = ServiceBuilder::new().layer(outer).map_err(BoxError::from).layer(inner).service(script.service());
    let error = service.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped()), (2, Stopped::Deadline));
    assert_eq!(script.told(), [Some(SECOND * 5), Some(SECOND * 3)]);
}

#[tokio::test(start_paused = true)]
async fn inner_and_outer_services_know_what_each_attempt_ended_with() {
    let script = Script::new(&[(SECOND, 503), HANGS, (SECOND, 429), (SECOND, 200)]);
    let ended = get(&script, policy().max_attempts(9).attempt_timeout(SECOND * 2)).await;
    let status = |code| Cause::Status(StatusCode::from_u16(code).unwrap());
    let all = [status(503), Cause::Timeout, status(429)];
    assert_eq!(*script.history.lock().unwrap(), [&all[..0], &all[..1], &all[..2], &all[..]]);
    let response = ended.result.unwrap();
    assert_eq!(response.extensions().get::<Attempts>().unwrap().history().collect::<Vec<_>>(), all);

    let ended = get(&Script::new(&[(SECOND, 503), HANGS]), policy().max_attempts(2).attempt_timeout(SECOND)).await;
    assert_eq!(ended.result.unwrap_err().history().collect::<Vec<_>>(), [status(503)], "the last is told by itself");
}

// ===== a deadline that the request comes with =====

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_with_a_deadline_is_bound_by_the_earlier_one() {
    for (own, given, holds) in [(Some(9), 4, 4), (Some(4), 9, 4), (None, 4, 4)] {
        let policy = || own.map_or(policy(), |own| policy().deadline(SECOND * own));
        let script = Script::new(&[HANGS]);
        let ended = send(&script, policy(), until(SECOND * given)).await;
        assert_eq!(ended.summary(), (1, Some(Stopped::Deadline), f64::from(holds)));
        assert_eq!(script.told(), [Some(SECOND * holds)]);
        // The waits of 1 and 2 seconds take three, and one of 4 would pass it.
        let ended = send(&Script::new(&[(Duration::ZERO, 503)]), policy().max_attempts(9), until(SECOND * given)).await;
        assert_eq!(ended.summary(), (3, Some(Stopped::Deadline), 3.0));
        assert_eq!(ended.result.unwrap().status(), 503);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_after_its_deadline_is_not_sent() {
    let script = Script::new(&[(SECOND, 200)]);
    let budget = Budget::builder().share(1.0).reserve(0).clock(ManualClock::new().clock()).build().unwrap();
    let policy = policy().budget(budget.clone()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(script.service());
    let error = service.ready().await.unwrap().call(until(Duration::ZERO)).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped(), error.timed_out()), (0, Stopped::Deadline, false));
    assert!(BoxError::from(error).is::<DeadlineExceeded>());
    assert_eq!((script.calls(), budget.left()), (0, 0));
    // It holds no place of the limit, either.
    let other = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!((other.status().as_u16(), script.calls()), (200, 1));
    service.ready().await.unwrap().call(Request::new(())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn towers_own_retry_begins_no_wait_that_reaches_the_requests_deadline() {
    let script = Script::new(&[(Duration::ZERO, 503)]);
    let policy = policy().max_attempts(9).build().unwrap();
    let service = tower::retry::RetryLayer::new(policy).layer(script.service());
    let response = service.oneshot(until(SECOND * 5)).await.unwrap();
    assert_eq!(response.extensions().get::<Attempts>().unwrap().stopped(), Some(Stopped::Deadline));
    assert_eq!(script.told(), [Some(SECOND * 5), Some(SECOND * 4), Some(SECOND * 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_moment_is_what_it_says_at_both_ends_of_time() {
    let deadline = Deadline::after(SECOND * 5);
    assert_eq!(Deadline::at(deadline.instant()), deadline);
    assert_eq!(deadline.remaining(), SECOND * 5);
    tokio::time::advance(SECOND * 2).await;
    assert_eq!(deadline.remaining(), SECOND * 3);
    tokio::time::advance(SECOND * 60).await;
    assert_eq!(deadline.remaining(), Duration::ZERO);
    assert!(deadline < Deadline::after(Duration::ZERO));
    assert!(Deadline::after(Duration::MAX).remaining() > SECOND * 3600 * 24 * 365);
    let ended = send(&Script::new(&[(SECOND, 503), (SECOND, 200)]), policy(), until(Duration::MAX)).await;
    assert_eq!(ended.summary(), (2, None, 3.0));
}

// ===== the limit of an attempt =====

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_cut_and_tried_again() {
    let script = Script::new(&[HANGS, HANGS, (SECOND, 200)]);
    let ended = get(&script, policy().attempt_timeout(SECOND * 2)).await;
    // Two of two seconds, waits of 1 and 2, and the last: each has the whole of its time.
    assert_eq!(ended.summary(), (3, None, 2.0 + 1.0 + 2.0 + 2.0 + 1.0));
    assert_eq!(ended.result.unwrap().status(), 200);

    let ended =
        get(&Script::new(&[HANGS]), policy().backoff(Backoff::constant(Duration::ZERO)).attempt_timeout(SECOND)).await;
    assert_eq!(ended.summary(), (3, Some(Stopped::Exhausted), 3.0));

    let just = Script::new(&[(SECOND * 2 - MILLISECOND, 503), (SECOND * 2 - MILLISECOND, 200)]);
    let ended = get(&just, policy().attempt_timeout(SECOND * 2)).await;
    assert_eq!(ended.summary(), (2, None, 4.998));
}

#[tokio::test(start_paused = true)]
async fn the_caller_is_told_that_the_last_attempt_took_too_long_and_not_that_the_deadline_passed() {
    let ended = get(&Script::new(&[HANGS]), policy().attempt_timeout(SECOND * 2)).await;
    assert_eq!(ended.summary(), (3, Some(Stopped::Exhausted), 9.0));
    let error = ended.result.unwrap_err();
    assert!(error.timed_out() && error.inner().is_none());
    assert_eq!(error.to_string(), "attempt timed out");
    assert!(BoxError::from(error).is::<AttemptTimedOut>());

    // The deadline is why there is no other, and the attempt's own limit why there is no answer.
    let ended = get(&Script::new(&[HANGS]), policy().attempt_timeout(SECOND * 2).deadline(SECOND * 3)).await;
    assert_eq!(ended.summary(), (1, Some(Stopped::Deadline), 2.0));
    assert!(ended.result.unwrap_err().timed_out());

    let ended = get(&Script::new(&[HANGS]), policy().attempt_timeout(SECOND * 2).deadline(SECOND * 4)).await;
    assert_eq!(ended.summary(), (2, Some(Stopped::Deadline), 4.0));
    let error = ended.result.unwrap_err();
    assert_eq!((error.timed_out(), error.to_string().as_str()), (false, "deadline exceeded"));

    // Both at once: the deadline is the stronger word.
    let ended = get(&Script::new(&[HANGS]), policy().attempt_timeout(SECOND * 2).deadline(SECOND * 2)).await;
    assert!(!ended.result.unwrap_err().timed_out());
}

#[tokio::test(start_paused = true)]
async fn nobody_knows_what_a_post_has_done_that_was_cut() {
    let script = Script::new(&[HANGS]);
    let post = || Request::post("/").body(()).unwrap();
    let ended = send(&script, policy().attempt_timeout(SECOND), post()).await;
    assert_eq!(ended.summary(), (1, Some(Stopped::NotRepeatable), 1.0));
    assert!(ended.result.unwrap_err().timed_out());
    let ended = send(&script, policy().attempt_timeout(SECOND).retry_non_idempotent(), post()).await;
    assert_eq!(ended.summary(), (3, Some(Stopped::Exhausted), 6.0));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_cut_earns_and_costs_as_others_do() {
    let budget = Budget::builder().share(0.5).reserve(0).clock(ManualClock::new().clock()).build().unwrap();
    let policy = || policy().attempt_timeout(SECOND).budget(budget.clone());
    let ended = get(&Script::new(&[HANGS]), policy()).await;
    assert_eq!(ended.summary(), (1, Some(Stopped::BudgetExhausted), 1.0));
    let error = ended.result.unwrap_err();
    assert!(error.timed_out());
    let ended = get(&Script::new(&[HANGS]), policy()).await;
    assert_eq!(ended.summary(), (2, Some(Stopped::BudgetExhausted), 3.0));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_cut_early_and_an_answer_in_that_moment_is_given() {
    let ended = get(&Script::new(&[(SECOND, 200)]), policy().attempt_timeout(SECOND)).await;
    assert_eq!(ended.summary(), (1, None, 1.0));
    let limit = MILLISECOND * 3 / 2;
    let ended = get(&Script::new(&[HANGS]), policy().max_attempts(1).attempt_timeout(limit)).await;
    assert!(ended.took >= limit && ended.took <= limit + MILLISECOND, "{:?}", ended.took);
    // A limit beyond all time is none.
    let ended = get(&Script::new(&[(SECOND, 200)]), policy().attempt_timeout(Duration::MAX)).await;
    assert_eq!(ended.summary(), (1, None, 1.0));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_cut_is_let_go_before_the_wait() {
    let script = Script::new(&[HANGS, (SECOND, 200)]);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy().attempt_timeout(SECOND * 2).build().unwrap()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(script.service());
    let mut call = pin!(service.clone().oneshot(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none());
    tokio::time::advance(SECOND * 2).await;
    assert!(call.as_mut().now_or_never().is_none(), "waits for a second");
    let other = service.oneshot(Request::new(())).await;
    assert_eq!(other.expect("the place is free").status(), 200);
    assert_eq!(call.await.unwrap().status(), 200);
}

/// It is a limit on the attempt, and not on what comes before it.
#[tokio::test(start_paused = true)]
async fn waits_and_readiness_are_not_cut_by_the_limit_of_an_attempt() {
    let script = Script::new(&[(Duration::ZERO, 503), (SECOND / 4, 200)]);
    let place = Arc::new(tokio::sync::Semaphore::new(1));
    let limited = tower::limit::ConcurrencyLimit::with_semaphore(script.service(), Arc::clone(&place));
    let service = RetryLayer::new(policy().attempt_timeout(SECOND / 2).build().unwrap()).layer(limited);
    let clock = Clock::tokio();
    let mut call = pin!(service.oneshot(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none(), "waits for a second");
    let held = place.try_acquire().unwrap();
    tokio::time::advance(SECOND * 30).await;
    assert!(call.as_mut().now_or_never().is_none(), "waits for the place");
    drop(held);
    assert_eq!(call.await.unwrap().status(), 200);
    assert_eq!(clock.now().since(Tick::default()), SECOND * 30 + SECOND / 4);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_woken_late_names_the_deadline_that_has_passed() {
    let script = Script::new(&[HANGS]);
    let policy = policy().attempt_timeout(SECOND).deadline(SECOND * 5).build().unwrap();
    let mut call = pin!(RetryLayer::new(policy).layer(script.service()).oneshot(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none());
    tokio::time::advance(SECOND * 60).await;
    let error = call.await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped(), error.timed_out()), (1, Stopped::Deadline, false));
}

/// As the documentation of the setting says.
#[tokio::test(start_paused = true)]
async fn a_circuit_inside_hears_of_an_attempt_that_was_cut_where_it_was_slow() {
    for (slow, state) in [(SECOND, State::Open), (SECOND * 9, State::Closed)] {
        let circuit = Circuit::builder("test").consecutive_failures(2).slow_call(slow).clock(Clock::tokio()).build();
        let circuit = circuit.unwrap();
        let script = Script::new(&[HANGS]);
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(policy().max_attempts(2).attempt_timeout(SECOND * 2).build().unwrap()))
            .layer(CircuitBreakerLayer::http(circuit.clone()))
            .service(script.service());
        service.oneshot(Request::new(())).await.unwrap_err();
        assert_eq!(circuit.snapshot().state, state);
    }
}

/// No runtime is there that could keep a timer.
#[test]
fn without_a_limit_there_is_no_timer() {
    let script = Script::new(&[(Duration::ZERO, 200)]);
    let ended = RetryLayer::new(policy().build().unwrap()).layer(script.service()).oneshot(Request::new(()));
    assert_eq!(ended.now_or_never().unwrap().unwrap().status(), 200);
}

#[test]
fn a_limit_of_nothing_is_named() {
    let error = policy().attempt_timeout(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.to_string(), "attempt_timeout must be longer than zero, but is 0s");
}
