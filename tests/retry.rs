//! The retry layer as a tower service, and each defect of its kind that must not come back.

#[path = "support/moody.rs"]
mod moody;
mod support;

use std::{
    collections::HashSet,
    future::{pending, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use moody::Moody;
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, Rejected},
    outcome::{AsRejection, Outcome},
    retry::{
        Attempt, Attempts, Backoff, Cause, CopyRequest, DeadlineExceeded, Jitter, Protocol, RetryError, RetryLayer,
        RetryPolicy, RetryPolicyBuilder, Stopped,
    },
    time::{Clock, ManualWallClock, Tick, UnixTime},
};
use support::Strict;
use tower::{
    Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, layer::Layer, limit::ConcurrencyLimitLayer, service_fn,
    timeout::TimeoutLayer,
};

const SECOND: Duration = Duration::from_secs(1);

/// Waits of 1, 2, 4, ... seconds.
fn policy() -> RetryPolicyBuilder {
    RetryPolicy::http().backoff(Backoff::exponential(SECOND, SECOND * 60).jitter(Jitter::None))
}

/// What the inner service does with one call.
#[derive(Clone, Copy)]
enum Does {
    Answers(u16),
    Asks(&'static str),
    Fails,
    Hangs,
}
use Does::{Answers, Asks, Fails, Hangs};

/// A request's body, which counts its copies.
#[derive(Debug, Default)]
struct Body(Arc<AtomicUsize>);

impl Clone for Body {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Self(Arc::clone(&self.0))
    }
}

type Answer = BoxFuture<'static, Result<Response<()>, BoxError>>;

/// An inner service that follows a script, whose last line is repeated, and the attempts that it has seen.
struct Script {
    does: &'static [Does],
    seen: Arc<Mutex<Vec<Option<Attempt>>>>,
}

impl Script {
    fn new(does: &'static [Does]) -> Self {
        Self { does, seen: Arc::default() }
    }

    fn service<B>(&self) -> Strict<impl Fn(Request<B>) -> Answer + Clone + use<B>> {
        let Self { does, seen } = self;
        let (does, seen) = (*does, Arc::clone(seen));
        Strict::new(move |request: Request<B>| {
            let mut seen = seen.lock().unwrap();
            let does = does[seen.len().min(does.len() - 1)];
            seen.push(request.extensions().get().copied());
            let response = match does {
                Answers(status) => Response::builder().status(status),
                Asks(wait) => Response::builder().status(503).header(RETRY_AFTER, wait),
                Fails => return ready(Err("failed".into())).boxed(),
                Hangs => return pending().boxed(),
            };
            ready(Ok(response.body(()).unwrap())).boxed()
        })
    }

    fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// How a call ended, and how long it took.
#[derive(Debug)]
struct Ended {
    result: Result<Response<()>, RetryError<BoxError>>,
    copies: usize,
    took: Duration,
}

impl Ended {
    fn stopped(&self) -> Option<Stopped> {
        match &self.result {
            Ok(response) => response.extensions().get::<Attempts>().unwrap().stopped(),
            Err(error) => Some(error.stopped()),
        }
    }

    fn attempts(&self) -> u32 {
        match &self.result {
            Ok(response) => response.extensions().get::<Attempts>().unwrap().count(),
            Err(error) => error.attempts(),
        }
    }
}

async fn call(script: &Script, policy: RetryPolicyBuilder, request: http::request::Builder) -> Ended {
    let mut service = RetryLayer::new(policy.build().unwrap()).layer(script.service());
    let body = Body::default();
    let copies = Arc::clone(&body.0);
    let clock = Clock::tokio();
    let result = service.ready().await.unwrap().call(request.body(body).unwrap()).await;
    Ended { result, copies: copies.load(SeqCst), took: clock.now().since(Tick::default()) }
}

async fn get(script: &Script, policy: RetryPolicyBuilder) -> Ended {
    call(script, policy, Request::get("/")).await
}

fn wall(seconds: u64) -> ManualWallClock {
    ManualWallClock::new(UnixTime::from_secs(seconds))
}

// ===== what is tried again =====

#[tokio::test(start_paused = true)]
async fn attempts_are_numbered_and_know_what_the_one_before_ended_with() {
    let script = Script::new(&[Answers(503), Fails, Answers(200)]);
    let ended = get(&script, policy()).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (3, None, SECOND * 3));
    assert_eq!(ended.result.unwrap().status(), 200);
    let seen = script.seen.lock().unwrap().iter().map(|attempt| attempt.unwrap()).collect::<Vec<_>>();
    assert_eq!(seen.iter().map(Attempt::number).collect::<Vec<_>>(), [0, 1, 2]);
    let causes = [None, Some(Cause::Status(StatusCode::SERVICE_UNAVAILABLE)), Some(Cause::Error)];
    assert_eq!(seen.iter().map(Attempt::previous).collect::<Vec<_>>(), causes);
}

#[tokio::test(start_paused = true)]
async fn the_last_result_goes_back_as_it_is() {
    let ended = get(&Script::new(&[Answers(503), Answers(502), Answers(504)]), policy()).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (3, Some(Stopped::Exhausted), SECOND * 3));
    assert_eq!(ended.result.unwrap().status(), 504);

    let ended = get(&Script::new(&[Fails]), policy()).await;
    assert_eq!((ended.attempts(), ended.stopped()), (3, Some(Stopped::Exhausted)));
    assert_eq!(ended.result.unwrap_err().into_inner().unwrap().to_string(), "failed");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_help_is_not_tried_again() {
    let cases: [(&'static [Does], _); 4] = [
        (&[Answers(200)], None),
        (&[Answers(404)], None),
        (&[Answers(401)], Some(Stopped::NotRetryable)),
        (&[Answers(501)], Some(Stopped::NotRetryable)),
    ];
    for (does, stopped) in cases {
        let ended = get(&Script::new(does), policy()).await;
        assert_eq!((ended.attempts(), ended.stopped(), ended.took), (1, stopped, Duration::ZERO));
    }
    let ended = get(&Script::new(&[Answers(503), Answers(404)]), policy()).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (2, None, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_closure_may_say_what_is_worth_a_retry() {
    let policy = policy().max_attempts(2).classify(|result: Result<&Response<()>, &BoxError>| match result {
        Ok(response) if response.status() == 418 => Outcome::Failure,
        _ => Outcome::Success,
    });
    let script = Script::new(&[Answers(418), Answers(503)]);
    let mut service = RetryLayer::new(policy.build().unwrap()).layer(script.service());
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!((response.status().as_u16(), script.calls()), (503, 2));
}

#[tokio::test(start_paused = true)]
async fn any_service_can_be_retried_by_its_results() {
    let policy = RetryPolicy::results().backoff(Backoff::constant(SECOND)).max_attempts(3).build().unwrap();
    let made = AtomicUsize::new(0);
    let inner = Strict::new(|request: String| {
        ready(if made.fetch_add(1, SeqCst) == 2 { Ok(request) } else { Err(io::Error::other("not yet")) })
    });
    let mut service = RetryLayer::new(policy).layer(inner);
    let result = service.ready().await.unwrap().call("hello".into()).await;
    assert_eq!((result.unwrap(), made.load(SeqCst)), ("hello".to_owned(), 3));
}

/// Text with a number, which is where the attempt goes.
#[derive(Clone, Copy)]
struct Numbered;

impl Protocol<(&'static str, u32), u32> for Numbered {
    fn is_idempotent(&self, request: &(&'static str, u32)) -> bool {
        request.0 == "again"
    }

    fn cause(&self, _: &u32) -> Cause {
        Cause::Response
    }

    fn mark_request(&self, request: &mut (&'static str, u32), attempt: Attempt) {
        request.1 = attempt.number();
    }

    fn mark_response(&self, response: &mut u32, attempts: Attempts) {
        *response += 100 * attempts.count();
    }
}

impl CopyRequest<(&'static str, u32)> for Numbered {
    fn copy(&self, request: &(&'static str, u32)) -> Option<(&'static str, u32)> {
        Some(*request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_protocol_of_ones_own_says_what_is_repeated_and_where_marks_go() {
    let low = |result: Result<&u32, &BoxError>| match result {
        Ok(number) if *number < 2 => Outcome::Failure,
        _ => Outcome::Success,
    };
    let policy = RetryPolicy::results().max_attempts(5).classify(low).protocol(Numbered).build().unwrap();
    let mut service = RetryLayer::new(policy).layer(Strict::new(|(_, number)| ready(Ok::<u32, BoxError>(number))));
    assert_eq!(service.ready().await.unwrap().call(("again", 9)).await.unwrap(), 302);
    assert_eq!(service.ready().await.unwrap().call(("once", 9)).await.unwrap(), 100);
}

// ===== requests that must not, or cannot, be repeated =====

#[tokio::test(start_paused = true)]
async fn a_post_is_sent_once_unless_it_is_idempotent_or_the_user_says_so() {
    let once = call(&Script::new(&[Answers(503)]), policy(), Request::post("/")).await;
    assert_eq!((once.attempts(), once.stopped(), once.copies), (1, Some(Stopped::NotRepeatable), 0));

    let keyed = Request::post("/").header("Idempotency-Key", "8e03978e");
    assert_eq!(call(&Script::new(&[Answers(503)]), policy(), keyed).await.attempts(), 3);

    let opted = call(&Script::new(&[Answers(503)]), policy().retry_non_idempotent(), Request::post("/")).await;
    assert_eq!(opted.attempts(), 3);

    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let ended = call(&Script::new(&[Answers(503)]), policy(), Request::builder().method(method)).await;
        assert_eq!(ended.attempts(), 3, "{method}");
    }
    for method in ["PATCH", "CONNECT", "QUERY", "get"] {
        let ended = call(&Script::new(&[Answers(503)]), policy(), Request::builder().method(method)).await;
        assert_eq!(ended.attempts(), 1, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn n_attempts_make_n_less_one_copies() {
    for attempts in [1, 2, 5] {
        let ended = get(&Script::new(&[Answers(503)]), policy().max_attempts(attempts)).await;
        assert_eq!((ended.attempts(), ended.copies), (attempts, attempts as usize - 1));
        assert_eq!(ended.stopped(), Some(Stopped::Exhausted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_copied_is_sent_once_and_answered() {
    struct Stream;
    let script = Script::new(&[Answers(503), Answers(200)]);
    let never = policy().copy_with(|_: &Request<Stream>| None).build().unwrap();
    let mut service = RetryLayer::new(never).layer(script.service());
    let response = service.ready().await.unwrap().call(Request::put("/").body(Stream).unwrap()).await.unwrap();
    let attempts = *response.extensions().get::<Attempts>().unwrap();
    assert_eq!((attempts.count(), attempts.stopped()), (1, Some(Stopped::NotRepeatable)));
    assert_eq!(response.status(), 503);

    let script = Script::new(&[Answers(503), Answers(200)]);
    let by_hand =
        policy().copy_with(|request: &Request<Stream>| Request::put(request.uri()).body(Stream).ok()).build().unwrap();
    let mut service = RetryLayer::new(by_hand).layer(script.service());
    let response = service.ready().await.unwrap().call(Request::put("/").body(Stream).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), script.calls()), (200, 2));
    assert_eq!(script.seen.lock().unwrap()[1].unwrap().number(), 1);
}

// ===== waits =====

#[tokio::test(start_paused = true)]
async fn the_servers_wait_takes_the_place_of_ours_and_the_growth_goes_on() {
    let ended = get(&Script::new(&[Asks("7"), Answers(503), Answers(200)]), policy().hint_jitter(0.0)).await;
    assert_eq!((ended.attempts(), ended.took), (3, SECOND * 9));
    // The server's is shorter than ours, and taken all the same.
    let ended = get(&Script::new(&[Answers(503), Asks("0.25"), Answers(200)]), policy().hint_jitter(0.0)).await;
    assert_eq!(ended.took, SECOND + SECOND / 4);
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_never_shortened_and_lengthened_by_a_tenth_at_most() {
    let mut took = HashSet::new();
    for _ in 0..200 {
        let ended = get(&Script::new(&[Asks("7"), Answers(200)]), policy()).await;
        assert!((SECOND * 7..=SECOND * 77 / 10 + Duration::from_millis(1)).contains(&ended.took), "{:?}", ended.took);
        took.insert(ended.took);
    }
    assert!(took.len() > 100, "{}", took.len());
}

#[tokio::test(start_paused = true)]
async fn a_date_is_a_wait_and_garbage_is_not_an_immediate_retry() {
    let clock = wall(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
    let policy = || policy().wall_clock(clock.clock()).hint_jitter(0.0);
    let date = Script::new(&[Asks("Sun, 06 Nov 1994 08:49:44 GMT"), Answers(200)]);
    assert_eq!(get(&date, policy()).await.took, SECOND * 7);
    for no_hint in ["soon", "-1", "0", "Sun, 06 Nov 1994 08:49:37 GMT", "Sat, 05 Nov 1994 08:49:37 GMT"] {
        let does = Vec::leak(vec![Asks(no_hint), Answers(200)]);
        assert_eq!(get(&Script::new(does), policy()).await.took, SECOND, "{no_hint}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_is_not_reached_early_from_between_two_seconds() {
    for (nanos, took) in [(1, SECOND * 7), (999_999_999, SECOND * 6 + Duration::from_millis(1))] {
        let clock = ManualWallClock::new(UnixTime::new(Duration::new(784_111_777, nanos)));
        let script = Script::new(&[Asks("Sun, 06 Nov 1994 08:49:44 GMT"), Answers(200)]);
        assert_eq!(get(&script, policy().wall_clock(clock.clock()).hint_jitter(0.0)).await.took, took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_does_not_outlive_the_attempts() {
    let ended = get(&Script::new(&[Asks("1")]), policy().hint_jitter(0.0)).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (3, Some(Stopped::Exhausted), SECOND * 2));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_is_not_begun_and_the_response_goes_back() {
    let ended = get(&Script::new(&[Asks("31")]), policy()).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (1, Some(Stopped::HintTooLong), Duration::ZERO));
    assert_eq!(ended.result.unwrap().headers()[RETRY_AFTER], "31");

    let patient = policy().retry_after_max(Duration::MAX).hint_jitter(f64::MAX);
    let endless = Script::new(&[Asks("99999999999999999999")]);
    assert!(get(&endless, patient).now_or_never().is_none());
    assert_eq!(endless.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn waits_of_different_requests_differ() {
    let policy = || {
        RetryPolicy::http().max_attempts(2).backoff(Backoff::exponential(SECOND * 1000, SECOND * 1000)).build().unwrap()
    };
    // One policy, shared by all, as a layer's clones do.
    let script = Script::new(&[Answers(503)]);
    let service = RetryLayer::new(policy()).layer(script.service());
    let mut waits = HashSet::new();
    for _ in 0..1000 {
        let clock = Clock::tokio();
        service.clone().oneshot(Request::new(())).await.unwrap();
        waits.insert(clock.now().since(Tick::default()).as_millis());
    }
    assert!(waits.len() > 900, "{}", waits.len());
}

#[tokio::test(start_paused = true)]
async fn jitter_is_not_cut_to_whole_seconds() {
    let mut waits = Vec::new();
    for _ in 0..500 {
        let policy = RetryPolicy::http().max_attempts(2).backoff(Backoff::exponential(SECOND, SECOND));
        waits.push(get(&Script::new(&[Answers(503)]), policy).await.took);
    }
    let mean = waits.iter().sum::<Duration>() / 500;
    assert!((SECOND * 4 / 10..SECOND * 6 / 10).contains(&mean), "{mean:?}");
    assert!(waits.iter().all(|wait| *wait <= SECOND));
}

/// No runtime is there that could keep a timer.
#[test]
fn a_wait_of_nothing_needs_no_timer() {
    for backoff in [Backoff::constant(Duration::ZERO), Backoff::exponential(Duration::ZERO, SECOND)] {
        let ended = get(&Script::new(&[Answers(503)]), RetryPolicy::http().backoff(backoff)).now_or_never().unwrap();
        assert_eq!(ended.attempts(), 3);
    }
}

/// Says when it is dropped.
struct Noted(Arc<Mutex<Vec<Duration>>>, Clock);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1.now().since(Tick::default()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_response_is_let_go_before_the_wait() {
    let (drops, clock) = (Arc::<Mutex<Vec<_>>>::default(), Clock::tokio());
    let (noted, now) = (Arc::clone(&drops), clock.clone());
    let inner = Strict::new(move |_: Request<()>| {
        let body = Noted(Arc::clone(&noted), now.clone());
        ready(Ok::<_, BoxError>(Response::builder().status(503).body(body).unwrap()))
    });
    let mut service = RetryLayer::new(policy().build().unwrap()).layer(inner);
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(*drops.lock().unwrap(), [Duration::ZERO, SECOND]);
    assert_eq!(clock.now().since(Tick::default()), SECOND * 3);
    drop(response);
    assert_eq!(drops.lock().unwrap().len(), 3);
}

/// A timer panics where no runtime keeps it; the response is gone by then.
#[test]
fn a_failed_response_is_let_go_before_the_timer_is_made() {
    struct Noted(Arc<Mutex<Vec<bool>>>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(std::thread::panicking());
        }
    }
    let drops = Arc::<Mutex<Vec<_>>>::default();
    let noted = Arc::clone(&drops);
    let inner = Strict::new(move |_: Request<()>| {
        ready(Ok::<_, BoxError>(Response::builder().status(503).body(Noted(Arc::clone(&noted))).unwrap()))
    });
    let service = RetryLayer::new(policy().build().unwrap()).layer(inner);
    let call = AssertUnwindSafe(|| service.oneshot(Request::new(())).now_or_never().is_some());
    assert!(catch_unwind(call).is_err());
    assert_eq!(*drops.lock().unwrap(), [false]);
}

#[tokio::test(start_paused = true)]
async fn decorrelated_waits_grow_from_each_other() {
    let backoff = Backoff::exponential(SECOND, SECOND * 20).jitter(Jitter::Decorrelated);
    let ended = get(&Script::new(&[Answers(503)]), policy().max_attempts(4).backoff(backoff).random(|| 1.0)).await;
    assert_eq!(ended.took, SECOND * (3 + 9 + 20));
}

// ===== the deadline =====

#[tokio::test(start_paused = true)]
async fn a_running_attempt_is_cut_at_the_deadline() {
    let ended = get(&Script::new(&[Answers(503), Hangs]), policy().deadline(SECOND * 5)).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (2, Some(Stopped::Deadline), SECOND * 5));
    let error = ended.result.unwrap_err();
    assert!(error.inner().is_none());
    assert_eq!(error.to_string(), "deadline exceeded");
    assert!(BoxError::from(error).is::<DeadlineExceeded>());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_reach_the_deadline_is_not_begun() {
    let ended = get(&Script::new(&[Answers(503)]), policy().max_attempts(9).deadline(SECOND * 3)).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (2, Some(Stopped::Deadline), SECOND));
    assert_eq!(ended.result.unwrap().status(), 503);

    let ended = get(&Script::new(&[Asks("5"), Answers(200)]), policy().deadline(SECOND * 5)).await;
    assert_eq!((ended.attempts(), ended.stopped(), ended.took), (1, Some(Stopped::Deadline), Duration::ZERO));
    assert_eq!(ended.result.unwrap().headers()[RETRY_AFTER], "5");
}

#[tokio::test(start_paused = true)]
async fn the_jitter_of_a_hint_leaves_time_for_the_attempt() {
    for _ in 0..50 {
        let ended = get(&Script::new(&[Asks("5"), Answers(200)]), policy().deadline(SECOND * 51 / 10)).await;
        assert_eq!(ended.stopped(), None);
        assert!(ended.took >= SECOND * 5 && ended.took <= SECOND * 51 / 10, "{:?}", ended.took);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_moment_of_the_deadline_is_given() {
    let inner = Strict::new(|_: Request<()>| async {
        TimeoutLayer::new(SECOND)
            .layer(service_fn(|()| pending::<Result<(), BoxError>>()))
            .oneshot(())
            .await
            .unwrap_err();
        Ok::<_, BoxError>(Response::new("just in time"))
    });
    let mut service = RetryLayer::new(policy().deadline(SECOND).build().unwrap()).layer(inner);
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(*response.body(), "just in time");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_steps_moves_no_deadline() {
    let clock = wall(1_000_000);
    let policy = policy().max_attempts(9).wall_clock(clock.clock()).deadline(SECOND * 5);
    let script = Script::new(&[Answers(503)]);
    let mut service = RetryLayer::new(policy.build().unwrap()).layer(script.service());
    let start = Clock::tokio();
    let mut running = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(running.as_mut().now_or_never().is_none());
    clock.set(UnixTime::from_secs(0));
    assert_eq!(running.await.unwrap().extensions().get::<Attempts>().unwrap().stopped(), Some(Stopped::Deadline));
    assert_eq!(start.now().since(Tick::default()), SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_beyond_all_time_is_none() {
    let ended = get(&Script::new(&[Answers(503), Answers(200)]), policy().deadline(Duration::MAX)).await;
    assert_eq!((ended.attempts(), ended.took), (2, SECOND));
}

// ===== tower's contract =====

#[tokio::test(start_paused = true)]
async fn every_attempt_is_made_by_an_instance_that_was_polled_ready() {
    let script = Script::new(&[Answers(503), Answers(503), Answers(200), Answers(503), Answers(200)]);
    let inner = script.service();
    let polls = inner.polls();
    let mut service = RetryLayer::new(policy().build().unwrap()).layer(inner);
    service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    // The same instance once more, and a clone of it.
    service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!((script.calls(), polls.load(SeqCst)), (6, 6));
}

#[tokio::test(start_paused = true)]
async fn a_wait_holds_no_place_of_a_limit_further_in() {
    let script = Script::new(&[Answers(503), Answers(200), Answers(200)]);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy().build().unwrap()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(script.service());
    let mut waiting = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(waiting.as_mut().now_or_never().is_none());
    let other = service.clone().oneshot(Request::new(())).now_or_never();
    assert_eq!(other.expect("the place is free").unwrap().status(), 200);
    assert_eq!(waiting.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn it_stands_over_a_limit_and_a_buffer() {
    let script = Script::new(&[Answers(503)]);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy().build().unwrap()))
        .map_err(BoxError::from)
        .layer(BufferLayer::new(1))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(script.service());
    for calls in [3, 6, 9] {
        let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!((response.status().as_u16(), script.calls()), (503, calls));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_from_readiness_ends_the_call() {
    let inner = Moody { polls: Arc::default(), then: || Poll::Ready(Err("worn out".into())) };
    let mut service = RetryLayer::new(policy().build().unwrap()).layer(inner);
    let error = service.ready().await.unwrap().call(Request::new(())).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped()), (1, Stopped::NotReady));
    assert_eq!(error.inner().unwrap().to_string(), "worn out");
    let error = service.ready().await.err().unwrap();
    assert_eq!((error.attempts(), error.stopped()), (0, Stopped::NotReady));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_the_wait_for_readiness() {
    let inner = Moody { polls: Arc::default(), then: || Poll::Pending };
    let clock = Clock::tokio();
    let mut service = RetryLayer::new(policy().deadline(SECOND * 4).build().unwrap()).layer(inner);
    let error = service.ready().await.unwrap().call(Request::new(())).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped()), (1, Stopped::Deadline));
    assert_eq!(clock.now().since(Tick::default()), SECOND * 4);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_begun_after_the_deadline_by_a_task_that_was_woken_late() {
    let script = Script::new(&[Answers(503)]);
    let mut service = RetryLayer::new(policy().deadline(SECOND * 5).build().unwrap()).layer(script.service());
    let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none(), "waits a second");
    tokio::time::advance(SECOND * 60).await;
    let error = call.await.unwrap_err();
    assert_eq!((error.inner().is_none(), error.stopped(), script.calls()), (true, Stopped::Deadline, 1));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_begun_where_readiness_comes_after_the_deadline() {
    let script = Script::new(&[Answers(503)]);
    let limit = Arc::new(tokio::sync::Semaphore::new(1));
    let limited = tower::limit::ConcurrencyLimit::with_semaphore(script.service(), Arc::clone(&limit));
    let mut service = RetryLayer::new(policy().deadline(SECOND * 5).build().unwrap()).layer(limited);
    let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none(), "waits a second");
    let place = limit.try_acquire().unwrap();
    tokio::time::advance(SECOND * 2).await;
    assert!(call.as_mut().now_or_never().is_none(), "waits for the place");
    tokio::time::advance(SECOND * 10).await;
    drop(place);
    let error = call.await.unwrap_err();
    assert_eq!((error.stopped(), script.calls()), (Stopped::Deadline, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_timer_rounds_up_to_the_deadline_is_not_begun() {
    let script = Script::new(&[Answers(503)]);
    let backoff = Backoff::constant(SECOND * 5 - Duration::from_micros(500));
    let ended = get(&script, policy().deadline(SECOND * 5).backoff(backoff)).await;
    assert_eq!(ended.result.as_ref().unwrap().status(), 503, "the last answer, and not an attempt to be cut");
    assert_eq!((ended.stopped(), script.calls(), ended.took), (Some(Stopped::Deadline), 1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn attempts_without_a_wait_let_other_tasks_run() {
    let script = Script::new(&[Answers(503)]);
    let policy = policy().max_attempts(1_000).backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let mut service = RetryLayer::new(policy).layer(script.service());
    let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none());
    assert!(script.calls() < 100);
    call.await.unwrap();
    assert_eq!(script.calls(), 1_000);
}

/// The bounds are none but the inner service's own, and `Clone`.
#[test]
fn it_asks_no_more_of_the_inner_service_than_clone() {
    let local = Rc::new("borrowed".to_owned());
    let text: &str = &local;
    let policy = RetryPolicy::results().build().unwrap();
    let inner = Strict::new(|request: Rc<String>| ready(Ok::<_, BoxError>((Rc::clone(&request), text))));
    let mut service = RetryLayer::new(policy).layer(inner);
    service.ready().now_or_never().unwrap().unwrap();
    let (response, _) = service.call(Rc::clone(&local)).now_or_never().unwrap().unwrap();
    assert!(Rc::ptr_eq(&response, &local));
}

#[test]
fn it_goes_where_the_inner_service_goes() {
    fn anywhere<T: Send + Sync>(_: &T) {}
    let mut service = RetryLayer::new(policy().build().unwrap()).layer(Script::new(&[Hangs]).service::<()>());
    anywhere(&service);
    service.ready().now_or_never().unwrap().unwrap();
    fn to_another_thread<T: Send>(_: &T) {}
    to_another_thread(&service.call(Request::new(())));
}

// ===== futures that do not finish =====

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_nothing_behind() {
    for deadline in [Duration::MAX, SECOND * 30] {
        for moment in ["before its first poll", "in an attempt", "in a wait"] {
            let script = Script::new(if moment == "in a wait" { &[Answers(503)] } else { &[Hangs] });
            let inner = script.service();
            let mut service = RetryLayer::new(policy().deadline(deadline).build().unwrap()).layer(inner);
            let body = Body::default();
            let held = Arc::clone(&body.0);
            {
                let call = service.ready().await.unwrap().call(Request::new(body));
                if moment != "before its first poll" {
                    assert!(pin!(call).now_or_never().is_none());
                }
            }
            assert_eq!(Arc::strong_count(&held), 1, "{moment}");
            let hours = TimeoutLayer::new(SECOND * 10_000).layer(service_fn(|()| pending::<Result<(), BoxError>>()));
            hours.oneshot(()).await.unwrap_err();
            assert_eq!(script.calls(), 1, "{moment}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_does_not_disturb_another() {
    let policy = policy().max_attempts(2).build().unwrap();
    let left = Arc::new(Mutex::new(vec![200, 503, 503, 503]));
    let inner = Strict::new(move |_: Request<()>| {
        let status = left.lock().unwrap().pop().unwrap();
        ready(Ok::<_, BoxError>(Response::builder().status(status).body(()).unwrap()))
    });
    let mut service = RetryLayer::new(policy).layer(inner);
    let mut first = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(second.as_mut().now_or_never().is_none());
    let attempts = |response: Response<()>| *response.extensions().get::<Attempts>().unwrap();
    let first = attempts(first.await.unwrap());
    let second = attempts(second.await.unwrap());
    assert_eq!((first.count(), first.stopped()), (2, Some(Stopped::Exhausted)));
    assert_eq!((second.count(), second.stopped()), (2, None));
}

// ===== errors =====

#[tokio::test(start_paused = true)]
async fn a_circuits_rejection_is_not_retried_typed_or_boxed() {
    let circuit = || Circuit::builder("test").consecutive_failures(2).open_for(SECOND * 60).build().unwrap();
    // Two failures open the circuit, and the third attempt is rejected at once.
    let script = Script::new(&[Answers(503)]);
    let mut typed = ServiceBuilder::new()
        .layer(RetryLayer::new(policy().max_attempts(9).build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit()))
        .service(script.service());
    let error = typed.ready().await.unwrap().call(Request::new(())).await.unwrap_err();
    assert!(error.is_rejection());
    assert_eq!((error.attempts(), error.stopped(), script.calls()), (3, Stopped::NotRetryable, 2));
    // What was answered before it is let go, and told.
    assert!(error.history().map(|cause| cause.to_string()).eq(["503", "503"]));
    assert!(BoxError::from(error).is::<Rejected>());

    let script = Script::new(&[Answers(503)]);
    let mut boxed = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(RetryLayer::new(policy().max_attempts(9).build().unwrap()))
        .layer(TimeoutLayer::new(SECOND))
        .layer(CircuitBreakerLayer::http(circuit()))
        .service(script.service());
    let error = boxed.ready().await.unwrap().call(Request::new(())).await.unwrap_err();
    assert!(error.is::<Rejected>() && error.is_rejection());
    assert_eq!(script.calls(), 2);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let named = |policy: RetryPolicyBuilder| policy.build().unwrap_err().to_string();
    let backoff = Backoff::exponential(SECOND, SECOND).factor(0.5);
    assert_eq!(named(policy().max_attempts(0)), "max_attempts must be at least 1, but is 0");
    assert_eq!(named(policy().backoff(backoff)), "factor must be a finite number of at least 1, but is 0.5");
    assert_eq!(named(policy().deadline(Duration::ZERO)), "deadline must be longer than zero, but is 0s");
    for share in [-0.1, f64::NAN, f64::INFINITY] {
        let expected = format!("hint_jitter must be a finite number of at least 0, but is {share}");
        assert_eq!(named(policy().hint_jitter(share)), expected);
    }
    let misused = policy().backoff(Backoff::constant(SECOND).jitter(Jitter::Full));
    assert_eq!(named(misused), "jitter must be set on an exponential backoff, but is on another");
    assert!(policy().backoff(Backoff::exponential(SECOND * 9, SECOND)).build().is_ok());
    assert!(policy().retry_after_max(Duration::ZERO).hint_jitter(0.0).build().is_ok());
}

// ===== tower's own retry service =====

#[tokio::test(start_paused = true)]
async fn the_policy_serves_towers_own_retry_too() {
    let script = Script::new(&[Answers(503), Asks("5"), Answers(200)]);
    let policy = policy().hint_jitter(0.0).build().unwrap();
    let mut service = tower::retry::RetryLayer::new(policy).layer(script.service());
    let clock = Clock::tokio();
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!((response.status().as_u16(), script.calls()), (200, 3));
    assert_eq!(clock.now().since(Tick::default()), SECOND * 6);
    let seen = script.seen.lock().unwrap();
    let seen: Vec<_> = seen.iter().map(|seen| seen.map(|seen| (seen.number(), seen.previous()))).collect();
    let status = |status| Some(Cause::Status(StatusCode::from_u16(status).unwrap()));
    assert_eq!(seen, [None, Some((1, status(503))), Some((2, status(503)))]);
}

#[tokio::test(start_paused = true)]
async fn what_one_request_counted_in_towers_own_retry_is_not_in_the_way_of_the_next() {
    let script = Script::new(&[Answers(503)]);
    let policy = policy().max_attempts(4).build().unwrap();
    let mut service = tower::retry::RetryLayer::new(policy).layer(script.service());
    for calls in [4, 8, 12] {
        let clock = Clock::tokio();
        service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!((script.calls(), clock.now().since(Tick::default())), (calls, SECOND * 7));
    }
}

#[tokio::test(start_paused = true)]
async fn towers_own_retry_makes_no_copy_for_the_last_attempt_either() {
    for attempts in [1, 2, 5] {
        let script = Script::new(&[Answers(503)]);
        let policy = policy().max_attempts(attempts).build().unwrap();
        let mut service = tower::retry::RetryLayer::new(policy).layer(script.service());
        let body = Body::default();
        let copies = Arc::clone(&body.0);
        service.ready().await.unwrap().call(Request::new(body)).await.unwrap();
        assert_eq!((script.calls(), copies.load(SeqCst)), (attempts as usize, attempts as usize - 1));
    }
}

#[tokio::test(start_paused = true)]
async fn towers_own_retry_begins_no_wait_that_reaches_the_deadline() {
    let script = Script::new(&[Answers(503)]);
    let policy = policy().max_attempts(9).deadline(SECOND * 5).build().unwrap();
    let mut service = tower::retry::RetryLayer::new(policy).layer(script.service());
    for calls in [3, 6] {
        let clock = Clock::tokio();
        let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!((script.calls(), clock.now().since(Tick::default())), (calls, SECOND * 3));
        assert_eq!(response.extensions().get::<Attempts>().unwrap().stopped(), Some(Stopped::Deadline));
    }
}
