//! Makes so many calls of one kind, for tools that count what they cost: `calls (call|layer|leaked) (closed|failing|open) N`
//! through the breaker, `calls (retry|tower|resilience) (plain|budget) N` through retries, all of which succeed.

use std::{
    env,
    future::{Future, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use portcullis::breaker::{Circuit, CircuitBreakerLayer, State};
use portcullis_peers::{Budgeted, inner, portcullis, tower_resilience, tower_retry, tower_retry_with_budget};
use tower::{Layer, Service, service_fn};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [kind, state, calls] = arguments.as_slice() else { panic!("calls KIND STATE N") };
    let calls: u32 = calls.parse().expect("a number of calls");
    let budgeted = if state == "budget" { Budgeted::Yes } else { Budgeted::No };
    match (kind.as_str(), budgeted) {
        ("floor", _) => retries(inner(), calls),
        ("retry", budgeted) => retries(portcullis(budgeted), calls),
        ("tower", Budgeted::No) => retries(tower_retry(), calls),
        ("tower", Budgeted::Yes) => retries(tower_retry_with_budget(), calls),
        ("resilience", budgeted) => retries(tower_resilience(budgeted), calls),
        _ => through_breaker(kind, state, calls),
    }
}

fn retries(mut service: impl Service<u32, Response = u32>, calls: u32) {
    let mut context = Context::from_waker(Waker::noop());
    for call in 0..calls {
        assert!(service.poll_ready(&mut context).is_ready());
        let future = pin!(service.call(black_box(call)));
        let Poll::Ready(result) = future.poll(&mut context) else { panic!("ready at once") };
        assert!(black_box(result.is_ok()));
    }
}

fn through_breaker(kind: &str, state: &str, calls: u32) {
    let mut circuit = Circuit::builder("calls")
        .failure_rate(0.5)
        .slow_call(Duration::from_millis(1500))
        .slow_call_rate(0.5)
        .minimum_calls(100)
        .window(Duration::from_secs(60))
        .open_for(Duration::from_secs(3600))
        .build()
        .expect("the settings are sound");
    if kind == "leaked" {
        circuit = circuit.leak();
    }
    while state == "open" && circuit.snapshot().state == State::Closed {
        circuit.acquire().expect("closed").failure();
    }
    let failing = state == "failing";
    // A number goes through the opaque box, and not a result: its halves would be written one by one and read back as one,
    // which costs more than what is to be measured.
    let outcome = move |call: u32| if failing && call.is_multiple_of(10) { Err(call) } else { Ok(call) };
    if kind == "call" {
        for call in 0..calls {
            black_box(circuit.call(|| outcome(black_box(call))).is_ok());
        }
    } else {
        let mut service =
            CircuitBreakerLayer::new(circuit.clone()).layer(service_fn(move |call: u32| ready(outcome(call))));
        let mut context = Context::from_waker(Waker::noop());
        for call in 0..calls {
            assert!(service.poll_ready(&mut context).is_ready());
            let future = pin!(service.call(black_box(call)));
            let Poll::Ready(result) = future.poll(&mut context) else { panic!("ready at once") };
            black_box(result.is_ok());
        }
    }
    let is_open = circuit.snapshot().state == State::Open;
    assert_eq!(is_open, state == "open");
}
