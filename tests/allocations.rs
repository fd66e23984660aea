//! No call through the breaker allocates, whatever the circuit's state, and no success through retry, under
//! a budget or not: counted in a process of its own, with one thread.

use std::{
    alloc::System,
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, CircuitBuilder, Circuits, HalfOpen, State},
    outcome::{Outcome, Results},
    retry::{Backoff, Budget, Retry, RetryLayer, RetryPolicy},
    time::ManualClock,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Service, layer::Layer, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SECOND: Duration = Duration::from_secs(1);

fn builder() -> CircuitBuilder {
    Circuit::builder("test")
        .failure_rate(0.5)
        .slow_call(SECOND)
        .slow_call_rate(0.5)
        .minimum_calls(100)
        .open_for(SECOND)
        .half_open(HalfOpen::permits(1_000_000).successes(500_000))
}

fn poll_now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("every future here is ready at once"),
    }
}

/// Calls in each way there is, a thousand times, with every tenth a failure, and returns the bytes and number of allocations.
fn allocated(circuit: &Circuit) -> (usize, usize) {
    fn inner(result: Result<u32, u32>) -> Ready<Result<u32, u32>> {
        ready(result)
    }
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(service_fn(inner));
    let region = Region::new(ALLOCATOR);
    for turn in 0..1000 {
        let result = if turn % 10 == 0 { Err(turn) } else { Ok(turn) };
        let _ = circuit.call(|| result);
        let _ = poll_now(circuit.call_async(ready(result)));
        assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        let _ = poll_now(service.call(result));
        if let Ok(permit) = circuit.acquire() {
            permit.settle(Outcome::Ignored);
        }
        drop(circuit.acquire());
        let _ = circuit.snapshot();
    }
    let change = region.change();
    (change.bytes_allocated, change.allocations)
}

fn main() {
    no_call_allocates();
    circuits_by_key_take_what_they_say();
    nothing_is_kept_of_changes_that_nobody_hears_of();
    a_circuit_and_its_future_are_small();
    no_call_under_retry_allocates();
    a_retried_call_is_small_enough_to_be_made_in_place();
}

fn no_call_allocates() {
    let clock = ManualClock::new();
    for builder in [builder(), builder().count_window(100), builder().mean_latency(SECOND), builder().stripes(1)] {
        let circuit = builder.clock(clock.clock()).build().unwrap();
        assert_eq!(allocated(&circuit), (0, 0), "closed");
        assert_eq!(circuit.snapshot().state, State::Closed);

        while let Ok(permit) = circuit.acquire() {
            permit.failure();
        }
        assert_eq!(allocated(&circuit), (0, 0), "open");
        assert_eq!(circuit.snapshot().state, State::Open);

        clock.advance(SECOND);
        assert_eq!(allocated(&circuit), (0, 0), "half-open");
        assert_eq!(circuit.snapshot().state, State::HalfOpen);

        circuit.reset();
        let leaked = circuit.clone().leak();
        assert_eq!(allocated(&leaked), (0, 0), "leaked");
    }
}

fn circuits_by_key_take_what_they_say() {
    const KEYS: u64 = 100_000;
    let circuits = Circuits::<u64>::builder(builder()).capacity(100_000).build().unwrap();
    let region = Region::new(ALLOCATOR);
    for key in 0..KEYS {
        circuits.get(&key).acquire().unwrap().success();
    }
    let change = region.change();
    let each = (change.bytes_allocated - change.bytes_deallocated) / 100_000;
    println!("{KEYS} circuits by key take {each} bytes each");
    assert!((768..1024).contains(&each), "{each}");
    assert_eq!(circuits.len(), 100_000);

    let region = Region::new(ALLOCATOR);
    for key in 0..1000 {
        circuits.get(&key).acquire().unwrap().success();
    }
    assert_eq!(region.change().allocations, 0);

    // Nor does a flood of keys for which there is no place.
    let region = Region::new(ALLOCATOR);
    for key in 0..1000 {
        circuits.get(&(KEYS + key)).acquire().unwrap().success();
    }
    assert_eq!((region.change().allocations, circuits.overflow().snapshot().calls), (0, 1000));
}

fn nothing_is_kept_of_changes_that_nobody_hears_of() {
    let circuit = builder().build().unwrap();
    drop(circuit.subscribe());
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        circuit.force_open();
        circuit.reset();
    }
    assert_eq!(region.change().allocations, 0);
}

fn a_circuit_and_its_future_are_small() {
    // The first reading of the system's clocks looks up what they are.
    drop(builder().build());
    for (stripes, most) in [(1, 768), (4, 1536)] {
        let region = Region::new(ALLOCATOR);
        let circuit = builder().stripes(stripes).build().unwrap();
        assert!(region.change().bytes_allocated <= most, "{stripes} stripes: {:?}", region.change());
        drop(circuit);
    }

    type Call = <portcullis::breaker::CircuitBreaker<
        tower::util::ServiceFn<fn(()) -> Ready<Result<(), Infallible>>>,
        Results,
    > as Service<()>>::Future;
    assert!(size_of::<Call>() <= 80, "{}", size_of::<Call>());
}

/// Successes, and what a budget is asked; a retry that is told or counted may allocate for that.
fn no_call_under_retry_allocates() {
    let clock = ManualClock::new();
    let budget = Budget::builder().share(0.5).clock(clock.clock()).build().unwrap();
    let linear = Backoff::custom(|retry, _, _| SECOND * retry);
    let policies = [
        RetryPolicy::results(),
        RetryPolicy::results().budget(budget.clone()),
        RetryPolicy::results().budget(budget.clone()).backoff(linear),
    ];
    for policy in policies {
        let inner = service_fn(|turn: u32| ready(Ok::<_, BoxError>(turn)));
        let mut service = RetryLayer::new(policy.build().unwrap()).layer(inner);
        let region = Region::new(ALLOCATOR);
        for turn in 0..1000 {
            assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
            let _ = poll_now(service.call(turn));
            drop(budget.try_withdraw());
            if let Some(taken) = budget.try_withdraw() {
                taken.spend();
            }
            clock.advance(SECOND / 3);
        }
        let change = region.change();
        assert_eq!((change.bytes_allocated, change.allocations), (0, 0));
    }
}

/// What is copied with each call, and the timer that few of them start.
fn a_retried_call_is_small_enough_to_be_made_in_place() {
    type Inner = tower::util::ServiceFn<fn(u32) -> Ready<Result<u32, Infallible>>>;
    type Call = <Retry<Inner, Results, Results> as Service<u32>>::Future;
    assert!(size_of::<RetryPolicy>() <= 152, "{}", size_of::<RetryPolicy>());
    assert!(size_of::<Call>() <= 312, "{}", size_of::<Call>());
}
