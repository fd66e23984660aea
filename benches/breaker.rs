//! What a call through the breaker costs: on its own and through the layer, closed, failing, open and half-open, with one thread
//! and with two.
//!
//! Everything is built outside the measured loop, the circuit does all that it can do (a sliding time window, failure rate
//! and slow calls), and each benchmark asserts, after it ran, that the circuit is in the state that its name claims. The
//! floor beside them is the same service without a breaker, one atomic addition, and the two clock readings that a
//! latency takes.

use std::{
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use portcullis::{
    breaker::{Circuit, CircuitBreakerLayer, CircuitBuilder, Circuits, HalfOpen, State},
    time::{Clock, ManualClock},
};
use tower::{Service, layer::Layer, service_fn};

#[derive(Clone, Copy)]
enum Load {
    Closed,
    /// Every tenth call fails: below the failure rate that opens the circuit.
    Failing,
    Open,
    HalfOpen,
}

impl Load {
    const ALL: [Self; 4] = [Self::Closed, Self::Failing, Self::Open, Self::HalfOpen];

    const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failing => "failing",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    fn circuit(self, builder: CircuitBuilder) -> Circuit {
        let open_for = Duration::from_millis(if let Self::HalfOpen = self { 50 } else { 3_600_000 });
        let circuit = builder.open_for(open_for).build().expect("the settings are sound");
        if let Self::Open | Self::HalfOpen = self {
            while let Ok(permit) = circuit.acquire() {
                permit.failure();
            }
        }
        if let Self::HalfOpen = self {
            while circuit.acquire().is_err() {
                thread::yield_now();
            }
        }
        circuit
    }

    /// Proves that the circuit is in the state that was to be measured, and that it counted what it was to count.
    fn check(self, circuit: &Circuit) {
        let snapshot = circuit.snapshot();
        let state = match self {
            Self::Closed | Self::Failing => State::Closed,
            Self::Open => State::Open,
            Self::HalfOpen => State::HalfOpen,
        };
        assert_eq!(snapshot.state, state, "{}", self.name());
        // Criterion may have filtered this benchmark out.
        let ran = snapshot.calls > 100;
        match self {
            Self::Closed => assert_eq!(snapshot.failures, 0),
            Self::Failing => assert!(!ran || (0.05..0.15).contains(&snapshot.failure_rate())),
            Self::Open | Self::HalfOpen => assert_eq!(snapshot.opened, 1),
        }
    }
}

const WINDOW: Duration = Duration::from_secs(60);

fn builder() -> CircuitBuilder {
    Circuit::builder("bench")
        .failure_rate(0.5)
        .slow_call(Duration::from_millis(1500))
        .slow_call_rate(0.5)
        .minimum_calls(100)
        .window(WINDOW)
        // Probes that can neither close the circuit nor use up its places while they are measured.
        .half_open(HalfOpen::permits(u32::MAX).successes(u32::MAX).timeout(Duration::from_secs(3600)))
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

fn inner() -> impl Service<Result<u32, u32>, Response = u32, Error = u32, Future = Ready<Result<u32, u32>>> + Clone {
    service_fn(ready::<Result<u32, u32>>)
}

fn bare(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, load: Load, builder: CircuitBuilder) {
    let circuit = load.circuit(builder);
    let mut results = Results { load, turn: 0 };
    group.bench_function(format!("{name}/{}", load.name()), |bencher| {
        bencher.iter(|| {
            let result = results.next();
            circuit.call(|| black_box(result))
        });
    });
    load.check(&circuit);
}

fn layered(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, load: Load, circuit: &Circuit) {
    let mut service = CircuitBreakerLayer::new(circuit.clone()).layer(inner());
    let mut results = Results { load, turn: 0 };
    group.bench_function(format!("{name}/{}", load.name()), |bencher| {
        bencher.iter(|| call(&mut service, black_box(results.next())));
    });
    load.check(circuit);
}

/// The time that each of two threads takes for as many calls as one makes alone: half as much work a thread would show as twice
/// the time.
fn two_threads(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, load: Load, work: impl Fn(&Circuit, u64) + Sync) {
    let circuit = load.circuit(builder());
    group.bench_function(format!("{name}/{}", load.name()), |bencher| {
        bencher.iter_custom(|calls| {
            let (clock, begin) = (Clock::precise(), Barrier::new(3));
            thread::scope(|scope| {
                let threads = [(); 2].map(|()| {
                    scope.spawn(|| {
                        begin.wait();
                        let start = clock.now();
                        work(&circuit, calls);
                        clock.now().since(start)
                    })
                });
                begin.wait();
                threads.map(|thread| thread.join().expect("a call panicked")).into_iter().max().expect("two threads")
            })
        });
    });
    load.check(&circuit);
}

fn breaker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("breaker");
    for load in Load::ALL {
        bare(&mut group, "call", load, builder());
        let circuit = load.circuit(builder());
        layered(&mut group, "layer", load, &circuit);
        layered(&mut group, "layer_leaked", load, &load.circuit(builder()).leak());
        two_threads(&mut group, "call_two_threads", load, |circuit, calls| {
            let mut results = Results { load, turn: 0 };
            for _ in 0..calls {
                let result = results.next();
                black_box(circuit.call(|| black_box(result))).ok();
            }
        });
        two_threads(&mut group, "layer_leaked_two_threads", load, |circuit, calls| {
            let mut service = CircuitBreakerLayer::new(circuit.clone().leak()).layer(inner());
            let mut results = Results { load, turn: 0 };
            for _ in 0..calls {
                black_box(call(&mut service, black_box(results.next()))).ok();
            }
        });
    }
    bare(&mut group, "call_precise_clock", Load::Closed, builder().clock(Clock::precise()));
    bare(&mut group, "call_one_stripe", Load::Closed, builder().stripes(1));
    bare(&mut group, "call_count_window", Load::Closed, builder().count_window(100));
    bare(&mut group, "call_mean_latency", Load::Closed, builder().mean_latency(Duration::from_secs(1)));
    group.finish();
}

/// What a call costs with so many calls in the window, which slides: it must not grow with them.
fn occupancy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("calls_in_window");
    for calls in [60, 600, 6_000, 60_000] {
        let clock = ManualClock::new();
        let circuit = builder().clock(clock.clock()).build().expect("the settings are sound");
        let mut results = Results { load: Load::Failing, turn: 0 };
        // As many calls a minute, so that one leaves the window for each that comes.
        let pause = WINDOW / calls;
        let mut next = || {
            clock.advance(pause);
            let result = results.next();
            circuit.call(|| black_box(result))
        };
        for _ in 0..calls {
            next().ok();
        }
        group.bench_function(calls.to_string(), |bencher| bencher.iter(&mut next));
        Load::Failing.check(&circuit);
        let held = circuit.snapshot().calls;
        assert!((u64::from(calls) * 9 / 10..=u64::from(calls)).contains(&held), "{held} of {calls}");
    }
    group.finish();
}

/// What it costs to find a circuit among so many, and to call through it.
fn by_key(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("by_key");
    for keys in [1, 100, 100_000_u64] {
        let circuits = Circuits::builder(builder()).capacity(100_000).build().expect("the settings are sound");
        for key in 0..keys {
            circuits.get(&key).acquire().expect("closed").success();
        }
        let mut key = 0;
        group.bench_function(keys.to_string(), |bencher| {
            bencher.iter(|| {
                // A step that is coprime to the number of keys goes through all of them, and to no neighbour.
                key = (key + 61_803) % keys;
                circuits.get(&key).call(|| black_box(Ok::<_, u32>(0)))
            });
        });
        assert_eq!(circuits.len() as u64, keys);
        assert_eq!(circuits.overflow().snapshot().calls, 0);
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
    for (name, clock) in [("precise", Clock::precise()), ("coarse", Clock::coarse())] {
        group.bench_function(format!("two_{name}_clock_readings"), |bencher| {
            bencher.iter(|| {
                let start = clock.now();
                clock.now().since(black_box(start))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, breaker, occupancy, by_key, floor);
criterion_main!(benches);
