//! Circuits by key: each its own, made once, bounded in number, and none forgotten that matters.

#[path = "support/fragile.rs"]
mod fragile;
mod support;

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use fragile::Fragile;
use futures_util::FutureExt;
use http::{Request, Response};
use portcullis::{
    breaker::{Circuit, CircuitBuilder, Circuits, CircuitsBuilder, HalfOpen, KeyedBreakerLayer, Name, State},
    outcome::{AsRejection, Outcome},
    time::ManualClock,
};
use support::Strict;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};

const SECOND: Duration = Duration::from_secs(1);

/// Opens after one failure, for a second, and looks at ten seconds.
fn one_failure(clock: &ManualClock) -> CircuitBuilder {
    Circuit::builder("shared")
        .consecutive_failures(1)
        .window(10 * SECOND)
        .open_for(SECOND)
        .half_open(HalfOpen::permits(1))
        .clock(clock.clock())
}

fn few(clock: &ManualClock, capacity: usize) -> CircuitsBuilder<u32> {
    Circuits::builder(one_failure(clock)).capacity(capacity)
}

fn open(circuit: &Circuit) {
    circuit.acquire().unwrap().failure();
    assert_eq!(circuit.snapshot().state, State::Open);
}

/// Whether `key` has a circuit of its own.
fn has_place(circuits: &Circuits<u32>, key: u32) -> bool {
    circuits.all().iter().any(|(kept, _)| *kept == key)
}

#[test]
fn each_key_has_its_own_circuit_and_one_only() {
    let circuits = few(&ManualClock::new(), 100).build().unwrap();
    open(&circuits.get(&1));
    assert_eq!(circuits.get(&1).snapshot().state, State::Open);
    assert_eq!(circuits.get(&2).snapshot().state, State::Closed);
    assert_eq!(circuits.clone().len(), 2, "clones are handles to the same circuits");
}

#[test]
fn threads_that_ask_for_a_new_key_at_once_get_the_same_circuit() {
    let circuits = few(&ManualClock::new(), 1000).build().unwrap();
    let barrier = Barrier::new(4);
    for key in 0..200 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    circuits.get(&key).acquire().unwrap().success();
                });
            }
        });
        assert_eq!(circuits.get(&key).snapshot().calls, 4, "{key}");
    }
    assert_eq!(circuits.len(), 200);
}

#[test]
fn there_are_never_more_than_the_bound_however_many_keys_come() {
    for capacity in [1, 3, 64, 200, 1000] {
        let clock = ManualClock::new();
        let circuits = few(&clock, capacity).build().unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let (circuits, clock) = (&circuits, &clock);
                scope.spawn(move || {
                    for key in 0..2000 {
                        circuits.get(&(key * 4 + thread)).acquire().unwrap().success();
                        clock.advance(SECOND / 100);
                        assert!(circuits.len() <= capacity);
                    }
                });
            }
        });
        assert!(circuits.len() <= capacity && circuits.all().len() == circuits.len(), "{capacity}");
        assert!(circuits.len() * 2 > capacity, "places are used: {} of {capacity}", circuits.len());
    }
}

#[test]
fn a_bound_below_which_keys_fall_unevenly_is_used_up() {
    let circuits = few(&ManualClock::new(), 1000).build().unwrap();
    (0..1000).for_each(|key| drop(circuits.get(&key)));
    assert_eq!(circuits.len(), 1000);
    assert!((0..1000).all(|key| has_place(&circuits, key)));
}

#[test]
fn only_what_is_closed_and_idle_makes_way_for_a_new_key() {
    let clock = ManualClock::new();
    let circuits = few(&clock, 6).build().unwrap();
    open(&circuits.get(&1));
    circuits.get(&2).force_open();
    circuits.get(&3).disable();
    circuits.get(&4).observe();
    let permit = circuits.get(&5).acquire().unwrap();
    circuits.get(&6).acquire().unwrap().success();

    clock.advance(10 * SECOND - Duration::from_nanos(1));
    drop(circuits.get(&7));
    assert!(!has_place(&circuits, 7), "none is idle yet");
    clock.advance(Duration::from_nanos(1));
    drop(circuits.get(&7));
    assert!(has_place(&circuits, 7) && !has_place(&circuits, 6));

    clock.advance(100 * SECOND);
    drop(circuits.get(&8));
    assert!(has_place(&circuits, 8) && !has_place(&circuits, 7));
    drop(circuits.get(&9));
    for key in [1, 2, 3, 4, 5] {
        assert!(has_place(&circuits, key), "{key} is open, set by hand or in use");
    }
    permit.failure();
    assert_eq!(
        circuits.get(&5).snapshot().state,
        State::Open,
        "the call that was under way was counted where it began"
    );
}

#[test]
fn a_circuit_that_somebody_leaked_never_makes_way() {
    let clock = ManualClock::new();
    let circuits = few(&clock, 1).build().unwrap();
    drop(circuits.get(&1).leak());
    clock.advance(100 * SECOND);
    drop(circuits.get(&2));
    assert!(has_place(&circuits, 1) && !has_place(&circuits, 2));
}

#[test]
fn a_half_open_circuit_keeps_its_place_until_it_is_closed() {
    let clock = ManualClock::new();
    let circuits = few(&clock, 1).idle_after(SECOND).build().unwrap();
    open(&circuits.get(&1));
    clock.advance(SECOND);
    circuits.get(&1).acquire().unwrap().ignored();
    clock.advance(SECOND);
    drop(circuits.get(&2));
    assert!(has_place(&circuits, 1));
    circuits.get(&1).acquire().unwrap().success();
    clock.advance(SECOND);
    drop(circuits.get(&2));
    assert!(has_place(&circuits, 2));
}

#[test]
fn those_without_a_place_share_a_circuit_that_protects_the_service() {
    let circuits =
        few(&ManualClock::new(), 2).name(|key| Name::inline(&format!("key-{key}")).unwrap()).build().unwrap();
    open(&circuits.get(&1));
    open(&circuits.get(&2));
    assert_eq!(circuits.get(&1).name(), "key-1");

    assert_eq!(circuits.get(&3).name(), "shared");
    circuits.get(&3).acquire().unwrap().failure();
    assert_eq!(circuits.overflow().snapshot().state, State::Open);
    assert!(circuits.get(&4).acquire().is_err(), "it is not told apart from 3");
    assert_eq!(circuits.len(), 2);

    assert_eq!(circuits.remove(&1).map(|circuit| circuit.snapshot().state), Some(State::Open));
    assert!(circuits.get(&4).acquire().is_ok(), "it has the place of 1");
    assert!(circuits.remove(&1).is_none());
}

#[test]
fn keys_that_come_and_go_leave_nothing_behind() {
    let circuits = few(&ManualClock::new(), 2).build().unwrap();
    for _ in 0..1000 {
        drop(circuits.get(&1));
        circuits.remove(&1);
    }
    assert!(circuits.is_empty());
    drop((circuits.get(&1), circuits.get(&2)));
    assert_eq!(circuits.len(), 2);
}

#[test]
fn whoever_names_a_circuit_or_hears_that_it_is_gone_may_call_back() {
    struct CallsBack(Circuits<u32>, AtomicUsize);
    impl Wake for CallsBack {
        fn wake(self: Arc<Self>) {
            drop(self.0.get(&1));
            self.1.store(self.0.all().len(), Ordering::SeqCst);
        }
    }
    let clock = ManualClock::new();
    let itself = Arc::new(OnceLock::<Circuits<u32>>::new());
    let named = Arc::clone(&itself);
    let circuits = few(&clock, 1)
        .name(move |_| {
            assert!(named.get().unwrap().all().len() <= 1);
            "named".into()
        })
        .build()
        .unwrap();
    itself.set(circuits.clone()).unwrap();

    let mut changes = circuits.get(&1).subscribe();
    let mut next = pin!(changes.next());
    let calls_back = Arc::new(CallsBack(circuits.clone(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&calls_back));
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    clock.advance(10 * SECOND);
    drop(circuits.get(&2));
    assert_eq!(calls_back.1.load(Ordering::SeqCst), 1);
    assert_eq!(next.now_or_never(), Some(None), "the circuit is gone");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let clock = ManualClock::new();
    let cases = [
        (few(&clock, 0), "capacity"),
        (few(&clock, 1).idle_after(Duration::ZERO), "idle_after"),
        (Circuits::builder(Circuit::builder("test")), "rules"),
    ];
    for (builder, setting) in cases {
        assert_eq!(builder.build().unwrap_err().setting(), setting);
    }
}

// ===== the layer =====

type Asked = (u32, Result<u32, &'static str>);

fn answer((_, result): Asked) -> Ready<Result<u32, &'static str>> {
    ready(result)
}

#[tokio::test]
async fn a_key_that_fails_is_rejected_and_the_others_are_not() {
    let clock = ManualClock::new();
    let circuits = few(&clock, 10).build().unwrap();
    let inner = Strict::new(answer);
    let calls = inner.calls();
    let mut service = KeyedBreakerLayer::new(circuits.clone(), |asked: &Asked| asked.0).layer(inner);

    assert_eq!(service.ready().await.unwrap().call((1, Ok(7))).await.unwrap(), 7);
    assert!(!service.ready().await.unwrap().call((2, Err("down"))).await.unwrap_err().is_rejection());
    assert!(service.ready().await.unwrap().call((2, Ok(7))).await.unwrap_err().is_rejection());
    assert_eq!(service.ready().await.unwrap().call((1, Ok(7))).await.unwrap(), 7);
    assert_eq!(calls.load(Ordering::SeqCst), 3, "the rejected call did not reach it");

    clock.advance(SECOND);
    assert_eq!(service.ready().await.unwrap().call((2, Ok(7))).await.unwrap(), 7);
    assert_eq!(circuits.get(&2).snapshot().state, State::Closed);
}

#[tokio::test]
async fn it_stands_over_a_concurrency_limit() {
    let circuits = few(&ManualClock::new(), 10).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(KeyedBreakerLayer::new(circuits, |asked: &Asked| asked.0))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict::new(answer));
    assert!(service.ready().await.unwrap().call((1, Err("down"))).await.is_err());
    for key in [1, 2, 1, 3] {
        let answered = service.ready().now_or_never().expect("a place is free").unwrap().call((key, Ok(7))).await;
        assert_eq!(answered.is_ok(), key != 1);
    }
}

#[tokio::test]
async fn over_http_the_status_tells_how_the_call_of_a_key_went() {
    let circuits = few(&ManualClock::new(), 10).build().unwrap();
    let status = |request: &Request<u16>| u32::from(*request.body());
    let mut service = KeyedBreakerLayer::http(circuits.clone(), status).layer(Strict::new(|request: Request<u16>| {
        ready(Ok::<_, Infallible>(Response::builder().status(*request.body()).body(()).unwrap()))
    }));
    for (status, state, calls) in [(200, State::Closed, 1), (429, State::Closed, 0), (503, State::Open, 1)] {
        let answered = service.ready().await.unwrap().call(Request::new(status)).await.unwrap();
        assert_eq!(answered.status(), status);
        let snapshot = circuits.get(&status.into()).snapshot();
        assert_eq!((snapshot.state, snapshot.calls), (state, calls), "{status}");
    }
    assert!(service.ready().await.unwrap().call(Request::new(503)).await.unwrap_err().is_rejection());
}

#[tokio::test]
async fn a_closure_may_say_how_the_call_of_a_key_went() {
    let circuits = few(&ManualClock::new(), 10).build().unwrap();
    let odd_fails = |result: Result<&u32, &&'static str>| match result {
        Ok(answer) if answer % 2 == 1 => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignored,
    };
    let layer = KeyedBreakerLayer::new(circuits.clone(), |asked: &Asked| asked.0).classify(odd_fails);
    let mut service = layer.layer(Strict::new(answer));
    for (key, result, state, calls) in
        [(1, Ok(8), State::Closed, 1), (2, Err("down"), State::Closed, 0), (3, Ok(7), State::Open, 1)]
    {
        assert_eq!(service.ready().await.unwrap().call((key, result)).await.ok(), result.ok());
        let snapshot = circuits.get(&key).snapshot();
        assert_eq!((snapshot.state, snapshot.calls), (state, calls), "{key}");
    }
}

#[tokio::test]
async fn clones_of_the_layer_and_of_its_service_judge_alike_and_share_the_circuits() {
    let circuits = few(&ManualClock::new(), 10).build().unwrap();
    let seven_fails = |result: Result<&u32, &&'static str>| match result {
        Ok(7) => Outcome::Failure,
        _ => Outcome::Success,
    };
    let layer = KeyedBreakerLayer::new(circuits, |asked: &Asked| asked.0).classify(seven_fails);
    let mut first = layer.clone().layer(Strict::new(answer));
    let mut cloned = first.clone();
    let mut second = layer.layer(Strict::new(answer));
    assert_eq!(cloned.circuits().len(), 0);

    // Readiness is the inner service's own, and not cloned: each is polled before it is called.
    assert!(cloned.ready().await.unwrap().call((1, Err("down"))).await.is_err());
    assert_eq!(cloned.ready().await.unwrap().call((1, Ok(7))).await.unwrap(), 7);
    for service in [&mut first, &mut cloned, &mut second] {
        assert!(service.ready().await.unwrap().call((1, Ok(8))).await.unwrap_err().is_rejection());
        assert_eq!(service.ready().await.unwrap().call((2, Ok(8))).await.unwrap(), 8);
    }
    assert_eq!(first.circuits().get(&2).snapshot().calls, 3);
}

#[test]
fn a_dropped_call_settles_its_permit_in_its_own_circuit() {
    let clock = ManualClock::new();
    let circuits = few(&clock, 10).build().unwrap();
    let mut service = KeyedBreakerLayer::new(circuits.clone(), |key: &u32| *key)
        .layer(tower::service_fn(|_| std::future::pending::<Result<(), &'static str>>()));
    open(&circuits.get(&1));
    clock.advance(SECOND);
    let call = service.ready().now_or_never().unwrap().unwrap().call(1);
    assert!(circuits.get(&1).acquire().is_err(), "its place is taken");
    drop(call);
    assert!(circuits.get(&1).acquire().is_ok(), "its place is free");
}

/// It is cloned for each call, when the permit is taken.
#[tokio::test]
async fn a_probe_of_a_key_whose_classifier_panics_when_it_is_cloned_opens_its_circuit_at_once() {
    let clock = ManualClock::new();
    let circuits = few(&clock, 10).build().unwrap();
    let classify = Fragile::default();
    let breaks = Arc::clone(&classify.breaks);
    let layer = KeyedBreakerLayer::new(circuits.clone(), |asked: &Asked| asked.0).classify(classify);
    let mut service = layer.layer(Strict::new(answer));
    open(&circuits.get(&1));
    clock.advance(SECOND);
    service.ready().await.unwrap();
    breaks.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call((1, Ok(7)))))).is_err());
    assert_eq!(circuits.get(&1).snapshot().opened, 2);
}
