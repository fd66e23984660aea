//! The gated breaker under a real balancer: traffic goes to what is well, and comes back to what has recovered.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use futures_util::{FutureExt, task::ArcWake};
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreaker, CircuitBreakerLayer, CircuitBuilder, HalfOpen, State},
    outcome::{AsRejection, Results},
    time::Clock,
};
use tokio::sync::Semaphore;
use tower::{
    Service, ServiceExt, balance::p2c::Balance, discover::ServiceList, layer::Layer,
    limit::GlobalConcurrencyLimitLayer, load::Constant, service_fn, util::BoxCloneService,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// Opens after two failures in a row, for a second; one probe decides.
fn two_failures() -> CircuitBuilder {
    Circuit::builder("test")
        .consecutive_failures(2)
        .open_for(SECOND)
        .half_open(HalfOpen::permits(1).timeout(30 * SECOND))
        .clock(Clock::tokio())
}

type Gated = CircuitBreaker<BoxCloneService<(), &'static str, &'static str>, Results, true>;

struct Endpoint {
    circuit: Circuit,
    well: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Endpoint {
    fn new() -> Self {
        let circuit = two_failures().build().unwrap();
        Self { circuit, well: Arc::new(AtomicBool::new(true)), calls: Arc::default() }
    }

    fn service(&self, name: &'static str) -> Gated {
        let (well, calls) = (Arc::clone(&self.well), Arc::clone(&self.calls));
        let inner = service_fn(move |()| {
            calls.fetch_add(1, Ordering::SeqCst);
            let answer = if well.load(Ordering::SeqCst) { Ok(name) } else { Err("down") };
            async move { answer }
        });
        CircuitBreakerLayer::new(self.circuit.clone()).gated().layer(BoxCloneService::new(inner))
    }

    /// How often it was called since the last time.
    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

type Balanced = Balance<ServiceList<Vec<Constant<Gated, u8>>>, ()>;

fn balance(endpoints: &[&Endpoint]) -> Balanced {
    let services = endpoints.iter().map(|endpoint| Constant::new(endpoint.service("well"), 0)).collect::<Vec<_>>();
    Balance::new(ServiceList::new(services))
}

async fn call(balance: &mut Balanced) -> Result<&'static str, BoxError> {
    balance.ready().await?.call(()).await
}

async fn after(span: Duration) {
    drop(tokio::time::timeout(span, pending::<()>()).await);
}

#[tokio::test(start_paused = true)]
async fn traffic_goes_to_the_endpoint_that_is_well_and_comes_back_to_one_that_recovers() {
    let (failing, steady) = (Endpoint::new(), Endpoint::new());
    let mut balance = balance(&[&failing, &steady]);
    for _ in 0..100 {
        call(&mut balance).await.unwrap();
    }
    assert!(failing.calls() > 10 && steady.calls() > 10, "both are well");

    failing.well.store(false, Ordering::SeqCst);
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(call(&mut balance).await.is_err());
    }
    assert_eq!((failed, failing.calls()), (2, 2), "two failures opened its circuit, and no call was rejected");
    assert_eq!(steady.calls(), 98);

    // A probe finds it still down: that call fails, and no other.
    after(SECOND).await;
    for _ in 0..100 {
        failed += u32::from(call(&mut balance).await.is_err());
    }
    assert_eq!((failed, failing.calls()), (3, 1));
    assert_eq!(failing.circuit.snapshot().state, State::Open);

    failing.well.store(true, Ordering::SeqCst);
    after(SECOND + MILLI).await;
    steady.calls();
    for _ in 0..100 {
        call(&mut balance).await.unwrap();
    }
    assert!(failing.calls() > 10 && steady.calls() > 10, "both are well again");
    assert_eq!(failing.circuit.snapshot().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_balancer_without_a_ready_endpoint_is_woken_when_an_open_time_is_over() {
    let (first, second) = (Endpoint::new(), Endpoint::new());
    let mut balance = balance(&[&first, &second]);
    for endpoint in [&first, &second] {
        endpoint.circuit.acquire().unwrap().failure();
        endpoint.circuit.acquire().unwrap().failure();
    }
    let begun = Clock::tokio();
    let start = begun.now();
    assert_eq!(call(&mut balance).await.unwrap(), "well");
    let waited = begun.now().since(start);
    assert!((SECOND..SECOND + 5 * MILLI).contains(&waited), "{waited:?}");
}

// ===== the gate alone =====

/// Whether `gated` is ready, and how often it woke whoever polled it since.
struct Poller {
    gated: Gated,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl ArcWake for Woken {
    fn wake_by_ref(woken: &Arc<Self>) {
        woken.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Poller {
    fn new(endpoint: &Endpoint) -> Self {
        Self { gated: endpoint.service("well"), woken: Arc::default() }
    }

    fn is_ready(&mut self) -> bool {
        let waker = futures_util::task::waker(Arc::clone(&self.woken));
        self.gated.poll_ready(&mut Context::from_waker(&waker)).is_ready()
    }

    fn was_woken(&self) -> bool {
        self.woken.0.swap(0, Ordering::SeqCst) > 0
    }
}

fn open(circuit: &Circuit) {
    while circuit.snapshot().state != State::Open {
        circuit.acquire().unwrap().failure();
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_just_when_a_call_would_be_let_through_and_says_so_itself() {
    let endpoint = Endpoint::new();
    let mut poller = Poller::new(&endpoint);
    assert!(poller.is_ready());
    open(&endpoint.circuit);
    assert!(!poller.is_ready());
    after(SECOND - MILLI).await;
    assert!(!poller.was_woken() && !poller.is_ready());
    after(2 * MILLI).await;
    assert!(poller.was_woken() && poller.is_ready(), "the open time is over");

    // All places are taken: it waits for one that is given back.
    let probe = endpoint.circuit.acquire().unwrap();
    assert!(!poller.is_ready());
    probe.ignored();
    assert!(poller.was_woken() && poller.is_ready(), "a place was given back");

    // Or for the end of a period, and then of the open time.
    std::mem::forget(endpoint.circuit.acquire().unwrap());
    assert!(!poller.is_ready());
    after(30 * SECOND + MILLI).await;
    assert!(poller.was_woken() && !poller.is_ready(), "open again");
    after(SECOND + MILLI).await;
    assert!(poller.was_woken() && poller.is_ready());
}

/// Taking the last place changes no state and wakes nobody, so who waited for the inner service has to notice it by itself.
#[tokio::test(start_paused = true)]
async fn who_waited_for_the_inner_service_is_woken_when_the_period_ends_whose_last_place_was_taken_meanwhile() {
    let endpoint = Endpoint::new();
    let semaphore = Arc::new(Semaphore::new(1));
    let limited = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&semaphore));
    let inner = BoxCloneService::new(limited.layer(service_fn(async |()| Ok("well"))));
    let gated = CircuitBreakerLayer::new(endpoint.circuit.clone()).gated().layer(inner);
    let mut poller = Poller { gated, woken: Arc::default() };
    let busy = semaphore.acquire().await.unwrap();

    open(&endpoint.circuit);
    after(SECOND).await;
    endpoint.circuit.acquire().unwrap().ignored();
    assert_eq!(endpoint.circuit.snapshot().state, State::HalfOpen);
    assert!(!poller.is_ready(), "there is a place, and the inner service is busy");
    std::mem::forget(endpoint.circuit.acquire().unwrap());
    drop(busy);
    assert!(poller.was_woken() && !poller.is_ready(), "the inner service is free, and the last place is taken");
    after(30 * SECOND + MILLI).await;
    assert!(poller.was_woken() && !poller.is_ready(), "open again");
    after(SECOND + MILLI).await;
    assert!(poller.was_woken() && poller.is_ready());
}

/// A gate that is about to open must not be waited for by a timer of nothing, over and over.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_inner_service_when_the_open_time_is_over_does_not_spin() {
    let endpoint = Endpoint::new();
    let semaphore = Arc::new(Semaphore::new(0));
    let limited = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&semaphore));
    let inner = BoxCloneService::new(limited.layer(service_fn(async |()| Ok("well"))));
    let gated = CircuitBreakerLayer::new(endpoint.circuit.clone()).gated().layer(inner);
    let mut poller = Poller { gated, woken: Arc::default() };
    open(&endpoint.circuit);
    after(2 * SECOND).await;
    for _ in 0..3 {
        assert!(!poller.is_ready());
        after(3600 * SECOND).await;
        assert!(!poller.was_woken(), "nothing has changed");
    }
    semaphore.add_permits(1);
    assert!(poller.was_woken() && poller.is_ready());
}

#[tokio::test(start_paused = true)]
async fn states_set_by_hand_shut_and_open_the_gate() {
    let endpoint = Endpoint::new();
    let mut poller = Poller::new(&endpoint);
    endpoint.circuit.force_open();
    assert!(!poller.is_ready());
    after(3600 * SECOND).await;
    assert!(!poller.was_woken() && !poller.is_ready());
    endpoint.circuit.reset();
    assert!(poller.was_woken() && poller.is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_is_called_although_the_circuit_opened_since_is_rejected() {
    let endpoint = Endpoint::new();
    let mut poller = Poller::new(&endpoint);
    assert!(poller.is_ready());
    open(&endpoint.circuit);
    assert!(poller.gated.call(()).await.unwrap_err().is_rejection());
    assert_eq!(endpoint.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_gated_too() {
    let endpoint = Endpoint::new();
    open(&endpoint.circuit);
    let mut clone = endpoint.service("well").clone();
    let mut ready = pin!(clone.ready());
    assert!(ready.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    after(SECOND + MILLI).await;
    assert!(ready.now_or_never().is_some());
}
