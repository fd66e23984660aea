//! The breaker scenarios of `tests/data/scenarios.json`, each on a clock that the scenario moves.

use std::{collections::HashMap, sync::Barrier, thread, time::Duration};

use portcullis::{
    breaker::{Circuit, CircuitBuilder, HalfOpen, Permit, Snapshot, State, Trip},
    outcome::Outcome,
    time::{ManualClock, Tick},
};
use serde_json::Value;

/// What multiplies the open time for each attempt in a row, where a scenario counts them.
const ATTEMPT: f64 = 1.01;

/// Scenarios of the file that are about something else, or that need a stack.
const OUTSIDE: &[(&str, &str)] = &[
    ("CA07", "a stack of layers: tests/breaker.rs, a_timeout_inside_the_breaker_is_a_failure"),
    ("CA09", "about retry"),
    ("CV03", "about retry"),
];

#[test]
fn every_scenario_holds() {
    let file: Value = serde_json::from_str(include_str!("data/scenarios.json")).unwrap();
    let mut held = 0;
    for scenario in file["scenarios"].as_array().unwrap() {
        let id = scenario["id"].as_str().unwrap();
        let group = scenario["group"].as_str().unwrap();
        let ours = group.starts_with("breaker-") || matches!(group, "cancellation" | "config-validation");
        if !ours || OUTSIDE.iter().any(|(outside, _)| *outside == id) {
            continue;
        }
        if group == "config-validation" {
            check_settings(id, scenario);
        } else {
            let counts_attempts = !scenario["expect"]["open_attempt_numbers_passed_to_generator"].is_null();
            Run::new(id, &scenario["config"], counts_attempts).all(scenario);
        }
        held += 1;
    }
    assert_eq!(held, 48, "a scenario was added, or one no longer runs");
}

/// A scenario under way.
struct Run<'a> {
    id: &'a str,
    clock: ManualClock,
    circuit: Circuit,
    minimum_calls: u64,
    permits: HashMap<String, Permit>,
    rejected: u64,
    state: State,
    transitions: Vec<String>,
    /// Of each time that it opened.
    open_times: Vec<Duration>,
    /// What an observed circuit would have been opened by.
    noted: Option<Trip>,
}

impl<'a> Run<'a> {
    fn new(id: &'a str, config: &Value, counts_attempts: bool) -> Self {
        let clock = ManualClock::new();
        let mut circuit = builder(config).clock(clock.clock());
        if counts_attempts {
            // Each attempt in a row shows as a hundredth more. Chance takes off a tenth, so that the scenario's calls still
            // come when the open time is over.
            let longest = Duration::from_secs(3600);
            circuit = circuit.open_growth(ATTEMPT, longest).open_jitter(0.1).random(|| 1.0);
        }
        let circuit = circuit.build().unwrap_or_else(|error| panic!("{id}: {error}"));
        Self {
            id,
            clock,
            circuit,
            minimum_calls: config["min_calls"].as_u64().unwrap_or(1),
            permits: HashMap::new(),
            rejected: 0,
            state: State::Closed,
            transitions: Vec::new(),
            open_times: Vec::new(),
            noted: None,
        }
    }

    fn all(mut self, scenario: &Value) {
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            self.step(step, &format!("{} step {number} {step}", self.id));
        }
        for (key, expected) in scenario["expect"].as_object().unwrap() {
            match key.as_str() {
                "state" => assert_eq!(label(self.state), expected.as_str().unwrap(), "{}", self.id),
                "transitions" => assert_eq!(Value::from(self.transitions.clone()), *expected, "{}", self.id),
                "half_open_events" => {
                    let events = self.transitions.iter().filter(|change| *change == "OPEN->HALF_OPEN").count();
                    assert_eq!(Some(events as u64), expected.as_u64(), "{}", self.id);
                }
                "open_attempt_numbers_passed_to_generator" => self.check_attempts(expected),
                _ => panic!("{}: unknown expectation {key}", self.id),
            }
        }
    }

    fn step(&mut self, step: &Value, context: &str) {
        self.clock.set(Tick::default().after(millis(&step["at"]).expect(context)));
        let expected = &step["expect"];
        let repeat = step["repeat"].as_u64();
        for turn in 1..=repeat.unwrap_or(1) {
            let id = match (step["id"].as_str(), repeat) {
                (Some(id), Some(_)) => format!("{id}{turn}"),
                (id, _) => id.unwrap_or_default().to_owned(),
            };
            match step["op"].as_str().expect(context) {
                "call" => {
                    if let Some(permit) = self.acquire(expected, context) {
                        self.clock.advance(millis(&step["dur"]).unwrap_or_default());
                        permit.settle(outcome(&step["out"]));
                    }
                }
                "start" => {
                    if let Some(permit) = self.acquire(expected, context) {
                        self.permits.insert(id, permit);
                    }
                }
                "finish" => self.permits.remove(&id).expect(context).settle(outcome(&step["out"])),
                "drop" => drop(self.permits.remove(&id).expect(context)),
                "peek" => {}
                "admin" => match step["cmd"].as_str().expect(context) {
                    "reset" | "close" => self.circuit.reset(),
                    "force_open" => self.circuit.force_open(),
                    "metrics_only" => self.circuit.observe(),
                    command => panic!("{context}: unknown command {command}"),
                },
                "parallel_start" => self.parallel_start(step["threads"].as_u64().unwrap(), expected, context),
                // A circuit has no wall clock that could jump.
                "wall_clock_jump" => {}
                op => panic!("{context}: unknown operation {op}"),
            }
            self.note_state();
        }
        self.check(expected, context);
    }

    fn acquire(&mut self, expected: &Value, context: &str) -> Option<Permit> {
        let permit = self.circuit.acquire();
        if let Some(expected) = expected["permit"].as_bool() {
            assert_eq!(permit.is_ok(), expected, "{context}");
        }
        self.rejected += u64::from(permit.is_err());
        self.note_state();
        permit.ok()
    }

    fn parallel_start(&mut self, threads: u64, expected: &Value, context: &str) {
        let barrier = Barrier::new(usize::try_from(threads).unwrap());
        let answers: Vec<_> = thread::scope(|scope| {
            let start = || {
                barrier.wait();
                self.circuit.acquire()
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let admitted: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
        assert_eq!(Some(admitted.len() as u64), expected["admitted"].as_u64(), "{context}");
        self.rejected += threads - admitted.len() as u64;
        for (number, permit) in admitted.into_iter().enumerate() {
            self.permits.insert(format!("parallel{number}"), permit);
        }
    }

    /// A circuit hands no number to anybody: it multiplies its open time once for each attempt that failed.
    fn check_attempts(&self, expected: &Value) {
        let numbers =
            expected.as_array().unwrap().iter().map(|number| i32::try_from(number.as_u64().unwrap()).unwrap());
        let first = self.open_times[0];
        let expected: Vec<_> = numbers.map(|number| first.mul_f64(ATTEMPT.powi(number)).as_micros()).collect();
        let seen: Vec<_> = self.open_times.iter().map(Duration::as_micros).collect();
        assert_eq!(seen, expected, "{}", self.id);
    }

    fn note_state(&mut self) {
        let Snapshot { state, tripped, retry_after, .. } = self.circuit.snapshot();
        let noted = tripped.filter(|_| state == State::Observing);
        if let (Some(trip), None) = (noted, self.noted) {
            self.transitions.push(format!("{}_exceeded", trip.rule()));
        }
        self.noted = noted;
        if state != self.state {
            self.transitions.push(format!("{}->{}", label(self.state), label(state)));
            self.state = state;
            self.open_times.extend(retry_after);
        }
    }

    fn check(&self, expected: &Value, context: &str) {
        let Some(expected) = expected.as_object() else { return };
        let snapshot = self.circuit.snapshot();
        let enough = snapshot.calls >= self.minimum_calls;
        for (key, value) in expected {
            match key.as_str() {
                "permit" | "admitted" => {}
                "state" => assert_eq!(label(snapshot.state), value.as_str().unwrap(), "{context}"),
                "calls" => assert_eq!(Some(snapshot.calls), value.as_u64(), "{context}"),
                "failures" => assert_eq!(Some(snapshot.failures), value.as_u64(), "{context}"),
                "slow_calls" => assert_eq!(Some(snapshot.slow), value.as_u64(), "{context}"),
                "failure_rate" => check_rate(enough, snapshot.failure_rate(), value, context),
                "slow_rate" => check_rate(enough, snapshot.slow_call_rate(), value, context),
                "rejected" => assert_eq!(Some(self.rejected), value.as_u64(), "{context}"),
                "retry_after_ms" => assert_eq!(snapshot.retry_after, millis(value), "{context}"),
                _ => panic!("{context}: unknown expectation {key}"),
            }
        }
    }
}

/// The file writes rates to four digits, and `null` below the minimum of calls.
fn check_rate(enough: bool, rate: f64, expected: &Value, context: &str) {
    match expected.as_f64() {
        Some(expected) => assert!(enough && (rate - expected).abs() < 1e-4, "{context}: {rate}"),
        None => assert!(!enough, "{context}"),
    }
}

fn builder(config: &Value) -> CircuitBuilder {
    let mut circuit = Circuit::builder("scenario");
    if let Some(calls) = config["min_calls"].as_u64() {
        circuit = circuit.minimum_calls(calls);
    }
    match config["window"]["type"].as_str() {
        Some("time") => circuit = circuit.window(millis(&config["window"]["ms"]).unwrap()),
        Some("count") => {
            circuit = circuit.count_window(usize::try_from(config["window"]["size"].as_u64().unwrap()).unwrap());
        }
        other => assert_eq!(other, None),
    }
    match config["trip"]["type"].as_str() {
        Some("consecutive") => {
            circuit = circuit.consecutive_failures(u32::try_from(config["trip"]["n"].as_u64().unwrap()).unwrap());
        }
        Some("k_of_n") => circuit = circuit.failures(config["trip"]["k"].as_u64().unwrap()),
        other => assert_eq!(other, None),
    }
    if let Some(rate) = config["failure_rate"].as_f64() {
        circuit = circuit.failure_rate(rate);
    }
    if let Some(slow) = millis(&config["slow_ms"]) {
        circuit = circuit.slow_call(slow);
    }
    if let Some(rate) = config["slow_rate"].as_f64() {
        circuit = circuit.slow_call_rate(rate);
    }
    if let Some(open_for) = millis(&config["open_ms"]) {
        circuit = circuit.open_for(open_for);
    }
    if let Some(factor) = config["open_backoff"]["mult"].as_f64() {
        circuit = circuit.open_growth(factor, millis(&config["open_backoff"]["max_ms"]).unwrap()).open_jitter(0.0);
    }
    match config["half_open"]["permits"].as_u64() {
        Some(permits) => circuit.half_open(half_open(permits, config)),
        None => circuit,
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]
fn half_open(permits: u64, config: &Value) -> HalfOpen {
    let rule = &config["half_open"]["rule"];
    let successes = match rule["type"].as_str() {
        Some("success_k_of_n") => rule["k"].as_u64().unwrap(),
        // As the file has it: enough successes that the failure rate cannot be reached any more.
        None => permits - (permits as f64 * config["failure_rate"].as_f64().unwrap()).ceil() as u64 + 1,
        Some(other) => panic!("unknown rule {other}"),
    };
    HalfOpen::permits(permits as u32).successes(successes as u32)
}

fn check_settings(id: &str, scenario: &Value) {
    for step in scenario["steps"].as_array().unwrap() {
        let rate = &step["config"]["failure_rate"];
        let rate = rate.as_f64().unwrap_or_else(|| rate.as_str().unwrap().parse().unwrap());
        let built = Circuit::builder("scenario").failure_rate(rate).build();
        assert_eq!(Some(built.is_ok()), step["expect"]["ok"].as_bool(), "{id}: {step}");
        if let Err(error) = built {
            assert_eq!(error.setting(), "failure_rate");
        }
    }
}

fn outcome(out: &Value) -> Outcome {
    match out.as_str().unwrap() {
        "S" => Outcome::Success,
        "F" => Outcome::Failure,
        "I" => Outcome::Ignored,
        other => panic!("unknown outcome {other}"),
    }
}

fn label(state: State) -> &'static str {
    match state {
        State::Closed => "CLOSED",
        State::Open => "OPEN",
        State::HalfOpen => "HALF_OPEN",
        State::ForcedOpen => "FORCED_OPEN",
        State::Observing => "METRICS_ONLY",
        other => panic!("unknown state {other}"),
    }
}

fn millis(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}
