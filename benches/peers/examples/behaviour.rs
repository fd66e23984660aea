//! What circuit breakers do in five situations: portcullis, recloser 1.4, failsafe 1.3 and
//! tower-resilience-circuitbreaker 0.14, each set up as nearly alike as it allows. Prints a table; COMPARE.md quotes it.
//!
//! `cargo run --manifest-path benches/peers/Cargo.toml --example behaviour`
#![expect(clippy::disallowed_methods, reason = "the others read the system's clock, and cannot be told another time")]

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use failsafe::futures::CircuitBreaker as _;
use portcullis::breaker::{BreakerError, Circuit, HalfOpen};
use recloser::{AsyncRecloser, Recloser};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};

/// Short, since the others read the system's clock; long beside the noise of a machine.
const OPEN: Duration = Duration::from_millis(50);
const SLOW: Duration = Duration::from_millis(20);

/// The call, which says whether it went well.
struct Call(Pin<Box<dyn Future<Output = Result<(), ()>> + Send>>);

impl Future for Call {
    type Output = Result<(), ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Whether it was let through.
type Judged = Pin<Box<dyn Future<Output = bool> + Send>>;

#[derive(Clone)]
struct Breaker(Arc<dyn Fn(Call) -> Judged + Send + Sync>);

impl Breaker {
    fn new<F: Future<Output = bool> + Send + 'static>(call: impl Fn(Call) -> F + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |inner| Box::pin(call(inner))))
    }

    fn call(&self, inner: impl Future<Output = Result<(), ()>> + Send + 'static) -> Judged {
        (self.0)(Call(Box::pin(inner)))
    }

    async fn good(&self) -> bool {
        self.call(async { Ok(()) }).await
    }

    async fn bad(&self) -> bool {
        self.call(async { Err(()) }).await
    }

    /// Bad calls until one is rejected, at most so many.
    async fn open(&self, most: usize) -> usize {
        for count in 0..most {
            if !self.bad().await {
                return count;
            }
        }
        most
    }
}

/// A breaker's name, and how one is made.
type Named = (&'static str, fn() -> Breaker);

/// Half of ten calls open each of them, for as long; one probe decides, where there is such a setting.
fn breakers() -> [Named; 4] {
    [
        ("portcullis", || {
            let circuit = Circuit::builder("x").failure_rate(0.5).count_window(10).slow_call(SLOW).open_for(OPEN);
            let circuit = circuit.open_jitter(0.0).half_open(HalfOpen::permits(1).timeout(4 * OPEN)).build();
            let circuit = circuit.expect("the settings are sound");
            Breaker::new(move |inner| {
                let circuit = circuit.clone();
                async move { !matches!(circuit.call_async(inner).await, Err(BreakerError::Rejected(_))) }
            })
        }),
        ("recloser 1.4", || {
            let recloser = Recloser::custom().error_rate(0.5).closed_len(10).half_open_len(1).open_wait(OPEN).build();
            let recloser = AsyncRecloser::from(recloser);
            Breaker::new(move |inner| {
                let recloser = recloser.clone();
                async move { !matches!(recloser.call(inner).await, Err(recloser::Error::Rejected)) }
            })
        }),
        ("failsafe 1.3", || {
            let backoff = failsafe::backoff::constant(OPEN);
            let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
            let breaker = failsafe::Config::new().failure_policy(policy).build();
            Breaker::new(move |inner| {
                let breaker = breaker.clone();
                async move { !matches!(breaker.call(inner).await, Err(failsafe::Error::Rejected)) }
            })
        }),
        ("tower-resilience 0.14", || {
            let layer = CircuitBreakerLayer::builder()
                .failure_rate_threshold(0.5)
                .sliding_window_size(10)
                .minimum_number_of_calls(10)
                .slow_call_duration_threshold(SLOW)
                .slow_call_rate_threshold(0.5)
                .wait_duration_in_open(OPEN)
                .permitted_calls_in_half_open(1)
                .build()
                .expect("the settings are sound");
            let service = layer.layer(service_fn(|call: Call| call));
            Breaker::new(move |inner| {
                let service = service.clone();
                async move { !matches!(service.oneshot(inner).await, Err(CircuitBreakerError::OpenCircuit)) }
            })
        }),
    ]
}

/// Bad calls in a row, after a thousand good ones, until it is open.
async fn slides(breaker: Breaker) -> String {
    for _ in 0..1_000 {
        breaker.good().await;
    }
    breaker.open(100_000).await.to_string()
}

/// Opens it, and waits until it lets probes through.
async fn half_open(breaker: &Breaker) {
    breaker.open(1_000).await;
    sleep(OPEN + OPEN / 2).await;
}

/// Of a hundred callers at once, when the open time is over, those that get through.
async fn probes(breaker: Breaker) -> String {
    half_open(&breaker).await;
    let through = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (breaker, through) = (breaker.clone(), Arc::clone(&through));
        calls.spawn(async move {
            let call = breaker.call(async move {
                through.fetch_add(1, Ordering::SeqCst);
                sleep(SLOW / 2).await;
                Ok(())
            });
            call.await
        });
    }
    calls.join_all().await;
    through.load(Ordering::SeqCst).to_string()
}

/// A call from before the outage ends well while the probe is not answered: whether others are let through then.
async fn straggler(breaker: Breaker) -> String {
    let (end, ends) = oneshot::channel::<()>();
    let old = tokio::spawn(breaker.call(async move { ends.await.map_err(drop) }));
    tokio::task::yield_now().await;
    half_open(&breaker).await;
    let probe = tokio::spawn(breaker.call(pending()));
    tokio::task::yield_now().await;
    let before = breaker.good().await;
    end.send(()).expect("the old call waits");
    old.await.expect("it ends");
    let after = breaker.good().await;
    probe.abort();
    match (before, after) {
        (false, false) => "no",
        (false, true) => "yes",
        (true, _) => "yes, and before",
    }
    .to_owned()
}

/// A probe is cancelled: whether a call gets through in the time of ten open periods.
async fn lost_probe(breaker: Breaker) -> String {
    half_open(&breaker).await;
    drop(timeout(SLOW / 2, breaker.call(pending())).await);
    for _ in 0..10 {
        if breaker.good().await {
            return "yes".into();
        }
        sleep(OPEN).await;
    }
    "no".into()
}

/// A service that hangs, under a timeout outside of the breaker: calls until it is open.
async fn hangs(breaker: Breaker) -> String {
    for count in 0..50 {
        if timeout(2 * SLOW, breaker.call(pending())).await.is_ok() {
            return count.to_string();
        }
    }
    "never in 50".into()
}

type Situation = (&'static str, fn(Breaker) -> Pin<Box<dyn Future<Output = String>>>);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let situations: [Situation; 5] = [
        ("failures that open it, after 1,000 successes", |breaker| Box::pin(slides(breaker))),
        ("of 100 callers at the end of the open time, reach the service", |breaker| Box::pin(probes(breaker))),
        ("an old success lets calls through before the probe is answered", |breaker| Box::pin(straggler(breaker))),
        ("a call gets through after a probe was cancelled", |breaker| Box::pin(lost_probe(breaker))),
        ("hanging calls, cut by a timeout outside, that open it", |breaker| Box::pin(hangs(breaker))),
    ];
    print!("{:64}", "");
    for (name, _) in breakers() {
        print!(" | {name:22}");
    }
    println!();
    for (what, ask) in situations {
        print!("{what:64}");
        for (_, breaker) in breakers() {
            print!(" | {:22}", ask(breaker()).await);
        }
        println!();
    }
}
