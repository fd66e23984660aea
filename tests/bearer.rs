//! The bearer layer as a tower service, with a scripted source of tokens, on tokio's paused clock.

mod support;

use std::{
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use portcullis::{
    BoxError,
    bearer::{Bearer, BearerBuilder, BearerError, BearerLayer, Repeated, ReplayBody, ReplayLayer, Token},
    breaker::{BreakerError, Circuit, CircuitBreakerLayer, Rejected},
    outcome::{AsRejection, Classify, Http, Outcome},
    retry::{Attempt, Attempts, Backoff, RetryLayer, RetryPolicy},
    time::Clock,
};
use support::Strict;
use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer, util::BoxCloneSyncService};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "the clock is paused")]
async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}

/// What the source does when it is asked once.
#[derive(Clone, Copy)]
enum Does {
    /// Gives a token that is good for so many seconds.
    Gives(u64),
    /// The same, after so many seconds.
    Takes(u64, u64),
    GivesWithoutEnd,
    Fails,
    FailsAfter(u64),
    Hangs,
    Panics,
}
use Does::{Fails, FailsAfter, Gives, GivesWithoutEnd, Hangs, Panics, Takes};

type Fetching = BoxFuture<'static, Result<Token, BoxError>>;
type Answering = BoxFuture<'static, Result<Response<()>, BoxError>>;
type Hook = Box<dyn FnMut() + Send>;

/// A source that follows a script, whose last line is repeated. Tokens are numbered by the fetch: `token-1`, `token-2`.
struct Tokens {
    does: &'static [Does],
    fetched: Arc<AtomicUsize>,
}

impl Tokens {
    fn new(does: &'static [Does]) -> Self {
        Self { does, fetched: Arc::default() }
    }

    fn source(&self) -> Strict<impl Fn(()) -> Fetching + Clone + use<>> {
        let Self { does, fetched } = self;
        let (does, fetched) = (*does, Arc::clone(fetched));
        Strict::new(move |()| {
            let before = fetched.fetch_add(1, SeqCst);
            async move {
                let token = Token::new(format!("token-{}", before + 1)).unwrap();
                match does[before.min(does.len() - 1)] {
                    Gives(lifetime) => Ok(token.expires_in(SECOND * u32::try_from(lifetime).unwrap())),
                    Takes(seconds, lifetime) => {
                        sleep(Duration::from_secs(seconds)).await;
                        Ok(token.expires_in(Duration::from_secs(lifetime)))
                    }
                    GivesWithoutEnd => Ok(token),
                    Fails => Err(format!("failure {}", before + 1).into()),
                    FailsAfter(seconds) => {
                        sleep(Duration::from_secs(seconds)).await;
                        Err(format!("failure {}", before + 1).into())
                    }
                    Hangs => pending().await,
                    Panics => panic!("scripted"),
                }
            }
            .boxed()
        })
    }

    /// The layer without jitter: a token is replaced when a fifth of its lifetime is left.
    fn layer(&self) -> BearerBuilder<Strict<impl Fn(()) -> Fetching + Clone + use<>>> {
        BearerLayer::builder(self.source()).clock(Clock::tokio()).random(|| 0.0)
    }

    fn fetched(&self) -> usize {
        self.fetched.load(SeqCst)
    }
}

/// The service that the tokens are for: its answer depends on the token.
#[derive(Clone)]
struct Api {
    answer: fn(&str) -> u16,
    takes: Duration,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Api {
    fn new(answer: fn(&str) -> u16) -> Self {
        Self { answer, takes: Duration::ZERO, seen: Arc::default() }
    }

    fn well() -> Self {
        Self::new(|_| 200)
    }

    fn takes(mut self, span: Duration) -> Self {
        self.takes = span;
        self
    }

    fn service<B: Send + 'static>(&self) -> Strict<impl Fn(Request<B>) -> Answering + Clone + use<B>> {
        let Self { answer, takes, seen } = self.clone();
        Strict::new(move |request: Request<B>| {
            let [token] = request.headers().get_all(AUTHORIZATION).iter().collect::<Vec<_>>()[..] else {
                panic!("not one token")
            };
            assert!(token.is_sensitive());
            let token = token.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
            seen.lock().unwrap().push(token.clone());
            async move {
                if !takes.is_zero() {
                    sleep(takes).await;
                }
                Ok(Response::builder().status(answer(&token)).body(()).unwrap())
            }
            .boxed()
        })
    }

    /// The tokens of the calls so far.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn get() -> Request<String> {
    Request::new(String::from("body"))
}

/// The status of one call, or why there was none.
async fn call<S, E>(service: &mut S) -> Result<u16, String>
where
    S: Service<Request<String>, Response = Response<()>, Error = E>,
    E: Into<BoxError>,
{
    let text = |error: E| error.into().to_string();
    let response = service.ready().await.map_err(text)?.call(get()).await.map_err(text)?;
    Ok(response.status().as_u16())
}

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    future.now_or_never()
}

// ===== one fetch for all =====

#[tokio::test(start_paused = true)]
async fn a_hundred_waiters_share_one_fetch() {
    let (tokens, api) = (Tokens::new(&[Takes(1, 100)]), Api::well());
    let service = tokens.layer().build().unwrap().layer(api.service());
    let calls = (0..100).map(|_| {
        let mut service = service.clone();
        async move { call(&mut service).await }
    });
    assert_eq!(join_all(calls).await, vec![Ok(200); 100]);
    assert_eq!((tokens.fetched(), api.seen()), (1, vec!["token-1".to_owned(); 100]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_no_waiter_is_forgotten() {
    for round in 0..200 {
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        let source = service_fn(move |()| {
            count.fetch_add(1, SeqCst);
            async move {
                for _ in 0..round % 10 {
                    tokio::task::yield_now().await;
                }
                Token::new("token")
            }
        });
        let service = BearerLayer::new(source).layer(Api::well().service());
        let calls = (0..50).map(|number| {
            let mut service = service.clone();
            tokio::spawn(async move {
                if number % 3 == 0 {
                    // Looks once, and goes.
                    let _ = poll_once(service.ready());
                    return Ok(200);
                }
                call(&mut service).await
            })
        });
        let done = timeout(MINUTE, join_all(calls)).await.expect("all are woken");
        assert!(done.into_iter().all(|status| status.unwrap() == Ok(200)));
        assert_eq!(fetched.load(SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_cancelled_leaves_the_fetch_to_the_others() {
    let (tokens, api) = (Tokens::new(&[Takes(10, 100)]), Api::well());
    let layer = tokens.layer().build().unwrap();
    let mut gone = layer.layer(api.service::<String>());
    let mut kept = layer.layer(api.service::<String>());
    // Both have begun to wait, and are polled no more: one is dropped, the other one only its wait.
    assert!(poll_once(gone.ready()).is_none());
    assert!(poll_once(kept.ready()).is_none());
    drop(gone);
    let mut other = layer.layer(api.service());
    let clock = Clock::tokio();
    let began = clock.now();
    assert_eq!(call(&mut other).await, Ok(200));
    assert_eq!((tokens.fetched(), clock.now().since(began)), (1, SECOND * 10));
    assert_eq!(call(&mut kept).await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_all_have_left_goes_on_with_the_next_who_comes() {
    let (tokens, api) = (Tokens::new(&[Takes(10, 100)]), Api::well());
    let layer = tokens.layer().build().unwrap();
    assert!(poll_once(layer.layer(api.service::<String>()).ready()).is_none());
    advance(SECOND * 6).await;
    let clock = Clock::tokio();
    let began = clock.now();
    assert_eq!(call(&mut layer.layer(api.service())).await, Ok(200));
    assert_eq!((tokens.fetched(), clock.now().since(began)), (1, SECOND * 4));
}

#[tokio::test(start_paused = true)]
async fn clones_of_the_layer_share_the_token() {
    let (tokens, api) = (Tokens::new(&[Gives(100)]), Api::well());
    let layer = tokens.layer().build().unwrap();
    assert_eq!(call(&mut layer.clone().layer(api.service())).await, Ok(200));
    assert_eq!(call(&mut layer.layer(api.service())).await, Ok(200));
    assert_eq!(tokens.fetched(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_takes_down_its_driver_and_nobody_else() {
    let (tokens, api) = (Tokens::new(&[Panics, Gives(100)]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    catch_unwind(AssertUnwindSafe(|| poll_once(call(&mut service.clone())))).unwrap_err();
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!(api.seen(), ["token-2"]);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_is_polled_when_it_has_news_and_not_for_each_who_comes() {
    let polls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polls);
    let source = service_fn(move |()| {
        let count = Arc::clone(&count);
        poll_fn(move |_| {
            count.fetch_add(1, SeqCst);
            Poll::<Result<Token, BoxError>>::Pending
        })
    });
    let service = BearerLayer::new(source).layer(Api::well().service::<String>());
    for _ in 0..10 {
        assert!(poll_once(service.clone().ready()).is_none());
    }
    assert_eq!(polls.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn news_that_come_while_the_fetch_is_polled_reach_one_who_could_not_drive_it_then() {
    let meanwhile: Arc<Mutex<Option<Hook>>> = Arc::default();
    let hook = Arc::clone(&meanwhile);
    let source = service_fn(move |()| {
        let hook = Arc::clone(&hook);
        poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            if let Some(hook) = &mut *hook.lock().unwrap() {
                hook();
            }
            Poll::<Result<Token, BoxError>>::Pending
        })
    });
    let mut driver = BearerLayer::new(source).layer(Api::well().service::<String>());
    let mut other = driver.clone();
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    *meanwhile.lock().unwrap() = Some(Box::new(move || {
        assert!(other.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    }));
    assert!(poll_once(driver.ready()).is_none());
    assert_eq!(alarm.0.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_leaves_nothing_behind() {
    let alarm = Arc::new(Alarm::default());
    let layer = Tokens::new(&[Hangs]).layer().build().unwrap();
    let mut service = layer.layer(Api::well().service::<String>());
    assert!(service.poll_ready(&mut Context::from_waker(&Waker::from(Arc::clone(&alarm)))).is_pending());
    assert_eq!(Arc::strong_count(&alarm), 2);
    drop(service);
    assert_eq!(Arc::strong_count(&alarm), 1);
}

// ===== lifetimes =====

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_waited_for() {
    let (tokens, api) = (Tokens::new(&[Takes(5, 100)]), Api::well());
    let layer = tokens.layer().refresh_ahead(0.0, MINUTE).build().unwrap();
    let mut service = layer.layer(api.service());
    assert_eq!(call(&mut service).await, Ok(200));
    // It was asked for five seconds ago, and has been good since then.
    advance(SECOND * 94).await;
    assert_eq!(call(&mut service).await, Ok(200));
    advance(SECOND).await;
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!((tokens.fetched(), api.seen()), (2, ["token-1", "token-1", "token-2"].map(str::to_owned).to_vec()));
    // And so on: it is not ready before the third has come.
    advance(SECOND * 100).await;
    assert!(poll_once(service.ready()).is_none());
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!((tokens.fetched(), &*api.seen()[3]), (3, "token-3"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_between_readiness_and_call_is_replaced_by_the_call() {
    let (tokens, api) = (Tokens::new(&[Takes(1, 100)]), Api::well());
    let layer = tokens.layer().build().unwrap();
    let mut service = layer.layer(api.service());
    service.ready().await.unwrap();
    advance(SECOND * 100).await;
    assert_eq!(service.call(get()).await.unwrap().status(), 200);
    assert_eq!(api.seen(), ["token-2"]);
}

#[tokio::test(start_paused = true)]
async fn the_lifetime_of_a_token_that_does_not_say_is_half_an_hour_or_as_set() {
    for (set, good) in [(None, MINUTE * 30), (Some(MINUTE), MINUTE)] {
        let (tokens, api) = (Tokens::new(&[GivesWithoutEnd]), Api::well());
        let layer = tokens.layer().refresh_ahead(0.0, MINUTE);
        let layer = set.map_or(layer.clone(), |set| layer.lifetime(set)).build().unwrap();
        let mut service = layer.layer(api.service());
        assert_eq!(call(&mut service).await, Ok(200));
        advance(good - SECOND).await;
        assert_eq!(call(&mut service).await, Ok(200));
        assert_eq!(tokens.fetched(), 1);
        advance(SECOND).await;
        assert_eq!(call(&mut service).await, Ok(200));
        assert_eq!(tokens.fetched(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_dead_on_arrival_is_used_for_a_second() {
    let (tokens, api) = (Tokens::new(&[Gives(0)]), Api::well());
    let mut service = tokens.layer().refresh_ahead(0.0, MINUTE).build().unwrap().layer(api.service());
    for _ in 0..10 {
        assert_eq!(call(&mut service).await, Ok(200));
        advance(SECOND / 10).await;
    }
    assert_eq!(tokens.fetched(), 1);
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!(tokens.fetched(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_longest_lifetime_has_no_end() {
    let source = service_fn(async |()| Token::new("token").map(|token| token.expires_in(Duration::MAX)));
    let layer = BearerLayer::builder(source)
        .lifetime(Duration::MAX)
        .failure_pause(Duration::MAX)
        .refusal_pause(Duration::MAX)
        .refresh_ahead(0.999_999, Duration::MAX)
        .build()
        .unwrap();
    assert_eq!(call(&mut layer.layer(Api::well().service())).await, Ok(200));
}

// ===== ahead of the end =====

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_ahead_of_its_end_and_nobody_waits() {
    let (tokens, api) = (Tokens::new(&[Gives(100), Takes(5, 100)]), Api::well().takes(SECOND));
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    let clock = Clock::tokio();
    assert_eq!(call(&mut service).await, Ok(200));
    advance(SECOND * 78).await;
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!(tokens.fetched(), 1);

    // 80 s: a fifth of its lifetime is left.
    for _ in 0..6 {
        let began = clock.now();
        assert_eq!(call(&mut service).await, Ok(200));
        assert_eq!(clock.now().since(began), SECOND);
    }
    assert_eq!(call(&mut service).await, Ok(200));
    // Until 85 s it is fetched.
    assert_eq!((tokens.fetched(), &*api.seen()[6], &*api.seen()[8]), (2, "token-1", "token-2"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_whose_call_ended_is_taken_up_by_the_next_call() {
    let (tokens, api) = (Tokens::new(&[Gives(100), Takes(5, 100)]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    assert_eq!(call(&mut service).await, Ok(200));
    advance(SECOND * 80).await;
    // This one ends at once. What it began has its answer at 85 s, and nobody looks before 95 s.
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!(tokens.fetched(), 2);
    advance(SECOND * 15).await;
    for _ in 0..2 {
        assert_eq!(call(&mut service).await, Ok(200));
    }
    assert_eq!((tokens.fetched(), &*api.seen()[2]), (2, "token-1"));
    assert_eq!(api.seen()[3], "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_was_left_until_its_limit_passed_is_no_failure_of_the_source() {
    let (tokens, api) = (Tokens::new(&[Gives(100), Hangs, Gives(100)]), Api::well());
    let source =
        ServiceBuilder::new().map_err(BoxError::from).layer(TimeoutLayer::new(SECOND * 5)).service(tokens.source());
    let layer = BearerLayer::builder(source).clock(Clock::tokio()).random(|| 0.0).build().unwrap();
    let mut service = layer.layer(api.service());
    assert_eq!(call(&mut service).await, Ok(200));
    advance(SECOND * 80).await;
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!(tokens.fetched(), 2);
    // Its limit is over at 85 s, unseen; another fetch is begun without a pause.
    sleep(SECOND * 5).await;
    sleep(SECOND * 10).await;
    for _ in 0..2 {
        assert_eq!(call(&mut service).await, Ok(200));
    }
    assert_eq!((tokens.fetched(), &*api.seen()[3]), (3, "token-3"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_came_long_ago_and_is_dead_by_now_is_asked_for_anew() {
    let (tokens, api) = (Tokens::new(&[Takes(5, 60)]), Api::well());
    let layer = tokens.layer().build().unwrap();
    assert!(poll_once(layer.layer(api.service::<String>()).ready()).is_none());
    sleep(SECOND * 5).await;
    sleep(MINUTE).await;
    assert_eq!(call(&mut layer.layer(api.service())).await, Ok(200));
    assert_eq!(api.seen(), ["token-2"]);
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_refreshes() {
    let all: Vec<_> = (0..60)
        .map(|_| {
            let tokens = Tokens::new(&[Gives(100)]);
            let service = tokens.layer().random(rand::random).build().unwrap().layer(Api::well().service());
            (tokens, service)
        })
        .collect();
    let mut early = 0;
    for (_, service) in &all {
        call(&mut service.clone()).await.unwrap();
    }
    advance(SECOND * 85).await;
    for (tokens, service) in &all {
        call(&mut service.clone()).await.unwrap();
        early += tokens.fetched() - 1;
    }
    assert!((10..=50).contains(&early), "half of them, or about that many: {early}");

    advance(SECOND * 5).await;
    for (tokens, service) in &all {
        call(&mut service.clone()).await.unwrap();
        assert_eq!(tokens.fetched(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_lived_token_is_replaced_a_minute_before_its_end() {
    let (tokens, api) = (Tokens::new(&[Gives(86_400)]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    assert_eq!(call(&mut service).await, Ok(200));
    advance(SECOND * (86_400 - 61)).await;
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!(tokens.fetched(), 1);
    advance(SECOND).await;
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!(tokens.fetched(), 2);
}

// ===== refused with a 401 =====

/// Knows any token but the first.
fn first_is_revoked(token: &str) -> u16 {
    if token == "token-1" { 401 } else { 200 }
}

#[tokio::test(start_paused = true)]
async fn a_401_is_followed_by_one_refresh_and_one_repeat_of_the_whole_request() {
    let tokens = Tokens::new(&[Gives(100)]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let inner = Strict::new(move |request: Request<String>| {
        let repeated = request.extensions().get::<Repeated>().is_some();
        let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
        log.lock().unwrap().push((request.method().to_string(), key, request.into_body(), repeated));
        let status = if repeated { 204 } else { 401 };
        std::future::ready(Ok::<_, BoxError>(Response::builder().status(status).body(()).unwrap()))
    });
    let mut service = tokens.layer().build().unwrap().layer(inner);
    let request =
        Request::post("/").header("idempotency-key", "k").header(AUTHORIZATION, "Basic old").body("hello".to_owned());
    let response = service.ready().await.unwrap().call(request.unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), tokens.fetched()), (204, 2));
    let sent = |repeated| ("POST".to_owned(), "k".to_owned(), "hello".to_owned(), repeated);
    assert_eq!(*seen.lock().unwrap(), [sent(false), sent(true)]);
}

#[tokio::test(start_paused = true)]
async fn a_second_401_is_the_answer() {
    // Slower than the pause between refreshes.
    let (tokens, api) = (Tokens::new(&[Gives(100)]), Api::new(|_| 401).takes(SECOND * 2));
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    assert_eq!(call(&mut service).await, Ok(401));
    assert_eq!((tokens.fetched(), api.seen()), (2, vec!["token-1".to_owned(), "token-2".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn parallel_401s_make_one_refresh() {
    let (tokens, api) = (Tokens::new(&[Gives(100), Takes(1, 100)]), Api::new(first_is_revoked).takes(SECOND));
    let service = tokens.layer().build().unwrap().layer(api.service());
    let calls = (0..50).map(|_| {
        let mut service = service.clone();
        async move { call(&mut service).await }
    });
    assert_eq!(join_all(calls).await, vec![Ok(200); 50]);
    assert_eq!((tokens.fetched(), api.seen().len()), (2, 100));
}

#[tokio::test(start_paused = true)]
async fn a_late_401_is_repeated_with_the_token_that_has_come_since() {
    let tokens = Tokens::new(&[Gives(100)]);
    let (early, late) = (Api::new(first_is_revoked), Api::new(first_is_revoked).takes(SECOND * 5));
    let layer = tokens.layer().refusal_pause(MINUTE).build().unwrap();
    let (mut early_service, mut late_service) = (layer.layer(early.service()), layer.layer(late.service()));
    let (first, second) = tokio::join!(call(&mut late_service), call(&mut early_service));
    assert_eq!((first, second), (Ok(200), Ok(200)));
    assert_eq!((tokens.fetched(), late.seen()), (2, vec!["token-1".to_owned(), "token-2".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_401_to_everything_does_not_make_every_request_fetch() {
    for (pause, most) in [(SECOND, 12), (MINUTE, 2)] {
        let (tokens, api) = (Tokens::new(&[Gives(1000)]), Api::new(|_| 401));
        let mut service = tokens.layer().refusal_pause(pause).build().unwrap().layer(api.service());
        for _ in 0..100 {
            assert_eq!(call(&mut service).await, Ok(401));
            advance(SECOND / 10).await;
        }
        assert!((2..=most).contains(&tokens.fetched()), "{} fetches in ten seconds", tokens.fetched());
    }
}

#[tokio::test(start_paused = true)]
async fn the_refused_response_is_dropped_before_the_next_token_is_waited_for() {
    let body = Arc::new(());
    let held = Arc::downgrade(&body);
    let source = {
        let (held, mut fetches) = (held.clone(), 0);
        service_fn(move |()| {
            fetches += 1;
            assert!(fetches == 1 || held.upgrade().is_none(), "the response is held while the source is asked");
            std::future::ready(Token::new(format!("token-{fetches}")))
        })
    };
    let body = Mutex::new(Some(body));
    let inner = service_fn(move |_: Request<()>| {
        let body = body.lock().unwrap().take();
        let status = if body.is_some() { 401 } else { 200 };
        std::future::ready(Ok::<_, BoxError>(Response::builder().status(status).body(body).unwrap()))
    });
    // Shared, since a closure with a lock in it is not cloned.
    let inner = Arc::new(Mutex::new(inner));
    let inner = service_fn(move |request| inner.lock().unwrap().call(request));
    let response = BearerLayer::new(source).layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// Not `Clone`.
struct Once;

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_copied_is_sent_once() {
    let (tokens, api) = (Tokens::new(&[Gives(100)]), Api::new(|_| 401));
    let layer = tokens.layer().copy_with(|_: &Request<Once>| None).build().unwrap();
    let response = layer.layer(api.service()).oneshot(Request::new(Once)).await.unwrap();
    assert_eq!((response.status().as_u16(), tokens.fetched(), api.seen().len()), (401, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_401_to_a_request_that_cannot_be_repeated_has_the_token_replaced_by_the_next_call() {
    let (tokens, api) = (Tokens::new(&[Gives(100)]), Api::new(first_is_revoked));
    let layer = tokens.layer().copy_with(|_: &Request<Once>| None).build().unwrap();
    let mut service = layer.layer(api.service());
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(Request::new(Once)).await.unwrap();
        statuses.push(response.status().as_u16());
    }
    // The second call goes with the old token, while it fetches the next one.
    assert_eq!((statuses, tokens.fetched()), (vec![401, 401, 200], 2));
}

#[tokio::test(start_paused = true)]
async fn a_401_to_a_body_that_outgrew_what_is_kept_has_the_token_replaced_by_the_next_call() {
    let tokens = Tokens::new(&[Gives(100)]);
    let inner = service_fn(|request: Request<ReplayBody<Full<Bytes>>>| async move {
        let token = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
        request.into_body().collect().await?;
        let status = if token == "Bearer token-1" { 401 } else { 200 };
        Ok::<_, BoxError>(Response::builder().status(status).body(())?)
    });
    let mut service =
        ServiceBuilder::new().layer(ReplayLayer::new(4)).layer(tokens.layer().build().unwrap()).service(inner);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let request = Request::new(Full::new(Bytes::from("more than four")));
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!((statuses, tokens.fetched()), (vec![401, 401, 200], 2));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_every_request_that_cannot_be_repeated_does_not_make_each_fetch() {
    for (pause, most) in [(SECOND, 12), (MINUTE, 2)] {
        let (tokens, api) = (Tokens::new(&[Gives(1000)]), Api::new(|_| 401));
        let layer = tokens.layer().refusal_pause(pause).copy_with(|_: &Request<Once>| None).build().unwrap();
        let mut service = layer.layer(api.service());
        for _ in 0..100 {
            let response = service.ready().await.unwrap().call(Request::new(Once)).await.unwrap();
            assert_eq!(response.status(), 401);
            advance(SECOND / 10).await;
        }
        assert!((2..=most).contains(&tokens.fetched()), "{} fetches in ten seconds", tokens.fetched());
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_without_a_new_token_to_be_had_ends_without_a_token() {
    let (tokens, api) = (Tokens::new(&[Gives(100), Fails]), Api::new(|_| 401));
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    for _ in 0..2 {
        assert_eq!(call(&mut service).await, Err("no token: failure 2".into()));
    }
    assert_eq!((tokens.fetched(), api.seen().len()), (2, 2));
    // The pause is over: the source is asked once more, although it was for a 401 the last time.
    advance(SECOND * 2).await;
    assert_eq!(call(&mut service).await, Err("no token: failure 3".into()));
}

// ===== a source that fails =====

#[tokio::test(start_paused = true)]
async fn a_failing_source_is_left_alone_for_a_while_and_all_share_its_error() {
    let (tokens, api) = (Tokens::new(&[Fails, Fails, Gives(100)]), Api::well());
    let layer = tokens.layer().build().unwrap();
    let inner = api.service::<String>();
    let polls = inner.polls();
    let service = layer.layer(inner);
    let errors = join_all((0..20).map(|_| service.clone().oneshot(get()))).await;
    let causes = errors.iter().map(|error| match error {
        Err(BearerError::NoToken(error)) => ptr::from_ref(error.cause()).cast::<()>(),
        _ => panic!("{error:?}"),
    });
    let causes: Vec<_> = causes.collect();
    assert!(causes.iter().all(|cause| *cause == causes[0]));
    assert_eq!(errors[0].as_ref().unwrap_err().to_string(), "no token: failure 1");
    assert_eq!((tokens.fetched(), polls.load(SeqCst)), (1, 0));

    advance(SECOND - SECOND / 100).await;
    assert_eq!(call(&mut service.clone()).await, Err("no token: failure 1".into()));
    advance(SECOND / 100).await;
    assert_eq!(call(&mut service.clone()).await, Err("no token: failure 2".into()));
    advance(SECOND).await;
    assert_eq!(call(&mut service.clone()).await, Ok(200));
    assert_eq!(tokens.fetched(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_pause_after_a_failure_is_under_two_seconds() {
    let (tokens, api) = (Tokens::new(&[Fails, Gives(100)]), Api::well());
    let mut service = tokens.layer().random(|| 1.0).build().unwrap().layer(api.service());
    assert_eq!(call(&mut service).await, Err("no token: failure 1".into()));
    advance(SECOND * 14 / 10).await;
    assert_eq!(call(&mut service).await, Err("no token: failure 1".into()));
    advance(SECOND / 10).await;
    assert_eq!(call(&mut service).await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn an_old_token_that_is_good_is_used_while_the_source_fails() {
    let (tokens, api) = (Tokens::new(&[Gives(100), Fails]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    assert_eq!(call(&mut service).await, Ok(200));
    advance(SECOND * 80).await;
    for _ in 0..100 {
        assert_eq!(call(&mut service).await, Ok(200));
        advance(SECOND / 10).await;
    }
    assert!((9..=12).contains(&tokens.fetched()), "{} fetches in ten seconds", tokens.fetched());
    advance(SECOND * 10).await;
    assert!(call(&mut service).await.unwrap_err().starts_with("no token: failure"));
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_does_not_fail_readiness() {
    let (tokens, api) = (Tokens::new(&[Fails]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    service.ready().await.unwrap();
    assert!(matches!(service.call(get()).await, Err(BearerError::NoToken(_))));
    assert!(api.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_failure_is_a_failure() {
    let (tokens, api) = (Tokens::new(&[FailsAfter(5)]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    for _ in 0..2 {
        assert_eq!(call(&mut service).await, Err("no token: failure 1".into()));
    }
    assert_eq!(tokens.fetched(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_forgotten_by_one_who_is_polled_again() {
    let (tokens, api) = (Tokens::new(&[Fails, Gives(100)]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    service.ready().await.unwrap();
    advance(SECOND).await;
    assert_eq!(call(&mut service.clone()).await, Ok(200));
    assert_eq!(call(&mut service).await, Ok(200));
}

/// A source that cannot become ready.
#[derive(Clone)]
struct Unready;

impl Service<()> for Unready {
    type Response = Token;
    type Error = BoxError;
    type Future = std::future::Pending<Result<Token, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("not today".into()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        panic!("called without being ready")
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_become_ready_has_failed() {
    let mut service = BearerLayer::new(Unready).layer(Api::well().service());
    assert_eq!(call(&mut service).await, Err("no token: not today".into()));
}

// ===== readiness =====

#[tokio::test(start_paused = true)]
async fn one_who_waits_for_a_token_alone_shares_the_fetch_and_asks_for_none_while_one_is_good() {
    let (tokens, api) = (Tokens::new(&[Takes(1, 100)]), Api::well());
    let layer = tokens.layer().build().unwrap();
    let mut service = layer.layer(api.service());
    assert!(poll_once(layer.ready()).is_none(), "it waits");
    let (ready, called) = tokio::join!(layer.ready(), call(&mut service));
    ready.unwrap();
    assert_eq!((called, tokens.fetched()), (Ok(200), 1));
    assert!(matches!(poll_once(layer.ready()), Some(Ok(()))), "at once");

    advance(SECOND * 100).await;
    let outlives_the_layer = layer.ready();
    drop((layer, service));
    let clock = Clock::tokio();
    let before = clock.now();
    outlives_the_layer.await.unwrap();
    assert_eq!(tokens.fetched(), 2, "the one before had expired");
    assert!(clock.now().since(before) >= SECOND, "it waited for the next");
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_for_a_token_alone_hears_why_there_is_none_and_leaves_the_source_alone_too() {
    let tokens = Tokens::new(&[Fails, Gives(100)]);
    let layer = tokens.layer().build().unwrap();
    for _ in 0..3 {
        assert_eq!(layer.ready().await.unwrap_err().cause().to_string(), "failure 1");
    }
    assert_eq!(tokens.fetched(), 1);
    advance(SECOND * 2).await;
    layer.ready().await.unwrap();
    assert_eq!(tokens.fetched(), 2);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_not_cloned_and_a_call_without_it_waits_by_itself() {
    let (tokens, api) = (Tokens::new(&[Takes(1, 100)]), Api::well());
    let mut service = tokens.layer().build().unwrap().layer(api.service());
    let mut unpolled = service.clone();
    assert_eq!(unpolled.call(get()).await.unwrap().status(), 200);
    service.ready().await.unwrap();
    let mut clone = service.clone();
    assert_eq!(clone.call(get()).await.unwrap().status(), 200);
    assert_eq!(service.call(get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_services_readiness_is_passed_on() {
    #[derive(Clone)]
    struct Broken;
    impl Service<Request<()>> for Broken {
        type Response = Response<()>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Response<()>, BoxError>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Err("broken".into()))
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            panic!("called without being ready")
        }
    }
    let mut service = Tokens::new(&[Gives(100)]).layer().build().unwrap().layer(Broken);
    let error = poll_fn(|cx| service.poll_ready(cx)).await.unwrap_err();
    assert!(matches!(error, BearerError::Inner(error) if error.to_string() == "broken"));
}

// ===== in a stack =====

fn judge(result: Result<&Response<()>, &BearerError<BoxError>>) -> Outcome {
    match result {
        Err(BearerError::NoToken(_)) => Outcome::Ignored,
        result => Http.classify(result),
    }
}

fn circuit() -> Circuit {
    let circuit = Circuit::builder("api").consecutive_failures(1).slow_call(SECOND).clock(Clock::tokio());
    circuit.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_breaker_outside_sees_one_outcome_of_a_call_with_its_repeat() {
    let (tokens, api, circuit) = (Tokens::new(&[Gives(100)]), Api::new(first_is_revoked), circuit());
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()).classify(judge))
        .layer(tokens.layer().build().unwrap())
        .service(api.service());
    assert_eq!(call(&mut service).await, Ok(200));
    assert_eq!((circuit.snapshot().calls, circuit.snapshot().failures, api.seen().len()), (1, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_outside_hears_nothing_of_a_missing_token() {
    let circuit = circuit();
    let stack = |tokens: &Tokens| {
        ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(circuit.clone()).classify(judge))
            .layer(tokens.layer().build().unwrap())
            .service(Api::well().service())
    };
    assert_eq!(call(&mut stack(&Tokens::new(&[Fails]))).await, Err("no token: failure 1".into()));
    // Hanging, and cut from outside after longer than a slow call takes.
    let cut = timeout(SECOND * 10, call(&mut stack(&Tokens::new(&[Hangs])))).await;
    assert!(cut.is_err());
    assert_eq!(circuit.snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn for_a_retry_outside_refresh_and_repeat_are_one_attempt() {
    let tokens = Tokens::new(&[Fails, Gives(100)]);
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&attempts);
    let inner = Strict::new(move |request: Request<String>| {
        log.lock().unwrap().push(request.extensions().get::<Attempt>().unwrap().number());
        let status =
            first_is_revoked(if request.headers()[AUTHORIZATION] == "Bearer token-2" { "token-1" } else { "" });
        std::future::ready(Ok::<_, BoxError>(Response::builder().status(status).body(()).unwrap()))
    });
    let policy = RetryPolicy::http().backoff(Backoff::constant(SECOND * 2)).build().unwrap();
    let mut service =
        ServiceBuilder::new().layer(RetryLayer::new(policy)).layer(tokens.layer().build().unwrap()).service(inner);
    let response = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!(response.status(), 200);
    // The first attempt found no token, which is worth a retry; the second was refused and repeated.
    assert_eq!(response.extensions().get::<Attempts>().unwrap().count(), 2);
    assert_eq!(*attempts.lock().unwrap(), [1, 1]);
}

#[tokio::test]
async fn a_rejection_by_the_sources_circuit_is_none_of_the_services() {
    let circuit = circuit();
    circuit.acquire().unwrap().failure();
    let source = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(Tokens::new(&[Gives(100)]).source());
    let error = BearerLayer::new(source).layer(Api::well().service()).oneshot(get()).await.unwrap_err();
    assert!(!error.is_rejection());
    let BearerError::NoToken(no_token) = &error else { panic!("{error:?}") };
    assert!(no_token.cause().is::<Rejected>());
    assert!(error.to_string().starts_with("no token: circuit api let no call through"));
    assert!(!BoxError::from(error).is_rejection());

    let inner = CircuitBreakerLayer::new(circuit).layer(Api::well().service());
    let error = Tokens::new(&[Gives(100)]).layer().build().unwrap().layer(inner).oneshot(get()).await.unwrap_err();
    assert!(error.is_rejection());
    assert!(matches!(error, BearerError::Inner(BreakerError::Rejected(_))));
}

// ===== settings =====

#[test]
fn settings_that_make_no_sense_are_named() {
    let build = |set: fn(BearerBuilder<Unready>) -> BearerBuilder<Unready>| {
        set(BearerLayer::builder(Unready)).build().map(drop).map_err(|error| error.setting())
    };
    assert_eq!(build(|layer| layer), Ok(()));
    assert_eq!(build(|layer| layer.refresh_ahead(0.0, Duration::ZERO)), Ok(()));
    assert_eq!(build(|layer| layer.lifetime(Duration::ZERO)), Err("lifetime"));
    assert_eq!(build(|layer| layer.failure_pause(Duration::ZERO)), Err("failure_pause"));
    assert_eq!(build(|layer| layer.refusal_pause(Duration::ZERO)), Err("refusal_pause"));
    assert_eq!(build(|layer| layer.refresh_ahead(1.0, MINUTE)), Err("refresh_ahead"));
    assert_eq!(build(|layer| layer.refresh_ahead(-0.1, MINUTE)), Err("refresh_ahead"));
    assert_eq!(build(|layer| layer.refresh_ahead(f64::NAN, MINUTE)), Err("refresh_ahead"));
}

#[test]
fn a_value_that_cannot_stand_behind_bearer_is_no_token() {
    for value in ["", " ", "two words", "line\n", "line\r\nX-Evil: 1", "nul\0", "del\u{7f}", "ümlaut", "tab\t"] {
        let error = Token::new(value).unwrap_err();
        assert_eq!(error.setting(), "token");
        let shown = format!("{error} {error:?}");
        assert!(value.trim().is_empty() || !shown.contains(value.trim()), "{shown}");
    }
    assert!(Token::new("azAZ09-._~+/=").is_ok());
}

#[test]
fn the_service_and_its_future_can_be_sent_to_other_threads() {
    fn sent<T: Send + Sync>(_: &T) {}
    let mut service: Bearer<_, _> = Tokens::new(&[Gives(100)])
        .layer()
        .build()
        .unwrap()
        .layer(BoxCloneSyncService::new(Api::well().service::<String>()));
    sent(&service);
    fn send<T: Send>(_: &T) {}
    send(&service.call(get()));
}
