//! What a client puts around its calls.

use std::time::Duration;

use portcullis::{
    ConfigError,
    breaker::{Circuit, CircuitBuilder, HalfOpen},
    retry::{Backoff, Budget, BudgetBuilder, Jitter},
    time::Clock,
};

use crate::random;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    /// The first included.
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    budget: Option<BudgetBuilder>,
    circuit: Option<CircuitBuilder>,
}

impl Stack {
    const fn new(name: &'static str, attempts: u32, backoff: Backoff) -> Self {
        Self { name, attempts, backoff, budget: None, circuit: None }
    }

    fn budget_of(mut self, budget: BudgetBuilder) -> Self {
        self.budget = Some(budget);
        self
    }

    fn circuit_of(mut self, circuit: CircuitBuilder) -> Self {
        self.circuit = Some(circuit);
        self
    }

    pub(crate) fn budget(&self, clock: &Clock) -> Result<Option<Budget>, ConfigError> {
        self.budget.clone().map(|budget| budget.clock(clock.clone()).build()).transpose()
    }

    pub(crate) fn circuit(&self, clock: &Clock) -> Result<Option<Circuit>, ConfigError> {
        self.circuit.clone().map(|circuit| circuit.random(random).stripes(1).clock(clock.clone()).build()).transpose()
    }
}

/// Up to three retries, with waits of up to 1, 2 and 4 seconds.
fn jittered(name: &'static str) -> Stack {
    Stack::new(name, 4, Backoff::exponential(secs(1), secs(8)))
}

/// Five failures in a row, or half of ten and more in a minute; and what a circuit has unless it is told otherwise: open for
/// 15 s, then three permits for 30 s.
fn circuit() -> CircuitBuilder {
    Circuit::builder("downstream").consecutive_failures(5).failure_rate(0.5)
}

/// What a client that makes few requests can work with.
fn small_budget() -> BudgetBuilder {
    Budget::builder().reserve(1).window(secs(60))
}

/// From nothing to everything.
pub(crate) fn protections() -> Vec<Stack> {
    let in_step = Backoff::exponential(secs(1), secs(8)).jitter(Jitter::None);
    vec![
        Stack::new("no retries", 1, Backoff::constant(Duration::ZERO)),
        Stack::new("retries at once", 4, Backoff::constant(Duration::ZERO)),
        Stack::new("retries in step", 4, in_step),
        jittered("retries with jitter"),
        jittered("jitter, budget as it comes").budget_of(Budget::builder()),
        jittered("jitter, small budget").budget_of(small_budget()),
        jittered("jitter, breaker").circuit_of(circuit()),
        jittered("jitter, small budget, breaker").budget_of(small_budget()).circuit_of(circuit()),
    ]
}

/// Retries with jitter, and a circuit of which one setting is another.
pub(crate) fn circuits() -> Vec<Stack> {
    let of = |name, circuit| jittered(name).circuit_of(circuit);
    let doubling = circuit().open_growth(2.0, secs(60)).open_jitter(0.5);
    let permits = HalfOpen::permits;
    vec![
        of("breaker", circuit()),
        of("open for 5 s", circuit().open_for(secs(5))),
        of("open for 60 s", circuit().open_for(secs(60))),
        of("open jitter 0.5", circuit().open_jitter(0.5)),
        of("jitter 0.5, doubling to 60 s", doubling),
        of("1 permit", circuit().half_open(permits(1))),
        of("10 permits", circuit().half_open(permits(10))),
        of("10 permits, timeout 300 s", circuit().half_open(permits(10).timeout(secs(300)))),
        of("2 failures in a row", circuit().consecutive_failures(2)),
        of("2, jitter 0.5, 1 permit", circuit().consecutive_failures(2).open_jitter(0.5).half_open(permits(1))),
    ]
}
