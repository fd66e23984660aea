//! Random scripts of events against a naive model of the breaker, compared after every step.
//!
//! The model is a list of everything that ever happened, searched anew for every question. It knows nothing of epochs,
//! rings or running sums, so it shares no mistake with them.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use portcullis::{
    breaker::{Circuit, CircuitBuilder, HalfOpen, Permit, State, Trip},
    outcome::Outcome,
    time::ManualClock,
};
use proptest::{
    collection::vec,
    option,
    prelude::{BoxedStrategy, Just, Strategy, any},
    prop_oneof,
    test_runner::{Config, TestRunner},
};

#[derive(Clone, Copy, Debug)]
enum Window {
    Millis(u64),
    Calls(usize),
}

#[derive(Clone, Debug)]
struct Settings {
    window: Window,
    minimum_calls: u64,
    consecutive_failures: Option<u32>,
    failures: Option<u64>,
    /// In percent, as are all rates of the model.
    failure_rate: Option<u64>,
    slow_call: Option<u64>,
    slow_call_rate: Option<u64>,
    mean_latency: Option<u64>,
    open_for: u64,
    growth: u32,
    longest: u64,
    /// Whether each open time is shortened by a quarter.
    jitter: bool,
    hint_max: Option<u64>,
    permits: u32,
    successes: u32,
    max_concurrent: u32,
    half_open_timeout: u64,
}

/// What happens next; an index names one of the calls under way, in order, and wraps.
#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    Start,
    Finish(usize, Outcome),
    /// A failure whose response asks to be left alone for so long.
    FailWith(usize, u64),
    Drop(usize),
    ByHand(State),
    /// Other settings, in so far as they may change.
    Reconfigure(Settings),
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    at: u64,
    failed: bool,
    slow: bool,
    took: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Closed,
    /// Until a moment in microseconds: jitter does not leave whole milliseconds.
    Open {
        until: u64,
    },
    HalfOpen {
        since: u64,
    },
    ByHand(State),
}

/// Calls, failures and slow calls, and the sum of all latencies.
type Counts = (u64, u64, u64, u64);

/// The rule that tripped, with those of its figures that are whole numbers; a mean is told by its sum and its count.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tripped {
    InARow(u64),
    Failures(u64, u64),
    FailureRate(u64, u64),
    SlowRate(u64, u64),
    Mean,
    Probes(u64, u64),
    Timeout(u64),
}

struct Model {
    settings: Settings,
    now: u64,
    phase: Phase,
    /// Every change of phase there ever was; a call belongs to the one that admitted it.
    changes: u64,
    /// Every call that was counted since the last change.
    ended: Vec<Ended>,
    /// What opened the circuit, and the counts of that moment.
    tripped: Option<Tripped>,
    tripping: Counts,
    opened: u64,
    /// Half-open periods in a row that did not close the circuit.
    reopened: u32,
    /// Admitted by the half-open period and not given back, and those of them that are under way.
    taken: u32,
    in_flight: u32,
}

impl Model {
    fn open(&mut self, since: u64, tripped: Tripped, hint: Option<u64>) {
        let Settings { open_for, growth, longest, jitter, hint_max, .. } = self.settings;
        self.reopened = if self.phase == Phase::Closed { 0 } else { self.reopened + 1 };
        let mut span = open_for;
        for _ in 0..self.reopened {
            span = longest.min(span * u64::from(growth));
        }
        let mut micros = span * 1000;
        if jitter {
            micros -= micros / 4;
        }
        if let (Some(hint), Some(most)) = (hint, hint_max) {
            micros = micros.max(hint.min(most) * 1000);
        }
        self.tripping = self.counts();
        self.opened += 1;
        self.tripped = Some(tripped);
        self.enter(Phase::Open { until: since * 1000 + micros });
    }

    fn enter_anew(&mut self, phase: Phase) {
        self.tripped = None;
        self.enter(phase);
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.changes += 1;
        self.ended.clear();
        self.taken = 0;
        self.in_flight = 0;
    }

    fn pass_time(&mut self) {
        if let Phase::HalfOpen { since } = self.phase {
            let end = since + self.settings.half_open_timeout;
            if self.now >= end {
                self.open(end, Tripped::Timeout(self.settings.half_open_timeout), None);
            }
        }
    }

    fn start(&mut self) -> Option<u64> {
        self.pass_time();
        if matches!(self.phase, Phase::Open { until } if self.now * 1000 >= until) {
            self.enter(Phase::HalfOpen { since: self.now });
        }
        let admitted = match self.phase {
            Phase::Closed => true,
            Phase::ByHand(state) => state != State::ForcedOpen,
            Phase::Open { .. } => false,
            Phase::HalfOpen { .. } => {
                self.taken < self.settings.permits && self.in_flight < self.settings.max_concurrent
            }
        };
        self.taken += u32::from(admitted);
        self.in_flight += u32::from(admitted);
        admitted.then_some(self.changes)
    }

    /// `outcome` is `None` for a call that was dropped.
    fn end(&mut self, admitted_in: u64, started: u64, outcome: Option<Outcome>, hint: Option<u64>) {
        self.pass_time();
        if admitted_in != self.changes || self.phase == Phase::ByHand(State::Disabled) {
            return;
        }
        self.in_flight -= 1;
        let took = self.now - started;
        let slow = self.settings.slow_call.is_some_and(|limit| took > limit);
        let failed = match outcome {
            Some(Outcome::Success) => false,
            Some(Outcome::Failure) => true,
            None if slow => true,
            Some(Outcome::Ignored) | None => {
                self.taken -= 1;
                return;
            }
        };
        self.ended.push(Ended { at: self.now, failed, slow, took });
        match self.phase {
            Phase::Closed => {
                if let Some(tripped) = self.trips() {
                    self.open(self.now, tripped, hint);
                }
            }
            Phase::HalfOpen { .. } => self.judge_probes(hint),
            // What would have opened it is told once.
            Phase::ByHand(_) => self.tripped = self.tripped.or_else(|| self.trips()),
            Phase::Open { .. } => unreachable!("nothing is admitted while open"),
        }
    }

    fn reconfigure(&mut self, settings: Settings) {
        self.pass_time();
        self.settings = settings;
        self.pass_time();
        if let Phase::HalfOpen { .. } = self.phase {
            self.judge_probes(None);
        }
    }

    fn judge_probes(&mut self, hint: Option<u64>) {
        let bad = self.ended.iter().filter(|call| call.failed || call.slow).count();
        let good = self.ended.len() - bad;
        let still_possible = (self.settings.permits as usize).saturating_sub(bad);
        if good >= self.settings.successes as usize {
            self.enter_anew(Phase::Closed);
        } else if still_possible < self.settings.successes as usize {
            self.open(self.now, Tripped::Probes(bad as u64, self.settings.permits.into()), hint);
        }
    }

    /// The calls that the window holds.
    fn window(&self) -> Vec<Ended> {
        match self.settings.window {
            Window::Calls(size) => self.ended.iter().rev().take(size).copied().collect(),
            Window::Millis(length) => {
                let bucket = |millis: u64| millis * 1_000_000 / (length * 1_000_000 / 10);
                let recent = |call: &&Ended| bucket(self.now) - bucket(call.at) < 10;
                self.ended.iter().filter(recent).copied().collect()
            }
        }
    }

    fn trips(&self) -> Option<Tripped> {
        let Settings {
            minimum_calls, consecutive_failures, failures, failure_rate, slow_call_rate, mean_latency, ..
        } = self.settings;
        let run = self.ended.iter().rev().take_while(|call| call.failed).count() as u64;
        let window = self.window();
        let calls = window.len() as u64;
        let failed = window.iter().filter(|call| call.failed).count() as u64;
        let slow = window.iter().filter(|call| call.slow).count() as u64;
        let latency: u64 = window.iter().map(|call| call.took).sum();
        let minimum = match self.settings.window {
            Window::Calls(size) => minimum_calls.min(size as u64),
            Window::Millis(_) => minimum_calls,
        };
        if consecutive_failures.is_some_and(|limit| run >= u64::from(limit)) {
            return Some(Tripped::InARow(run));
        }
        if failures.is_some_and(|limit| failed >= limit) {
            return Some(Tripped::Failures(failed, calls));
        }
        if calls < minimum {
            return None;
        }
        if failure_rate.is_some_and(|percent| failed * 100 >= percent * calls) {
            return Some(Tripped::FailureRate(failed, calls));
        }
        if slow_call_rate.is_some_and(|percent| slow * 100 >= percent * calls) {
            return Some(Tripped::SlowRate(slow, calls));
        }
        mean_latency.is_some_and(|limit| latency > limit * calls).then_some(Tripped::Mean)
    }

    fn counts(&self) -> Counts {
        let (calls, bad) = match self.phase {
            Phase::Closed | Phase::ByHand(_) => (self.window(), false),
            Phase::Open { .. } => return self.tripping,
            // A slow probe is a failed one.
            Phase::HalfOpen { .. } => (self.ended.clone(), true),
        };
        let failed = calls.iter().filter(|call| call.failed || bad && call.slow).count();
        let slow = calls.iter().filter(|call| call.slow).count();
        let latency = calls.iter().map(|call| call.took).sum();
        (calls.len() as u64, failed as u64, slow as u64, latency)
    }

    fn retry_after(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { until } => Some(until.saturating_sub(self.now * 1000)),
            _ => None,
        }
    }
}

fn circuit(settings: &Settings, clock: &ManualClock) -> CircuitBuilder {
    let mut circuit = Circuit::builder("model").minimum_calls(settings.minimum_calls).clock(clock.clock());
    circuit = match settings.window {
        Window::Millis(length) => circuit.window(Duration::from_millis(length)),
        Window::Calls(size) => circuit.count_window(size),
    };
    if let Some(failures) = settings.consecutive_failures {
        circuit = circuit.consecutive_failures(failures);
    }
    if let Some(failures) = settings.failures {
        circuit = circuit.failures(failures);
    }
    if let Some(percent) = settings.failure_rate {
        circuit = circuit.failure_rate(rate(percent));
    }
    if let Some(limit) = settings.slow_call {
        circuit = circuit.slow_call(Duration::from_millis(limit));
    }
    if let Some(percent) = settings.slow_call_rate {
        circuit = circuit.slow_call_rate(rate(percent));
    }
    if let Some(limit) = settings.mean_latency {
        circuit = circuit.mean_latency(Duration::from_millis(limit));
    }
    if let Some(longest) = settings.hint_max {
        circuit = circuit.honour_retry_after(Duration::from_millis(longest));
    }
    circuit
        .open_for(Duration::from_millis(settings.open_for))
        .open_growth(settings.growth.into(), Duration::from_millis(settings.longest))
        .open_jitter(if settings.jitter { 0.5 } else { 0.0 })
        .random(|| 0.5)
        .half_open(
            HalfOpen::permits(settings.permits)
                .successes(settings.successes)
                .max_concurrent(settings.max_concurrent)
                .timeout(Duration::from_millis(settings.half_open_timeout)),
        )
}

/// `wished`, with what of `settings` cannot change.
fn changed(settings: &Settings, wished: &Settings) -> Settings {
    let most = match settings.window {
        Window::Millis(_) => u64::MAX,
        Window::Calls(size) => size as u64,
    };
    let set = |is: Option<u64>, wished: Option<u64>| is.map(|limit| wished.unwrap_or(limit));
    let changed = Settings {
        window: settings.window,
        consecutive_failures: settings.consecutive_failures.map(|limit| wished.consecutive_failures.unwrap_or(limit)),
        failures: wished.failures.map(|failures| failures.min(most)),
        slow_call: set(settings.slow_call, wished.slow_call),
        slow_call_rate: settings.slow_call.and(wished.slow_call_rate),
        mean_latency: set(settings.mean_latency, wished.mean_latency),
        hint_max: set(settings.hint_max, wished.hint_max),
        ..wished.clone()
    };
    let has_rule = changed.consecutive_failures.is_some() || changed.failures.or(changed.failure_rate).is_some();
    // One rule is left in any case.
    Settings { failures: if has_rule { changed.failures } else { Some(1) }, ..changed }
}

fn tripped(trip: &Trip) -> Tripped {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap();
    match *trip {
        Trip::ConsecutiveFailures { failures } => Tripped::InARow(failures.into()),
        Trip::Failures { failures, calls } => Tripped::Failures(failures, calls),
        Trip::FailureRate { failures, calls, .. } => Tripped::FailureRate(failures, calls),
        Trip::SlowCallRate { slow, calls, .. } => Tripped::SlowRate(slow, calls),
        Trip::MeanLatency { .. } => Tripped::Mean,
        Trip::Probes { failures, permits } => Tripped::Probes(failures.into(), permits.into()),
        Trip::HalfOpenTimeout { after } => Tripped::Timeout(millis(after)),
        ref other => unreachable!("{other}"),
    }
}

fn rate(percent: u64) -> f64 {
    f64::from(u32::try_from(percent).unwrap()) / 100.0
}

/// Runs `script` on both, and reports each change of state with what caused it.
fn run(settings: &Settings, script: &[Event], mut on_change: impl FnMut(State, State)) {
    let clock = ManualClock::new();
    let built = circuit(settings, &clock).build().unwrap();
    let mut model = Model {
        settings: settings.clone(),
        now: 0,
        phase: Phase::Closed,
        changes: 0,
        ended: Vec::new(),
        tripped: None,
        tripping: (0, 0, 0, 0),
        opened: 0,
        reopened: 0,
        taken: 0,
        in_flight: 0,
    };
    let mut under_way: Vec<(Permit, u64, u64)> = Vec::new();
    let mut before = State::Closed;
    for (number, event) in script.iter().enumerate() {
        let context = format!("after event {number}, {event:?}");
        match *event {
            Event::Reconfigure(ref wished) => {
                let settings = changed(&model.settings, wished);
                built.reconfigure(circuit(&settings, &clock)).unwrap();
                model.reconfigure(settings);
            }
            Event::Wait(millis) => {
                model.now += millis;
                clock.advance(Duration::from_millis(millis));
            }
            Event::Start => {
                let admitted = model.start();
                let permit = built.acquire();
                assert_eq!(permit.is_ok(), admitted.is_some(), "{context}");
                if let (Ok(permit), Some(admitted_in)) = (permit, admitted) {
                    under_way.push((permit, admitted_in, model.now));
                }
            }
            Event::Finish(..) | Event::FailWith(..) | Event::Drop(_) if under_way.is_empty() => {}
            Event::Finish(index, outcome) => {
                let (permit, admitted_in, started) = under_way.remove(index % under_way.len());
                model.end(admitted_in, started, Some(outcome), None);
                permit.settle(outcome);
            }
            Event::FailWith(index, hint) => {
                let (permit, admitted_in, started) = under_way.remove(index % under_way.len());
                model.end(admitted_in, started, Some(Outcome::Failure), Some(hint));
                permit.failure_with(Duration::from_millis(hint));
            }
            Event::Drop(index) => {
                let (permit, admitted_in, started) = under_way.remove(index % under_way.len());
                model.end(admitted_in, started, None, None);
                drop(permit);
            }
            Event::ByHand(state) => {
                model.pass_time();
                model.enter_anew(if state == State::Closed { Phase::Closed } else { Phase::ByHand(state) });
                match state {
                    State::ForcedOpen => built.force_open(),
                    State::Disabled => built.disable(),
                    State::Observing => built.observe(),
                    _ => built.reset(),
                }
            }
        }
        model.pass_time();
        let snapshot = built.snapshot();
        let state = match model.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::ByHand(state) => state,
        };
        assert_eq!(snapshot.state, state, "{context}");
        let (calls, failures, slow, latency) = model.counts();
        assert_eq!((snapshot.calls, snapshot.failures, snapshot.slow), (calls, failures, slow), "{context}");
        // Measured only where there is a rule for it.
        let mean =
            settings.mean_latency.and_then(|_| (latency * 1_000_000).checked_div(calls)).map(Duration::from_nanos);
        assert_eq!(snapshot.mean_latency, mean, "{context}");
        assert_eq!(snapshot.tripped.map(|trip| tripped(&trip)), model.tripped, "{context}");
        assert_eq!(snapshot.retry_after, model.retry_after().map(Duration::from_micros), "{context}");
        assert_eq!(snapshot.opened, model.opened, "{context}");
        if state != before {
            on_change(before, state);
            before = state;
        }
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let window = prop_oneof![(1u64..=2000).prop_map(Window::Millis), (1usize..=12).prop_map(Window::Calls)];
    let rules = (
        option::of(1u32..=4),
        option::of(1u64..=5),
        option::weighted(0.8, 1u64..=100),
        option::weighted(0.7, 1u64..=100),
        option::weighted(0.2, 1u64..=200),
    );
    let half_open = (1u32..=5).prop_flat_map(|permits| (Just(permits), 1..=permits, 1..=permits, 1u64..=1500));
    let open = (1u64..=1000, 1u32..=3, 0u64..=3000, any::<bool>(), option::of(1u64..=2000));
    (window, 1u64..=8, rules, 1u64..=200, open, half_open).prop_filter_map(
        "at least one rule",
        |(window, minimum_calls, rules, slow_call, open, half_open)| {
            let (open_for, growth, longer, jitter, hint_max) = open;
            let (consecutive_failures, failures, failure_rate, slow_call_rate, mean_latency) = rules;
            let (permits, successes, max_concurrent, half_open_timeout) = half_open;
            // More failures than a window holds would never be reached, and are refused.
            let failures = match window {
                Window::Calls(size) => failures.map(|failures: u64| failures.min(size as u64)),
                Window::Millis(_) => failures,
            };
            consecutive_failures.map(u64::from).or(failures).or(failure_rate).or(slow_call_rate).or(mean_latency)?;
            Some(Settings {
                window,
                minimum_calls,
                consecutive_failures,
                failures,
                failure_rate,
                // Half of the circuits without a slow-call rate measure no slowness at all.
                slow_call: (slow_call_rate.is_some() || slow_call % 2 == 0).then_some(slow_call),
                slow_call_rate,
                mean_latency,
                open_for,
                growth,
                longest: open_for + longer,
                jitter,
                hint_max,
                permits,
                successes,
                max_concurrent,
                half_open_timeout,
            })
        },
    )
}

/// `successes` says how many there are for four failures.
fn event(successes: u32) -> BoxedStrategy<Event> {
    let outcome =
        prop_oneof![successes => Just(Outcome::Success), 4 => Just(Outcome::Failure), 1 => Just(Outcome::Ignored)];
    prop_oneof![
        6 => (0u64..=60).prop_map(Event::Wait),
        1 => (60u64..=1200).prop_map(Event::Wait),
        14 => Just(Event::Start),
        13 => (any::<usize>(), outcome).prop_map(|(index, outcome)| Event::Finish(index, outcome)),
        1 => (any::<usize>(), 1u64..=2500).prop_map(|(index, hint)| Event::FailWith(index, hint)),
        2 => any::<usize>().prop_map(Event::Drop),
    ]
    .boxed()
}

fn script() -> impl Strategy<Value = Vec<Event>> {
    let by_hand = || {
        prop_oneof![
            3 => Just(State::Closed),
            1 => Just(State::ForcedOpen),
            1 => Just(State::Disabled),
            1 => Just(State::Observing),
        ]
    };
    // Few failures among many successes: those leave the window one day, and what is left may open the circuit.
    prop_oneof![Just(4), Just(20)].prop_flat_map(move |successes| {
        let event = prop_oneof![
            60 => event(successes),
            1 => by_hand().prop_map(Event::ByHand),
            1 => settings().prop_map(Event::Reconfigure),
        ];
        vec(event, 1..250)
    })
}

#[test]
fn the_circuit_does_what_the_model_does() {
    let seen = RefCell::new(BTreeMap::new());
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    runner
        .run(&(settings(), script()), |(settings, script)| {
            run(&settings, &script, |from, to| {
                *seen.borrow_mut().entry(format!("{from} to {to}")).or_insert(0) += 1;
            });
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));

    // Scripts that never get anywhere would agree with everything.
    let seen = seen.into_inner();
    for change in
        ["closed to open", "open to half_open", "half_open to open", "half_open to closed", "closed to observing"]
    {
        assert!(seen.get(change).is_some_and(|times| *times > 100), "{change} was hardly tried: {seen:?}");
    }
}
