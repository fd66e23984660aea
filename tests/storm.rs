//! What an outage of a minute makes of a thousand clients: the load on the service that is down, with and without what keeps
//! it low.
//!
//! Time is simulated, and all randomness has a fixed seed. The documentation of `retry` quotes the figures that
//! `cargo test --test storm -- --nocapture` prints.

use std::{
    cell::RefCell,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, HalfOpen},
    outcome::AsRejection,
    retry::{Backoff, Budget, Jitter, RetryLayer, RetryPolicy, RetryPolicyBuilder},
    time::{Clock, Tick},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};

const SECOND: Duration = Duration::from_secs(1);
/// Each sends a request a second, in a millisecond of its own, whatever has become of those before.
const CLIENTS: u32 = 1_000;
/// The seconds in which the service is down. It answers 503 then, to all that has come in a second at the end of that: as a
/// balancer does that gives up on a backend.
const OUTAGE: Range<u32> = 10..70;
const END: u32 = 80;

type Client = BoxCloneService<Request<()>, Response<()>, BoxError>;

/// What the service has seen.
struct Load {
    /// Calls in each millisecond.
    calls: Vec<u32>,
    /// Requests that ended badly.
    failed: u32,
}

impl Load {
    /// Calls while it was down.
    fn in_outage(&self) -> u32 {
        self.calls[index(OUTAGE.start)..index(OUTAGE.end)].iter().sum()
    }

    /// The most calls in 10 ms; 10 without any retry.
    fn peak(&self) -> u32 {
        self.calls.windows(10).map(|window| window.iter().sum()).max().unwrap_or_default()
    }

    fn print(&self, what: &str) {
        let times = f64::from(self.in_outage()) / f64::from(CLIENTS * (OUTAGE.end - OUTAGE.start));
        println!("{what:32} {times:6.3} {:8} {:8}", self.peak(), self.failed);
    }
}

fn index(second: u32) -> usize {
    usize::try_from(second * 1_000).unwrap()
}

thread_local! {
    static RANDOM: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(1));
}

/// Waits of 1, 2 and 4 seconds, all that a client has.
fn in_step() -> RetryPolicyBuilder {
    RetryPolicy::http()
        .max_attempts(4)
        .backoff(Backoff::exponential(SECOND, 8 * SECOND).jitter(Jitter::None))
        .random(|| RANDOM.with_borrow_mut(RngExt::random))
}

/// Between nothing and those.
fn jittered() -> RetryPolicyBuilder {
    in_step().backoff(Backoff::exponential(SECOND, 8 * SECOND))
}

fn retrying<S, E>(policy: RetryPolicyBuilder, inner: S) -> Client
where
    S: Service<Request<()>, Response = Response<()>, Error = E, Future: Send> + Clone + Send + 'static,
    E: AsRejection + Into<BoxError> + Send + 'static,
{
    let retry = RetryLayer::new(policy.build().unwrap());
    BoxCloneService::new(ServiceBuilder::new().map_err(BoxError::from).layer(retry).service(inner))
}

#[expect(clippy::disallowed_methods, reason = "the clock is paused")]
async fn until(clock: &Clock, moment: Tick) {
    tokio::time::sleep(moment.since(clock.now())).await;
}

/// All clients call through what `stack` puts around the service.
async fn storm(stack: impl FnOnce(Client) -> Client) -> Load {
    let clock = Clock::tokio();
    let began = clock.now();
    let calls = Arc::new(Mutex::new(vec![0; index(END + 20)]));
    let seen = Arc::clone(&calls);
    let now = clock.clone();
    let service = service_fn(move |_| {
        let clock = now.clone();
        let millis = clock.now().since(began).as_millis();
        seen.lock().unwrap()[usize::try_from(millis).unwrap()] += 1;
        async move {
            let second = u32::try_from(millis / 1_000).unwrap();
            if !OUTAGE.contains(&second) {
                return Ok(Response::new(()));
            }
            until(&clock, began.after((second + 1) * SECOND)).await;
            Ok::<_, BoxError>(Response::builder().status(503).body(())?)
        }
    });
    let client = stack(BoxCloneService::new(service));
    let mut requests = JoinSet::new();
    for millis in 0..END * 1_000 {
        until(&clock, began.after(Duration::from_millis(millis.into()))).await;
        requests.spawn(client.clone().oneshot(Request::new(())));
    }
    let mut failed = 0;
    while let Some(result) = requests.join_next().await {
        failed += u32::from(!result.unwrap().is_ok_and(|response| response.status().is_success()));
    }
    drop(client);
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    Load { calls, failed }
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_service_that_is_down_from_a_storm() {
    println!("{:32} {:>6} {:>8} {:>8}", "", "load", "in 10 ms", "failed");
    let requests = CLIENTS * (OUTAGE.end - OUTAGE.start);

    let none = storm(|service| service).await;
    none.print("no retries");
    assert_eq!((none.in_outage(), none.peak(), none.failed), (requests, 10, requests));

    // A request of second s fails at s + 1, and comes again at s + 2, s + 5 and s + 10, on the millisecond with all that
    // came in its second: so three thousand at once, beside the ten that are usual.
    let step = storm(|service| retrying(in_step(), service)).await;
    step.print("retries in step");
    assert_eq!(step.in_outage(), 4 * requests - (2 + 5 + 10) * CLIENTS);
    assert_eq!(step.peak(), 3 * CLIENTS + 10);

    // The load is as high, but it is spread: four calls a millisecond on the average.
    let spread = storm(|service| retrying(jittered(), service)).await;
    spread.print("retries with jitter");
    assert!(spread.in_outage() > step.in_outage() && spread.in_outage() <= 4 * requests);
    assert!(spread.peak() < 2 * 4 * 10, "{}", spread.peak());

    // A fifth on top of the requests of the last ten seconds, and ten more in each of those.
    let budget = Budget::builder().share(0.2).reserve(10).window(10 * SECOND).clock(Clock::tokio()).build().unwrap();
    let paid = storm(|service| retrying(jittered().budget(budget), service)).await;
    paid.print("with jitter and a budget");
    let (seconds, beginning) = (OUTAGE.end - OUTAGE.start, 10);
    let most = requests + (seconds + beginning) * CLIENTS / 5 + (seconds / 10 + 1) * 10;
    assert!(paid.in_outage() > requests + requests / 6 && paid.in_outage() <= most, "{}", paid.in_outage());

    // A thousand calls before the first answer, and then the probes of every five seconds.
    let circuit = Circuit::builder("storm")
        .consecutive_failures(20)
        .open_for(5 * SECOND)
        .half_open(HalfOpen::permits(3))
        .clock(Clock::tokio());
    let breaker = CircuitBreakerLayer::http(circuit.build().unwrap());
    let broken = storm(|service| retrying(jittered(), ServiceBuilder::new().layer(breaker).service(service))).await;
    broken.print("with jitter and a breaker");
    assert!(broken.in_outage() >= CLIENTS && broken.in_outage() <= CLIENTS + 3 * 60 / 5, "{}", broken.in_outage());
    // It closes within an open time of the end of the outage.
    assert!(broken.failed <= requests + 5 * CLIENTS, "{}", broken.failed);
}
