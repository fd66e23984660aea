//! Settings of circuits: as people write them, and changed while the circuit is in use.

use std::{thread, time::Duration};

use portcullis::{
    breaker::{Circuit, CircuitBuilder, HalfOpen, Name, State},
    time::ManualClock,
};
use serde_json::{Value, from_value, json};

const SECOND: Duration = Duration::from_secs(1);

fn read(settings: Value) -> Result<CircuitBuilder, String> {
    from_value(settings).map_err(|error: serde_json::Error| error.to_string())
}

/// The settings that are written below, by the builder.
fn built() -> CircuitBuilder {
    Circuit::builder(Name::inline("customer-api").unwrap())
        .consecutive_failures(5)
        .failures(50)
        .failure_rate(0.5)
        .slow_call(Duration::from_millis(1500))
        .slow_call_rate(0.25)
        .mean_latency(Duration::from_millis(800))
        .minimum_calls(20)
        .window(60 * SECOND)
        .open_for(15 * SECOND)
        .open_growth(1.5, 120 * SECOND)
        .open_jitter(0.2)
        .honour_retry_after(90 * SECOND)
        .half_open(HalfOpen::permits(4).successes(3).max_concurrent(2).timeout(10 * SECOND))
        .stripes(2)
}

/// All but the address of the source of randomness.
fn shown(builder: &CircuitBuilder) -> String {
    let shown = format!("{builder:#?}");
    shown.lines().filter(|line| !line.contains("random")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_setting_is_read_under_the_name_of_its_method() {
    let written = json!({
        "name": "customer-api", "consecutive_failures": 5, "failures": 50, "failure_rate": 0.5,
        "slow_call": "1.5s", "slow_call_rate": "25 %", "mean_latency": "800ms", "minimum_calls": 20,
        "window": "1m", "open_for": "15s", "open_growth": { "factor": 1.5, "longest": "2m" }, "open_jitter": "20%",
        "honour_retry_after": "1m 30s", "stripes": 2,
        "half_open": { "permits": 4, "successes": 3, "max_concurrent": 2, "timeout": "10s" },
    });
    assert_eq!(shown(&read(written).unwrap()), shown(&built()));
}

#[test]
fn numbers_may_be_text_and_what_is_null_or_left_out_keeps_its_default() {
    let text =
        json!({ "name": "a", "consecutive_failures": "5", "half_open": 2, "count_window": "100", "window": null });
    let number = json!({ "name": "a", "consecutive_failures": 5, "half_open": { "permits": 2 }, "count_window": 100 });
    let spaced =
        json!({ "name": "a", "consecutive_failures": " 5 ", "half_open": { "permits": "2" }, "count_window": 1e2 });
    let alone = ["2", " 2 "].map(Value::from).into_iter().chain([json!(2.0), json!(2)]);
    let alone = alone
        .map(|permits| json!({ "name": "a", "consecutive_failures": 5, "half_open": permits, "count_window": 100 }));
    for text in [text, spaced].into_iter().chain(alone) {
        assert_eq!(shown(&read(text).unwrap()), shown(&read(number.clone()).unwrap()));
    }
    let nothing = json!({ "name": "a", "open_for": null, "half_open": null, "open_growth": null });
    let within = json!({ "name": "a", "half_open": { "permits": null, "successes": null, "timeout": "30s" } });
    for nothing in [nothing, within] {
        assert_eq!(shown(&read(nothing).unwrap()), shown(&read(json!({ "name": "a" })).unwrap()));
    }
}

#[test]
fn an_error_names_the_setting() {
    for (setting, value) in [
        ("name", json!("x".repeat(39))),
        ("name", json!("")),
        ("name", json!(7)),
        ("consecutive_failures", json!(-1)),
        ("consecutive_failures", json!(1.5)),
        ("consecutive_failures", json!(1_u64 << 32)),
        ("failures", json!("many")),
        ("failure_rate", json!("half")),
        ("slow_call", json!(1500)),
        ("slow_call_rate", json!(["0.5"])),
        ("mean_latency", json!("0.8")),
        ("minimum_calls", json!(true)),
        ("window", json!("1 fortnight")),
        ("count_window", json!({})),
        ("open_for", json!("15")),
        ("open_growth", json!(2)),
        ("open_growth.factor", json!({ "factor": "twice", "longest": "1m" })),
        ("open_growth.factor", json!({ "longest": "1m" })),
        ("open_growth.longest", json!({ "factor": 2 })),
        ("open_growth.longest", json!({ "factor": 2, "longest": 60 })),
        ("open_jitter", json!("%")),
        ("honour_retry_after", json!("-1s")),
        ("half_open", json!("three")),
        ("half_open", json!(-3)),
        ("half_open", json!(2.5)),
        ("half_open", json!(true)),
        ("half_open", json!([2])),
        ("half_open", json!(1_u64 << 32)),
        ("half_open.permits", json!({ "permits": "three" })),
        ("half_open.successes", json!({ "successes": -1 })),
        ("half_open.max_concurrent", json!({ "max_concurrent": 0.5 })),
        ("half_open.timeout", json!({ "timeout": 30 })),
        ("half_open_permits", json!(3)),
    ] {
        let mut settings = json!({ "name": "a" });
        settings[setting.split('.').next().unwrap()] = value;
        let error = read(settings).unwrap_err();
        assert!(error.contains(setting), "{setting}: {error}");
    }
    for (setting, value, unknown) in [
        ("half_open", json!({ "permits": 2, "sucesses": 1 }), "sucesses"),
        ("open_growth", json!({ "factor": 2, "longest": "1m", "jitter": 0.5 }), "jitter"),
    ] {
        let error = read(json!({ "name": "a", setting: value })).unwrap_err();
        assert!(error.contains(&format!("unknown field `{unknown}`")), "{error}");
    }
    assert!(read(json!({ "name": "" })).unwrap_err().contains("name must be 1 to 38 bytes long, but is \"\""));
    let text = r#"{ "name": "a", "open_for": "1s", "open_for": "2s" }"#;
    let error = serde_json::from_str::<CircuitBuilder>(text).unwrap_err().to_string();
    assert!(error.contains("open_for"), "{error}");
    assert!(read(json!({ "open_for": "1s" })).unwrap_err().contains("name"));
    assert!(read(json!({ "name": "a", "window": "1s", "count_window": 5 })).unwrap_err().contains("count_window"));
}

#[test]
fn what_is_read_is_checked_when_it_is_built() {
    let error = read(json!({ "name": "a", "failure_rate": "150 %" })).unwrap().build().unwrap_err();
    assert_eq!(error.setting(), "failure_rate");

    let clock = ManualClock::new();
    let circuit = read(json!({ "name": "a", "consecutive_failures": 1, "open_for": "15s" })).unwrap();
    let circuit = circuit.clock(clock.clock()).build().unwrap();
    circuit.acquire().unwrap().failure();
    assert_eq!((circuit.snapshot().state, circuit.snapshot().retry_after), (State::Open, Some(15 * SECOND)));
}

// ===== changes at run time =====

#[test]
fn what_was_counted_stays_and_the_next_outcome_is_judged_by_the_new_limits() {
    let settings = || Circuit::builder("test").failure_rate(0.9).minimum_calls(4).open_for(15 * SECOND);
    let clock = ManualClock::new();
    let circuit = settings().clock(clock.clock()).build().unwrap();
    for turn in 0..10 {
        let permit = circuit.acquire().unwrap();
        if turn % 2 == 0 { permit.failure() } else { permit.success() }
    }
    let under_way = circuit.acquire().unwrap();
    circuit.reconfigure(settings().failure_rate(0.4).open_for(5 * SECOND)).unwrap();
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.calls, snapshot.failures), (State::Closed, 10, 5));
    // A success, which alone would not have been judged again in this tenth of the window.
    under_way.success();
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.retry_after), (State::Open, Some(5 * SECOND)));

    circuit.reconfigure(settings().open_for(60 * SECOND)).unwrap();
    assert_eq!(circuit.snapshot().retry_after, Some(5 * SECOND), "an open time that has begun stays what it is");
}

#[test]
fn a_half_open_period_is_judged_by_the_new_settings_at_once() {
    let settings = |half_open| Circuit::builder("test").consecutive_failures(1).open_for(SECOND).half_open(half_open);
    for (half_open, state) in [
        (HalfOpen::permits(2).timeout(9 * SECOND), State::Closed),
        (HalfOpen::permits(3).timeout(9 * SECOND), State::HalfOpen),
        (HalfOpen::permits(3).timeout(2 * SECOND), State::Open),
    ] {
        let clock = ManualClock::new();
        let circuit = settings(HalfOpen::permits(5)).clock(clock.clock()).build().unwrap();
        circuit.acquire().unwrap().failure();
        clock.advance(SECOND);
        circuit.acquire().unwrap().success();
        circuit.acquire().unwrap().success();
        clock.advance(2 * SECOND);
        let mut changes = circuit.subscribe();
        circuit.reconfigure(settings(half_open)).unwrap();
        assert_eq!(circuit.snapshot().state, state);
        assert_eq!(changes.try_next().map(|change| change.to), Some(state).filter(|state| *state != State::HalfOpen));
    }
}

/// By `acquire` alone: a snapshot would take the lock, and find the end of the period for all.
#[test]
fn callers_for_whom_there_is_no_place_hear_at_once_of_another_end_of_the_period() {
    let settings = |permits, timeout| {
        let half_open = HalfOpen::permits(permits).timeout(timeout);
        Circuit::builder("test").consecutive_failures(1).open_for(SECOND).half_open(half_open)
    };
    for (before, permits, after) in [(3600, 1, 10), (3600, 2, 10), (10, 1, 3600), (10, 2, 3600)] {
        let clock = ManualClock::new();
        let circuit = settings(1, before * SECOND).clock(clock.clock()).build().unwrap();
        circuit.acquire().unwrap().failure();
        clock.advance(SECOND);
        let mut hang = vec![circuit.acquire().unwrap()];
        assert_eq!(circuit.acquire().unwrap_err().retry_after(), None);
        circuit.reconfigure(settings(permits, after * SECOND)).unwrap();
        hang.extend((1..permits).map(|_| circuit.acquire().unwrap()));
        assert_eq!(circuit.acquire().unwrap_err().retry_after(), None, "all places are taken");

        clock.advance(after * SECOND - Duration::from_nanos(1));
        assert_eq!(circuit.acquire().unwrap_err().retry_after(), None, "{after} s are not over");
        clock.advance(Duration::from_nanos(1));
        assert_eq!(circuit.acquire().unwrap_err().retry_after(), Some(SECOND), "{after} s are over");
    }
}

#[test]
fn what_cannot_change_is_named_and_the_circuit_goes_on_as_before() {
    let settings = || Circuit::builder("test").failures(2).slow_call(SECOND);
    let circuit = settings().build().unwrap();
    for (changed, setting) in [
        (settings().window(30 * SECOND), "window"),
        (settings().count_window(10), "window"),
        (settings().mean_latency(SECOND), "mean_latency"),
        (Circuit::builder("test").failures(2), "slow_call"),
        (settings().consecutive_failures(5), "consecutive_failures"),
        (settings().honour_retry_after(SECOND), "honour_retry_after"),
        (settings().failure_rate(2.0), "failure_rate"),
    ] {
        assert_eq!(circuit.reconfigure(changed.failures(1)).unwrap_err().setting(), setting);
    }
    circuit.acquire().unwrap().failure();
    assert_eq!(circuit.snapshot().state, State::Closed, "two are needed still");
}

#[test]
fn a_change_while_threads_call_loses_nothing() {
    let settings = |failures| Circuit::builder("test").failures(failures);
    let circuit = settings(1_000_000).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..5_000).for_each(|_| circuit.acquire().unwrap().failure()));
            scope.spawn(|| (0..5_000).for_each(|_| circuit.acquire().unwrap().success()));
        }
        for turn in 0..1_000 {
            circuit.reconfigure(settings(1_000_000 + turn)).unwrap();
        }
    });
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.calls, snapshot.failures), (State::Closed, 20_000, 10_000));
}
