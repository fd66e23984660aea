//! The breaker of portcullis beside recloser 1.4, failsafe 1.3 and tower-resilience-circuitbreaker 0.14, and beside the floor.
//!
//! portcullis does the most: a sliding window of 60 seconds with failure rate and slow calls. recloser has a window of calls
//! and no latency, failsafe a moving average over 60 seconds and no latency. Nothing is built inside a measured loop, and
//! each benchmark proves, before and after, that its breaker lets calls through or does not.
//!
//! A line is the fastest of many short batches, in nanoseconds a call: what is left of it where other processes take the
//! machine's time. Of two threads it is the time until both have ended. Absolute times hold for one machine; compare lines of one run.
//!
//! The retries beside tower's own and tower-resilience-retry 0.14, for calls that succeed, are in `peers/retry.rs`.
//!
//! `cargo bench --manifest-path benches/peers/Cargo.toml [-- part-of-a-name]`
#![expect(clippy::disallowed_methods, reason = "the stopwatch is none of the clocks that it measures")]

#[path = "peers/retry.rs"]
mod retry;

use std::{
    cell::RefCell,
    env,
    future::{Future, Ready, ready},
    hint::{self, black_box},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use failsafe::CircuitBreaker as _;
use portcullis::{
    breaker::{Circuit, CircuitBreakerLayer, CircuitBuilder},
    time::Clock,
};
use recloser::{AsyncRecloser, Recloser};
use tower::{Layer, Service, service_fn};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer as Resilience, SlidingWindowType};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

type Outcome = Result<u32, u32>;

/// The number of a call. It goes through the opaque box, and not the outcome: the halves of that would be written one by one
/// and read back as one, which costs more than what is to be measured.
type Number = u32;

const FAILS: Number = 0;

fn outcome(number: Number) -> Outcome {
    if number == FAILS { Err(number) } else { Ok(number) }
}

#[derive(Clone, Copy, PartialEq)]
enum Load {
    Closed,
    /// Every tenth call fails: below the rate that opens any of them.
    Failing,
    Open,
}

impl Load {
    const ALL: [(Self, &str); 3] = [(Self::Closed, "closed"), (Self::Failing, "failing"), (Self::Open, "open")];

    /// The number of the next call: one of ten fails where the load says so.
    fn next(self, turn: &mut u32) -> Number {
        if self != Self::Failing {
            return 1;
        }
        *turn = if *turn == 9 { 0 } else { *turn + 1 };
        *turn
    }

    /// Brings a breaker into its state: `call` says whether it let the call through.
    fn prepare(self, mut call: impl FnMut(Number) -> bool) {
        for _ in 0..1000 {
            call(if self == Self::Open { FAILS } else { 1 });
        }
        self.check(call);
    }

    fn check(self, mut call: impl FnMut(Number) -> bool) {
        assert_eq!(call(1), self != Self::Open);
    }
}

/// Measures the calls of `$call`. It is written twice: the one that is measured stands nowhere else, and is compiled into the
/// loop, as a caller's own is.
macro_rules! calls {
    ($bench:expr, $load:expr, $name:expr, $call:expr) => {
        $bench.calls($load, $name, $call, $call)
    };
}

fn circuit() -> CircuitBuilder {
    Circuit::builder("bench")
        .failure_rate(0.5)
        .slow_call(Duration::from_millis(1500))
        .slow_call_rate(0.5)
        .minimum_calls(100)
        .window(MINUTE)
        .open_for(HOUR)
}

fn recloser() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(100).half_open_len(10).open_wait(HOUR).build()
}

const ROUNDS: u32 = 7;
const BATCHES: u32 = 100;

/// Makes so many calls. It is compiled once, so that one thread runs the same instructions as two.
type Run<'a> = &'a (dyn Fn(u32) -> Duration + Sync);

struct Bench {
    /// A part of the names of those to run.
    wanted: String,
    /// The fastest batch of each, in nanoseconds a call: of all rounds, since a neighbour may slow one of them down.
    best: RefCell<Vec<(String, f64)>>,
}

impl Bench {
    fn is_wanted(&self, name: &str) -> bool {
        name.contains(&self.wanted)
    }

    fn note(&self, name: &str, nanos: f64) {
        let mut best = self.best.borrow_mut();
        match best.iter_mut().find(|(noted, _)| noted == name) {
            Some((_, best)) => *best = best.min(nanos),
            None => best.push((name.to_owned(), nanos)),
        }
    }

    /// `run` makes so many calls and says how long they took.
    fn one(&self, name: &str, run: impl Fn(u32) -> Duration) {
        if !self.is_wanted(name) {
            return;
        }
        // Batches of about 200 microseconds are seldom interrupted, and long beside the start of a thread.
        let calls = (200_000 / (run(1000).as_nanos().max(1000) / 1000)).clamp(10, 200_000) as u32;
        let best = (0..BATCHES).map(|_| run(calls)).min().expect("some batches");
        self.note(name, best.as_nanos() as f64 / f64::from(calls));
    }

    /// Calls of one thread, and then of two on the same breaker.
    fn calls(
        &self,
        (load, state): (Load, &str),
        name: &str,
        call: impl Fn(Number) -> bool + Sync,
        other: impl Fn(Number) -> bool,
    ) {
        load.prepare(&other);
        let run = |calls| {
            let mut turn = 0;
            let start = Instant::now();
            for _ in 0..calls {
                black_box(call(black_box(load.next(&mut turn))));
            }
            start.elapsed()
        };
        let run: Run<'_> = &run;
        self.one(&format!("call {state} 1 {name}"), |calls| on_a_thread(|| run(calls)));
        self.one(&format!("call {state} 2 {name}"), |calls| two_threads(|| run(calls)));
        load.check(other);
    }

    /// As [`calls`](Self::calls), where each thread has a service of its own.
    fn service<S: Service<Number, Response = u32>>(
        &self,
        (load, state): (Load, &str),
        name: &str,
        service: impl Fn() -> S + Sync,
        is_inner: impl Fn(&S::Error) -> bool + Sync,
    ) {
        let through = |result: Result<u32, S::Error>| result.as_ref().map_or_else(&is_inner, |_| true);
        let mut first = service();
        load.prepare(|number| through(poll_call(&mut first, number)));
        let run = |calls| {
            let (mut service, mut turn) = (service(), 0);
            let start = Instant::now();
            for _ in 0..calls {
                black_box(poll_call(&mut service, black_box(load.next(&mut turn))).is_ok());
            }
            start.elapsed()
        };
        let run: Run<'_> = &run;
        self.one(&format!("layer {state} 1 {name}"), |calls| on_a_thread(|| run(calls)));
        // Where its lock is taken, this one waits for tokio's timer, and there is none here.
        if !name.starts_with("tower-resilience") {
            self.one(&format!("layer {state} 2 {name}"), |calls| two_threads(|| run(calls)));
        }
        load.check(|number| through(poll_call(&mut first, number)));
    }
}

/// As each of two runs: on a stack of its own, whose place alone can make a call a nanosecond slower.
fn on_a_thread(run: impl Fn() -> Duration + Send) -> Duration {
    thread::scope(|scope| scope.spawn(run).join().expect("no call panics"))
}

/// The time from the first one's start to the last one's end; where two threads do twice the work of one, it is the time of one.
fn two_threads(run: impl Fn() -> Duration + Sync) -> Duration {
    let begun = AtomicU64::new(0);
    thread::scope(|scope| {
        let timed = || {
            // Both spin, so that both begin at once.
            begun.fetch_add(1, Ordering::SeqCst);
            while begun.load(Ordering::SeqCst) < 2 {
                hint::spin_loop();
            }
            let start = Instant::now();
            run();
            (start, Instant::now())
        };
        let [one, other] =
            [scope.spawn(timed), scope.spawn(timed)].map(|thread| thread.join().expect("no call panics"));
        one.1.max(other.1) - one.0.min(other.0)
    })
}

/// Polls until it is ready: at once, unless a lock of the breaker is taken.
fn poll_now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        hint::spin_loop();
    }
}

fn poll_call<S: Service<Number>>(service: &mut S, number: Number) -> Result<S::Response, S::Error> {
    while service.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending() {
        hint::spin_loop();
    }
    poll_now(service.call(number))
}

type Inner = tower::util::ServiceFn<fn(Number) -> Ready<Outcome>>;

fn inner() -> Inner {
    service_fn(|number| ready(outcome(number)))
}

/// recloser's own future behind tower's trait.
struct RecloserService(AsyncRecloser, Inner);

impl Service<Number> for RecloserService {
    type Response = u32;
    type Error = recloser::Error<u32>;
    type Future = recloser::RecloserFuture<Ready<Outcome>, recloser::AnyError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.1.poll_ready(cx).map_err(recloser::Error::Inner)
    }

    fn call(&mut self, number: Number) -> Self::Future {
        self.0.call(self.1.call(number))
    }
}

fn calls(bench: &Bench) {
    for load in Load::ALL {
        for (name, builder) in [
            ("portcullis", circuit()),
            ("portcullis precise clock", circuit().clock(Clock::precise())),
            ("portcullis one stripe", circuit().stripes(1)),
        ] {
            let circuit = builder.build().expect("the settings are sound");
            calls!(bench, load, name, |number| {
                !matches!(circuit.call(|| outcome(number)), Err(portcullis::breaker::BreakerError::Rejected(_)))
            });
        }
        let breaker = recloser();
        calls!(bench, load, "recloser", |number| {
            !matches!(breaker.call(|| outcome(number)), Err(recloser::Error::Rejected))
        });
        let policy = failsafe::failure_policy::success_rate_over_time_window(
            0.5,
            100,
            // Its policy judges nothing before a whole window has passed: it could not be opened here.
            if load.0 == Load::Open { Duration::from_secs(1) } else { MINUTE },
            failsafe::backoff::constant(HOUR),
        );
        let breaker = failsafe::Config::new().failure_policy(policy).build();
        if load.0 == Load::Open {
            while breaker.is_call_permitted() {
                let _ = breaker.call(|| Err::<(), _>(()));
            }
        }
        calls!(bench, load, "failsafe", |number| {
            !matches!(breaker.call(|| outcome(number)), Err(failsafe::Error::Rejected))
        });
    }
}

fn layers(bench: &Bench) {
    let is_inner =
        |error: &portcullis::breaker::BreakerError<u32>| matches!(error, portcullis::breaker::BreakerError::Inner(_));
    for load in Load::ALL {
        let circuit = circuit().build().expect("the settings are sound");
        let leaked = circuit.clone().leak();
        for (name, circuit) in [("portcullis", circuit), ("portcullis leaked", leaked)] {
            let service = || CircuitBreakerLayer::new(circuit.clone()).layer(inner());
            bench.service(load, name, service, is_inner);
        }
        let breaker = AsyncRecloser::from(recloser());
        let service = || RecloserService(breaker.clone(), inner());
        let is_inner = |error: &recloser::Error<u32>| matches!(error, recloser::Error::Inner(_));
        bench.service(load, "recloser", service, is_inner);

        let built = Resilience::builder()
            .failure_rate_threshold(0.5)
            .sliding_window_size(100)
            .minimum_number_of_calls(100)
            .slow_call_duration_threshold(Duration::from_millis(1500))
            .slow_call_rate_threshold(0.5)
            .wait_duration_in_open(HOUR)
            .build()
            .expect("the settings are sound")
            .layer(inner());
        let is_inner = |error: &tower_resilience_circuitbreaker::CircuitBreakerError<u32>| {
            matches!(error, tower_resilience_circuitbreaker::CircuitBreakerError::Inner(_))
        };
        bench.service(load, "tower-resilience, 100 calls", || built.clone(), is_inner);
    }
    // It keeps every call of the window, and the cost grows with them: one that is measured has few more than it began with.
    let name = "layer closed 1 tower-resilience, 60 s with 6,000 calls";
    if bench.is_wanted(name) {
        let mut service = Resilience::builder()
            .failure_rate_threshold(0.5)
            .sliding_window_type(SlidingWindowType::TimeBased)
            .sliding_window_duration(MINUTE)
            .minimum_number_of_calls(100)
            .build()
            .expect("the settings are sound")
            .layer(inner());
        let mut run = |calls: u32| {
            let start = Instant::now();
            for _ in 0..calls {
                assert!(poll_call(&mut service, black_box(1)).is_ok());
            }
            start.elapsed()
        };
        run(6000);
        let best = (0..60).map(|_| run(10)).min().expect("some batches");
        bench.note(name, best.as_nanos() as f64 / 10.0);
    }
}

fn floor(bench: &Bench) {
    bench.one("floor service", |calls| {
        let (mut service, start) = (inner(), Instant::now());
        for _ in 0..calls {
            black_box(poll_call(&mut service, black_box(1)).is_ok());
        }
        start.elapsed()
    });
    let counter = AtomicU64::new(0);
    bench.one("floor fetch_add", |calls| {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(counter.fetch_add(1, Ordering::Relaxed));
        }
        start.elapsed()
    });
    for (name, clock) in [("precise", Clock::precise()), ("coarse", Clock::coarse())] {
        bench.one(&format!("floor two {name} readings"), |calls| {
            let start = Instant::now();
            for _ in 0..calls {
                let begun = clock.now();
                black_box(clock.now().since(black_box(begun)));
            }
            start.elapsed()
        });
    }
}

/// What names begin with, and what runs those that do.
type Kind = (&'static str, fn(&Bench));

const KINDS: [Kind; 4] = [("floor", floor), ("call", calls), ("layer", layers), ("retry", retry::retries)];

fn main() {
    // cargo adds an option of its own.
    let wanted = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let bench = Bench { wanted, best: RefCell::default() };
    for _ in 0..ROUNDS {
        for (kind, run) in KINDS {
            // Who asks for one kind does not wait until the others are prepared.
            let another = KINDS.iter().any(|(other, _)| *other != kind && bench.wanted.starts_with(other));
            if !another {
                run(&bench);
            }
        }
    }
    for (name, nanos) in bench.best.borrow().iter() {
        println!("{name:<60} {nanos:8.1}");
    }
    retry::ratios(&bench);
}
