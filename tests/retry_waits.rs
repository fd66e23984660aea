//! How long retries wait: what each jitter makes of chance, and what no wait does.

use std::{
    cell::RefCell,
    future::ready,
    ops::RangeInclusive,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};

use http::{Request, Response};
use portcullis::{
    BoxError,
    retry::{Attempts, Backoff, Jitter, RetryLayer, RetryPolicy, RetryPolicyBuilder, Stopped},
    time::{Clock, Tick},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tower::{Layer, Service, ServiceExt, service_fn};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// When each attempt of one call was made, counted from the first, where every answer is a 503 with this header.
async fn attempts(policy: RetryPolicyBuilder, hint: Option<String>) -> (Vec<Duration>, Option<Stopped>) {
    let (clock, made) = (Clock::tokio(), Mutex::new(Vec::new()));
    let inner = service_fn(|_: Request<()>| {
        made.lock().unwrap().push(clock.now().since(Tick::default()));
        let mut response = Response::builder().status(503);
        if let Some(hint) = &hint {
            response = response.header("retry-after-ms", hint);
        }
        ready(Ok::<_, BoxError>(response.body(()).unwrap()))
    });
    let service = RetryLayer::new(policy.build().unwrap()).layer(inner);
    let response = service.oneshot(Request::new(())).await.unwrap();
    let stopped = response.extensions().get::<Attempts>().unwrap().stopped();
    (made.into_inner().unwrap(), stopped)
}

async fn waits(policy: RetryPolicyBuilder) -> Vec<Duration> {
    let (made, _) = attempts(policy, None).await;
    made.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

// ===== statistics =====

/// The calls of each jitter.
const CALLS: usize = 4000;

/// How far a mean of [`CALLS`] draws from `[0, 1]`, and their distribution, may be from what is expected. Chance goes beyond it
/// once in 10¹² times: at most 2·exp(-2·n·d²), by Hoeffding for the mean, by Dvoretzky, Kiefer and Wolfowitz for the
/// distribution. All statistics of a run together fail by chance less than once in 10⁹ runs.
const UNLIKELY: f64 = 0.06;

/// As [`UNLIKELY`], for the mean of half as many products of two draws from `[-1/2, 1/2]`, which is 1/12 where the two are one,
/// and 0 where they have nothing to do with each other.
const RELATED: f64 = 0.043;

const RETRIES: usize = 3;

thread_local! {
    static SEEDED: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(11));
}

fn seeded() -> f64 {
    SEEDED.with_borrow_mut(|random| random.random())
}

/// The least and the longest wait before each retry, where `previous` is the wait before, in seconds.
fn range(jitter: Jitter, retry: usize, previous: f64) -> RangeInclusive<f64> {
    let e = [1000.0, 2000.0, 4000.0][retry];
    match jitter {
        Jitter::Full => 0.0..=e,
        Jitter::Equal => e / 2.0..=e,
        Jitter::Additive(most) => e..=e + most.as_secs_f64(),
        Jitter::Decorrelated => 1000.0..=(3.0 * previous).max(3000.0),
        other => panic!("no range for {other:?}"),
    }
}

/// Where each wait of each call lies in its range, from 0 to 1.
async fn drawn(jitter: Jitter, random: Option<fn() -> f64>) -> Vec<[f64; RETRIES]> {
    let mut drawn = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let backoff = Backoff::exponential(SECOND * 1000, SECOND * 100_000).jitter(jitter);
        let mut policy = RetryPolicy::http().max_attempts(4).backoff(backoff);
        if let Some(random) = random {
            policy = policy.random(random);
        }
        let mut previous = 0.0;
        let waits = waits(policy).await;
        drawn.push(std::array::from_fn(|retry| {
            let (wait, range) = (waits[retry].as_secs_f64(), range(jitter, retry, previous));
            // A wait is rounded up to the millisecond.
            assert!(wait >= *range.start() && wait <= range.end() + 0.001, "{jitter:?} {retry}: {wait} of {range:?}");
            previous = wait;
            (wait - range.start()) / (range.end() - range.start())
        }));
    }
    drawn
}

fn mean(of: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = of.fold((0.0, 0), |(sum, count), x| (sum + x, count + 1));
    sum / f64::from(count)
}

/// The greatest distance from the uniform distribution (Kolmogorov and Smirnov).
#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn distance(mut drawn: Vec<f64>) -> f64 {
    drawn.sort_by(f64::total_cmp);
    let count = drawn.len() as f64;
    let steps = drawn.iter().enumerate();
    steps.map(|(rank, x)| (x - rank as f64 / count).max((rank + 1) as f64 / count - x)).fold(0.0, f64::max)
}

/// How much pairs have to do with each other.
fn relation(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    mean(pairs.map(|(one, other)| (one - 0.5) * (other - 0.5)))
}

fn check(drawn: &[[f64; RETRIES]], context: &str) {
    for retry in 0..RETRIES {
        let of_all: Vec<f64> = drawn.iter().map(|call| call[retry]).collect();
        let mean = mean(of_all.iter().copied());
        assert!((mean - 0.5).abs() < UNLIKELY, "{context}, retry {retry}: mean {mean}");
        let neighbours = relation(drawn.chunks_exact(2).map(|calls| (calls[0][retry], calls[1][retry])));
        assert!(neighbours.abs() < RELATED, "{context}, retry {retry}: calls are related by {neighbours}");
        let next = (retry + 1) % RETRIES;
        let within = relation(drawn.iter().map(|call| (call[retry], call[next])));
        assert!(within.abs() < RELATED, "{context}, retry {retry}: waits of a call are related by {within}");
        let distance = distance(of_all);
        assert!(distance < UNLIKELY, "{context}, retry {retry}: distance {distance}");
    }
}

const JITTERS: [Jitter; 4] =
    [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Additive(Duration::from_secs(500))];

#[tokio::test(start_paused = true)]
async fn every_jitter_spreads_evenly_over_its_range_call_by_call_and_wait_by_wait() {
    for jitter in JITTERS {
        check(&drawn(jitter, Some(seeded)).await, &format!("{jitter:?}, seeded"));
        check(&drawn(jitter, None).await, &format!("{jitter:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fixed_seed_gives_the_same_waits_and_none_gives_others() {
    for jitter in JITTERS {
        let policy = || {
            let backoff = Backoff::exponential(SECOND * 1000, SECOND * 100_000).jitter(jitter);
            RetryPolicy::http().max_attempts(9).backoff(backoff)
        };
        let reseed = || SEEDED.set(StdRng::seed_from_u64(7));
        reseed();
        let first = waits(policy().random(seeded)).await;
        assert_ne!(waits(policy().random(seeded)).await, first);
        reseed();
        assert_eq!(waits(policy().random(seeded)).await, first);
        // Eight waits of a range of at least half a million milliseconds each are the same once in 10⁴⁵ times.
        assert_ne!(waits(policy()).await, waits(policy()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn without_jitter_all_waits_are_what_they_are() {
    let policy = || {
        let backoff = Backoff::exponential(SECOND, SECOND * 3).jitter(Jitter::None);
        RetryPolicy::http().max_attempts(5).backoff(backoff)
    };
    for policy in [policy(), policy().random(seeded)] {
        assert_eq!(waits(policy).await, [SECOND, SECOND * 2, SECOND * 3, SECOND * 3]);
    }
}

/// What the tests above would find: one generator for all, one draw for a call, and a wait that is cut to whole seconds.
#[tokio::test(start_paused = true)]
async fn statistics_find_what_is_wrong() {
    let good = drawn(Jitter::Full, Some(seeded)).await;
    let fails = |drawn: Vec<[f64; RETRIES]>, what: &str| {
        let told = std::panic::catch_unwind(|| check(&drawn, "")).unwrap_err();
        let told = told.downcast::<String>().unwrap();
        assert!(told.contains(what), "{told}");
    };
    let copied = |pick: fn(&[f64; RETRIES]) -> [f64; RETRIES]| good.iter().map(pick).collect::<Vec<_>>();
    fails(good.iter().step_by(2).flat_map(|call| [*call; 2]).collect(), "calls are related");
    fails(copied(|call| [call[0]; RETRIES]), "waits of a call are related");
    fails(copied(|call| call.map(|x| (x * 4.0).floor() / 4.0)), "mean");
    fails(copied(|call| call.map(|x| (x * 4.0).round() / 4.0)), "distance");
}

// ===== what no wait does =====

/// As finely as a clock reads.
fn nanos(below: u64) -> Duration {
    Duration::from_nanos(rand::rng().random_range(0..below))
}

#[tokio::test(start_paused = true)]
async fn no_wait_is_a_millisecond_early_nor_two_late() {
    for round in 0..500 {
        // Timers have ticks of a millisecond, and calls begin with one, or between two.
        tokio::time::advance(if round < 250 { Duration::ZERO } else { nanos(3_000_000) }).await;
        let wait = MILLISECOND + nanos(5_000_000_000);
        let policy = || RetryPolicy::http().max_attempts(3).backoff(Backoff::constant(wait)).hint_jitter(0.0);
        for waited in waits(policy()).await {
            assert!(waited >= wait && waited < wait + MILLISECOND * 2, "{waited:?} of {wait:?}");
        }
        let hint = nanos(5_000_000_000) + MILLISECOND;
        let text = format!("{}.{:06}", hint.as_millis(), hint.subsec_nanos() % 1_000_000);
        let (made, _) = attempts(policy(), Some(text)).await;
        for pair in made.windows(2) {
            let waited = pair[1] - pair[0];
            assert!(waited >= hint && waited < hint + MILLISECOND * 2, "{waited:?} of {hint:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_made_at_the_deadline_or_after_and_none_is_given_up_that_had_time() {
    for round in 0..1000 {
        tokio::time::advance(nanos(3_000_000)).await;
        let (deadline, wait) = (SECOND + nanos(10_000_000_000), MILLISECOND + nanos(4_000_000_000));
        let hint = (round % 2 == 0).then(|| format!("{}", wait.as_millis() + 1));
        let policy = RetryPolicy::http().max_attempts(100_000).backoff(Backoff::constant(wait)).deadline(deadline);
        let start = Clock::tokio();
        let (made, stopped) = attempts(policy.hint_jitter(0.5), hint.clone()).await;
        assert_eq!(stopped, Some(Stopped::Deadline));
        let last = *made.last().unwrap();
        assert!(last < deadline, "{last:?} of {deadline:?}");
        // The last answer came at once, and no wait was begun after it.
        assert!(start.now().since(Tick::default()) == last);
        assert!(last + wait + MILLISECOND * 2 >= deadline, "{last:?} and {wait:?} of {deadline:?}");
    }
}

// ===== what is left of a wait that is cancelled =====

/// Its references are counted, and nothing else is asked of it.
struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

/// A timer that is waited for holds the waker that it is to call, so one that was left behind would still hold it.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cancelled_leaves_no_timer() {
    for deadline in [None, Some(SECOND * 60)] {
        let backoff = Backoff::constant(SECOND);
        let mut policy = RetryPolicy::http().backoff(backoff);
        if let Some(deadline) = deadline {
            policy = policy.deadline(deadline);
        }
        let inner =
            service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(Response::builder().status(503).body(()).unwrap())));
        let mut service = RetryLayer::new(policy.build().unwrap()).layer(inner);
        let counted = Arc::new(Counted);
        let waker = Waker::from(Arc::clone(&counted));
        assert_eq!(Arc::strong_count(&counted), 2, "this one and its waker");
        {
            let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(Arc::strong_count(&counted), 3, "the wait has one");
        }
        assert_eq!(Arc::strong_count(&counted), 2);
        // And in the second wait.
        {
            let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            tokio::time::advance(SECOND).await;
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert!(Arc::strong_count(&counted) > 2);
        }
        assert_eq!(Arc::strong_count(&counted), 2);
    }
}
