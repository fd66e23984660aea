//! What retries cost a call that succeeds: by its result and over HTTP, with a budget and without; and what a call costs that is
//! tried again without a wait.
//!
//! Everything is built outside the measured loop, and each benchmark asserts that its calls end as its name claims. Beside them
//! are the same service without retries, and tower's own retry, with its own backoff and with its own budget.
//! `benches/peers` measures others, by the fastest of many batches.

#[path = "support/towers.rs"]
mod towers;

use std::{
    cell::Cell,
    future::{Future, ready},
    hint::black_box,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use http::{Request, Response};
use portcullis::{
    BoxError,
    retry::{Attempts, Backoff, Budget, RetryLayer, RetryPolicy},
};
use tower::{Layer, Service, service_fn};

use towers::{Failed, LEAST, MOST, WINDOW, inner, tower_retry, tower_retry_with_budget};

fn budget() -> Budget {
    Budget::builder().share(0.2).window(WINDOW).build().expect("the settings are sound")
}

fn poll_call<S: Service<Req>, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error> {
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("every future here is ready at once"),
    }
}

fn succeeds(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut service: impl Service<u32, Response = u32>) {
    let mut number = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            number = u32::wrapping_add(number, 1);
            let answer = poll_call(&mut service, black_box(number));
            assert!(answer.is_ok_and(|answer| answer == number));
        });
    });
}

fn success(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("retry_success");
    succeeds(&mut group, "no_retry", inner());
    let policy = || RetryPolicy::results().backoff(Backoff::exponential(LEAST, MOST));
    for (name, policy) in [("portcullis", policy()), ("portcullis_budget", policy().budget(budget()))] {
        let layer = RetryLayer::new(policy.build().expect("the settings are sound"));
        succeeds(&mut group, name, layer.layer(inner()));
    }
    succeeds(&mut group, "tower", tower_retry());
    succeeds(&mut group, "tower_budget", tower_retry_with_budget());
    group.finish();
}

/// With marks in the request's and the response's extensions, and a copy of the request.
fn http(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("retry_http");
    let inner = service_fn(|request: Request<()>| {
        black_box(request);
        ready(Ok::<_, BoxError>(Response::new(())))
    });
    group.bench_function("no_retry", |bencher| {
        let mut service = inner;
        bencher.iter(|| poll_call(&mut service, black_box(Request::new(()))).is_ok());
    });
    for (name, attempts) in [("success", 3), ("success_single_attempt", 1)] {
        let policy = RetryPolicy::http().max_attempts(attempts).build().expect("the settings are sound");
        let mut service = RetryLayer::new(policy).layer(inner);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let response = poll_call(&mut service, black_box(Request::new(()))).expect("never fails");
                assert_eq!(response.extensions().get::<Attempts>().map(Attempts::count), Some(1));
            });
        });
    }
    group.finish();
}

/// Two failures and a success, with waits of nothing: what is left is the decision, and its randomness.
fn repeats(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("retry_two_retries");
    let policy = || RetryPolicy::results().backoff(Backoff::exponential(Duration::ZERO, MOST));
    // A budget that is not what is measured must not run out.
    let plenty = Budget::builder().share(1.0).reserve(u32::MAX).build().expect("the settings are sound");
    for (name, policy) in [("portcullis", policy()), ("portcullis_budget", policy().budget(plenty))] {
        let turn = Rc::new(Cell::new(0_u32));
        let inner = service_fn(move |number: u32| {
            turn.set(turn.get().wrapping_add(1));
            ready(if turn.get().is_multiple_of(3) { Ok(number) } else { Err(Failed) })
        });
        let mut service = RetryLayer::new(policy.build().expect("the settings are sound")).layer(inner);
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert!(poll_call(&mut service, black_box(1)).is_ok()));
        });
    }
    group.finish();
}

criterion_group!(benches, success, http, repeats);
criterion_main!(benches);
