//! The retry, `Retry-After` and budget scenarios of `tests/data/scenarios.json`, on tokio's paused clock.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{pending, ready},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, header::RETRY_AFTER};
use portcullis::{
    BoxError, ConfigError,
    outcome::retry_after,
    retry::{
        Attempts, Backoff, Budget, Jitter, RetryError, RetryLayer, RetryPolicy, RetryPolicyBuilder, Stopped, Withdrawal,
    },
    time::{Clock, Tick, UnixTime},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn, timeout::TimeoutLayer};

/// Scenarios of these groups that are about something else.
const OUTSIDE: &[(&str, &str)] = &[
    ("CA01", "about the breaker"),
    ("CA03", "about the breaker"),
    ("CA05", "about the breaker"),
    ("CA07", "about the breaker"),
    ("CV01", "about the breaker"),
];

#[tokio::test(start_paused = true)]
async fn every_scenario_holds() {
    let file: Value = serde_json::from_str(include_str!("data/scenarios.json")).unwrap();
    let mut held = 0;
    for scenario in file["scenarios"].as_array().unwrap() {
        let id = scenario["id"].as_str().unwrap();
        let group = scenario["group"].as_str().unwrap();
        let ours =
            matches!(group, "retry-backoff" | "retry-after" | "retry-budget" | "cancellation" | "config-validation");
        if !ours || OUTSIDE.iter().any(|(outside, _)| *outside == id) {
            continue;
        }
        let config = &scenario["config"];
        let steps = scenario["steps"].as_array().unwrap();
        if group == "retry-budget" {
            budget_scenario(id, config, steps, &scenario["expect"]).await;
        } else if steps[0]["op"] == "attempt" {
            let call = Call::new(id, config, steps);
            match steps.last().unwrap()["op"].as_str() {
                Some("cancel") => call.cancel(&scenario["expect"]).await,
                _ => call.finish(&scenario["expect"]).await,
            }
        } else {
            for step in steps {
                one(config, step, &format!("{id} {step}")).await;
            }
            assert_eq!(scenario["expect"].as_object().unwrap().len(), 0, "{id}");
        }
        held += 1;
    }
    assert_eq!(held, 29, "a scenario was added, or one no longer runs");
}

// ===== steps that stand alone =====

async fn one(config: &Value, step: &Value, context: &str) {
    let expected = &step["expect"];
    match step["op"].as_str().expect(context) {
        "delay" => delay(&backoff(config), step, context),
        "sample" => sample(&backoff(config), step, context),
        "parse" => {
            let wait = parse(step, now(config)).map_or(Value::Null, |wait| Value::from(whole_millis(wait)));
            let also = expected["also_ok"].as_array().is_some_and(|also| also.contains(&wait));
            assert!(wait == expected["delay_ms"] || also, "{context}: {wait}");
        }
        "run" => {
            let attempts = run(config, step).await;
            assert_eq!(Some(u64::from(attempts)), expected["attempts"].as_u64(), "{context}");
        }
        "build" => {
            assert_eq!(Some(build(&step["config"]).is_ok()), expected["ok"].as_bool(), "{context}");
        }
        op => panic!("{context}: unknown operation {op}"),
    }
}

fn delay(backoff: &Backoff, step: &Value, context: &str) {
    let retry = u32::try_from(step["n"].as_u64().unwrap()).unwrap();
    let expected = &step["expect"];
    if step["rand"] == "any" {
        let bounds = millis(&expected["min_ms"]).unwrap()..=millis(&expected["max_ms"]).unwrap();
        for _ in 0..1000 {
            assert!(bounds.contains(&backoff.delay(retry, Duration::ZERO, rand::random())), "{context}");
        }
    } else {
        let random = step["rand"].as_f64().unwrap_or(0.5);
        assert_eq!(Some(backoff.delay(retry, Duration::ZERO, random)), millis(&expected["delay_ms"]), "{context}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "ten thousand")]
fn sample(backoff: &Backoff, step: &Value, context: &str) {
    let retry = u32::try_from(step["n"].as_u64().unwrap()).unwrap();
    let count = step["count"].as_u64().unwrap();
    let mut random = StdRng::seed_from_u64(22);
    let mut drawn: Vec<f64> =
        (0..count).map(|_| backoff.delay(retry, Duration::ZERO, random.random()).as_secs_f64() * 1000.0).collect();
    drawn.sort_by(f64::total_cmp);
    let (least, most, count) = (drawn[0], drawn[drawn.len() - 1], count as f64);
    let mean = drawn.iter().sum::<f64>() / count;
    for (key, bound) in step["expect"].as_object().unwrap() {
        let holds = match (key.as_str(), bound.as_f64()) {
            ("mean_between", _) => (bound[0].as_f64().unwrap()..bound[1].as_f64().unwrap()).contains(&mean),
            ("min_below", Some(bound)) => least < bound,
            ("max_above", Some(bound)) => most > bound,
            ("max_at_most", Some(bound)) => most <= bound,
            ("ks_uniform_p_above", Some(bound)) => {
                let most = step["expect"]["max_at_most"].as_f64().unwrap();
                let steps = drawn.iter().map(|wait| wait / most).enumerate();
                let distance = steps
                    .map(|(rank, x)| (x - rank as f64 / count).max((rank as f64 + 1.0) / count - x))
                    .fold(0.0, f64::max);
                2.0 * (-2.0 * count * distance * distance).exp() > bound
            }
            _ => panic!("{context}: unknown expectation {key}"),
        };
        assert!(holds, "{context}: {key}");
    }
}

fn now(config: &Value) -> UnixTime {
    UnixTime::from_secs(match config["now"].as_str().unwrap() {
        "1999-12-31T23:59:57Z" => 946_684_797,
        "2019-06-03T11:00:00Z" => 1_559_559_600,
        other => panic!("unknown moment {other}"),
    })
}

fn parse(step: &Value, now: UnixTime) -> Option<Duration> {
    let bytes = match (step["header"].as_str(), step["header_bytes_hex"].as_str()) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(text)) => hex::decode(text).unwrap(),
        _ => panic!("unknown form of a header: {step}"),
    };
    let mut headers = HeaderMap::new();
    // What is no header value at all reaches nobody.
    headers.insert(RETRY_AFTER, HeaderValue::from_bytes(&bytes).ok()?);
    retry_after(&headers, now)
}

/// Runs a call of a given method, and counts its attempts.
async fn run(config: &Value, step: &Value) -> u32 {
    let method = step["method"].as_str().unwrap();
    let mut request = Request::builder().method(method);
    if step["idempotency_key"] == true {
        request = request.header("idempotency-key", "8e03978e");
    }
    let copyable = match step["body"].as_str() {
        None => true,
        Some("non-cloneable stream") => false,
        Some(other) => panic!("unknown body {other}"),
    };
    let policy = policy(config)
        .copy_with(move |request: &Request<()>| if copyable { Some(request.clone()) } else { None })
        .build()
        .unwrap();
    let inner = step["inner"].as_array().unwrap().iter();
    let left: Mutex<VecDeque<_>> = Mutex::new(inner.map(|out| status(out.as_str().unwrap())).collect());
    let inner = service_fn(|_: Request<()>| {
        let status = left.lock().unwrap().pop_front().expect("no attempt too many");
        ready(Ok::<_, BoxError>(Response::builder().status(status).body(()).unwrap()))
    });
    let response = RetryLayer::new(policy).layer(inner).oneshot(request.body(()).unwrap()).await.unwrap();
    response.extensions().get::<Attempts>().unwrap().count()
}

// ===== attempts of one call =====

thread_local! {
    /// The randomness that the scenario under way names.
    static RANDOM: RefCell<VecDeque<f64>> = const { RefCell::new(VecDeque::new()) };
}

/// A waker whose references are counted.
struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

struct Call<'a> {
    id: &'a str,
    policy: RetryPolicy,
    steps: &'a [Value],
    clock: Clock,
    /// When each attempt began and ended.
    made: Arc<Mutex<Vec<[Duration; 2]>>>,
}

impl<'a> Call<'a> {
    fn new(id: &'a str, config: &Value, steps: &'a [Value]) -> Self {
        RANDOM.set(steps.iter().map(|step| step["rand"].as_f64().unwrap_or(0.5)).collect());
        let policy = policy(config).random(|| RANDOM.with_borrow_mut(|left| left.pop_front().unwrap()));
        Self { id, policy: policy.build().unwrap(), steps, clock: Clock::tokio(), made: Arc::default() }
    }

    /// The call itself; `held` is part of its request.
    async fn make(&self, held: Arc<()>) -> Result<Response<()>, RetryError<BoxError>> {
        let (made, clock) = (Arc::clone(&self.made), self.clock.clone());
        let inner = service_fn(move |_: Request<Arc<()>>| {
            let step = self.steps[made.lock().unwrap().len()].clone();
            let (made, clock) = (Arc::clone(&made), clock.clone());
            async move {
                assert_eq!(step["op"], "attempt", "{step}");
                let begun = clock.now().since(Tick::default());
                pause(millis(&step["dur"]).unwrap_or_default()).await;
                made.lock().unwrap().push([begun, clock.now().since(Tick::default())]);
                let mut response = Response::builder().status(status(step["out"].as_str().unwrap()));
                if let Some(wait) = step["retry_after_ms"].as_u64() {
                    response = response.header("retry-after-ms", wait);
                }
                Ok::<_, BoxError>(response.body(()).unwrap())
            }
        });
        RetryLayer::new(self.policy.clone()).layer(inner).ready().await?.call(Request::new(held)).await
    }

    async fn finish(self, expected: &Value) {
        let id = self.id;
        let response = self.make(Arc::default()).await.unwrap();
        let attempts = *response.extensions().get::<Attempts>().unwrap();
        let ended = word(attempts.stopped());
        let elapsed = self.clock.now().since(Tick::default());
        let made = self.made.lock().unwrap();
        assert_eq!(made.len(), self.steps.len(), "{id}");
        for (number, step) in self.steps.iter().enumerate() {
            for (key, expected) in step["expect"].as_object().unwrap() {
                match key.as_str() {
                    "sleep_ms" => {
                        let slept = made[number + 1][0] - made[number][1];
                        assert_eq!(Some(slept), millis(expected), "{id} attempt {number}");
                    }
                    "final" => {
                        assert_eq!(number + 1, made.len(), "{id}");
                        assert_eq!(ended, expected.as_str().unwrap(), "{id}");
                    }
                    _ => panic!("{id}: unknown expectation {key}"),
                }
            }
        }
        for (key, expected) in expected.as_object().unwrap() {
            match key.as_str() {
                "attempts" => assert_eq!(Some(u64::from(attempts.count())), expected.as_u64(), "{id}"),
                "elapsed_ms" => assert_eq!(Some(elapsed), millis(expected), "{id}"),
                "final" => assert_eq!(ended, expected.as_str().unwrap(), "{id}"),
                _ => panic!("{id}: unknown expectation {key}"),
            }
        }
    }

    async fn cancel(self, expected: &Value) {
        let id = self.id;
        // A timer holds the waker that it is to call, so one that was left behind would still hold it.
        let counted = Arc::new(Counted);
        let waker = Waker::from(Arc::clone(&counted));
        {
            let mut call = pin!(self.make(Arc::default()));
            let at = millis(&self.steps.last().unwrap()["at"]).unwrap();
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{id}");
            tokio::time::advance(at).await;
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{id}");
            assert!(Arc::strong_count(&counted) > 2, "{id}");
        }
        let leaked = Arc::strong_count(&counted) - 2;
        pause(Duration::from_secs(3600)).await;
        for (key, expected) in expected.as_object().unwrap() {
            match key.as_str() {
                "inner_calls" => assert_eq!(Some(self.made.lock().unwrap().len() as u64), expected.as_u64(), "{id}"),
                "timers_leaked" => assert_eq!(Some(leaked as u64), expected.as_u64(), "{id}"),
                _ => panic!("{id}: unknown expectation {key}"),
            }
        }
    }
}

fn word(stopped: Option<Stopped>) -> &'static str {
    match stopped {
        None => "ok",
        Some(Stopped::Exhausted) => "exhausted",
        Some(Stopped::NotRetryable) => "return_last",
        Some(Stopped::Deadline) => "deadline",
        Some(Stopped::HintTooLong) => "retry_after_over_cap",
        Some(other) => panic!("no word for {other:?}"),
    }
}

/// The outcomes of the file as statuses that have them.
fn status(out: &str) -> u16 {
    match out {
        "S" => 200,
        "F" | "F503" => 503,
        "P" => 501,
        "T" => 429,
        other => panic!("unknown outcome {other}"),
    }
}

// ===== budgets =====

async fn budget_scenario(id: &str, config: &Value, steps: &[Value], expected: &Value) {
    let clock = Clock::tokio();
    let budget = budget(config, &clock);
    for step in steps {
        let due = millis(&step["at"]).unwrap_or_default();
        match step["op"].as_str().unwrap() {
            op @ ("deposit" | "withdraw") => {
                pause(due.saturating_sub(clock.now().since(Tick::default()))).await;
                let count = step["n"].as_u64().unwrap();
                if op == "deposit" {
                    (0..count).for_each(|_| budget.record_request());
                } else {
                    let granted = (0..count).filter_map(|_| budget.try_withdraw()).map(Withdrawal::spend).count();
                    assert_eq!(Some(granted as u64), step["expect"]["granted"].as_u64(), "{id} {step}");
                }
            }
            "run" => {
                // The event is a line of `tests/retry_events.rs`.
                assert_eq!(expected["events"], Value::from(vec!["retry_budget_exhausted"]), "{id}");
                let name = step["inner"].as_str().unwrap().strip_prefix("always ").unwrap();
                let inner = service_fn(|()| ready(Err::<(), BoxError>(name.into())));
                let policy = under(config, RetryPolicy::results(), &budget).build().unwrap();
                let error = RetryLayer::new(policy).layer(inner).oneshot(()).await.unwrap_err();
                assert_eq!(Some(u64::from(error.attempts())), expected["attempts"].as_u64(), "{id}");
                assert_eq!(error.stopped(), Stopped::BudgetExhausted, "{id}");
                assert_eq!(error.inner().unwrap().to_string(), expected["error"].as_str().unwrap(), "{id}");
            }
            "attempt" => {
                let [attempt, cancel] = steps else { panic!("{id}: unknown steps") };
                assert_eq!((&attempt["out"], &cancel["op"]), (&Value::from("F"), &Value::from("cancel")), "{id}");
                let before = budget.left();
                let inner = service_fn(|()| ready(Err::<(), BoxError>("failed".into())));
                let policy = under(config, RetryPolicy::results(), &budget).build().unwrap();
                let mut call = Box::pin(RetryLayer::new(policy).layer(inner).oneshot(()));
                assert!(call.as_mut().now_or_never().is_none(), "{id}");
                assert_eq!(budget.left(), before - 1, "{id}");
                tokio::time::advance(millis(&cancel["at"]).unwrap()).await;
                drop(call);
                assert_eq!(Some(before - budget.left()), cancel["expect"]["tokens_used"].as_u64(), "{id}");
                break;
            }
            op => panic!("{id}: unknown operation {op}"),
        }
    }
    assert!(steps[0]["op"] == "run" || expected.as_object().unwrap().is_empty(), "{id}");
}

/// A minimum per second is the reserve of so many seconds.
fn budget(config: &Value, clock: &Clock) -> Budget {
    assert_eq!(config["type"], "token_bucket");
    let window = millis(&config["ttl_ms"]).unwrap();
    let reserve = config["min_per_sec"].as_u64().unwrap() * window.as_secs();
    let share = config["percent"].as_f64().unwrap();
    let builder = Budget::builder().share(share).reserve(u32::try_from(reserve).unwrap()).window(window);
    builder.clock(clock.clone()).build().unwrap()
}

fn under<C, P>(config: &Value, policy: RetryPolicyBuilder<C, P>, budget: &Budget) -> RetryPolicyBuilder<C, P> {
    let wait = millis(&config["backoff_ms"]).unwrap_or_default();
    let attempts = u32::try_from(config["max_attempts"].as_u64().unwrap()).unwrap();
    policy.max_attempts(attempts).backoff(Backoff::constant(wait)).budget(budget.clone())
}

// ===== settings =====

fn backoff(config: &Value) -> Backoff {
    assert_eq!(config["kind"], "exponential");
    let jitter = match config["jitter"].as_str().unwrap() {
        "none" => Jitter::None,
        "full" => Jitter::Full,
        "equal" => Jitter::Equal,
        other => panic!("unknown jitter {other}"),
    };
    Backoff::exponential(millis(&config["base_ms"]).unwrap(), millis(&config["max_ms"]).unwrap_or(Duration::MAX))
        .factor(config["mult"].as_f64().unwrap())
        .jitter(jitter)
}

fn policy(config: &Value) -> RetryPolicyBuilder {
    let mut policy = RetryPolicy::http().hint_jitter(0.0);
    for (key, value) in config.as_object().unwrap() {
        policy = match key.as_str() {
            "max_attempts" => policy.max_attempts(u32::try_from(value.as_u64().unwrap()).unwrap()),
            "backoff" => policy.backoff(backoff(value)),
            "deadline_ms" => policy.deadline(millis(value).unwrap()),
            "ra_jitter" => policy.hint_jitter(value.as_f64().unwrap()),
            "methods" => {
                assert_eq!(*value, Value::from(vec!["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"]));
                policy
            }
            _ => panic!("unknown setting {key}"),
        };
    }
    policy
}

fn build(config: &Value) -> Result<(), ConfigError> {
    let mut policy = RetryPolicy::http();
    for (key, value) in config.as_object().unwrap() {
        policy = match key.as_str() {
            "max_attempts" => policy.max_attempts(u32::try_from(value.as_u64().unwrap()).unwrap()),
            "mult" => {
                let second = Duration::from_secs(1);
                policy.backoff(Backoff::exponential(second, second).factor(value.as_f64().unwrap()))
            }
            "percent" => policy.budget(Budget::builder().share(value.as_f64().unwrap()).build()?),
            _ => panic!("unknown setting {key}"),
        };
    }
    policy.build().map(drop)
}

fn millis(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}

fn whole_millis(wait: Duration) -> u64 {
    let millis = u64::try_from(wait.as_millis()).unwrap();
    assert_eq!(Duration::from_millis(millis), wait);
    millis
}

/// Lets the paused clock run for `span`.
async fn pause(span: Duration) {
    if !span.is_zero() {
        let never = service_fn(|()| pending::<Result<(), BoxError>>());
        TimeoutLayer::new(span).layer(never).oneshot(()).await.unwrap_err();
    }
}
