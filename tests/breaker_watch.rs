//! What those see who watch a circuit: each change in its order, and one gauge that is true.

use std::{
    collections::HashSet,
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::{
    breaker::{Circuit, CircuitBuilder, HalfOpen, State, Subscription, Trip, report},
    time::{Clock, ManualClock},
};

const SECOND: Duration = Duration::from_secs(1);

/// Opens after two failures in a row, for a second; one probe decides.
fn two_failures() -> CircuitBuilder {
    Circuit::builder("test").consecutive_failures(2).open_for(SECOND).half_open(HalfOpen::permits(1).timeout(SECOND))
}

fn open(circuit: &Circuit) {
    while circuit.snapshot().state != State::Open {
        circuit.acquire().unwrap().failure();
    }
}

fn told(changes: &mut Subscription) -> Vec<String> {
    std::iter::from_fn(|| changes.try_next()).map(|change| change.to_string()).collect()
}

#[test]
fn every_change_is_told_once_and_in_order_with_the_rule_and_its_figures() {
    let clock = ManualClock::new();
    let circuit = two_failures().clock(clock.clock()).build().unwrap();
    let mut changes = circuit.subscribe();
    open(&circuit);
    clock.advance(SECOND);
    circuit.acquire().unwrap().failure();
    clock.advance(SECOND);
    let _hung = circuit.acquire().unwrap();
    clock.advance(2 * SECOND);
    circuit.acquire().unwrap().success();
    circuit.reset();
    circuit.observe();
    circuit.acquire().unwrap().failure();
    circuit.acquire().unwrap().failure();
    assert_eq!(
        told(&mut changes),
        [
            "closed to open: 2 failures in a row",
            "open to half_open: 2 failures in a row",
            "half_open to open: 1 of 1 probes failed",
            "open to half_open: 1 of 1 probes failed",
            "half_open to open: half-open for 1s without a verdict",
            "open to half_open: half-open for 1s without a verdict",
            "half_open to closed",
            "closed to observing",
            "observing to observing: 2 failures in a row",
        ]
    );
    assert_eq!(changes.missed(), 0);
}

#[test]
fn changes_that_threads_make_are_told_as_they_happened() {
    let circuit = two_failures().build().unwrap();
    let mut changes = circuit.subscribe();
    thread::scope(|scope| {
        for set in [Circuit::force_open, Circuit::disable, Circuit::reset] {
            let circuit = &circuit;
            scope.spawn(move || (0..300).for_each(|_| set(circuit)));
        }
        let mut state = State::Closed;
        let mut read = 0;
        for turn in 0..100_000 {
            let before = changes.missed();
            let Some(change) = changes.try_next() else {
                thread::yield_now();
                if turn > 1000 && read > 0 { break } else { continue }
            };
            // Whoever is slower misses some, and knows it.
            assert!(change.from == state || changes.missed() > before, "{change}, but it was {state}");
            state = change.to;
            read += 1;
        }
    });
    let last = std::iter::from_fn(|| changes.try_next()).last();
    assert!(last.is_none_or(|change| change.to == circuit.snapshot().state));
}

#[test]
fn one_who_is_slow_holds_up_nobody_and_learns_what_it_missed() {
    let circuit = two_failures().build().unwrap();
    let mut changes = circuit.subscribe();
    for _ in 0..50 {
        circuit.force_open();
        circuit.reset();
    }
    assert_eq!(told(&mut changes).len(), 64);
    assert_eq!(changes.missed(), 36);
    for _ in 0..50 {
        circuit.force_open();
        circuit.reset();
    }
    assert_eq!((told(&mut changes).len(), changes.missed()), (64, 72), "in all");
}

#[test]
fn whoever_is_told_of_a_change_may_call_back_into_the_circuit() {
    struct CallsBack(Circuit, AtomicUsize);
    impl Wake for CallsBack {
        fn wake(self: Arc<Self>) {
            assert_eq!(self.0.snapshot().state, State::ForcedOpen);
            drop(self.0.subscribe());
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let circuit = two_failures().build().unwrap();
    let calls_back = Arc::new(CallsBack(circuit.clone(), AtomicUsize::new(0)));
    let mut changes = circuit.subscribe();
    let mut next = pin!(changes.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&calls_back)))).is_pending());
    circuit.force_open();
    assert_eq!(calls_back.1.load(Ordering::SeqCst), 1);
    assert_eq!(next.now_or_never().unwrap().unwrap().to, State::ForcedOpen);
}

#[tokio::test]
async fn a_subscription_keeps_no_circuit_alive_and_ends_with_it() {
    let circuit = two_failures().build().unwrap();
    let mut changes = circuit.subscribe();
    let waiting = tokio::spawn(async move { changes.next().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(circuit);
    assert_eq!(waiting.await.unwrap(), None);
}

#[test]
fn a_leaked_circuit_is_the_one_that_it_was_for_all_who_watch_it_and_ends_for_nobody() {
    let counted = two_failures().build().unwrap();
    let mut earlier = counted.subscribe();
    let leaked = counted.leak();
    let mut later = leaked.clone().leak().subscribe();
    open(&leaked);
    for changes in [&mut earlier, &mut later] {
        assert_eq!(told(changes), ["closed to open: 2 failures in a row"]);
    }
    drop(earlier);
    leaked.reset();
    assert_eq!(told(&mut later), ["open to closed"], "one reader fewer is not none");

    let mut anew = leaked.subscribe();
    drop(leaked);
    for changes in [&mut anew, &mut later] {
        assert!(changes.next().now_or_never().is_none(), "it has not ended");
    }
}

#[tokio::test]
async fn a_future_that_is_dropped_loses_no_change() {
    let circuit = two_failures().build().unwrap();
    let mut changes = circuit.subscribe();
    assert!(changes.next().now_or_never().is_none());
    circuit.force_open();
    drop(changes.next());
    assert_eq!(changes.next().await.unwrap().to, State::ForcedOpen);
}

#[test]
fn one_who_comes_late_hears_nothing_of_what_was_before() {
    let circuit = two_failures().build().unwrap();
    open(&circuit);
    let mut first = circuit.subscribe();
    circuit.reset();
    let mut second = circuit.subscribe();
    circuit.force_open();
    assert_eq!(told(&mut first), ["open to closed", "closed to forced_open"]);
    assert_eq!(told(&mut second), ["closed to forced_open"]);
    drop((first, second));
    circuit.reset();
    let mut third = circuit.subscribe();
    assert_eq!((third.try_next(), third.missed()), (None, 0));
    circuit.disable();
    assert_eq!(told(&mut third), ["closed to disabled"]);
}

// ===== the gauge =====

fn shown(page: &PrometheusHandle) -> String {
    let page = page.render();
    let series: HashSet<_> = page.lines().filter(|line| line.starts_with("portcullis_circuit_state{")).collect();
    assert_eq!(series.len(), 1, "{page}");
    let line = series.into_iter().next().unwrap();
    assert!(line.contains(r#"circuit="test""#), "{line}");
    line.rsplit(' ').next().unwrap().to_owned()
}

async fn after(span: Duration) {
    drop(tokio::time::timeout(span, pending::<()>()).await);
}

#[tokio::test(start_paused = true)]
async fn one_series_a_circuit_is_true_at_any_moment() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let circuit = two_failures().clock(Clock::tokio()).build().unwrap();
    let reporting = tokio::spawn(report(&circuit));
    let moment = Duration::from_millis(2);

    after(moment).await;
    assert_eq!(shown(&page), "0");
    open(&circuit);
    after(moment).await;
    assert_eq!(shown(&page), "2");
    after(SECOND).await;
    assert_eq!(shown(&page), "1", "the open time is over, and nobody called");

    let hung = circuit.acquire().unwrap();
    after(moment).await;
    assert_eq!(shown(&page), "1");
    after(SECOND).await;
    assert_eq!(shown(&page), "2", "the period ended, and nobody called");
    assert_eq!(circuit.snapshot().tripped, Some(Trip::HalfOpenTimeout { after: SECOND }));
    drop(hung);

    after(SECOND).await;
    circuit.acquire().unwrap().success();
    after(moment).await;
    assert_eq!(shown(&page), "0");
    for (set, value) in [
        (Circuit::force_open as fn(&Circuit), "3"),
        (Circuit::disable, "4"),
        (Circuit::observe, "5"),
        (Circuit::reset, "0"),
    ] {
        set(&circuit);
        after(moment).await;
        assert_eq!(shown(&page), value);
    }

    drop(circuit);
    reporting.await.unwrap();
    assert_eq!(shown(&page), "NaN", "a circuit that is gone is in no state");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_aborted_leaves_no_state_behind() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let circuit = two_failures().build().unwrap();
    let reporting = tokio::spawn(report(&circuit));
    after(SECOND).await;
    reporting.abort();
    assert!(reporting.await.unwrap_err().is_cancelled());
    assert_eq!(shown(&recorder.handle()), "NaN");
}
