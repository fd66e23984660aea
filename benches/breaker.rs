//! What a circuit breaker costs: closed, with a tenth of the calls failing, and open; as a bare call and as a layer.
//!
//! Everything is built outside the measured loop, the circuit does all that it can do (a sliding time window, failure rate
//! and slow calls), and each benchmark asserts, after it ran, that the circuit is in the state that its name claims. The
//! floor beside them is the same service without a breaker, one atomic addition, and the two clock readings that a
//! latency takes.

use std::{
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use portcullis::{
    breaker::{Circuit, CircuitBreakerLayer, CircuitBuilder, State},
    time::Clock,
};
use tower::{Service, layer::Layer, service_fn};

#[derive(Clone, Copy)]
enum Load {
    Closed,
    /// Every tenth call fails: below the failure rate that opens the circuit.
    Failing,
    Open,
}

impl Load {
    const ALL: [Self; 3] = [Self::Closed, Self::Failing, Self::Open];

    const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failing => "failing",
            Self::Open => "open",
        }
    }

    fn circuit(self) -> Circuit {
        let circuit = builder().build().expect("the settings are sound");
        if let Self::Open = self {
            while let Ok(permit) = circuit.acquire() {
                permit.failure();
            }
        }
        circuit
    }

    /// Proves that the circuit is in the state that was to be measured, and that it counted what it was to count.
    fn check(self, circuit: &Circuit) {
        let snapshot = circuit.snapshot();
        let state = if let Self::Open = self { State::Open } else { State::Closed };
        assert_eq!(snapshot.state, state, "{}", self.name());
        // Criterion may have filtered this benchmark out.
        let ran = snapshot.calls > 100;
        match self {
            Self::Closed => assert_eq!(snapshot.failures, 0),
            Self::Failing => assert!(!ran || (0.05..0.15).contains(&snapshot.failure_rate())),
            Self::Open => assert_eq!(snapshot.opened, 1),
        }
    }
}

fn builder() -> CircuitBuilder {
    Circuit::builder("bench")
        .failure_rate(0.5)
        .slow_call(Duration::from_millis(1500))
        .slow_call_rate(0.5)
        .minimum_calls(100)
        .window(Duration::from_secs(60))
        .open_for(Duration::from_secs(3600))
}

/// One call of ten fails where the load says so.
struct Results {
    load: Load,
    turn: u32,
}

impl Results {
    fn next(&mut self) -> Result<u32, u32> {
        self.turn = if self.turn == 9 { 0 } else { self.turn + 1 };
        if matches!(self.load, Load::Failing) && self.turn == 0 { Err(self.turn) } else { Ok(self.turn) }
    }
}

fn poll_now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("every future here is ready at once"),
    }
}

fn call<S>(service: &mut S, request: Result<u32, u32>) -> Result<S::Response, S::Error>
where
    S: Service<Result<u32, u32>>,
{
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(ready.is_ready());
    poll_now(service.call(request))
}

fn inner() -> impl Service<Result<u32, u32>, Response = u32, Error = u32, Future = Ready<Result<u32, u32>>> {
    service_fn(ready::<Result<u32, u32>>)
}

fn bare(group: &mut BenchmarkGroup<'_, WallTime>, load: Load) {
    let circuit = load.circuit();
    let mut results = Results { load, turn: 0 };
    group.bench_function(format!("call/{}", load.name()), |bencher| {
        bencher.iter(|| {
            let result = results.next();
            circuit.call(|| black_box(result))
        });
    });
    load.check(&circuit);
}

fn layered(group: &mut BenchmarkGroup<'_, WallTime>, load: Load) {
    let circuit = load.circuit();
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(inner());
    let mut results = Results { load, turn: 0 };
    group.bench_function(format!("layer/{}", load.name()), |bencher| {
        bencher.iter(|| call(&mut service, black_box(results.next())));
    });
    load.check(&circuit);
}

fn breaker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("breaker");
    for load in Load::ALL {
        bare(&mut group, load);
        layered(&mut group, load);
    }
    group.finish();
}

fn floor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("floor");
    let mut service = inner();
    let mut results = Results { load: Load::Closed, turn: 0 };
    group.bench_function("service", |bencher| bencher.iter(|| call(&mut service, black_box(results.next()))));
    let counter = AtomicU64::new(0);
    group.bench_function("fetch_add", |bencher| bencher.iter(|| counter.fetch_add(1, Ordering::Relaxed)));
    let clock = Clock::precise();
    group.bench_function("two_clock_readings", |bencher| {
        bencher.iter(|| {
            let start = clock.now();
            clock.now().since(black_box(start))
        });
    });
    group.finish();
}

criterion_group!(benches, breaker, floor);
criterion_main!(benches);
